//! Signed URLs to upload through: one PUT, or tus 1.0.

use std::time::Duration;

use files::proto::{
    CreateUploadUrlRequest, CreateUploadUrlResponse, DeleteFileRequest, GetFileRequest,
    GetUploadRequest, UploadStart,
};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tonic::Code;

use crate::{
    support::{Answer, Result, TestServer, assert_refused, exchange, start, target},
    way::Way,
};

const SIZE: usize = 20_000_001;

fn content() -> Vec<u8> {
    (0..SIZE).map(|n| (n % 251) as u8).collect()
}

async fn made(
    server: &TestServer,
    request: CreateUploadUrlRequest,
) -> Result<CreateUploadUrlResponse> {
    Ok(server.client().await?.create_upload_url(request).await?.into_inner())
}

fn of(start: UploadStart) -> CreateUploadUrlRequest {
    CreateUploadUrlRequest { start: Some(start), ..Default::default() }
}

/// The path and query of a URL for a file of this name.
async fn upload_target(server: &TestServer, name: &str) -> Result<String> {
    Ok(target(&made(server, of(start(name))).await?.url).to_owned())
}

async fn send(
    server: &TestServer,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let fields: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    exchange(server.http, &request).await
}

async fn put(server: &TestServer, target: &str, body: &[u8]) -> Result<Answer> {
    send(server, "PUT", target, &[], body).await
}

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
const CONTENT_TYPE: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

async fn patch(server: &TestServer, target: &str, offset: usize, body: &[u8]) -> Result<Answer> {
    let offset = offset.to_string();
    let headers = [TUS, CONTENT_TYPE, ("Upload-Offset", offset.as_str())];
    send(server, "PATCH", target, &headers, body).await
}

/// Begins a tus upload; where its content is to be sent.
async fn create(server: &TestServer, target_of: &str, length: usize) -> Result<String> {
    let length = length.to_string();
    let headers = [TUS, ("Upload-Length", length.as_str())];
    let created = send(server, "POST", target_of, &headers, b"").await?;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("tus-resumable"), "1.0.0");
    assert_eq!(created.header("upload-offset"), "0");
    // Relative to the URL that was asked.
    Ok(format!("/v1/files/{}", created.header("location")))
}

fn file_of(answer: &Answer) -> serde_json::Value {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    body["file"].clone()
}

#[tokio::test]
async fn one_put_makes_one_file() -> Result {
    let server = TestServer::start().await?;
    let answer = made(&server, of(start("a.txt"))).await?;
    let target = target(&answer.url);
    let now_s = server.now().unix_s();
    let expires_s = answer.expire_time.expect("a time").seconds;
    assert!((now_s + 3600..now_s + 3660).contains(&expires_s));
    let first = put(&server, target, &content()).await?;
    assert_eq!(first.status, 201, "{first:?}");
    let file = file_of(&first);
    assert_eq!(
        (file["filename"].as_str(), file["size_bytes"].as_u64()),
        (Some("a.txt"), Some(SIZE as u64))
    );
    assert_eq!(file["sha256"].as_str(), Some(hex::encode(Sha256::digest(content())).as_str()));

    // A retry whose first answer was lost is told the same; another content is not taken.
    let again = put(&server, target, &content()).await?;
    assert_eq!((again.status.as_u16(), file_of(&again)), (200, file.clone()));
    for other in [&content()[1..], b"x", b""] {
        let refused = put(&server, target, other).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.reason()),
            (409, "UPLOAD_URL_USED".to_owned())
        );
    }
    assert_eq!(server.rows("files").await?, 1);
    let upload = GetUploadRequest { upload_id: answer.upload_id, user_id: "user-1".to_owned() };
    let known = server.client().await?.get_upload(upload).await?.into_inner();
    assert_eq!(known.file.expect("a file").id, file["id"].as_str().expect("an id"));
    Ok(())
}

#[tokio::test]
async fn curl_sends_a_file_of_any_framing() -> Result {
    let server = TestServer::start().await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("a.txt");
    tokio::fs::write(&path, content()).await?;
    for more in [&["-T"][..], &["-H", "Transfer-Encoding: chunked", "-T"]] {
        let target = upload_target(&server, "a.txt").await?;
        let url = format!("http://{}{target}", server.http);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail"]).args(more).arg(&path).arg(url);
        let sent = curl.output().await?;
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        let told: serde_json::Value = serde_json::from_slice(&sent.stdout)?;
        assert_eq!(told["file"]["size_bytes"].as_u64(), Some(SIZE as u64));
    }
    Ok(())
}

#[tokio::test]
async fn the_command_line_makes_urls() -> Result {
    let server = TestServer::start().await?;
    let made = Command::new(env!("CARGO_BIN_EXE_files"))
        .args(["upload-url", "a.txt", "--user", "user-1", "--purpose", "assistants"])
        .args(["--size-max", "5B", "--server", &format!("http://{}", server.grpc)])
        .output()
        .await?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let url = String::from_utf8(made.stdout)?;
    assert_eq!(put(&server, target(&url), b"123456").await?.status, 413);
    assert_eq!(put(&server, target(&url), b"12345").await?.status, 201);
    Ok(())
}

#[tokio::test]
async fn a_url_that_is_not_ours_or_over_uploads_nothing() -> Result {
    let server = TestServer::start().await?;
    let target = upload_target(&server, "a.txt").await?;
    let forged = target.replace("expires=", "expires=9");
    let longer = format!("{target}&bytes_max=9");
    let stretched = target.replace("signature=", "bytes_max=9&signature=");
    for (target, status, reason) in [
        ("/v1/files/upload".to_owned(), 400, "LINK_MALFORMED"),
        (forged, 403, "SIGNATURE_INVALID"),
        (longer, 403, "SIGNATURE_INVALID"),
        (stretched, 403, "SIGNATURE_INVALID"),
        (target.replace("/upload?", "/download?"), 400, "LINK_MALFORMED"),
    ] {
        let refused = put(&server, &target, b"x").await?;
        let status = if target.contains("/download?") { 405 } else { status };
        assert_eq!(refused.status, status, "{target}: {refused:?}");
        if status != 405 {
            assert_eq!(refused.reason(), reason, "{target}");
        }
    }
    let got = server.get(&target, &[]).await?;
    assert_eq!((got.status.as_u16(), got.header("allow").contains("PUT")), (405, true));
    server.clock.advance(Duration::from_secs(3661));
    let late = put(&server, &target, b"x").await?;
    assert_eq!((late.status.as_u16(), late.reason()), (410, "LINK_EXPIRED".to_owned()));
    server.assert_empty().await
}

#[tokio::test]
async fn content_that_breaks_the_rules_is_refused() -> Result {
    let server = TestServer::start().await?;
    let limited = CreateUploadUrlRequest { size_bytes_max: 5, ..of(start("a.txt")) };
    let limited = made(&server, limited).await?.url;
    let promised = of(UploadStart { size_bytes: Some(3), ..start("a.txt") });
    let promised = made(&server, promised).await?.url;
    let png = upload_target(&server, "a.png").await?;
    for (target, body, status, reason) in [
        (target(&limited), &b"123456"[..], 413, "FILE_TOO_LARGE"),
        (target(&promised), b"1234", 400, "SIZE_MISMATCH"),
        (target(&promised), b"12", 400, "SIZE_MISMATCH"),
        (png.as_str(), b"<html><script>", 415, "FILE_TYPE_UNSUPPORTED"),
    ] {
        let refused = put(&server, target, body).await?;
        assert_eq!((refused.status.as_u16(), refused.reason()), (status, reason.to_owned()));
    }
    // Without a length, the limit is met on the way.
    let chunked = format!(
        "PUT {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         6\r\n123456\r\n0\r\n\r\n",
        target(&limited)
    );
    assert_eq!(exchange(server.http, chunked.as_bytes()).await?.reason(), "FILE_TOO_LARGE");
    server.assert_empty().await?;
    assert_eq!(put(&server, target(&limited), b"12345").await?.status, 201);
    Ok(())
}

#[tokio::test]
async fn wishes_for_urls_are_checked() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let many: std::collections::BTreeMap<String, String> =
        (0..32).map(|n| (format!("label-{n}"), "x".repeat(256))).collect();
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    for (request, field) in [
        (CreateUploadUrlRequest::default(), "start"),
        (of(UploadStart { offset: 1, ..start("a.txt") }), "offset"),
        (of(UploadStart { labels: many, ..start("a.txt") }), "start"),
        (of(UploadStart { upload_id: "x".to_owned(), ..start("a.txt") }), "upload_id"),
        (CreateUploadUrlRequest { ttl: seconds(8 * 86_400), ..of(start("a.txt")) }, "ttl"),
        (CreateUploadUrlRequest { size_bytes_max: -1, ..of(start("a.txt")) }, "size_bytes_max"),
    ] {
        let refused = client.create_upload_url(request).await;
        assert_refused(refused, Code::InvalidArgument, "FIELD_INVALID", Some(field));
    }
    let large = UploadStart { size_bytes: Some(10), ..start("a.txt") };
    let refused =
        client.create_upload_url(CreateUploadUrlRequest { size_bytes_max: 5, ..of(large) }).await;
    assert_refused(refused, Code::ResourceExhausted, "FILE_TOO_LARGE", None);
    Ok(())
}

#[tokio::test]
async fn tus_creates_appends_and_tells_the_offset() -> Result {
    let server = TestServer::start().await?;
    let target = upload_target(&server, "a.txt").await?;
    let location = create(&server, &target, SIZE).await?;
    let (whole, mut offset) = (content(), 0);
    for end in [9_000_000, 18_000_000] {
        let appended = patch(&server, &location, offset, &whole[offset..end]).await?;
        assert_eq!(appended.status, 204, "{appended:?}");
        offset = appended.header("upload-offset").parse()?;
        assert!(offset > 0 && offset <= end);
        let head = send(&server, "HEAD", &location, &[TUS], b"").await?;
        assert_eq!((head.status.as_u16(), head.header("cache-control")), (200, "no-store"));
        assert_eq!(head.header("upload-offset"), offset.to_string());
        assert_eq!(head.header("upload-length"), SIZE.to_string());
    }
    for wrong in [0, offset + 1] {
        let refused = patch(&server, &location, wrong, b"x").await?;
        assert_eq!(
            (refused.status.as_u16(), refused.reason()),
            (409, "OFFSET_MISMATCH".to_owned())
        );
        assert_eq!(refused.header("upload-offset"), offset.to_string());
    }
    let last = patch(&server, &location, offset, &whole[offset..]).await?;
    assert_eq!((last.status.as_u16(), last.header("upload-offset")), (204, "20000001"));
    let file_id = last.header("files-file-id").to_owned();
    let request = GetFileRequest { file_id, ..Default::default() };
    let file = server.client().await?.get_file(request).await?.into_inner();
    let file = file.file.expect("a file");
    assert_eq!(file.sha256[..], Sha256::digest(whole)[..]);
    assert_eq!(server.rows("files").await?, 1);
    // Used: nothing more can be sent through it.
    assert_eq!(patch(&server, &location, SIZE, b"x").await?.status, 400);
    Ok(())
}

#[tokio::test]
async fn tus_says_what_it_speaks_and_refuses_the_rest() -> Result {
    let server = TestServer::start().await?;
    let target = upload_target(&server, "a.txt").await?;
    let options = send(&server, "OPTIONS", "/v1/files/upload", &[], b"").await?;
    assert_eq!((options.status.as_u16(), options.header("tus-version")), (204, "1.0.0"));
    assert_eq!(options.header("tus-extension"), "creation,expiration,termination");
    let location = create(&server, &target, 10).await?;
    let other = send(&server, "HEAD", &location, &[("Tus-Resumable", "0.2.2")], b"").await?;
    assert_eq!((other.status.as_u16(), other.header("tus-version")), (412, "1.0.0"));
    let no_length = send(&server, "POST", &target, &[TUS], b"").await?;
    assert_eq!((no_length.status.as_u16(), no_length.reason()), (400, "FIELD_INVALID".to_owned()));
    let headers = [TUS, ("Upload-Offset", "0"), ("Content-Type", "text/plain")];
    assert_eq!(send(&server, "PATCH", &location, &headers, b"x").await?.status, 415);
    assert_eq!(patch(&server, &location, 0, b"more than ten bytes").await?.status, 400);
    let headers = [TUS, CONTENT_TYPE, ("Upload-Offset", "0"), ("X-HTTP-Method-Override", "PATCH")];
    let overridden = send(&server, "POST", &location, &headers, b"0123456789").await?;
    assert_eq!(overridden.status, 204, "{overridden:?}");
    Ok(())
}

#[tokio::test]
async fn tus_ends_uploads_and_makes_empty_files() -> Result {
    let server = TestServer::start().await?;
    let location = create(&server, &upload_target(&server, "a.txt").await?, SIZE).await?;
    assert_eq!(patch(&server, &location, 0, &content()[..17_000_000]).await?.status, 204);
    assert_eq!(send(&server, "DELETE", &location, &[TUS], b"").await?.status, 204);
    assert_eq!(send(&server, "DELETE", &location, &[TUS], b"").await?.status, 404);
    server.assert_empty().await?;
    create(&server, &upload_target(&server, "empty.txt").await?, 0).await?;
    assert_eq!(server.rows("files").await?, 1);
    Ok(())
}

/// A URL to which the content was PUT over a way that broke after 17 MB of it.
async fn url_put_in_part(server: &TestServer) -> Result<String> {
    let answer = made(server, of(start("a.txt"))).await?;
    let way = Way::to(server.http, &[(17_000_000, u64::MAX)]).await?;
    let mut request = format!(
        "PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n\r\n",
        target(&answer.url)
    )
    .into_bytes();
    request.extend_from_slice(&content());
    assert!(exchange(way.address, &request).await.is_err(), "the connection broke");
    let known = loop {
        let upload =
            GetUploadRequest { upload_id: answer.upload_id.clone(), user_id: "user-1".to_owned() };
        let known = server.client().await?.get_upload(upload).await?.into_inner();
        if known.persisted_size_bytes > 0 {
            break known;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(known.file.is_none());
    Ok(answer.url)
}

#[tokio::test]
async fn a_put_that_breaks_off_goes_on_where_it_was() -> Result {
    let server = TestServer::start().await?;
    let url = url_put_in_part(&server).await?;
    let again = put(&server, target(&url), &content()).await?;
    assert_eq!(
        (again.status.as_u16(), file_of(&again)["size_bytes"].as_u64()),
        (201, Some(SIZE as u64))
    );
    assert_eq!(server.rows("files").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_put_of_another_content_is_never_mixed_with_the_first() -> Result {
    let server = TestServer::start().await?;
    let url = url_put_in_part(&server).await?;
    let mut other = content();
    other[0] ^= 1;
    let refused = put(&server, target(&url), &other).await?;
    assert_eq!((refused.status.as_u16(), refused.reason()), (422, "CHECKSUM_MISMATCH".to_owned()));
    server.assert_empty().await?;
    let again = put(&server, target(&url), &other).await?;
    assert_eq!(again.status, 201);
    let sha256 = hex::encode(Sha256::digest(&other));
    assert_eq!(file_of(&again)["sha256"], sha256.as_str());
    Ok(())
}

#[tokio::test]
async fn a_url_stays_used_when_its_file_is_deleted() -> Result {
    let server = TestServer::start().await?;
    let answer = made(&server, of(start("a.txt"))).await?;
    let file = file_of(&put(&server, target(&answer.url), b"one").await?);
    let deleted = DeleteFileRequest {
        file_id: file["id"].as_str().expect("an id").to_owned(),
        user_id: "user-1".to_owned(),
        ..DeleteFileRequest::default()
    };
    server.client().await?.delete_file(deleted).await?;
    for body in [&b"one"[..], b"two"] {
        let refused = put(&server, target(&answer.url), body).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.reason()),
            (409, "UPLOAD_URL_USED".to_owned())
        );
    }
    let head = send(&server, "HEAD", target(&answer.url), &[TUS], b"").await?;
    assert_eq!(head.status, 409);
    let created = [TUS, ("Upload-Length", "3")];
    let created = send(&server, "POST", target(&answer.url), &created, b"").await?;
    assert_eq!(created.status, 409);
    Ok(())
}

#[tokio::test]
async fn a_length_that_is_passed_already_is_refused() -> Result {
    let server = TestServer::start().await?;
    let answer = made(&server, of(start("a.txt"))).await?;
    put(&server, target(&answer.url), b"123456").await?;
    let short = format!("{}&length=5", target(&answer.url));
    let refused = patch(&server, &short, 6, b"").await?;
    assert_eq!((refused.status.as_u16(), refused.reason()), (400, "SIZE_MISMATCH".to_owned()));
    Ok(())
}

#[tokio::test]
async fn pages_of_configured_origins_alone_may_upload() -> Result {
    let origin = "https://chat.example.com";
    let server = TestServer::configured(&[("FILES__HTTP__CORS_ORIGINS", origin)]).await?;
    let target = upload_target(&server, "a.txt").await?;
    let asks = [("Origin", origin), ("Access-Control-Request-Method", "PATCH")];
    let preflight = send(&server, "OPTIONS", &target, &asks, b"").await?;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), origin);
    assert!(preflight.header("access-control-allow-methods").contains("PATCH"));
    assert!(preflight.header("access-control-allow-headers").contains("upload-offset"));
    let sent = send(&server, "PUT", &target, &[("Origin", origin)], b"x").await?;
    assert_eq!(sent.header("access-control-allow-origin"), origin);
    assert!(sent.header("access-control-expose-headers").contains("upload-offset"));
    let stranger = [("Origin", "https://other.example.com")];
    let preflight = send(&server, "OPTIONS", &target, &stranger, b"").await?;
    assert_eq!(preflight.header("access-control-allow-origin"), "");
    Ok(())
}
