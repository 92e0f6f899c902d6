//! Signed URLs: made, followed, ended.

use std::time::Duration;

use files::proto::{
    BatchCreateSignedUrlsRequest, CreateSignedUrlRequest, CreateSignedUrlResponse,
    RevokeSignedUrlsRequest, batch_signed_url::Outcome,
};
use tonic::Code;

use crate::support::{Result, TestServer, assert_refused};

fn link(file_id: &str) -> CreateSignedUrlRequest {
    CreateSignedUrlRequest {
        file_id: file_id.to_owned(),
        user_id: "user-1".to_owned(),
        ..Default::default()
    }
}

fn lasting(file_id: &str, seconds: i64) -> CreateSignedUrlRequest {
    let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
    CreateSignedUrlRequest { ttl, ..link(file_id) }
}

async fn sign(
    server: &TestServer,
    request: CreateSignedUrlRequest,
) -> Result<CreateSignedUrlResponse> {
    Ok(server.client().await?.create_signed_url(request).await?.into_inner())
}

#[tokio::test]
async fn a_link_lasts_as_long_as_it_says() -> Result {
    let server = TestServer::start().await?;
    let file = server.upload("a.txt", "content").await?;
    let now_s = server.now().unix_s();
    let made = sign(&server, lasting(&file.id, 30)).await?;
    assert_eq!(made.expire_time.map(|it| it.seconds), Some(now_s + 30));
    assert!(made.url.contains(&format!("&expires={}&", now_s + 30)), "{}", made.url);
    let target = server.link(lasting(&file.id, 30)).await?;
    assert_eq!(server.get(&target, &[]).await?.body, b"content");
    server.clock.advance(Duration::from_secs(29));
    assert_eq!(server.get(&target, &[]).await?.status, 200);
    server.clock.advance(Duration::from_secs(2));
    let refused = server.get(&target, &[]).await?;
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (410, "LINK_EXPIRED"));
    Ok(())
}

#[tokio::test]
async fn the_default_life_is_ten_minutes_on_a_grid_of_one() -> Result {
    let server = TestServer::start().await?;
    let file = server.upload("a.txt", "x").await?;
    let now_s = server.now().unix_s();
    let end_s = sign(&server, link(&file.id)).await?.expire_time.map_or(0, |it| it.seconds);
    assert!((now_s + 600..now_s + 660).contains(&end_s) && end_s % 60 == 0, "{now_s} {end_s}");
    let week_s = 7 * 24 * 3600;
    let longest = server.link(lasting(&file.id, week_s)).await?;
    assert_eq!(server.get(&longest, &[]).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_public_url_is_as_configured_and_never_the_callers() -> Result {
    let settings = [("FILES__HTTP__PUBLIC_URL", "https://files.example.com/base/")];
    let server = TestServer::configured(&settings).await?;
    let file = server.upload("a.txt", "x").await?;
    let made = sign(&server, link(&file.id)).await?;
    let expected = "https://files.example.com/base/v1/files/download?file_id=";
    assert!(made.url.starts_with(expected), "{}", made.url);
    Ok(())
}

#[tokio::test]
async fn markdown_escapes_its_label() -> Result {
    let server = TestServer::start().await?;
    let file = server.upload("plot.png", "").await?;
    let plain = sign(&server, link(&file.id)).await?;
    assert_eq!(plain.markdown, format!("[plot.png](<{}>)", plain.url));
    let request = CreateSignedUrlRequest { filename: "Figure 1.png".into(), ..link(&file.id) };
    assert!(sign(&server, request).await?.markdown.starts_with("[Figure 1.png](<http"));
    let label = "a](<http://evil>)\n[b".to_owned();
    let made = sign(&server, CreateSignedUrlRequest { label, ..link(&file.id) }).await?;
    let expected = format!("[a\\](\\<http://evil>)&#10;\\[b](<{}>)", made.url);
    assert_eq!(made.markdown, expected);
    Ok(())
}

#[tokio::test]
async fn a_batch_answers_each_wish_in_order() -> Result {
    let server = TestServer::start().await?;
    let file = server.upload("a.txt", "x").await?;
    let unknown = "file_0000000000000000000000";
    let foreign = CreateSignedUrlRequest { user_id: "user-2".into(), ..link(&file.id) };
    let requests = vec![link(&file.id), link(unknown), foreign, lasting(&file.id, 0), link("x")];
    let batch = BatchCreateSignedUrlsRequest { requests };
    let results =
        server.client().await?.batch_create_signed_urls(batch).await?.into_inner().results;
    let ids: Vec<&str> = results.iter().map(|it| it.file_id.as_str()).collect();
    assert_eq!(ids, [file.id.as_str(), unknown, &file.id, &file.id, "x"]);
    let reasons: Vec<String> = results
        .into_iter()
        .map(|it| match it.outcome {
            Some(Outcome::SignedUrl(link)) => link.url[..7].to_owned(),
            Some(Outcome::ErrorReason(reason)) => reason,
            None => "none".to_owned(),
        })
        .collect();
    let expected =
        ["http://", "FILE_NOT_FOUND", "FILE_NOT_FOUND", "FIELD_INVALID", "FIELD_INVALID"];
    assert_eq!(reasons, expected);
    Ok(())
}

#[tokio::test]
async fn revoking_ends_every_link_and_later_ones_work() -> Result {
    let server = TestServer::start().await?;
    let file = server.upload("a.txt", "x").await?;
    let before = server.link(link(&file.id)).await?;
    assert_eq!(server.get(&before, &[]).await?.status, 200);
    let request = RevokeSignedUrlsRequest { file_id: file.id.clone(), user_id: "user-1".into() };
    let revoked = server.client().await?.revoke_signed_urls(request).await?.into_inner().file;
    assert_ne!(revoked.expect("a file").etag, file.etag);
    let refused = server.get(&before, &[]).await?;
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (403, "SIGNATURE_INVALID"));
    let after = server.link(link(&file.id)).await?;
    assert!(!after.contains("epoch"), "{after}");
    assert_eq!(server.get(&after, &[]).await?.status, 200);
    let foreign = RevokeSignedUrlsRequest { file_id: file.id, user_id: "user-2".into() };
    let outcome = server.client().await?.revoke_signed_urls(foreign).await;
    assert_refused(outcome, Code::NotFound, "FILE_NOT_FOUND", None);
    assert_eq!(server.get(&after, &[]).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_link_to_an_expired_file_is_dead() -> Result {
    let server = TestServer::start().await?;
    let ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let start = files::proto::UploadStart { ttl, ..crate::support::start("a.txt") };
    let mut client = server.client().await?;
    let file = crate::support::upload(&mut client, start, "x").await?.file.expect("a file");
    let target = server.link(link(&file.id)).await?;
    assert_eq!(server.get(&target, &[]).await?.status, 200);
    server.clock.advance(Duration::from_secs(60));
    assert_eq!(server.get(&target, &[]).await?.reason(), "FILE_NOT_FOUND");
    let outcome = client.create_signed_url(link(&file.id)).await;
    assert_refused(outcome, Code::NotFound, "FILE_NOT_FOUND", None);
    Ok(())
}
