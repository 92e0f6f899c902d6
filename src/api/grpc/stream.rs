//! The messages of an upload stream: first a start, then data, then finish.

use futures_util::{Stream, StreamExt, stream};
use tonic::{Code, Status, Streaming};

use crate::{
    api::decode,
    error::FieldError,
    proto::{UploadFileRequest, UploadStart, upload_file_request::Message},
    service::{ServiceError, policy::CHUNK_BYTES_MAX, upload::UploadPart},
};

/// The first message, which must be start.
pub(super) async fn first(
    messages: &mut Streaming<UploadFileRequest>,
) -> Result<UploadStart, ServiceError> {
    match messages.next().await {
        None => Err(ServiceError::UploadIncomplete { persisted_size_bytes: 0 }),
        Some(Err(status)) => Err(broken(&status)),
        Some(Ok(UploadFileRequest { message: Some(Message::Start(start)) })) => Ok(start),
        Some(Ok(_)) => Err(FieldError::new("start", "must be the first message").into()),
    }
}

/// Everything after start.
pub(super) fn rest(
    messages: Streaming<UploadFileRequest>,
) -> impl Stream<Item = Result<UploadPart, ServiceError>> + Send {
    // After an error the stream is over: polling a broken one again is not defined.
    stream::unfold(Some(messages), async |messages| {
        let mut messages = messages?;
        match messages.next().await? {
            Err(status) => Some((Err(broken(&status)), None)),
            Ok(message) => Some((part(message), Some(messages))),
        }
    })
}

fn part(message: UploadFileRequest) -> Result<UploadPart, ServiceError> {
    match message.message {
        Some(Message::Data(data)) if data.is_empty() => {
            Err(FieldError::new("data", "must not be empty").into())
        }
        Some(Message::Data(data)) if data.len() > CHUNK_BYTES_MAX => Err(chunk_too_large()),
        Some(Message::Data(data)) => Ok(UploadPart::Data(data)),
        Some(Message::Finish(finish)) => {
            Ok(UploadPart::Finish(decode::sha256("sha256", &finish.sha256)?))
        }
        Some(Message::Start(_)) => Err(FieldError::new("start", "must be sent only once").into()),
        None => Err(FieldError::new("message", "must be start, data or finish").into()),
    }
}

/// A stream that tonic gave up: too large a message is the caller's fault, anything else a broken call.
fn broken(status: &Status) -> ServiceError {
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => chunk_too_large(),
        _ => ServiceError::UploadIncomplete { persisted_size_bytes: 0 },
    }
}

fn chunk_too_large() -> ServiceError {
    let problem = format!("must be at most {CHUNK_BYTES_MAX} bytes a message");
    FieldError::new("data", problem).into()
}
