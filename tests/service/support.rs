//! A server on free ports with data of its own, and plain clients for both its listeners.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use files::{
    clock::{Clock, ManualClock, SystemClock, Timestamp},
    config::{Config, Sources},
    proto::{
        CreateSignedUrlRequest, DeleteFileRequest, File, UploadFileRequest, UploadFileResponse,
        UploadFinish, UploadStart, files_service_client::FilesServiceClient,
        upload_file_request::Message,
    },
    server::{Role, Server},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::DropGuard;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::balanced::{self, Replicas};

pub type Result<T = ()> = anyhow::Result<T>;
pub type Client = FilesServiceClient<Channel>;

pub const SIGNING_KEY: &str = "test-secret-0123456789abcdef0123";

/// A running server and what it runs on.
pub struct TestServer {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub clock: Arc<ManualClock>,
    pub data: PathBuf,
    running: JoinHandle<Result>,
    _stop: DropGuard,
    _directory: Option<TempDir>,
    /// The others, where this is one of several behind a balancer.
    replicas: Option<Replicas>,
}

impl TestServer {
    pub async fn start() -> Result<Self> {
        Self::configured(&[]).await
    }

    /// A server with these settings; its clock stands still until it is moved.
    pub async fn configured(settings: &[(&str, &str)]) -> Result<Self> {
        if balanced::is_wanted() {
            return balanced::start(settings).await;
        }
        Self::within(tempfile::tempdir()?, settings).await
    }

    /// The same with its data directory below `directory`, which goes with it.
    pub async fn within(directory: TempDir, settings: &[(&str, &str)]) -> Result<Self> {
        let data = directory.path().join("data");
        Ok(Self { _directory: Some(directory), ..Self::on(&data, settings).await? })
    }

    /// The same on a data directory that outlives the server.
    pub async fn on(data: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        Self::at(standing_clock(), data, settings).await
    }

    /// The same by a clock that others may go by, too.
    pub async fn at(
        clock: Arc<ManualClock>,
        data: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let config = config(data, settings)?;
        let clock_for_server = Arc::clone(&clock) as Arc<dyn Clock>;
        let server = Server::start_at(config, Role::All, clock_for_server).await?;
        let stop = server.shutdown_token();
        let (grpc, http) = (server.grpc, server.http);
        let running = tokio::spawn(server.wait());
        Ok(Self {
            grpc: grpc.expect("a gRPC listener"),
            http: http.expect("an HTTP listener"),
            clock,
            data: data.to_owned(),
            running,
            _stop: stop.drop_guard(),
            _directory: None,
            replicas: None,
        })
    }

    /// This server's replica of the data's place behind a balancer: its addresses are the balancer's.
    pub fn behind(self, grpc: SocketAddr, http: SocketAddr, replicas: Replicas) -> Self {
        Self { grpc, http, replicas: Some(replicas), ..self }
    }

    /// Stops the server and waits until its locks are free.
    pub async fn stopped(self) {
        let Self { _stop, running, .. } = self;
        drop(_stop);
        let _ = running.await;
    }

    pub async fn client(&self) -> Result<Client> {
        Ok(Client::connect(format!("http://{}", self.grpc)).await?)
    }

    pub async fn upload(&self, name: &str, content: impl Into<Bytes>) -> Result<File> {
        let answer = upload(&mut self.client().await?, start(name), content).await?;
        Ok(answer.file.expect("a file"))
    }

    /// The path and query of a fresh link to a file.
    pub async fn link(&self, request: CreateSignedUrlRequest) -> Result<String> {
        let answer = self.client().await?.create_signed_url(request).await?;
        let url = answer.into_inner().url;
        let target = url.strip_prefix(&format!("http://localhost:{}", self.http.port()));
        Ok(target.expect("a link to this server").to_owned())
    }

    pub async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        request(self.http, "GET", target, headers).await
    }

    /// Every file below the data directory that holds content: staging files and blobs. Small blobs are
    /// rows and are counted by what the repository still knows.
    pub fn blob_files(&self) -> Vec<PathBuf> {
        let shards = self.data.join("blobs").read_dir().into_iter().flatten().flatten();
        let entries = shards.filter_map(|shard| shard.path().read_dir().ok()).flatten();
        entries.flatten().map(|entry| entry.path()).collect()
    }

    /// Waits until an upload of more than a small blob has got as far as one can see from the side.
    pub async fn until_bytes_are_on_their_way(&self) -> Result {
        let begun = async || match &self.replicas {
            // What a bucket holds of a part on its way, it does not tell.
            Some(replicas) => replicas.rows("files").await > 0,
            None => !self.blob_files().is_empty(),
        };
        while !begun().await {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Rows of a table of the server's records, counted on the side.
    pub async fn rows(&self, table: &str) -> Result<i64> {
        match &self.replicas {
            Some(replicas) => Ok(replicas.rows(table).await),
            None => count_rows(&self.data.join("metadata.db"), table),
        }
    }

    /// Blobs, and what is unfinished of any.
    async fn blobs(&self) -> Result<i64> {
        match &self.replicas {
            Some(replicas) => replicas.blobs().await,
            None => {
                let small = count_rows(&self.data.join("blobs/small.db"), "blobs")?;
                Ok(small + i64::try_from(self.blob_files().len())?)
            }
        }
    }

    /// Nothing is stored and nothing is known: what a refused upload must leave behind.
    pub async fn assert_empty(&self) -> Result {
        // A caller who has gone away does not wait for the clean-up.
        for _ in 0..400 {
            if self.rows("files").await? == 0 && self.blobs().await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!((self.rows("files").await?, self.blobs().await?), (0, 0));
        Ok(())
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// A clock that shows a whole second of now.
pub fn standing_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_unix_s(SystemClock.now().unix_s())))
}

fn count_rows(database: &Path, table: &str) -> Result<i64> {
    let connection = rusqlite::Connection::open(database)?;
    let count = format!("SELECT count(*) FROM {table}");
    Ok(connection.query_row(&count, [], |row| row.get(0))?)
}

pub fn config(data: &Path, settings: &[(&str, &str)]) -> Result<Config> {
    let fixed = [
        ("FILES__DATA_DIR", data.to_str().expect("a UTF-8 path")),
        ("FILES__GRPC__LISTEN", "127.0.0.1:0"),
        ("FILES__HTTP__LISTEN", "127.0.0.1:0"),
        ("FILES__SIGNING__KEYS", SIGNING_KEY),
    ];
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Ok(Config::load(Sources {
        file: None,
        variables: fixed.iter().chain(settings).map(owned).collect(),
        flags: Vec::new(),
    })?)
}

/// A start that is accepted.
pub fn start(name: &str) -> UploadStart {
    UploadStart {
        user_id: "user-1".to_owned(),
        purpose: "assistants".to_owned(),
        filename: name.to_owned(),
        ..UploadStart::default()
    }
}

pub fn message(message: Message) -> UploadFileRequest {
    UploadFileRequest { message: Some(message) }
}

pub fn data(content: impl Into<Bytes>) -> UploadFileRequest {
    message(Message::Data(content.into()))
}

pub fn finish() -> UploadFileRequest {
    message(Message::Finish(UploadFinish::default()))
}

/// Start, the content in messages of 256 KiB, finish.
pub async fn upload(
    client: &mut Client,
    start: UploadStart,
    content: impl Into<Bytes>,
) -> std::result::Result<UploadFileResponse, Status> {
    let content = content.into();
    let chunk = |at: usize| content.slice(at..content.len().min(at + 256 * 1024));
    let chunks = (0..content.len()).step_by(256 * 1024).map(|at| data(chunk(at)));
    let messages: Vec<_> =
        std::iter::once(message(Message::Start(start))).chain(chunks).chain([finish()]).collect();
    send(client, messages).await
}

/// A file of each of these sizes goes in, comes out whole and in part, and is gone when it is deleted.
pub async fn assert_round_trips(server: &TestServer, sizes: &[usize]) -> Result {
    for size in sizes {
        let content: Vec<u8> = (0..*size).map(|n| (n % 251) as u8).collect();
        let file = server.upload("a.txt", content.clone()).await?;
        let file_id = file.id.clone();
        let link = server.link(CreateSignedUrlRequest { file_id, ..Default::default() }).await?;
        let answer = server.get(&link, &[]).await?;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, *size));
        assert!(answer.body == content);
        if *size > 10 {
            let part = server.get(&link, &[("Range", "bytes=3-7")]).await?;
            assert_eq!((part.status.as_u16(), &part.body[..]), (206, &content[3..8]));
        }
        let gone = DeleteFileRequest { file_id: file.id, purge: true, ..Default::default() };
        server.client().await?.delete_file(gone).await?;
        assert_eq!(server.get(&link, &[]).await?.status, 404);
    }
    Ok(())
}

/// Exactly these messages.
pub async fn send(
    client: &mut Client,
    messages: Vec<UploadFileRequest>,
) -> std::result::Result<UploadFileResponse, Status> {
    let answer = client.upload_file(futures_util::stream::iter(messages)).await?;
    Ok(answer.into_inner())
}

/// Asserts a failure's code and reason, and the field it names, if any.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(
    outcome: std::result::Result<T, Status>,
    code: Code,
    reason: &str,
    field: Option<&str>,
) {
    let status = outcome.expect_err("a refusal");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((status.code(), info.reason.as_str()), (code, reason), "{status:?}");
    assert_eq!(info.domain, "files.v1");
    let violations = status.get_details_bad_request().map(|it| it.field_violations);
    let named = violations.and_then(|all| all.first().map(|it| it.field.clone()));
    assert_eq!(named.as_deref(), field, "{status:?}");
}

/// An HTTP answer, read to the end of its connection.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"))
    }

    /// The reason in a refusal's JSON body, which nothing may cache.
    #[track_caller]
    pub fn reason(&self) -> String {
        assert_eq!(self.header("cache-control"), "no-store", "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        assert!(body["error"]["message"].is_string(), "{body}");
        body["error"]["code"].as_str().expect("a code").to_owned()
    }
}

pub async fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<Answer> {
    let fields: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
    exchange(address, head.as_bytes()).await
}

/// Sends exactly these bytes and reads the answer until the server closes.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    parse(&answer)
}

pub fn parse(answer: &[u8]) -> Result<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else {
        anyhow::bail!("no head in {:?}", String::from_utf8_lossy(answer));
    };
    let head = std::str::from_utf8(&answer[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        headers.append(name.parse::<HeaderName>()?, HeaderValue::from_str(value)?);
    }
    Ok(Answer { status: status.parse()?, headers, body: answer[end + 4..].to_vec() })
}

/// The path and query of a URL that the service made.
pub fn target(url: &str) -> &str {
    url.trim_end().split_at(url.find("/v1/").expect("a path")).1
}

/// A tool that `scripts/test` installs; without it the test fails.
pub fn tool(path: &str) -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(path);
    assert!(tool.exists(), "{} is missing: run scripts/test, which installs it", tool.display());
    tool
}
