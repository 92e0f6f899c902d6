//! The download sidecar: every check in its order, every header of a good answer.

use std::time::Duration;

use files::{
    proto::{CreateSignedUrlRequest, Disposition, RevokeSignedUrlsRequest},
    signing::{UrlSigner, keys::KeyRing, link::Grant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use url::Url;

use crate::support::{Answer, Result, SIGNING_KEY, TestServer, exchange, parse, request};

fn link(file_id: &str) -> CreateSignedUrlRequest {
    CreateSignedUrlRequest { file_id: file_id.to_owned(), ..Default::default() }
}

async fn serving(name: &str, content: &[u8]) -> Result<(TestServer, String)> {
    let server = TestServer::start().await?;
    let file = server.upload(name, content.to_vec()).await?;
    let target = server.link(link(&file.id)).await?;
    Ok((server, target))
}

/// A link signed with the server's key, whatever it says.
fn signed(file_id: &str, expires_unix_s: i64) -> Result<String> {
    let signer = UrlSigner::new(KeyRing::new([SIGNING_KEY])?, &Url::parse("http://x")?);
    let grant =
        Grant { file_id: file_id.parse()?, expires_unix_s, disposition: None, filename: None };
    let url = signer.sign(&grant, 0);
    Ok(url.trim_start_matches("http://x").to_owned())
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (status, reason));
}

#[tokio::test]
async fn a_good_answer_carries_every_header() -> Result {
    let (server, target) = serving("plot (é).png", b"").await?;
    let answer = server.get(&target, &[]).await?;
    assert_eq!(answer.status, 200);
    let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (name, value) in [
        ("content-type", "image/png"),
        ("content-length", "0"),
        ("accept-ranges", "bytes"),
        ("etag", &format!("\"{sha256}\"")),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("content-security-policy", "default-src 'none'; sandbox; frame-ancestors 'none'"),
        (
            "content-disposition",
            "inline; filename=\"plot (_).png\"; filename*=UTF-8''plot%20%28%C3%A9%29.png",
        ),
        ("last-modified", &httpdate::fmt_http_date(server.now().into())),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let fresh = answer.header("cache-control").strip_prefix("private, max-age=");
    let fresh_s: i64 = fresh.expect("a max-age").parse()?;
    assert!((600..=660).contains(&fresh_s), "{fresh_s}");
    assert!(!answer.header("x-request-id").is_empty());
    Ok(())
}

#[tokio::test]
async fn content_is_kept_no_longer_than_an_hour_or_the_link() -> Result {
    let (server, _) = serving("a.txt", b"x").await?;
    let file = server.upload("b.txt", "x").await?;
    for (seconds, expected) in [(7 * 24 * 3600, 3600), (100, 100)] {
        let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
        let target = server.link(CreateSignedUrlRequest { ttl, ..link(&file.id) }).await?;
        let answer = server.get(&target, &[]).await?;
        assert_eq!(answer.header("cache-control"), format!("private, max-age={expected}"));
    }
    Ok(())
}

#[tokio::test]
async fn head_is_get_without_the_content() -> Result {
    let (server, target) = serving("a.txt", b"0123456789").await?;
    let get = server.get(&target, &[]).await?;
    let head = request(server.http, "HEAD", &target, &[("Range", "bytes=0-1")]).await?;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    for name in ["content-length", "content-type", "etag", "content-disposition", "cache-control"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let refused = request(server.http, "HEAD", &format!("{target}0"), &[]).await?;
    assert_eq!((refused.status.as_u16(), refused.body.len()), (400, 0));
    Ok(())
}

#[tokio::test]
async fn one_range_is_a_part_and_any_other_is_everything() -> Result {
    let content: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8 | 1).collect();
    let (server, target) = serving("a.txt", &content).await?;
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=10-19", 10..20),
        ("bytes=599999-", 599_999..600_000),
        ("bytes=-3", 599_997..600_000),
        ("bytes=-9999999", 0..600_000),
        ("bytes=5-99999999", 5..600_000),
    ] {
        let answer = server.get(&target, &[("Range", range)]).await?;
        assert_eq!(answer.status, 206, "{range}");
        let expected = format!("bytes {}-{}/600000", part.start, part.end - 1);
        assert_eq!(answer.header("content-range"), expected);
        assert_eq!(answer.header("content-length"), part.len().to_string());
        assert!(answer.body == content[part], "{range}");
    }
    for range in ["bytes=0-1,4-5", "bytes=5-4", "bytes=a-b", "bytes=", "items=0-1", "bytes 0-1"] {
        let answer = server.get(&target, &[("Range", range)]).await?;
        assert_eq!(answer.status, 200, "{range}");
        assert!(answer.body == content && answer.headers.get("content-range").is_none());
    }
    let twice = [("Range", "bytes=0-0"), ("Range", "bytes=1-1")];
    assert_eq!(server.get(&target, &twice).await?.status, 200);
    for range in ["bytes=600000-", "bytes=600000-600001", "bytes=-0"] {
        let answer = server.get(&target, &[("Range", range)]).await?;
        assert_refused(&answer, 416, "RANGE_NOT_SATISFIABLE");
        assert_eq!(answer.header("content-range"), "bytes */600000");
    }
    Ok(())
}

#[tokio::test]
async fn conditions_save_the_reader_what_it_has() -> Result {
    let (server, target) = serving("a.txt", b"0123456789").await?;
    let first = server.get(&target, &[]).await?;
    let (etag, date) = (first.header("etag"), first.header("last-modified"));
    let weak = format!("W/{etag}");
    let several = format!("\"x\", {etag}");
    let fresh: [&[(&str, &str)]; 6] = [
        &[("If-None-Match", etag)],
        &[("If-None-Match", &weak)],
        &[("If-None-Match", &several)],
        &[("If-None-Match", "*")],
        &[("If-Modified-Since", date)],
        &[("If-None-Match", etag), ("Range", "bytes=0-1")],
    ];
    for headers in fresh {
        let answer = server.get(&target, headers).await?;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{headers:?}");
        assert_eq!(answer.header("etag"), etag);
        assert!(!answer.header("cache-control").is_empty());
    }
    let stale: [&[(&str, &str)]; 3] = [
        &[("If-None-Match", "\"other\"")],
        &[("If-None-Match", "\"other\""), ("If-Modified-Since", date)],
        &[("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")],
    ];
    for headers in stale {
        assert_eq!(server.get(&target, headers).await?.status, 200, "{headers:?}");
    }
    for (condition, status) in [
        (etag, 206),
        (date, 206),
        ("\"other\"", 200),
        (&weak, 200),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 200),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 200),
        ("nonsense", 200),
    ] {
        let headers = [("Range", "bytes=0-1"), ("If-Range", condition)];
        assert_eq!(server.get(&target, &headers).await?.status, status, "{condition}");
    }
    Ok(())
}

#[tokio::test]
async fn what_could_run_scripts_is_an_attachment_whatever_the_link_asks() -> Result {
    let server = TestServer::start().await?;
    let expected = [
        ("a.png", "inline", "image/png"),
        ("a.jpg", "inline", "image/jpeg"),
        ("a.gif", "inline", "image/gif"),
        ("a.pdf", "inline", "application/pdf"),
        ("a.mp3", "inline", "audio/mpeg"),
        ("a.wav", "inline", "audio/wav"),
        ("a.ogg", "inline", "audio/ogg"),
        ("a.mp4", "inline", "video/mp4"),
        ("a.txt", "inline", "text/plain; charset=utf-8"),
        ("a.py", "inline", "text/plain; charset=utf-8"),
        ("a.js", "inline", "text/plain; charset=utf-8"),
        ("a.css", "inline", "text/plain; charset=utf-8"),
        ("a.json", "inline", "text/plain; charset=utf-8"),
        ("a.sh", "inline", "text/plain; charset=utf-8"),
        ("a.csv", "inline", "text/plain; charset=utf-8"),
        ("a.html", "attachment", "text/html"),
        ("a.svg", "attachment", "image/svg+xml"),
        ("a.zip", "attachment", "application/zip"),
        ("a.tar.gz", "attachment", "application/gzip"),
        ("a.doc", "attachment", "application/msword"),
    ];
    for (name, disposition, content_type) in expected {
        let file = server.upload(name, "").await?;
        for asked in [Disposition::Unspecified, Disposition::Inline] {
            let request = CreateSignedUrlRequest { disposition: asked.into(), ..link(&file.id) };
            let answer = server.get(&server.link(request).await?, &[]).await?;
            let found = answer.header("content-disposition").split(';').next();
            assert_eq!(found, Some(disposition), "{name} as {asked:?}");
            assert_eq!(answer.header("content-type"), content_type, "{name}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
        }
        let asked = Disposition::Attachment.into();
        let request = CreateSignedUrlRequest { disposition: asked, ..link(&file.id) };
        let answer = server.get(&server.link(request).await?, &[]).await?;
        assert!(answer.header("content-disposition").starts_with("attachment; "), "{name}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{name}: {policy}");
        assert!(policy.ends_with("frame-ancestors 'none'"), "{name}: {policy}");
        assert_eq!(policy.contains("sandbox"), name != "a.pdf", "{name}: {policy}");
    }
    let script = server.upload("a.js", "").await?;
    let asked = Disposition::Attachment.into();
    let request = CreateSignedUrlRequest { disposition: asked, ..link(&script.id) };
    let answer = server.get(&server.link(request).await?, &[]).await?;
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    Ok(())
}

#[tokio::test]
async fn the_name_in_a_link_is_the_name_offered() -> Result {
    let (server, _) = serving("a.txt", b"x").await?;
    let file = server.upload("b.txt", "x").await?;
    let request =
        CreateSignedUrlRequest { filename: "my plot; \"1\".txt".into(), ..link(&file.id) };
    let answer = server.get(&server.link(request).await?, &[]).await?;
    assert_eq!(
        answer.header("content-disposition"),
        "inline; filename=\"my plot; _1_.txt\"; filename*=UTF-8''my%20plot%3B%20%221%22.txt"
    );
    Ok(())
}

#[tokio::test]
async fn only_get_and_head_are_answered() -> Result {
    let (server, target) = serving("a.txt", b"x").await?;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let answer = request(server.http, method, &target, &[("Origin", "http://a")]).await?;
        assert_refused(&answer, 405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), "GET, HEAD");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    Ok(())
}

#[tokio::test]
async fn the_path_is_exact() -> Result {
    let (server, target) = serving("a.txt", b"x").await?;
    let (_, query) = target.split_once('?').expect("a query");
    for path in [
        "/",
        "/v1/files/download/",
        "/V1/files/download",
        "//v1/files/download",
        "/v1/./files/download",
        "/v1/files/../files/download",
        "/v1/files/downloa%64",
        "/metadata.db",
    ] {
        let answer = server.get(&format!("{path}?{query}"), &[]).await?;
        assert_refused(&answer, 404, "PATH_NOT_FOUND");
    }
    Ok(())
}

#[tokio::test]
async fn long_request_lines_and_headers_are_refused() -> Result {
    let (server, target) = serving("a.txt", b"x").await?;
    for bytes in [2_048, 20_000, 60_000] {
        let long = format!("{target}&filename={}", "x".repeat(bytes));
        assert_refused(&server.get(&long, &[]).await?, 414, "URI_TOO_LONG");
    }
    let absolute = format!("http://{}{target}", "x".repeat(3000));
    assert_refused(&server.get(&absolute, &[]).await?, 414, "URI_TOO_LONG");
    assert_eq!(server.get(&format!("http://localhost{target}"), &[]).await?.status, 200);
    let many: Vec<String> = (0..64).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    assert_refused(&server.get(&target, &many).await?, 431, "HEADERS_TOO_LARGE");
    // Host and Connection are headers, too.
    assert_eq!(server.get(&target, &many[..62]).await?.status, 200);
    for bytes in [16 * 1024, 40_000] {
        let large = "x".repeat(bytes);
        let answer = server.get(&target, &[("x-large", &large)]).await?;
        assert_refused(&answer, 431, "HEADERS_TOO_LARGE");
    }
    let enormous = "x".repeat(300_000);
    let answer = server.get(&target, &[("x-large", &enormous)]).await?;
    assert_eq!(answer.status, 431);
    Ok(())
}

#[tokio::test]
async fn every_parameter_is_known_present_once_and_strict() -> Result {
    let (server, target) = serving("a.txt", b"x").await?;
    let (path, query) = target.split_once('?').expect("a query");
    let parts: Vec<&str> = query.split('&').collect();
    let [file_id, expires, signature] = parts[..] else { panic!("three parameters") };
    let malformed = [
        path.to_owned(),
        format!("{path}?"),
        format!("{path}?{file_id}&{expires}"),
        format!("{path}?{query}&extra=1"),
        format!("{path}?{query}&{signature}"),
        format!("{path}?{query}&"),
        format!(
            "{path}?{}&{expires}&{}",
            file_id,
            signature.to_uppercase().replace("SIGNATURE", "signature")
        ),
        format!("{path}?{file_id}&{}&{signature}", expires.replace('=', "=0")),
        format!("{path}?{file_id}&{}&{signature}", expires.replace('=', "=+")),
        format!("{path}?{}&{expires}&{signature}", file_id.replace("file_", "%66ile_")),
        format!("{path}?{query}&disposition=Inline"),
        format!("{path}?{query}&filename="),
        format!("{path}?{query}&filename=..%2Fx"),
    ];
    for target in malformed {
        assert_refused(&server.get(&target, &[]).await?, 400, "LINK_MALFORMED");
    }
    let raw = format!("GET {target}&filename=é HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange(server.http, raw.as_bytes()).await?.status, 400);
    assert_eq!(
        server.get(&format!("{path}?{signature}&{file_id}&{expires}"), &[]).await?.status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_forgery_is_403_whether_or_not_the_file_exists() -> Result {
    let (server, target) = serving("a.txt", b"x").await?;
    let forged = |target: &str| {
        let (rest, digit) = target.split_at(target.len() - 1);
        format!("{rest}{}", if digit == "0" { '1' } else { '0' })
    };
    let known = server.get(&forged(&target), &[]).await?;
    let unknown_id = "file_0000000000000000000000";
    let unknown = signed(unknown_id, server.now().unix_s() + 60)?;
    let unknown_forged = server.get(&forged(&unknown), &[]).await?;
    assert_refused(&known, 403, "SIGNATURE_INVALID");
    assert_eq!((unknown_forged.status, unknown_forged.body), (known.status, known.body));
    assert_refused(&server.get(&unknown, &[]).await?, 404, "FILE_NOT_FOUND");
    // An option that was not signed for is a forgery, too.
    let widened = server.get(&format!("{target}&disposition=attachment"), &[]).await?;
    assert_refused(&widened, 403, "SIGNATURE_INVALID");
    Ok(())
}

#[tokio::test]
async fn the_signature_is_checked_before_the_time() -> Result {
    let (server, target) = serving("a.txt", b"x").await?;
    let id = target.split(['=', '&']).nth(1).expect("an id").to_owned();
    let now_s = server.now().unix_s();
    let past = signed(&id, now_s - 1)?;
    assert_refused(&server.get(&past, &[]).await?, 410, "LINK_EXPIRED");
    let forged = past.replace(&format!("expires={}", now_s - 1), &format!("expires={}", now_s - 2));
    assert_refused(&server.get(&forged, &[]).await?, 403, "SIGNATURE_INVALID");
    let too_long = signed(&id, now_s + 7 * 24 * 3600 + 1)?;
    assert_refused(&server.get(&too_long, &[]).await?, 403, "LINK_TOO_LONG");
    let request = RevokeSignedUrlsRequest { file_id: id, user_id: String::new() };
    server.client().await?.revoke_signed_urls(request).await?;
    assert_refused(&server.get(&past, &[]).await?, 403, "SIGNATURE_INVALID");
    Ok(())
}

#[tokio::test]
async fn probes_answer() -> Result {
    let server = TestServer::start().await?;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path, &[]).await?.status, 200, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn cors_is_answered_where_it_is_configured() -> Result {
    let settings = [("FILES__HTTP__CORS_ORIGINS", "https://chat.example.com, https://b.example")];
    let server = TestServer::configured(&settings).await?;
    let file = server.upload("a.txt", "x").await?;
    let target = server.link(link(&file.id)).await?;
    let own = [("Origin", "https://chat.example.com")];
    let answer = server.get(&target, &own).await?;
    assert_eq!(answer.header("access-control-allow-origin"), "https://chat.example.com");
    assert_eq!(answer.header("vary"), "origin");
    let foreign = server.get(&target, &[("Origin", "https://evil.example")]).await?;
    assert_eq!(foreign.header("access-control-allow-origin"), "");
    let preflight = request(server.http, "OPTIONS", &target, &own).await?;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-methods"), "GET, HEAD");
    assert_eq!(preflight.header("access-control-allow-origin"), "https://chat.example.com");
    Ok(())
}

#[tokio::test]
async fn a_connection_serves_many_requests_in_order() -> Result {
    let (server, target) = serving("a.txt", b"0123456789").await?;
    let mut stream = TcpStream::connect(server.http).await?;
    let one = |range: u8, close: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: x\r\nRange: bytes={range}-{range}\r\n{close}\r\n")
    };
    let pipelined = [one(3, ""), one(4, ""), one(5, "Connection: close\r\n")].concat();
    stream.write_all(pipelined.as_bytes()).await?;
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await?;
    let bodies: Vec<&str> =
        answers.split("HTTP/1.1 206").skip(1).map(|it| &it[it.len() - 1..]).collect();
    assert_eq!(bodies, ["3", "4", "5"]);
    Ok(())
}

#[tokio::test]
async fn a_request_id_is_taken_over() -> Result {
    let (server, target) = serving("a.txt", b"x").await?;
    let answer = server.get(&target, &[("x-request-id", "trace-7")]).await?;
    assert_eq!(answer.header("x-request-id"), "trace-7");
    Ok(())
}

#[tokio::test]
async fn content_that_breaks_off_breaks_the_connection() -> Result {
    let (server, target) = serving("a.txt", &vec![b'x'; 8 << 20]).await?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(16 * 1024)?;
    let mut stream = socket.connect(server.http).await?;
    let get = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(get.as_bytes()).await?;
    let mut received = vec![0; 1000];
    stream.read_exact(&mut received).await?;
    let [blob] = &server.blob_files()[..] else { panic!("one blob") };
    std::fs::OpenOptions::new().write(true).open(blob)?.set_len(1000)?;
    let _ = stream.read_to_end(&mut received).await;
    let answer = parse(&received)?;
    assert_eq!(answer.header("content-length"), (8 << 20).to_string());
    assert!(answer.body.len() < 8 << 20, "a cut body that looks whole");
    Ok(())
}

#[tokio::test]
async fn a_reader_who_takes_nothing_is_cut_off() -> Result {
    let server = TestServer::configured(&[("FILES__HTTP__STALL_TIMEOUT", "300ms")]).await?;
    let file = server.upload("a.txt", vec![b'x'; 64 << 20]).await?;
    let target = server.link(link(&file.id)).await?;
    let mut stream = TcpStream::connect(server.http).await?;
    let get = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(get.as_bytes()).await?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    assert!(received.len() < 64 << 20, "the reader was waited for");
    Ok(())
}
