//! Bad input: each gives the error of the table in words that name the field, and leaves nothing behind.

use std::collections::BTreeMap;

use files::proto::{
    BatchCreateSignedUrlsRequest, CreateSignedUrlRequest, DownloadFileRequest, GetFileRequest,
    ListFilesRequest, RevokeSignedUrlsRequest, UploadFinish, UploadStart,
    upload_file_request::Message,
};
use tonic::Code;

use crate::support::{Result, TestServer, assert_refused, data, message, send, start, upload};

const UNKNOWN: &str = "file_0000000000000000000000";

fn named(name: &str) -> UploadStart {
    start(name)
}

#[tokio::test]
async fn a_bad_start_names_its_field() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let ttl = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let labels = |pairs: usize, key: usize, value: usize| -> BTreeMap<String, String> {
        let pair = |n: usize| (format!("{n:0key$}"), "v".repeat(value));
        (0..pairs).map(pair).collect()
    };
    let ok = || start("a.txt");
    let cases = [
        ("user_id", UploadStart { user_id: String::new(), ..ok() }),
        ("user_id", UploadStart { user_id: "u".repeat(10 * 1024), ..ok() }),
        ("user_id", UploadStart { user_id: "a\u{0}b".into(), ..ok() }),
        ("purpose", UploadStart { purpose: String::new(), ..ok() }),
        ("purpose", UploadStart { purpose: "mischief".into(), ..ok() }),
        ("upload_id", UploadStart { upload_id: "not-a-uuid".into(), ..ok() }),
        ("size_bytes", UploadStart { size_bytes: Some(-1), ..ok() }),
        ("offset", UploadStart { offset: -1, ..ok() }),
        ("ttl", UploadStart { ttl: ttl(0, 0), ..ok() }),
        ("ttl", UploadStart { ttl: ttl(-1, 0), ..ok() }),
        ("ttl", UploadStart { ttl: ttl(i64::MAX, 0), ..ok() }),
        ("labels", UploadStart { labels: labels(33, 2, 1), ..ok() }),
        ("labels", UploadStart { labels: labels(1, 64, 1), ..ok() }),
        ("labels", UploadStart { labels: labels(1, 1, 257), ..ok() }),
        ("filename", named("")),
        ("filename", named(".")),
        ("filename", named("..")),
        ("filename", named("../x.txt")),
        ("filename", named("/etc/passwd")),
        ("filename", named("C:\\x.txt")),
        ("filename", named(&format!("{}.txt", "x".repeat(252)))),
        ("filename", named("a\0.txt")),
        ("filename", named("a\u{1b}[2J.txt")),
        ("filename", named("a\u{2028}.txt")),
        ("filename", named("txt.\u{202E}gnp.txt")),
    ];
    for (field, start) in cases {
        let outcome = upload(&mut client, start, "x").await;
        assert_refused(outcome, Code::InvalidArgument, "FIELD_INVALID", Some(field));
    }
    server.assert_empty().await
}

#[tokio::test]
async fn an_offset_beyond_what_is_durable_is_told_the_real_one() -> Result {
    let server = TestServer::start().await?;
    let start = UploadStart { offset: 5, ..start("a.txt") };
    let outcome = upload(&mut server.client().await?, start, "x").await;
    let status = outcome.clone().expect_err("a mismatch");
    let info = tonic_types::StatusExt::get_details_error_info(&status).expect("an ErrorInfo");
    assert_eq!(info.metadata.get("persisted_size_bytes").map(String::as_str), Some("0"));
    assert_refused(outcome, Code::OutOfRange, "OFFSET_MISMATCH", Some("offset"));
    server.assert_empty().await
}

#[tokio::test]
async fn types_that_are_not_accepted_are_refused() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    for (name, content) in [
        ("run.exe", &b"MZ"[..]),
        ("noextension", b"x"),
        (".png", b"x"),
        ("page.png", b"<!DOCTYPE html><script>alert(1)</script>"),
        ("page.pdf", b"\n<html><body>"),
        ("text.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    ] {
        let outcome = upload(&mut client, start(name), content).await;
        assert_refused(outcome, Code::InvalidArgument, "FILE_TYPE_UNSUPPORTED", Some("filename"));
        server.assert_empty().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_hash_of_the_wrong_length_is_refused() -> Result {
    let server = TestServer::start().await?;
    for length in [1, 31, 33, 64] {
        let finish = UploadFinish { sha256: vec![0; length].into() };
        let messages = vec![
            message(Message::Start(start("a.txt"))),
            data("x"),
            message(Message::Finish(finish)),
        ];
        let outcome = send(&mut server.client().await?, messages).await;
        assert_refused(outcome, Code::InvalidArgument, "FIELD_INVALID", Some("sha256"));
    }
    server.assert_empty().await
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_before_it_is_stored() -> Result {
    let server = TestServer::configured(&[("FILES__UPLOADS__FILE_BYTES_MAX", "1 MiB")]).await?;
    let mut client = server.client().await?;
    let largest = vec![b'x'; 1024 * 1024];
    let over = vec![b'x'; 1024 * 1024 + 1];
    let outcome = upload(&mut client, start("a.txt"), over).await;
    assert_refused(outcome, Code::ResourceExhausted, "FILE_TOO_LARGE", None);
    server.assert_empty().await?;
    upload(&mut client, start("a.txt"), largest).await?;
    Ok(())
}

#[tokio::test]
async fn malformed_ids_and_users_are_refused_on_every_call_about_a_file() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let long_user = "u".repeat(10 * 1024);
    let cases = [
        ("", "", "file_id"),
        ("file_", "", "file_id"),
        ("FILE_0000000000000000000000", "", "file_id"),
        ("file_00000000000000000000000", "", "file_id"),
        ("file_000000000000000000000-", "", "file_id"),
        (UNKNOWN, long_user.as_str(), "user_id"),
    ];
    for (file_id, user_id, field) in cases {
        let (file_id, user_id) = (file_id.to_owned(), user_id.to_owned());
        let get = GetFileRequest {
            file_id: file_id.clone(),
            user_id: user_id.clone(),
            ..Default::default()
        };
        let expected = (Code::InvalidArgument, "FIELD_INVALID", Some(field));
        let (code, reason, field) = expected;
        assert_refused(client.get_file(get).await, code, reason, field);
        let download = DownloadFileRequest {
            file_id: file_id.clone(),
            user_id: user_id.clone(),
            ..Default::default()
        };
        assert_refused(client.download_file(download).await, code, reason, field);
        let sign = CreateSignedUrlRequest {
            file_id: file_id.clone(),
            user_id: user_id.clone(),
            ..Default::default()
        };
        assert_refused(client.create_signed_url(sign).await, code, reason, field);
        let revoke = RevokeSignedUrlsRequest { file_id, user_id };
        assert_refused(client.revoke_signed_urls(revoke).await, code, reason, field);
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_listing_is_refused() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    for n in 0..3 {
        server.upload(&format!("{n}.txt"), "x").await?;
    }
    let of = |user: &str, page_size, page_token: &str| ListFilesRequest {
        user_id: user.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let token = client.list_files(of("user-1", 1, "")).await?.into_inner().next_page_token;
    let mut edited = token.clone().into_bytes();
    edited[3] = if edited[3] == b'A' { b'B' } else { b'A' };
    let edited = String::from_utf8(edited)?;
    for (request, field) in [
        (of("", 1, ""), "user_id"),
        (of("user-1", -1, ""), "page_size"),
        (of("user-1", i32::MIN, ""), "page_size"),
        (of("user-2", 1, &token), "page_token"),
        (of("user-1", 1, &edited), "page_token"),
        (of("user-1", 1, "nonsense"), "page_token"),
        (of("user-1", 1, "é"), "page_token"),
    ] {
        let outcome = client.list_files(request).await;
        assert_refused(outcome, Code::InvalidArgument, "FIELD_INVALID", Some(field));
    }
    client.list_files(of("user-1", i32::MAX, &token)).await?;
    Ok(())
}

#[tokio::test]
async fn a_bad_link_wish_is_refused() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let file = server.upload("a.txt", "x").await?;
    let ok = || CreateSignedUrlRequest { file_id: file.id.clone(), ..Default::default() };
    let ttl = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let week_s = 7 * 24 * 3600;
    for (request, field) in [
        (CreateSignedUrlRequest { ttl: ttl(0, 0), ..ok() }, "ttl"),
        (CreateSignedUrlRequest { ttl: ttl(-5, 0), ..ok() }, "ttl"),
        (CreateSignedUrlRequest { ttl: ttl(0, 999_999_999), ..ok() }, "ttl"),
        (CreateSignedUrlRequest { ttl: ttl(week_s, 1), ..ok() }, "ttl"),
        (CreateSignedUrlRequest { ttl: ttl(i64::MAX, 0), ..ok() }, "ttl"),
        (CreateSignedUrlRequest { disposition: 9, ..ok() }, "disposition"),
        (CreateSignedUrlRequest { filename: "../x".into(), ..ok() }, "filename"),
        (CreateSignedUrlRequest { filename: "a\r\nSet-Cookie: x".into(), ..ok() }, "filename"),
        (CreateSignedUrlRequest { label: "x".repeat(1025), ..ok() }, "label"),
        (CreateSignedUrlRequest { label: "a\u{0}b".into(), ..ok() }, "label"),
    ] {
        let outcome = client.create_signed_url(request).await;
        assert_refused(outcome, Code::InvalidArgument, "FIELD_INVALID", Some(field));
    }
    for seconds in [1, week_s] {
        client.create_signed_url(CreateSignedUrlRequest { ttl: ttl(seconds, 0), ..ok() }).await?;
    }
    for count in [0, 101] {
        let requests = vec![ok(); count];
        let outcome =
            client.batch_create_signed_urls(BatchCreateSignedUrlsRequest { requests }).await;
        assert_refused(outcome, Code::InvalidArgument, "FIELD_INVALID", Some("requests"));
    }
    Ok(())
}

#[tokio::test]
async fn a_window_outside_the_content_is_refused() -> Result {
    let server = TestServer::start().await?;
    let file = server.upload("a.txt", "0123456789").await?;
    for (read_offset, read_limit, field) in [(11, 0, "read_offset"), (0, -1, "read_limit")] {
        let request = DownloadFileRequest {
            file_id: file.id.clone(),
            read_offset,
            read_limit,
            ..Default::default()
        };
        let outcome = server.client().await?.download_file(request).await;
        assert_refused(outcome, Code::InvalidArgument, "FIELD_INVALID", Some(field));
    }
    Ok(())
}
