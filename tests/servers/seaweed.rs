//! SeaweedFS servers of the tests' own: an S3 store on loopback, in a directory of its own. They end with the
//! process.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use files::{
    clock::SystemClock,
    storage::{
        probe::probe,
        s3::{Checksums, PART_BYTES_MIN, S3Credentials, S3Options, S3Storage},
    },
};
use url::Url;
use uuid::Uuid;

pub(crate) const ACCESS_KEY_ID: &str = "files";
pub(crate) const SECRET_ACCESS_KEY: &str = "s3cret-of-the-tests";
pub(crate) const BUCKET: &str = "files";

/// Runs what `$RUN` says, again and again as it is told, until nobody holds the other end of its standard
/// input any more.
const KEEPER: &str = r#"
trap 'stop KILL; rm -rf "$HOME"' EXIT
start() { sh -c "exec $RUN" >>"$HOME/log" 2>&1 & pid=$!; }
stop() { kill -$1 $pid 2>/dev/null; wait $pid 2>/dev/null; }
start
while read -r command; do
    case $command in start) start ;; *) stop $command ;; esac
    echo done
done
"#;

/// One process of SeaweedFS.
pub(crate) struct Process {
    keeper: Mutex<(Child, BufReader<ChildStdout>)>,
    home: PathBuf,
}

impl Process {
    fn run(arguments: &str) -> Self {
        let home = std::env::temp_dir().join(format!("files-s3-{}", Uuid::new_v4()));
        fs::create_dir(&home).expect("a directory");
        let mut child = Command::new("sh")
            .args(["-c", KEEPER])
            .env("HOME", &home)
            .env("RUN", format!("'{}' {arguments}", weed().display()))
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            .current_dir(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the tests: with them its input ends, and then it cleans up.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let said = BufReader::new(child.stdout.take().expect("its output"));
        Self { keeper: Mutex::new((child, said)), home }
    }

    fn tell(&self, command: &str) {
        let mut keeper = self.keeper.lock().expect("no panic");
        let (child, said) = &mut *keeper;
        writeln!(child.stdin.as_mut().expect("its input"), "{command}").expect("it listens");
        let mut line = String::new();
        said.read_line(&mut line).expect("an answer");
        assert_eq!(line, "done\n");
    }

    /// Ends the process as a crash would.
    pub(crate) fn kill(&self) {
        self.tell("KILL");
    }

    /// Runs it again on the data it had.
    pub(crate) fn start(&self) {
        self.tell("start");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }
}

/// A store, whatever it is made of.
pub(crate) struct Server {
    pub(crate) port: u16,
    process: Option<Process>,
}

/// The store that tests share; each has a prefix of its own. It is another one where `scripts/test-garage`
/// says so.
pub(crate) fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| match other("PORT") {
        Some(port) => Server { port: port.parse().expect("a port"), process: None },
        None => Server::start(),
    })
}

/// What is said of another store than SeaweedFS.
fn other(what: &str) -> Option<String> {
    std::env::var(format!("FILES_TEST_S3_{what}")).ok()
}

impl Server {
    /// Ends a store of the test's own as a crash would.
    pub(crate) fn kill(&self) {
        self.process.as_ref().expect("a store of its own").kill();
    }

    /// Runs it again on the data it had.
    pub(crate) fn start_again(&self) {
        self.process.as_ref().expect("a store of its own").start();
    }

    /// A store in one process. It is ready when [`Server::ready`] has returned.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// The same with more flags.
    pub(crate) fn start_with(more: &str) -> Self {
        let [s3, master, volume, filer, admin] = free_ports();
        let process = Process::run(&format!(
            "mini -dir=. -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false -admin.ui=false \
             -webdav=false -s3.port.iceberg=0 -s3.port.lance=0 -bucket={BUCKET} -s3.port={s3} \
             -master.port={master} -volume.port={volume} -filer.port={filer} -admin.port={admin} {more}"
        ));
        Self { port: s3, process: Some(process) }
    }

    fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    pub(crate) fn endpoint(&self) -> Url {
        endpoint(self.port)
    }

    /// A prefix that nobody else uses.
    pub(crate) fn options(&self) -> S3Options {
        options(self.port)
    }

    /// Waits until the store answers.
    pub(crate) async fn ready(&self) {
        let mut last = None;
        for _ in 0..600 {
            match S3Storage::connect(self.options(), Arc::new(SystemClock)).await {
                Ok(_) => return,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the store never answered: {last:?}\n{}", self.log());
    }
}

/// Three masters, three volume servers that keep three copies of everything, and a filer that speaks S3.
pub(crate) struct Cluster {
    pub(crate) server: Server,
    pub(crate) volumes: Vec<Process>,
    _masters: Vec<Process>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let masters: [u16; 3] = free_ports();
        let peers = masters.map(|port| format!("127.0.0.1:{port}")).join(",");
        let run_master = |port: u16| {
            Process::run(&format!(
                "master -ip=127.0.0.1 -ip.bind=127.0.0.1 -port={port} -peers={peers} -mdir=. \
                 -defaultReplication=002 -telemetry=false -volumeSizeLimitMB=64"
            ))
        };
        let run_volume = |port: u16| {
            Process::run(&format!(
                "volume -ip=127.0.0.1 -ip.bind=127.0.0.1 -port={port} -mserver={peers} -dir=. -max=50"
            ))
        };
        let _masters = masters.map(run_master).into_iter().collect();
        let volumes = free_ports::<3>().map(run_volume).into_iter().collect();
        let [filer, s3] = free_ports();
        let process = Process::run(&format!(
            "filer -ip=127.0.0.1 -ip.bind=127.0.0.1 -port={filer} -master={peers} -s3 -s3.port={s3} \
             -s3.port.iceberg=0 -defaultReplicaPlacement=002"
        ));
        let cluster =
            Self { server: Server { port: s3, process: Some(process) }, volumes, _masters };
        cluster.make_bucket(&peers).await;
        cluster
    }

    /// Makes the bucket as soon as everybody knows everybody, and waits until it takes blobs.
    async fn make_bucket(&self, peers: &str) {
        let shell = format!("'{}' shell -master={peers}", weed().display());
        let make = format!("echo 's3.bucket.create -name {BUCKET}' | timeout 10 {shell}");
        for _ in 0..60 {
            let made = tokio::process::Command::new("sh").args(["-c", &make]).output();
            made.await.expect("a shell");
            let options = self.server.options();
            if let Ok(storage) = S3Storage::connect(options, Arc::new(SystemClock)).await
                && probe(&storage, 1000, &mut |_, _| {}).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("the cluster never took a blob: {}", self.server.log());
    }
}

/// How many multipart uploads are unfinished below a prefix, asked with nothing of ours in between.
pub(crate) async fn uploads(options: &S3Options) -> usize {
    let S3Credentials::Static { access_key_id, secret_access_key, .. } = &options.credentials
    else {
        panic!("the tests' keys are static");
    };
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::v2026_01_12())
        .credentials_provider(aws_sdk_s3::config::Credentials::new(
            access_key_id,
            secrecy::ExposeSecret::expose_secret(secret_access_key),
            None,
            None,
            "tests",
        ))
        .region(aws_sdk_s3::config::Region::new(options.region.clone()))
        .endpoint_url(
            options.endpoint.as_ref().expect("an endpoint").as_str().trim_end_matches('/'),
        )
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    let asked = client.list_multipart_uploads().bucket(&options.bucket).send().await;
    let uploads = asked.expect("a listing");
    assert_ne!(uploads.is_truncated(), Some(true), "more than a page");
    let below = |key: Option<&str>| key.is_some_and(|key| key.starts_with(&options.prefix));
    uploads.uploads().iter().filter(|upload| below(upload.key())).count()
}

/// What lies below the prefix of a bucket's URL.
pub(crate) async fn watch(store: &Server, url: &str) -> S3Storage {
    let (_, prefix) = url.rsplit_once('/').expect("a prefix");
    let options = S3Options { prefix: format!("{prefix}/"), ..store.options() };
    S3Storage::connect(options, Arc::new(SystemClock)).await.expect("the store has answered before")
}

pub(crate) fn endpoint(port: u16) -> Url {
    format!("http://127.0.0.1:{port}").parse().expect("a URL")
}

/// What reaches a store on this port, below a prefix that nobody else uses.
pub(crate) fn options(port: u16) -> S3Options {
    S3Options {
        bucket: BUCKET.to_owned(),
        prefix: format!("{}/", Uuid::new_v4()),
        region: other("REGION").unwrap_or_else(|| "us-east-1".to_owned()),
        endpoint: Some(endpoint(port)),
        public_endpoint: None,
        path_style: true,
        credentials: S3Credentials::Static {
            access_key_id: other("ACCESS_KEY_ID").unwrap_or_else(|| ACCESS_KEY_ID.to_owned()),
            secret_access_key: other("SECRET_ACCESS_KEY")
                .unwrap_or_else(|| SECRET_ACCESS_KEY.to_owned())
                .into(),
            session_token: None,
        },
        encryption: None,
        storage_class: None,
        checksums: Checksums::Crc32,
        part_bytes: PART_BYTES_MIN as usize,
        ca_file: None,
    }
}

fn weed() -> PathBuf {
    let weed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/python/bin/weed");
    assert!(weed.exists(), "{} is missing: run scripts/test, which installs it", weed.display());
    weed
}

/// Ports that are free, and so are those 10,000 above them, which each service takes for itself, too.
pub(crate) fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    // Processes that run at once begin apart, below the ports that are given out for 0.
    let first = 11_000 + (std::process::id() % 100) as u16 * 100;
    std::array::from_fn(|_| {
        (0..2_000)
            .map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000)
            .find(|port| is_free(*port) && is_free(port + 10_000))
            .expect("two free ports")
    })
}
