//! Uploads: what is kept, what is refused, and that nothing of a refused one stays behind.

use std::time::Duration;

use bytes::Bytes;
use files::proto::{
    DownloadFileRequest, GetFileRequest, UploadFinish, UploadStart,
    download_file_response::Message as Download, upload_file_request::Message,
};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use uuid::Uuid;

use crate::support::{
    Result, TestServer, assert_refused, data, finish, message, send, start, upload,
};

fn random_text(bytes: usize) -> Bytes {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b' ' + (state % 95) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// A content that is refused in the form it takes: large enough to have reached the disk.
fn large() -> Bytes {
    random_text(3 * 1024 * 1024)
}

#[tokio::test]
async fn what_goes_in_comes_out_and_is_measured() -> Result {
    let server = TestServer::start().await?;
    for size in [0, 1, 4096, 32 * 1024, 32 * 1024 + 1, 5 * 1024 * 1024 + 3] {
        let content = random_text(size);
        let file = server.upload("notes.txt", content.clone()).await?;
        assert_eq!(file.size_bytes, size as i64);
        assert_eq!(file.sha256[..], Sha256::digest(&content)[..]);
        assert_eq!((file.mime_type.as_str(), file.filename.as_str()), ("text/plain", "notes.txt"));
        assert_eq!((file.user_id.as_str(), file.purpose.as_str()), ("user-1", "assistants"));
        assert!(file.create_time.is_some() && !file.etag.is_empty());
        let request = DownloadFileRequest { file_id: file.id.clone(), ..Default::default() };
        let mut stream = server.client().await?.download_file(request).await?.into_inner();
        let first = stream.message().await?.and_then(|it| it.message);
        assert_eq!(first, Some(Download::File(file)));
        let mut received = Vec::new();
        while let Some(next) = stream.message().await? {
            let Some(Download::Data(data)) = next.message else { panic!("data follows the file") };
            assert!((1..=256 * 1024).contains(&data.len()));
            received.extend_from_slice(&data);
        }
        assert_eq!(received, content);
    }
    Ok(())
}

#[tokio::test]
async fn a_promise_kept_is_accepted() -> Result {
    let server = TestServer::start().await?;
    let content = random_text(10_000);
    let promised = UploadStart { size_bytes: Some(10_000), ..start("a.txt") };
    let finish = UploadFinish { sha256: Bytes::copy_from_slice(&Sha256::digest(&content)) };
    let messages = vec![
        message(Message::Start(promised)),
        data(content.slice(..1)),
        data(content.slice(1..)),
        message(Message::Finish(finish)),
    ];
    let answer = send(&mut server.client().await?, messages).await?;
    assert!(!answer.replayed);
    Ok(())
}

#[tokio::test]
async fn a_broken_promise_refuses_the_file_and_leaves_nothing() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    for (content, promised) in [(large(), 1), (large(), i64::MAX / 2), (Bytes::new(), 1)] {
        let start = UploadStart { size_bytes: Some(promised), ..start("a.txt") };
        let outcome = upload(&mut client, start, content).await;
        let (code, reason, field) = match promised > 5 << 30 {
            true => (Code::ResourceExhausted, "FILE_TOO_LARGE", None),
            false => (Code::OutOfRange, "SIZE_MISMATCH", Some("size_bytes")),
        };
        assert_refused(outcome, code, reason, field);
        server.assert_empty().await?;
    }
    let short = UploadStart { size_bytes: Some(4 << 20), ..start("a.txt") };
    let outcome = upload(&mut client, short, large()).await;
    assert_refused(outcome, Code::OutOfRange, "SIZE_MISMATCH", Some("size_bytes"));
    server.assert_empty().await?;
    let wrong = UploadFinish { sha256: Bytes::from_static(&[7; 32]) };
    for content in [large(), Bytes::from_static(b"small")] {
        let messages = vec![
            message(Message::Start(start("a.txt"))),
            data(content.slice(..5)),
            message(Message::Finish(wrong.clone())),
        ];
        let outcome = send(&mut client, messages).await;
        assert_refused(outcome, Code::InvalidArgument, "CHECKSUM_MISMATCH", Some("sha256"));
        server.assert_empty().await?;
    }
    Ok(())
}

#[tokio::test]
async fn messages_out_of_order_are_refused_and_leave_nothing() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let begin = || message(Message::Start(start("a.txt")));
    let empty_message = files::proto::UploadFileRequest { message: None };
    for (messages, field) in [
        (vec![data("x"), begin(), finish()], "start"),
        (vec![finish()], "start"),
        (vec![empty_message.clone()], "start"),
        (vec![begin(), begin(), finish()], "start"),
        (vec![begin(), data("x"), begin(), finish()], "start"),
        (vec![begin(), finish(), data("x")], "finish"),
        (vec![begin(), finish(), finish()], "finish"),
        (vec![begin(), data(""), finish()], "data"),
        (vec![begin(), data("x"), empty_message], "message"),
        (vec![begin(), data(vec![b'x'; 2 * 1024 * 1024 + 1]), finish()], "data"),
        (vec![begin(), data(vec![b'x'; 4 * 1024 * 1024]), finish()], "data"),
    ] {
        let outcome = send(&mut client, messages).await;
        assert_refused(outcome, Code::InvalidArgument, "FIELD_INVALID", Some(field));
        server.assert_empty().await?;
    }
    let largest = vec![begin(), data(vec![b'x'; 2 * 1024 * 1024]), finish()];
    send(&mut client, largest).await?;
    Ok(())
}

#[tokio::test]
async fn a_stream_without_finish_is_no_file() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let begin = || message(Message::Start(start("a.txt")));
    for messages in [vec![], vec![begin()], vec![begin(), data(large().slice(..1 << 20))]] {
        let outcome = send(&mut client, messages).await;
        assert_refused(outcome, Code::Aborted, "UPLOAD_INCOMPLETE", None);
        server.assert_empty().await?;
    }
    Ok(())
}

/// An upload under way: what has been sent is on the server's disk.
async fn half_sent(
    server: &TestServer,
) -> Result<(mpsc::Sender<files::proto::UploadFileRequest>, tokio::task::JoinHandle<()>)> {
    let mut client = server.client().await?;
    let (sender, receiver) = mpsc::channel(1);
    let call = tokio::spawn(async move {
        let _ = client.upload_file(ReceiverStream::new(receiver)).await;
    });
    sender.send(message(Message::Start(start("a.txt")))).await?;
    for _ in 0..4 {
        sender.send(data(random_text(1 << 20))).await?;
    }
    server.until_bytes_are_on_their_way().await?;
    Ok((sender, call))
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_nothing() -> Result {
    let server = TestServer::start().await?;
    let (_sender, call) = half_sent(&server).await?;
    assert_eq!(server.rows("files").await?, 1);
    call.abort();
    server.assert_empty().await
}

#[tokio::test]
async fn a_deadline_that_passes_leaves_nothing() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let (sender, receiver) = mpsc::channel(4);
    sender.send(message(Message::Start(start("a.txt")))).await?;
    sender.send(data(random_text(1 << 20))).await?;
    let mut request = tonic::Request::new(ReceiverStream::new(receiver));
    request.set_timeout(Duration::from_millis(200));
    let outcome = client.upload_file(request).await;
    assert!(outcome.is_err_and(|status| status.code() != Code::Ok));
    drop(sender);
    server.assert_empty().await
}

#[tokio::test]
async fn a_silent_caller_is_given_up() -> Result {
    let server = TestServer::configured(&[("FILES__UPLOADS__IDLE_TIMEOUT", "200ms")]).await?;
    let mut client = server.client().await?;
    let (sender, receiver) = mpsc::channel(4);
    sender.send(message(Message::Start(start("a.txt")))).await?;
    let outcome = client.upload_file(ReceiverStream::new(receiver)).await;
    assert_refused(outcome, Code::DeadlineExceeded, "UPLOAD_STALLED", None);
    server.assert_empty().await
}

#[tokio::test]
async fn a_caller_who_never_begins_is_given_up_too() -> Result {
    let server = TestServer::configured(&[("FILES__UPLOADS__IDLE_TIMEOUT", "200ms")]).await?;
    let (_sender, receiver) = mpsc::channel::<files::proto::UploadFileRequest>(1);
    let outcome = server.client().await?.upload_file(ReceiverStream::new(receiver)).await;
    assert_refused(outcome, Code::DeadlineExceeded, "UPLOAD_STALLED", None);
    Ok(())
}

#[tokio::test]
async fn a_stream_left_open_after_finish_is_a_file() -> Result {
    let server = TestServer::start().await?;
    let (sender, receiver) = mpsc::channel(4);
    sender.send(message(Message::Start(start("a.txt")))).await?;
    sender.send(data("content")).await?;
    sender.send(finish()).await?;
    let answer = server.client().await?.upload_file(ReceiverStream::new(receiver)).await?;
    assert_eq!(answer.into_inner().file.map(|it| it.size_bytes), Some(7));
    drop(sender);
    Ok(())
}

#[tokio::test]
async fn too_many_uploads_at_once_are_told_to_come_back() -> Result {
    let server = TestServer::configured(&[("FILES__UPLOADS__CONCURRENT_MAX", "1")]).await?;
    let (sender, call) = half_sent(&server).await?;
    let outcome = upload(&mut server.client().await?, start("b.txt"), "x").await;
    let status = outcome.clone().expect_err("overloaded");
    assert!(tonic_types::StatusExt::get_details_retry_info(&status).is_some());
    assert_refused(outcome, Code::ResourceExhausted, "OVERLOADED", None);
    sender.send(finish()).await?;
    drop(sender);
    call.await?;
    server.upload("b.txt", "x").await?;
    Ok(())
}

#[tokio::test]
async fn a_retry_returns_the_same_file() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let start = UploadStart { upload_id: Uuid::new_v4().to_string(), ..start("a.txt") };
    let first = upload(&mut client, start.clone(), "content").await?;
    assert!(!first.replayed);
    for content in [Bytes::from_static(b"content"), large()] {
        let again = upload(&mut client, start.clone(), content).await?;
        assert!(again.replayed);
        assert_eq!(again.file, first.file);
    }
    let upper = UploadStart { upload_id: start.upload_id.to_uppercase(), ..start.clone() };
    assert!(upload(&mut client, upper, "content").await?.replayed);
    assert_eq!(server.rows("files").await?, 1);
    Ok(())
}

#[tokio::test]
async fn the_same_upload_id_for_another_file_is_a_conflict() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let first = UploadStart { upload_id: Uuid::new_v4().to_string(), ..start("a.txt") };
    upload(&mut client, first.clone(), "content").await?;
    let label = [("k".to_owned(), "v".to_owned())];
    for other in [
        UploadStart { filename: "b.txt".to_owned(), ..first.clone() },
        UploadStart { purpose: "vision".to_owned(), ..first.clone() },
        UploadStart { size_bytes: Some(7), ..first.clone() },
        UploadStart { labels: label.into(), ..first.clone() },
    ] {
        let outcome = upload(&mut client, other, "content").await;
        assert_refused(outcome, Code::AlreadyExists, "UPLOAD_CONFLICT", None);
    }
    let of_another_user = UploadStart { user_id: "user-2".to_owned(), ..first };
    assert!(!upload(&mut client, of_another_user, "content").await?.replayed);
    Ok(())
}

#[tokio::test]
async fn a_retry_takes_over_from_a_call_that_hangs() -> Result {
    let server = TestServer::start().await?;
    let retried = UploadStart { upload_id: Uuid::new_v4().to_string(), ..start("a.txt") };
    let (sender, receiver) = mpsc::channel(4);
    sender.send(message(Message::Start(retried.clone()))).await?;
    let mut hanging = server.client().await?;
    let hanging =
        tokio::spawn(async move { hanging.upload_file(ReceiverStream::new(receiver)).await });
    while server.rows("files").await? == 0 {
        tokio::task::yield_now().await;
    }
    let second = upload(&mut server.client().await?, retried, "content").await?;
    assert!(!second.replayed);
    sender.send(data("content")).await?;
    sender.send(finish()).await?;
    drop(sender);
    assert_refused(hanging.await?, Code::Aborted, "UPLOAD_TAKEN_OVER", None);
    let id = second.file.expect("a file").id;
    let request = GetFileRequest { file_id: id, ..Default::default() };
    server.client().await?.get_file(request).await?;
    Ok(())
}

#[tokio::test]
async fn concurrent_uploads_keep_apart() -> Result {
    let server = TestServer::start().await?;
    let client = server.client().await?;
    let uploads = (0..24_u8).map(|n| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let content = vec![b'a' + n; 1000 * usize::from(n) * usize::from(n) + 1];
            let file = upload(&mut client, start("a.txt"), content.clone()).await?.file;
            assert_eq!(file.expect("a file").sha256[..], Sha256::digest(&content)[..]);
            anyhow::Ok(())
        })
    });
    for upload in uploads.collect::<Vec<_>>() {
        upload.await??;
    }
    Ok(())
}

#[tokio::test]
async fn a_time_to_live_ends_a_file() -> Result {
    let server = TestServer::start().await?;
    let ttl = prost_types::Duration { seconds: 60, nanos: 0 };
    let start = UploadStart { ttl: Some(ttl), ..start("a.txt") };
    let mut client = server.client().await?;
    let file = upload(&mut client, start, "x").await?.file.expect("a file");
    assert_eq!(file.expire_time.map(|it| it.seconds), Some(server.now().unix_s() + 60));
    let request = GetFileRequest { file_id: file.id, ..Default::default() };
    client.get_file(request.clone()).await?;
    server.clock.advance(Duration::from_secs(60));
    let outcome = client.get_file(request).await;
    assert_refused(outcome, Code::NotFound, "FILE_NOT_FOUND", None);
    Ok(())
}
