//! The service over a Samba share: files go in and out, and a server that goes and comes back.

use files::proto::CreateSignedUrlRequest;
use secrecy::ExposeSecret;
use tonic::Code;

use crate::{
    samba_server::{self, Server, Setup},
    support::{Result, TestServer, assert_refused, assert_round_trips, start, upload},
};

async fn over(server: &Server) -> Result<TestServer> {
    let options = server.options(&server.directory());
    let url = format!(
        "smb://{}@127.0.0.1:{}/{}/{}",
        options.username, options.port, options.share, options.directory
    );
    let password = options.password.expose_secret();
    TestServer::configured(&[
        ("FILES__STORAGE__URL", &url),
        ("FILES__STORAGE__SMB__PASSWORD", password),
        ("FILES__STORAGE__SMB__TIMEOUT", "2s"),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_onto_a_share_and_comes_out() -> Result {
    let server = over(samba_server::shared()).await?;
    assert_round_trips(&server, &[0, 1, 100_000, 9_000_000]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_share_turns_readiness_off_and_comes_back() -> Result {
    let samba = tokio::task::spawn_blocking(|| Server::start(&Setup::default())).await?;
    let server = over(&samba).await?;
    let file = server.upload("a.txt", "content").await?;
    let request = CreateSignedUrlRequest { file_id: file.id, ..Default::default() };
    let link = server.link(request).await?;
    assert_eq!(server.get("/readyz", &[]).await?.status, 200);
    samba.kill();
    let unready = server.get("/readyz", &[]).await?;
    let told = (unready.status.as_u16(), unready.reason());
    assert_eq!(told, (503, "STORAGE_UNAVAILABLE".to_owned()));
    assert_eq!(server.get(&link, &[]).await?.status, 503);
    let mut client = server.client().await?;
    let away = upload(&mut client, start("b.txt"), "b").await;
    assert_refused(away, Code::Unavailable, "STORAGE_UNAVAILABLE", None);
    samba.restart();
    assert_eq!(server.get("/readyz", &[]).await?.status, 200);
    assert_eq!(server.get(&link, &[]).await?.body, b"content");
    upload(&mut client, start("b.txt"), "b").await?;
    Ok(())
}
