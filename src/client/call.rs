//! What goes with every call: the time that is left, and the trace that it is part of.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status, metadata::AsciiMetadataValue, transport::Channel};

use super::{Client, ClientError, Result, retry::Retries};
use crate::proto::files_service_client::FilesServiceClient;

/// What goes with every call of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct CallOptions {
    deadline: Option<Instant>,
    traceparent: Option<AsciiMetadataValue>,
}

impl Client {
    /// The same client, whose calls end, with all their attempts, `limit` from now.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.options.deadline = Some(Instant::now() + limit);
        self
    }

    /// The same client, whose calls are part of a trace: `traceparent` as W3C Trace Context has it.
    pub fn traced(mut self, traceparent: &str) -> Result<Self> {
        let value = AsciiMetadataValue::try_from(traceparent);
        let invalid = |_| ClientError::Traceparent(traceparent.to_owned());
        self.options.traceparent = Some(value.map_err(invalid)?);
        Ok(self)
    }

    /// A request with what goes with every call.
    pub(super) fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        if let Some(deadline) = self.options.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Status::deadline_exceeded("no time is left").into());
            }
            request.set_timeout(left);
        }
        if let Some(traceparent) = &self.options.traceparent {
            request.metadata_mut().insert("traceparent", traceparent.clone());
        }
        Ok(request)
    }

    /// Waits before another attempt; where there is to be none, or no time for it, the failure is the caller's.
    pub(super) async fn pause_after(&self, status: Status, retries: &mut Retries) -> Result<()> {
        let pause = retries.pause(&status);
        let left = self.options.deadline.map(|end| end.saturating_duration_since(Instant::now()));
        match pause {
            Some(pause) if left.is_none_or(|left| pause < left) => sleep(pause).await,
            _ => return Err(status.into()),
        }
        Ok(())
    }

    /// Makes a call that can be made twice, as often as it takes.
    pub(super) async fn ask<Q, A, Answer>(
        &self,
        message: Q,
        call: impl Fn(FilesServiceClient<Channel>, Request<Q>) -> Answer,
    ) -> Result<A>
    where
        Q: Clone,
        Answer: Future<Output = std::result::Result<Response<A>, Status>>,
    {
        let mut retries = Retries::default();
        loop {
            match call(self.files.clone(), self.request(message.clone())?).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => self.pause_after(status, &mut retries).await?,
            }
        }
    }
}
