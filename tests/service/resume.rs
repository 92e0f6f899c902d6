//! Uploads that break off and are gone on with.

use std::time::Duration;

use bytes::Bytes;
use files::proto::{
    CancelUploadRequest, GetUploadRequest, GetUploadResponse, UploadFileRequest,
    UploadFileResponse, UploadStart, upload_file_request::Message,
};
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::{
    Client, Result, TestServer, assert_refused, data, finish, message, send, start, upload,
};

/// More than two parts of a bucket's, and odd.
const SIZE: usize = 20_000_001;

fn content() -> Bytes {
    (0..SIZE).map(|n| (n % 251) as u8).collect()
}

fn resumable() -> UploadStart {
    UploadStart { upload_id: Uuid::new_v4().to_string(), ..start("a.txt") }
}

/// Start at `offset` and the content from there up to `end`, in messages of 256 KiB.
fn part(start: &UploadStart, content: &Bytes, offset: usize, end: usize) -> Vec<UploadFileRequest> {
    let start = UploadStart { offset: offset as i64, ..start.clone() };
    let pieces = (offset..end).step_by(256 * 1024);
    let pieces = pieces.map(|at| data(content.slice(at..end.min(at + 256 * 1024))));
    std::iter::once(message(Message::Start(start))).chain(pieces).collect()
}

async fn status(client: &mut Client, start: &UploadStart) -> Result<GetUploadResponse> {
    let UploadStart { upload_id, user_id, .. } = start.clone();
    Ok(client.get_upload(GetUploadRequest { upload_id, user_id }).await?.into_inner())
}

/// Uploads the content up to `end` and breaks off; how much of it is durable then.
async fn cut(client: &mut Client, start: &UploadStart, end: usize) -> Result<usize> {
    let broken = send(client, part(start, &content(), 0, end)).await;
    let persisted = persisted(broken.as_ref().expect_err("no finish"));
    assert_refused(broken, Code::Aborted, "UPLOAD_INCOMPLETE", None);
    Ok(persisted)
}

#[track_caller]
fn persisted(status: &Status) -> usize {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    let size = info.metadata.get("persisted_size_bytes").expect("a size");
    size.parse().expect("a number")
}

async fn assert_whole(server: &TestServer, uploaded: UploadFileResponse) -> Result {
    let file = uploaded.file.expect("a file");
    assert_eq!(file.size_bytes, SIZE as i64);
    assert_eq!(file.sha256[..], Sha256::digest(content())[..]);
    let link = server
        .link(files::proto::CreateSignedUrlRequest { file_id: file.id, ..Default::default() });
    assert!(server.get(&link.await?, &[]).await?.body == content());
    assert_eq!(server.rows("files").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_its_durable_bytes_end() -> Result {
    let server = TestServer::start().await?;
    let (mut client, start) = (server.client().await?, resumable());
    let told = cut(&mut client, &start, 17_000_000).await?;
    assert!((1..=17_000_000).contains(&told));
    let known = status(&mut client, &start).await?;
    assert_eq!(known.persisted_size_bytes, told as i64);
    assert!(known.file.is_none());
    let day_s = 24 * 3600;
    assert_eq!(known.expire_time.expect("a time").seconds, server.now().unix_s() + day_s);

    // Beyond what is durable nothing is taken, and nothing changes.
    let beyond = send(&mut client, part(&start, &content(), told + 1, SIZE)).await;
    assert_eq!(persisted(beyond.as_ref().expect_err("beyond")), told);
    assert_refused(beyond, Code::OutOfRange, "OFFSET_MISMATCH", Some("offset"));

    let mut rest = part(&start, &content(), told, SIZE);
    rest.push(finish());
    let uploaded = send(&mut client, rest).await?;
    assert!(!uploaded.replayed);
    assert_whole(&server, uploaded).await?;
    let known = status(&mut client, &start).await?;
    assert_eq!((known.persisted_size_bytes, known.expire_time), (SIZE as i64, None));
    assert!(known.file.is_some());
    assert!(upload(&mut client, start, "anything").await?.replayed);
    Ok(())
}

#[tokio::test]
async fn what_is_durable_already_is_skipped() -> Result {
    for offset in [0, 1_000_003] {
        let server = TestServer::start().await?;
        let (mut client, start) = (server.client().await?, resumable());
        assert!(cut(&mut client, &start, 17_000_000).await? > offset);
        let mut again = part(&start, &content(), offset, SIZE);
        again.push(finish());
        assert_whole(&server, send(&mut client, again).await?).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_shorter_content_than_what_is_durable_is_refused() -> Result {
    let server = TestServer::start().await?;
    let (mut client, start) = (server.client().await?, resumable());
    cut(&mut client, &start, 17_000_000).await?;
    let shorter = upload(&mut client, start, "short").await;
    assert_refused(shorter, Code::OutOfRange, "SIZE_MISMATCH", Some("size_bytes"));
    server.assert_empty().await
}

/// A call that sends the content up to `end` and then keeps silent.
async fn silent_call(
    server: &TestServer,
    start: &UploadStart,
    end: usize,
) -> Result<(mpsc::Sender<UploadFileRequest>, JoinHandle<std::result::Result<(), Status>>)> {
    let (sender, messages) = mpsc::channel(256);
    for message in part(start, &content(), 0, end) {
        sender.send(message).await?;
    }
    let mut client = server.client().await?;
    let call =
        tokio::spawn(
            async move { client.upload_file(ReceiverStream::new(messages)).await.map(drop) },
        );
    Ok((sender, call))
}

#[tokio::test]
async fn a_second_writer_takes_over_and_the_first_is_told() -> Result {
    let server = TestServer::start().await?;
    let (mut client, start) = (server.client().await?, resumable());
    cut(&mut client, &start, 17_000_000).await?;
    let (sender, first) = silent_call(&server, &start, 18_000_000).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut whole = part(&start, &content(), 0, SIZE);
    whole.push(finish());
    assert_whole(&server, send(&mut client, whole).await?).await?;
    let first = tokio::time::timeout(Duration::from_secs(20), first).await??;
    assert_refused(first, Code::Aborted, "UPLOAD_TAKEN_OVER", None);
    drop(sender);
    Ok(())
}

#[tokio::test]
async fn a_cancelled_upload_is_gone_and_its_writer_told() -> Result {
    let server = TestServer::start().await?;
    let (mut client, start) = (server.client().await?, resumable());
    let cancel = async |client: &mut Client| {
        let UploadStart { upload_id, user_id, .. } = start.clone();
        client.cancel_upload(CancelUploadRequest { upload_id, user_id }).await
    };
    assert_refused(cancel(&mut client).await, Code::NotFound, "UPLOAD_NOT_FOUND", None);
    cut(&mut client, &start, 17_000_000).await?;
    let (sender, writer) = silent_call(&server, &start, 17_500_000).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    cancel(&mut client).await?;
    let writer = tokio::time::timeout(Duration::from_secs(20), writer).await??;
    assert_refused(writer, Code::Aborted, "UPLOAD_TAKEN_OVER", None);
    drop(sender);
    assert_refused(cancel(&mut client).await, Code::NotFound, "UPLOAD_NOT_FOUND", None);
    server.assert_empty().await?;
    // The id is free again.
    assert!(!upload(&mut client, start.clone(), "anew").await?.replayed);
    assert_refused(cancel(&mut client).await, Code::NotFound, "UPLOAD_NOT_FOUND", None);
    Ok(())
}

#[tokio::test]
async fn an_unknown_upload_and_a_bad_id_are_refused() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let unknown = resumable();
    let ask = |upload_id: &str, user_id: &str| GetUploadRequest {
        upload_id: upload_id.to_owned(),
        user_id: user_id.to_owned(),
    };
    let known = client.get_upload(ask(&unknown.upload_id, "user-1")).await;
    assert_refused(known, Code::NotFound, "UPLOAD_NOT_FOUND", None);
    cut(&mut client, &unknown, 17_000_000).await?;
    let anothers = client.get_upload(ask(&unknown.upload_id, "user-2")).await;
    assert_refused(anothers, Code::NotFound, "UPLOAD_NOT_FOUND", None);
    for (upload_id, user_id, field) in [
        ("", "user-1", "upload_id"),
        ("x", "user-1", "upload_id"),
        (unknown.upload_id.as_str(), "", "user_id"),
    ] {
        let refused = client.get_upload(ask(upload_id, user_id)).await;
        assert_refused(refused, Code::InvalidArgument, "FIELD_INVALID", Some(field));
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_that_nobody_goes_on_with_is_given_up() -> Result {
    let server = TestServer::configured(&[
        ("FILES__UPLOADS__UNFINISHED_MAX_AGE", "2h"),
        ("FILES__SWEEP__INTERVAL", "1s"),
    ])
    .await?;
    let (mut client, start) = (server.client().await?, resumable());
    cut(&mut client, &start, 17_000_000).await?;
    server.clock.advance(Duration::from_secs(2 * 3600 - 1));
    assert!(status(&mut client, &start).await?.persisted_size_bytes > 0);
    server.clock.advance(Duration::from_secs(2));
    server.assert_empty().await?;
    let ask = GetUploadRequest { upload_id: start.upload_id.clone(), user_id: "user-1".to_owned() };
    let unknown = client.get_upload(ask).await;
    assert_refused(unknown, Code::NotFound, "UPLOAD_NOT_FOUND", None);
    Ok(())
}

#[tokio::test]
async fn another_content_is_never_mixed_with_the_first() -> Result {
    let server = TestServer::start().await?;
    let (mut client, start) = (server.client().await?, resumable());
    cut(&mut client, &start, 17_000_000).await?;
    let mut other = content().to_vec();
    other[1_000_000] ^= 1;
    let refused = send(&mut client, part(&start, &other.into(), 0, SIZE)).await;
    assert_refused(refused, Code::InvalidArgument, "CHECKSUM_MISMATCH", Some("data"));
    server.assert_empty().await
}

#[tokio::test]
async fn without_an_upload_id_nothing_is_kept() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let broken = send(&mut client, part(&start("a.txt"), &content(), 0, 17_000_000)).await;
    assert_eq!(persisted(broken.as_ref().expect_err("no finish")), 0);
    server.assert_empty().await
}

#[tokio::test]
async fn an_upload_outlives_its_server() -> Result {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let start = resumable();
    let server = TestServer::on(&data, &[]).await?;
    let told = cut(&mut server.client().await?, &start, 17_000_000).await?;
    server.stopped().await;
    let server = TestServer::on(&data, &[]).await?;
    let mut client = server.client().await?;
    assert_eq!(status(&mut client, &start).await?.persisted_size_bytes, told as i64);
    let mut rest = part(&start, &content(), told, SIZE);
    rest.push(finish());
    assert_whole(&server, send(&mut client, rest).await?).await
}
