//! Moving to another storage while the service serves: nothing is lost, and a move that was killed goes on.

use std::{path::Path, process::Stdio};

use files::{
    proto::{CreateSignedUrlRequest, File},
    storage::Storage,
};
use serde_json::Value;
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    seaweed,
    support::{Result, TestServer},
};

const FILES: usize = 60;

fn content(number: usize) -> Vec<u8> {
    let size = if number.is_multiple_of(20) { 6_000_000 } else { 10 + number * 1000 };
    number.to_le_bytes().into_iter().cycle().take(size).collect()
}

type Settings<'a> = &'a [(&'static str, String)];

fn migrate(data: &Path, to: &str, settings: Settings<'_>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_files"));
    command.env_clear().envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
    command.args(["migrate-storage", "--to", to, "--data"]).arg(data).kill_on_drop(true);
    command
}

async fn report(data: &Path, to: &str, settings: Settings<'_>) -> Result<Value> {
    let ended = migrate(data, to, settings).output().await?;
    assert!(ended.status.success(), "{ended:?}");
    Ok(serde_json::from_slice(&ended.stdout)?)
}

async fn upload(server: &TestServer, number: usize) -> Result<(File, Vec<u8>)> {
    let content = content(number);
    Ok((server.upload(&format!("{number}.txt"), content.clone()).await?, content))
}

async fn assert_serves(server: &TestServer, files: &[(File, Vec<u8>)]) -> Result {
    for (file, content) in files {
        let request = CreateSignedUrlRequest { file_id: file.id.clone(), ..Default::default() };
        let answer = server.get(&server.link(request).await?, &[]).await?;
        assert_eq!(answer.status, 200, "{}", file.filename);
        assert!(answer.body == *content, "{}", file.filename);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_content_moves_to_a_bucket_and_back_while_it_is_served() -> Result {
    let store = seaweed::shared();
    store.ready().await;
    let bucket = format!("s3://{}/{}", seaweed::BUCKET, Uuid::new_v4());
    let settings = [
        ("FILES__STORAGE__S3__ENDPOINT", seaweed::endpoint(store.port).to_string()),
        ("FILES__STORAGE__S3__ACCESS_KEY_ID", seaweed::ACCESS_KEY_ID.to_owned()),
        ("FILES__STORAGE__S3__SECRET_ACCESS_KEY", seaweed::SECRET_ACCESS_KEY.to_owned()),
    ];
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let server = TestServer::on(&data, &[]).await?;
    let mut files = Vec::new();
    for number in 0..FILES {
        files.push(upload(&server, number).await?);
    }
    // Killed as soon as it has something to show for it beside its probe.
    let mut killed = migrate(&data, &bucket, &settings).stdout(Stdio::null()).spawn()?;
    let watched = seaweed::watch(store, &bucket).await;
    while watched.list(None).await?.len() < 3 {
        tokio::task::yield_now().await;
    }
    killed.kill().await?;
    let (moved, late) = tokio::join!(report(&data, &bucket, &settings), async {
        let mut late = Vec::new();
        for number in FILES..FILES + 20 {
            late.push(upload(&server, number).await?);
        }
        anyhow::Ok(late)
    });
    let moved = moved?;
    files.extend(late?);
    assert!(moved["there"].as_u64() > Some(0), "{moved}");
    assert_serves(&server, &files).await?;
    server.stopped().await;
    let last = report(&data, &bucket, &settings).await?;
    assert_eq!(last["damaged"], 0);
    let quick = migrate(&data, &bucket, &settings).arg("--trust-sizes").output().await?;
    let quick: Value = serde_json::from_slice(&quick.stdout)?;
    assert_eq!((&quick["files"], &quick["there"]), (&0.into(), &files.len().into()));

    let in_bucket: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain([("FILES__STORAGE__URL", bucket.as_str())])
        .collect();
    let server = TestServer::on(&data, &in_bucket).await?;
    assert_serves(&server, &files).await?;
    files.push(upload(&server, 1000).await?);
    server.stopped().await;

    // Run once more by somebody whose settings still name the old storage: what only the new one has stays.
    let stale = report(&data, &bucket, &settings).await?;
    assert_eq!((&stale["files"], &stale["damaged"]), (&0.into(), &0.into()));
    let elsewhere = format!("file:{}", directory.path().join("elsewhere").display());
    let from_bucket: Vec<_> =
        in_bucket.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let back = report(&data, &elsewhere, &from_bucket).await?;
    assert_eq!(back["files"], files.len());
    let server = TestServer::on(&data, &[("FILES__STORAGE__URL", &elsewhere)]).await?;
    assert_serves(&server, &files).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_of_another_database_is_not_moved_to() -> Result {
    let (one, other) = (TestServer::start().await?, TestServer::start().await?);
    upload(&one, 1).await?;
    let theirs = format!("file:{}", other.data.join("blobs").display());
    let refused = migrate(&one.data, &theirs, &[]).output().await?;
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr)?;
    assert!(told.contains("another database's"), "{told}");
    let own = format!("file:{}", one.data.join("../data/blobs").display());
    let refused = migrate(&one.data, &own, &[]).output().await?;
    let told = String::from_utf8(refused.stderr)?;
    assert!(told.contains("the storage that is in use"), "{told}");
    let secret = migrate(&one.data, "s3://id:hunter2@b", &[]).output().await?;
    assert!(!String::from_utf8(secret.stderr)?.contains("hunter2"));
    let nowhere = migrate(&one.data, "ftp://x", &[]).output().await?;
    assert!(String::from_utf8(nowhere.stderr)?.contains("must begin with file:, s3: or smb:"));
    Ok(())
}
