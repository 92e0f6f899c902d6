//! Servers in processes of their own, over one database and one storage, that can be killed and started again.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use files::{
    clock::{Clock, ManualClock, SystemClock},
    metadata::{Upkeep, postgres::PostgresRepository, sqlite::SqliteRepository},
    proto::files_service_client::FilesServiceClient,
    storage::{
        Storage,
        local::{LocalStorage, ReadCache},
        s3::{S3Options, S3Storage},
        smb::SmbStorage,
    },
    sweep::{Brake, StraySweeper, Sweeper},
};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    sync::Mutex,
};
use tonic::transport::{Channel, Endpoint};

use super::gate::{Gate, Turn};
use crate::{postgres_server, samba_server, seaweed};

type Result<T = ()> = anyhow::Result<T>;
type Client = FilesServiceClient<Channel>;

const CACHE: ReadCache = ReadCache { small_bytes_max: 1 << 20, open_files_max: 0 };

/// What the servers work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    DiskAndSqlite,
    BucketAndPostgres,
    ShareAndPostgres,
}

pub(super) struct Site {
    pub(super) kind: Kind,
    pub(super) replicas: Vec<Replica>,
    /// The ways to the database and to the storage, where they are elsewhere.
    pub(super) gates: Vec<Gate>,
    pub(super) turn: Turn,
    data: PathBuf,
    database: String,
    repository_and_storage: Stores,
    _directory: TempDir,
}

/// How the same stores are opened on the side.
enum Stores {
    Local,
    Bucket(Box<S3Options>),
    Share(files::storage::smb::SmbOptions),
}

/// A server on an address that stays the same.
pub(super) struct Replica {
    pub(super) address: SocketAddr,
    http: SocketAddr,
    data: PathBuf,
    log: PathBuf,
    settings: Vec<(&'static str, String)>,
    process: Mutex<Option<Child>>,
}

fn free_address() -> SocketAddr {
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

impl Replica {
    async fn start(&self) {
        let mut process = self.process.lock().await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_files"));
        command
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (*name, value)))
            .args(["serve", "--grpc", &self.address.to_string()])
            .args(["--http", &self.http.to_string(), "--data"])
            .arg(&self.data)
            .stderr(self.log())
            .kill_on_drop(true);
        *process = Some(command.spawn().expect("a server"));
    }

    fn log(&self) -> Stdio {
        let log = std::fs::File::options().create(true).append(true).open(&self.log);
        log.expect("a log").into()
    }

    /// Kills the server and starts it again.
    pub(super) async fn kill(&self) {
        if let Some(mut child) = self.process.lock().await.take() {
            child.kill().await.expect("a server to kill");
        }
        self.start().await;
    }

    async fn end(&self) {
        if let Some(mut child) = self.process.lock().await.take() {
            child.kill().await.expect("a server to kill");
        }
    }

    /// A connection of its own, once the server answers. One that would not start while something was gone is
    /// started again, as whoever supervises it would do.
    pub(super) async fn client(&self) -> Client {
        for _ in 0..600 {
            if let Ok(client) = connect(self.address).await {
                return client;
            }
            if self.has_ended().await {
                self.start().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        panic!("a server never answered: {log}");
    }

    async fn has_ended(&self) -> bool {
        let mut process = self.process.lock().await;
        process.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }
}

pub(super) async fn connect(address: SocketAddr) -> Result<Client> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(Client::new(endpoint.connect_timeout(Duration::from_secs(2)).connect().await?))
}

impl Site {
    pub(super) async fn start(kind: Kind) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (mut settings, mut gates, mut database) = (Vec::new(), Vec::new(), String::new());
        settings.push(("FILES__SIGNING__KEYS", "test-secret-0123456789abcdef0123".to_owned()));
        // Accounts are given all the time, and not only where an upload breaks off.
        settings.push(("FILES__UPLOADS__CHECKPOINT_BYTES", "200 KiB".to_owned()));
        if kind != Kind::DiskAndSqlite {
            let postgres = postgres_server::shared();
            database = postgres.database().await;
            let gate = Gate::before(postgres.port()).await;
            let own = format!(":{}/", gate.port);
            let url = postgres.url(&database).replace(&format!(":{}/", postgres.port()), &own);
            settings.push(("FILES__DATABASE__URL", url));
            settings.push(("FILES__DATABASE__CONNECTIONS_MAX", "6".to_owned()));
            gates.push(gate);
        }
        let stores = match kind {
            Kind::DiskAndSqlite => Stores::Local,
            Kind::BucketAndPostgres => bucket(&mut settings, &mut gates).await,
            Kind::ShareAndPostgres => share(&mut settings, &mut gates).await,
        };
        // One data directory serves one server.
        let count = if kind == Kind::DiskAndSqlite { 1 } else { 3 };
        let replica = |number: usize| Replica {
            address: free_address(),
            http: free_address(),
            data: directory.path().join(number.to_string()),
            log: directory.path().join(format!("{number}.log")),
            settings: settings.clone(),
            process: Mutex::new(None),
        };
        let replicas: Vec<Replica> = (0..count).map(replica).collect();
        for replica in &replicas {
            replica.start().await;
            replica.client().await;
        }
        let data = directory.path().join("0");
        let turn = Turn::default();
        let repository_and_storage = stores;
        Ok(Self {
            kind,
            replicas,
            gates,
            turn,
            data,
            database,
            repository_and_storage,
            _directory: directory,
        })
    }

    /// What the servers have logged beyond the usual.
    pub(super) fn complaints(&self) -> String {
        let logs = self.replicas.iter().filter_map(|it| std::fs::read_to_string(&it.log).ok());
        let lines = logs.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.filter(|line| !line.contains("\"INFO\"")).collect::<Vec<_>>().join("\n")
    }

    /// Ends the servers, lets more time pass than anything unfinished is kept, and sweeps: what is left then, of
    /// rows that are no files, of blobs beside `files`, and of what is unfinished.
    pub(super) async fn leftovers(&self, files: usize) -> Result<(i64, i64, usize)> {
        for replica in &self.replicas {
            replica.end().await;
        }
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let times = || Arc::clone(&clock) as Arc<dyn Clock>;
        let repository: Arc<dyn Upkeep> = match self.kind {
            Kind::DiskAndSqlite => {
                Arc::new(SqliteRepository::open(&self.data.join("metadata.db"), times())?)
            }
            _ => {
                let options = postgres_server::shared().options(&self.database);
                Arc::new(PostgresRepository::open(options, times()).await?)
            }
        };
        let storage: Arc<dyn Storage> = match &self.repository_and_storage {
            Stores::Local => {
                Arc::new(LocalStorage::open(&self.data.join("blobs"), CACHE, times())?)
            }
            Stores::Bucket(options) => {
                Arc::new(S3Storage::connect(S3Options::clone(options), times()).await?)
            }
            Stores::Share(options) => {
                Arc::new(SmbStorage::connect(options.clone(), times()).await?)
            }
        };
        let sweeper = Sweeper::new(Arc::clone(&repository), Arc::clone(&storage));
        let mut strays = StraySweeper::new(Arc::clone(&repository), Arc::clone(&storage));
        // Twice: blobs without a record are removed when they are met for the second time.
        for _ in 0..3 {
            clock.advance(Duration::from_secs(25 * 3600));
            sweeper.pass().await?;
            strays.pass(Brake::Off).await?;
        }
        let (mut blobs, mut after) = (0, None);
        loop {
            let page = storage.list(after.as_ref()).await?;
            let Some(last) = page.last() else { break };
            (blobs, after) = (blobs + page.len() as i64, Some(last.key));
        }
        let wrong = repository.check_usage(false).await?;
        assert!(wrong.is_empty(), "what users have is counted wrong: {wrong:?}");
        let rows = self.rows().await? - files as i64;
        Ok((rows, blobs - files as i64, storage.list_unfinished(None).await?.len()))
    }

    async fn rows(&self) -> Result<i64> {
        const COUNT: &str = "SELECT count(*) FROM files";
        if self.kind != Kind::DiskAndSqlite {
            return Ok(postgres_server::shared().number(&self.database, COUNT).await);
        }
        let connection = rusqlite::Connection::open(self.data.join("metadata.db"))?;
        Ok(connection.query_row(COUNT, [], |row| row.get(0))?)
    }
}

async fn bucket(settings: &mut Vec<(&'static str, String)>, gates: &mut Vec<Gate>) -> Stores {
    let store = seaweed::shared();
    store.ready().await;
    let options = store.options();
    let gate = Gate::before(store.port).await;
    let prefix = options.prefix.trim_end_matches('/');
    settings.push(("FILES__STORAGE__URL", format!("s3://{}/{prefix}", seaweed::BUCKET)));
    let endpoint = seaweed::endpoint(gate.port).to_string();
    settings.push(("FILES__STORAGE__S3__ENDPOINT", endpoint));
    settings.push(("FILES__STORAGE__S3__ACCESS_KEY_ID", seaweed::ACCESS_KEY_ID.to_owned()));
    let secret = seaweed::SECRET_ACCESS_KEY.to_owned();
    settings.push(("FILES__STORAGE__S3__SECRET_ACCESS_KEY", secret));
    settings.push(("FILES__STORAGE__S3__PART_BYTES", "5 MiB".to_owned()));
    settings.push(("FILES__UPLOADS__FILE_BYTES_MAX", "1 GiB".to_owned()));
    gates.push(gate);
    Stores::Bucket(Box::new(options))
}

async fn share(settings: &mut Vec<(&'static str, String)>, gates: &mut Vec<Gate>) -> Stores {
    let server = samba_server::shared();
    let options = server.options(&server.directory());
    let gate = Gate::before(server.port()).await;
    let (user, directory) = (&options.username, &options.directory);
    let url = format!("smb://{user}@127.0.0.1:{}/{}/{directory}", gate.port, options.share);
    settings.push(("FILES__STORAGE__URL", url));
    let password = options.password.expose_secret().to_owned();
    settings.push(("FILES__STORAGE__SMB__PASSWORD", password));
    settings.push(("FILES__STORAGE__SMB__TIMEOUT", "2s".to_owned()));
    gates.push(gate);
    Stores::Share(options)
}
