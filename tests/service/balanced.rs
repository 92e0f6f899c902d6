//! Three servers over one PostgreSQL and one bucket, behind a plain TCP balancer: the black-box suite runs
//! against them, too, whichever of them a call meets.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
};

use files::storage::{Storage, s3::S3Storage};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
};
use uuid::Uuid;

use crate::{
    postgres_server, seaweed,
    support::{Result, TestServer, standing_clock},
};

/// Says to this program that its servers are to be balanced ones.
const WANTED: &str = "FILES_TEST_BALANCED";
const REPLICAS: usize = 3;

/// The modules of the suite.
const SUITE: [&str; 11] = [
    "bad_input::",
    "cli::",
    "cli_lifecycle::",
    "files::",
    "lifecycle::",
    "lifecycle_bad_input::",
    "links::",
    "resume::",
    "sidecar::",
    "upload_url::",
    "uploads::",
];

/// What damages blobs in one server's own directory, counts what each replica counts for itself, or sends so
/// much that no plain balancer brings back the answer to it.
const NOT_BLACK_BOX: [&str; 6] = [
    "a_download_that_fails_leaves_no_file",
    "content_that_breaks_off_breaks_the_connection",
    "damaged_content_is_said_to_be",
    "an_upload_outlives_its_server",
    "long_request_lines_and_headers_are_refused",
    "too_many_uploads_at_once_are_told_to_come_back",
];

pub fn is_wanted() -> bool {
    std::env::var_os(WANTED).is_some()
}

/// What a balanced server has beside the first of its replicas.
pub struct Replicas {
    database: String,
    bucket: S3Storage,
    _others: Vec<TestServer>,
    _directory: TempDir,
}

impl Replicas {
    pub async fn rows(&self, table: &str) -> i64 {
        let count = format!("SELECT count(*) FROM {table}");
        postgres_server::shared().number(&self.database, &count).await
    }

    pub async fn blobs(&self) -> Result<i64> {
        let blobs = self.bucket.list(None).await?.len();
        Ok(i64::try_from(blobs + self.bucket.list_unfinished(None).await?.len())?)
    }
}

/// Three servers with these settings and one clock; the addresses are the balancer's.
pub async fn start(settings: &[(&str, &str)]) -> Result<TestServer> {
    let (store, postgres) = (seaweed::shared(), postgres_server::shared());
    store.ready().await;
    let database = postgres.database().await;
    let bucket = format!("s3://{}/{}", seaweed::BUCKET, Uuid::new_v4());
    let (grpc, http) = (Balancer::bind().await?, Balancer::bind().await?);
    let shared = [
        ("FILES__DATABASE__URL", postgres.url(&database)),
        ("FILES__DATABASE__CONNECTIONS_MAX", "3".to_owned()),
        // Every use of a record looks: what one replica has answered, the others show at once.
        ("FILES__DATABASE__RECORD_AGE_MAX", "0s".to_owned()),
        ("FILES__STORAGE__URL", bucket.clone()),
        ("FILES__STORAGE__S3__ENDPOINT", seaweed::endpoint(store.port).to_string()),
        ("FILES__STORAGE__S3__ACCESS_KEY_ID", seaweed::ACCESS_KEY_ID.to_owned()),
        ("FILES__STORAGE__S3__SECRET_ACCESS_KEY", seaweed::SECRET_ACCESS_KEY.to_owned()),
        ("FILES__HTTP__PUBLIC_URL", format!("http://localhost:{}", http.address.port())),
    ];
    let shared = shared.iter().map(|(name, value)| (*name, value.as_str()));
    let settings: Vec<_> = shared.chain(settings.iter().copied()).collect();
    let (clock, directory) = (standing_clock(), tempfile::tempdir()?);
    let mut replicas = Vec::new();
    for number in 0..REPLICAS {
        let data = directory.path().join(number.to_string());
        replicas.push(TestServer::at(Arc::clone(&clock), &data, &settings).await?);
    }
    let addresses = (grpc.address, http.address);
    grpc.run(replicas.iter().map(|replica| replica.grpc).collect());
    http.run(replicas.iter().map(|replica| replica.http).collect());
    let first = replicas.remove(0);
    let bucket = seaweed::watch(store, &bucket).await;
    let others = Replicas { database, bucket, _others: replicas, _directory: directory };
    Ok(first.behind(addresses.0, addresses.1, others))
}

/// Hands each connection to the next server in turn.
struct Balancer {
    listener: TcpListener,
    address: SocketAddr,
}

impl Balancer {
    async fn bind() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    fn run(self, servers: Vec<SocketAddr>) {
        let next = AtomicUsize::new(0);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = self.listener.accept().await {
                let server = servers[next.fetch_add(1, Ordering::Relaxed) % servers.len()];
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await?;
                    client.set_nodelay(true)?;
                    server.set_nodelay(true)?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_behind_a_balancer_pass_the_black_box_suite() -> Result {
    if is_wanted() {
        return Ok(());
    }
    let mut suite = Command::new(std::env::current_exe()?);
    suite.env(WANTED, "1").args(SUITE).stdin(Stdio::null()).kill_on_drop(true);
    for skipped in NOT_BLACK_BOX {
        suite.args(["--skip", skipped]);
    }
    let ended = suite.output().await?;
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{told}");
    let passed = told.lines().filter(|line| line.ends_with("... ok")).count();
    assert!(passed > 75, "only {passed} tests ran: {told}");
    Ok(())
}
