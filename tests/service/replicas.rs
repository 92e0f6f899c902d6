//! Servers over one PostgreSQL: what one does, the others show, and a database that goes away and comes back.

use std::{path::Path, time::Duration};

use files::proto::{
    CreateSignedUrlRequest, DeleteFileRequest, File, GetFileRequest, RevokeSignedUrlsRequest,
    UploadStart,
};
use tonic::Code;
use uuid::Uuid;

use crate::{
    postgres_server::{self, Server},
    support::{Result, TestServer, assert_refused, start, upload},
};

/// A server over a database, with blobs below a directory that it shares with others.
async fn replica(url: &str, blobs: &Path) -> Result<TestServer> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    std::fs::create_dir(&data)?;
    std::os::unix::fs::symlink(blobs, data.join("blobs"))?;
    TestServer::within(directory, &[("FILES__DATABASE__URL", url)]).await
}

async fn link(server: &TestServer, file: &File) -> Result<String> {
    let request = CreateSignedUrlRequest { file_id: file.id.clone(), ..Default::default() };
    server.link(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_by_one_replica_shows_on_the_other_within_a_second() -> Result {
    let server = postgres_server::shared();
    let url = server.url(&server.database().await);
    let blobs = tempfile::tempdir()?;
    let (one, other) = (replica(&url, blobs.path()).await?, replica(&url, blobs.path()).await?);
    let file = one.upload("a.txt", vec![b'x'; 100_000]).await?;
    let (link, gone) = (link(&one, &file).await?, one.upload("b.txt", "b").await?);
    let gone_link = self::link(&one, &gone).await?;
    // Hot on both.
    for server in [&one, &other] {
        assert_eq!(server.get(&link, &[]).await?.body.len(), 100_000);
        assert_eq!(server.get(&gone_link, &[]).await?.body, b"b");
    }
    let mut client = one.client().await?;
    let revoke = RevokeSignedUrlsRequest { file_id: file.id.clone(), ..Default::default() };
    client.revoke_signed_urls(revoke).await?;
    client.delete_file(DeleteFileRequest { file_id: gone.id, ..Default::default() }).await?;
    assert_eq!(one.get(&link, &[]).await?.status, 403);
    assert_eq!(one.get(&gone_link, &[]).await?.status, 404);
    other.clock.advance(Duration::from_secs(1));
    assert_eq!(other.get(&link, &[]).await?.status, 403);
    assert_eq!(other.get(&gone_link, &[]).await?.status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_on_another_replica_makes_no_second_file() -> Result {
    let server = postgres_server::shared();
    let url = server.url(&server.database().await);
    let blobs = tempfile::tempdir()?;
    let (one, other) = (replica(&url, blobs.path()).await?, replica(&url, blobs.path()).await?);
    let said = UploadStart { upload_id: Uuid::new_v4().to_string(), ..start("a.txt") };
    let (mut to_one, mut to_other) = (one.client().await?, other.client().await?);
    let first = upload(&mut to_one, said.clone(), "content").await?;
    let again = upload(&mut to_other, said, "content").await?;
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.file, again.file);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_database_turns_readiness_off_and_comes_back() -> Result {
    let server = tokio::task::spawn_blocking(Server::start).await?;
    let url = server.url(&server.database().await);
    let running = TestServer::configured(&[
        ("FILES__DATABASE__URL", url.as_str()),
        ("FILES__DATABASE__TIMEOUT", "1s"),
    ])
    .await?;
    let file = running.upload("a.txt", "content").await?;
    assert_eq!(running.get("/readyz", &[]).await?.status, 200);
    server.control("-m immediate stop");
    let unready = running.get("/readyz", &[]).await?;
    let told = (unready.status.as_u16(), unready.reason());
    assert_eq!(told, (503, "STORAGE_UNAVAILABLE".to_owned()));
    let mut client = running.client().await?;
    let get = GetFileRequest { file_id: file.id.clone(), ..Default::default() };
    running.clock.advance(Duration::from_secs(10));
    let away = client.get_file(get.clone()).await;
    assert_refused(away, Code::Unavailable, "STORAGE_UNAVAILABLE", None);
    let away = upload(&mut client, start("b.txt"), "b").await;
    assert_refused(away, Code::Unavailable, "STORAGE_UNAVAILABLE", None);
    server.control("start");
    assert_eq!(running.get("/readyz", &[]).await?.status, 200);
    let found = client.get_file(get).await?.into_inner().file;
    assert_eq!(found, Some(file));
    upload(&mut client, start("b.txt"), "b").await?;
    Ok(())
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_without_its_password() -> Result {
    let directory = tempfile::tempdir()?;
    let refused = TestServer::within(
        directory,
        &[
            ("FILES__DATABASE__URL", "postgres://files:s3cret@127.0.0.1:1/files"),
            ("FILES__DATABASE__TIMEOUT", "1s"),
        ],
    )
    .await;
    let error = format!("{:?}", refused.err().expect("a refusal"));
    assert!(error.contains("cannot open the database"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    Ok(())
}
