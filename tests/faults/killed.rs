//! A server killed in the middle of uploads: nothing acknowledged is lost, and nothing else stays.

use std::{path::Path, process::Stdio, time::Duration};

use bytes::Bytes;
use files::{
    clock::{Clock, ManualClock, SystemClock},
    metadata::{Upkeep, sqlite::SqliteRepository},
    proto::{
        DownloadFileRequest, UploadFileRequest, UploadFinish, UploadStart,
        download_file_response::Message as Download, files_service_client::FilesServiceClient,
        upload_file_request::Message,
    },
    storage::{
        Storage,
        local::{LocalStorage, ReadCache},
    },
    sweep::Sweeper,
};
use std::sync::Arc;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tonic::transport::Channel;

type Result<T = ()> = anyhow::Result<T>;

const CACHE: ReadCache = ReadCache { small_bytes_max: 1 << 20, open_files_max: 16 };
type Client = FilesServiceClient<Channel>;

const ROUNDS: usize = 8;

async fn serve(data: &Path) -> Result<(Child, Client)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_files"))
        .env_clear()
        .args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"])
        .arg(data)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut logs = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    while let Some(line) = logs.next_line().await? {
        let line: serde_json::Value = serde_json::from_str(&line)?;
        if let Some(address) = line["grpc"].as_str() {
            let client = Client::connect(format!("http://{address}")).await?;
            tokio::spawn(async move { while let Ok(Some(_)) = logs.next_line().await {} });
            return Ok((child, client));
        }
    }
    anyhow::bail!("the server did not start")
}

fn content(n: usize) -> Bytes {
    // Small and large ones in turn: rows and files of their own.
    let size = if n.is_multiple_of(2) { 700 + n } else { 300_000 + n };
    Bytes::from(vec![b'a' + (n % 26) as u8; size])
}

async fn upload(client: &mut Client, n: usize) -> std::result::Result<String, tonic::Status> {
    let start = UploadStart {
        user_id: "u".into(),
        purpose: "assistants".into(),
        filename: "a.txt".into(),
        ..Default::default()
    };
    let messages = [
        Message::Start(start),
        Message::Data(content(n)),
        Message::Finish(UploadFinish::default()),
    ];
    let messages = messages.map(|message| UploadFileRequest { message: Some(message) });
    let answer = client.upload_file(futures_util::stream::iter(messages)).await?;
    Ok(answer.into_inner().file.expect("a file").id)
}

async fn read(client: &mut Client, file_id: String) -> Result<Vec<u8>> {
    let request = DownloadFileRequest { file_id, ..Default::default() };
    let mut stream = client.download_file(request).await?.into_inner();
    let mut received = Vec::new();
    while let Some(next) = stream.message().await? {
        if let Some(Download::Data(data)) = next.message {
            received.extend_from_slice(&data);
        }
    }
    Ok(received)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_acknowledged_and_leaves_nothing_else() -> Result {
    let directory = tempfile::tempdir()?;
    let mut acknowledged: Vec<(String, usize)> = Vec::new();
    for round in 0..ROUNDS {
        let (mut child, client) = serve(directory.path()).await?;
        let uploads = (0..8).map(|lane| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let mut done = Vec::new();
                for n in (lane..).step_by(8) {
                    match upload(&mut client, n).await {
                        Ok(id) => done.push((id, n)),
                        Err(_) => break,
                    }
                }
                done
            })
        });
        let uploads: Vec<_> = uploads.collect();
        tokio::time::sleep(Duration::from_millis(40 + 30 * round as u64)).await;
        child.start_kill()?;
        child.wait().await?;
        for upload in uploads {
            acknowledged.extend(upload.await?);
        }
    }
    assert!(!acknowledged.is_empty());
    let (mut child, mut client) = serve(directory.path()).await?;
    for (id, n) in &acknowledged {
        assert!(read(&mut client, id.clone()).await? == content(*n), "{id}");
    }
    child.start_kill()?;
    child.wait().await?;
    assert_only_files_are_left(directory.path()).await
}

/// After the leases have ended and a sweep, every blob is a file's and nothing is staged.
async fn assert_only_files_are_left(data: &Path) -> Result {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    clock.advance(Duration::from_secs(3600));
    let clock: Arc<dyn Clock> = clock;
    let repository =
        Arc::new(SqliteRepository::open(&data.join("metadata.db"), Arc::clone(&clock))?);
    let storage = Arc::new(LocalStorage::open(&data.join("blobs"), CACHE, clock)?);
    let sweeper = Sweeper::new(
        Arc::clone(&repository) as Arc<dyn Upkeep>,
        Arc::clone(&storage) as Arc<dyn Storage>,
    );
    sweeper.pass().await?;
    assert_eq!(data.join("blobs/staging").read_dir()?.count(), 0);
    let (mut blobs, mut after) = (0, None);
    loop {
        let page = storage.list(after.as_ref()).await?;
        let Some(last) = page.last() else { break };
        (blobs, after) = (blobs + page.len() as i64, Some(last.key));
    }
    let connection = rusqlite::Connection::open(data.join("metadata.db"))?;
    let count = |condition: &str| -> Result<i64> {
        let count = format!("SELECT count(*) FROM files WHERE {condition}");
        Ok(connection.query_row(&count, [], |row| row.get(0))?)
    };
    assert_eq!((count("state <> 1")?, count("state = 1")?), (0, blobs));
    Ok(())
}
