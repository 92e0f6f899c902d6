//! Configuration: one tree, read from defaults, a TOML file, `FILES__*` variables and flags, each winning
//! over the one before. Every mistake is reported at once, by name.

mod policy;
mod reader;
mod secrets;
mod setting;
mod sources;
mod storage;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    service::policy::Policy,
    signing::keys::{KeyRing, KeyRingError},
    telemetry::{self, LogFormat},
};
use reader::Reader;
pub use reader::{ConfigMistakes, ShownSetting};
pub use sources::Sources;
pub use storage::{StorageConfig, StoragePlace};

/// Everything that can be configured.
#[derive(Debug)]
pub struct Config {
    /// Where the embedded default keeps its database, blobs, key and locks.
    pub data_dir: PathBuf,
    /// Where records are kept.
    pub database: DatabaseConfig,
    /// The gRPC listener.
    pub grpc: GrpcConfig,
    /// The HTTP listener.
    pub http: HttpConfig,
    /// The keys that sign links; `None`: the data directory's own.
    pub signing_keys: Option<KeyRing>,
    /// What is accepted, and how much of it.
    pub policy: Policy,
    /// Where bytes rest.
    pub storage: StorageConfig,
    /// Longest life of the storage's own URLs, to which readers are sent; `None`: none are.
    pub redirect: Option<Duration>,
    /// What keeps records and blobs in step.
    pub sweep: SweepConfig,
    /// Where metrics are shown; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// How long a shutdown waits, once probes say NOT_SERVING, before it stops accepting.
    pub shutdown_delay: Duration,
    /// How long a shutdown then lets running calls go on.
    pub drain_timeout: Duration,
    /// Whether a gRPC listener beyond loopback may go without authentication.
    pub allow_unauthenticated: bool,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_level: String,
    /// Every setting as it is in force, secrets redacted.
    pub shown: Vec<ShownSetting>,
}

/// The gRPC listener.
#[derive(Clone, Debug)]
pub struct GrpcConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Bytes of one stream that may wait to be read.
    pub stream_window_bytes: u32,
    /// Bytes of a connection that may wait to be read.
    pub connection_window_bytes: u32,
    /// Most streams of a connection at once.
    pub concurrent_streams_max: u32,
}

/// The HTTP listener.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What links begin with; `None`: `http://localhost` and the listener's port.
    pub public_url: Option<Url>,
    /// Origins whose scripts may read downloads.
    pub cors_origins: Vec<HeaderValue>,
    /// Value of the Content-Security-Policy directive `frame-ancestors`.
    pub frame_ancestors: String,
    /// Value of `Cross-Origin-Resource-Policy`.
    pub resource_policy: HeaderValue,
    /// Longest a browser may keep content.
    pub cache_max_age: Duration,
    /// Longest a reader may take nothing.
    pub stall_timeout: Duration,
    /// Most connections at once.
    pub connections_max: u32,
}

/// Where records are kept.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` or `postgres://…`; `None`: SQLite in the data directory.
    pub url: Option<SecretString>,
    /// Most connections to PostgreSQL.
    pub connections_max: u32,
    /// Longest to wait for a connection, and for a statement.
    pub timeout: Duration,
    /// Longest that a record read from PostgreSQL is used again without a look; 0: every use looks.
    pub record_age_max: Duration,
    /// Whether times are those of PostgreSQL's clock, rather than of the process's own.
    pub follow_clock: bool,
}

/// What keeps records and blobs in step.
#[derive(Clone, Copy, Debug)]
pub struct SweepConfig {
    /// How often the sweeper looks for leftovers by their records.
    pub interval: Duration,
    /// How often it looks for blobs without a record.
    pub blobs_interval: Duration,
    /// Within which time all content is verified.
    pub scrub_period: Duration,
    /// Most bytes to verify a second; 0: none.
    pub scrub_bytes_per_s_max: u64,
}

const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

impl Config {
    /// Reads the tree; all mistakes come together.
    pub fn load(sources: Sources) -> Result<Self, ConfigMistakes> {
        let mut reader = Reader::new(sources)?;
        let policy = policy::policy(&mut reader);
        let storage = storage::storage(&mut reader, policy.file_bytes_max);
        let config = Self {
            data_dir: reader.take("data_dir", PathBuf::from("./data")),
            database: database(&mut reader),
            grpc: grpc(&mut reader),
            http: http(&mut reader),
            signing_keys: signing_keys(&mut reader),
            policy,
            redirect: storage::redirect(&mut reader, &storage.place),
            storage,
            sweep: sweep(&mut reader),
            metrics_listen: reader.take_optional("metrics.listen"),
            shutdown_delay: seconds(&mut reader, "shutdown.delay", 0),
            drain_timeout: seconds(&mut reader, "shutdown.drain_timeout", 30),
            allow_unauthenticated: reader.take("auth.allow_unauthenticated", false),
            log_format: reader.take("log.format", LogFormat::Auto),
            log_level: log_level(&mut reader),
            shown: Vec::new(),
        };
        let shown = reader.finish()?;
        Ok(Self { shown, ..config })
    }
}

fn database(reader: &mut Reader) -> DatabaseConfig {
    let url = secrets::secret(reader, "database.url");
    let known = |url: &SecretString| {
        let url = url.expose_secret();
        ["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme))
    };
    if url.as_ref().is_some_and(|url| !known(url)) {
        reader.refuse("database.url", "must begin with sqlite: or postgres:");
    }
    DatabaseConfig {
        url,
        connections_max: count(reader, "database.connections_max", 16),
        timeout: span(reader, "database.timeout", 10),
        record_age_max: record_age_max(reader),
        follow_clock: true,
    }
}

/// At most 5 s: for so long a link that another replica has revoked may still work.
fn record_age_max(reader: &mut Reader) -> Duration {
    const KEY: &str = "database.record_age_max";
    let default = humantime::Duration::from(Duration::from_millis(800));
    let age = *reader.take(KEY, default);
    if age > Duration::from_secs(5) {
        reader.refuse(KEY, "must be at most 5s");
    }
    age
}

fn sweep(reader: &mut Reader) -> SweepConfig {
    const HOUR_S: u64 = 3600;
    let rate = reader.take("scrub.bytes_per_s_max", ByteSize::mib(16));
    SweepConfig {
        interval: span(reader, "sweep.interval", 30),
        blobs_interval: span(reader, "sweep.blobs_interval", 6 * HOUR_S),
        scrub_period: span(reader, "scrub.period", 30 * 24 * HOUR_S),
        scrub_bytes_per_s_max: rate.as_u64(),
    }
}

fn grpc(reader: &mut Reader) -> GrpcConfig {
    let mut window = |key, default| {
        let bytes: ByteSize = reader.take(key, default);
        match u32::try_from(bytes.as_u64()) {
            // 64 KiB is HTTP/2's own default (RFC 9113, section 6.9.2), 2^31 - 1 its limit.
            Ok(bytes @ 0x1_0000..=0x7fff_ffff) => bytes,
            _ => {
                reader.refuse(key, "must be from 64 KiB to just under 2 GiB");
                0x1_0000
            }
        }
    };
    let stream_window_bytes = window("grpc.stream_window_bytes", ByteSize::kib(256));
    let connection_window_bytes = window("grpc.connection_window_bytes", ByteSize::mib(1));
    if connection_window_bytes < stream_window_bytes {
        let problem = "must not be below grpc.stream_window_bytes";
        reader.refuse("grpc.connection_window_bytes", problem);
    }
    GrpcConfig {
        listen: reader.take("grpc.listen", SocketAddr::from(([127, 0, 0, 1], 50051))),
        stream_window_bytes,
        connection_window_bytes,
        concurrent_streams_max: count(reader, "grpc.concurrent_streams_max", 1024),
    }
}

fn http(reader: &mut Reader) -> HttpConfig {
    let public_url: Option<Url> = reader.take_optional("http.public_url");
    if public_url.as_ref().is_some_and(|url| !is_public_base(url)) {
        reader.refuse("http.public_url", "must be an http or https URL without query or fragment");
    }
    HttpConfig {
        listen: reader.take("http.listen", SocketAddr::from(([127, 0, 0, 1], 9000))),
        public_url,
        cors_origins: reader.take_list("http.cors_origins"),
        frame_ancestors: frame_ancestors(reader),
        resource_policy: reader
            .take("http.resource_policy", HeaderValue::from_static("cross-origin")),
        cache_max_age: seconds(reader, "http.cache_max_age", 3600),
        stall_timeout: span(reader, "http.stall_timeout", 60),
        connections_max: count(reader, "http.connections_max", 8192),
    }
}

/// Sources of a policy directive: no way out of it into another one, or into another header.
fn frame_ancestors(reader: &mut Reader) -> String {
    let sources = reader.take("http.frame_ancestors", "'none'".to_owned());
    if !sources.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b";,".contains(&byte)) {
        reader.refuse(
            "http.frame_ancestors",
            "must be sources such as 'none' or https://chat.example",
        );
    }
    sources
}

fn is_public_base(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
}

fn log_level(reader: &mut Reader) -> String {
    let level = reader.take("log.level", "info".to_owned());
    if let Err(problem) = telemetry::check_level(&level) {
        reader.refuse("log.level", problem);
    }
    level
}

fn signing_keys(reader: &mut Reader) -> Option<KeyRing> {
    let inline: Vec<SecretString> = reader.take_secrets("signing.keys");
    let file: Option<PathBuf> = reader.take_optional("signing.keys_file");
    let keys = match file {
        None if inline.is_empty() => return None,
        None => inline,
        Some(_) if !inline.is_empty() => {
            reader.refuse("signing.keys_file", "cannot be set together with signing.keys");
            return None;
        }
        Some(path) => match std::fs::read_to_string(&path) {
            Ok(text) => {
                let keys = text.lines().map(str::trim).filter(|key| !key.is_empty());
                keys.map(|key| key.to_owned().into()).collect()
            }
            Err(error) => {
                let problem = format!("cannot read {}: {error}", path.display());
                reader.refuse("signing.keys_file", problem);
                return None;
            }
        },
    };
    key_ring(&keys).map_err(|error| reader.refuse("signing.keys", error.to_string())).ok()
}

fn key_ring(keys: &[SecretString]) -> Result<KeyRing, KeyRingError> {
    KeyRing::new(keys.iter().map(|key| key.expose_secret().as_bytes()))
}

/// A time span of at most a year, and not none.
fn span(reader: &mut Reader, key: &str, default_s: u64) -> Duration {
    let span = seconds(reader, key, default_s);
    if span.is_zero() {
        reader.refuse(key, "must be above 0");
    }
    span
}

/// A time span of at most a year.
fn seconds(reader: &mut Reader, key: &str, default_s: u64) -> Duration {
    let default = humantime::Duration::from(Duration::from_secs(default_s));
    let span = *reader.take(key, default);
    if span > SPAN_MAX {
        reader.refuse(key, "must be at most a year");
    }
    span
}

/// A number of things that may be at once: at least one.
fn count(reader: &mut Reader, key: &str, default: u32) -> u32 {
    let count = reader.take(key, default);
    if count == 0 {
        reader.refuse(key, "must be at least 1");
    }
    count
}

fn bytes(reader: &mut Reader, key: &str, default: ByteSize) -> usize {
    usize::try_from(reader.take(key, default).as_u64()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigMistakes> {
        Config::load(Sources {
            file: Some(("files.toml".into(), file.to_owned())),
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            flags: Vec::new(),
        })
    }

    #[test]
    fn flags_win_over_variables_over_the_file_over_defaults() {
        let mut sources = Sources {
            file: Some(("f".into(), "data_dir = 'a'\n[grpc]\nlisten = '127.0.0.1:1'".into())),
            variables: vec![("FILES__GRPC__LISTEN".into(), "127.0.0.1:2".into())],
            flags: Vec::new(),
        };
        let config = Config::load(sources.clone()).expect("valid");
        assert_eq!((config.data_dir, config.grpc.listen.port()), ("a".into(), 2));
        assert_eq!(config.http.listen.port(), 9000);
        sources.flags.push(("grpc.listen", "--grpc", "127.0.0.1:3".into()));
        assert_eq!(Config::load(sources).expect("valid").grpc.listen.port(), 3);
    }

    #[test]
    fn every_mistake_is_reported_at_once_by_name() {
        let file = "colour = 'red'\n[grpc]\nlisten = 'nowhere'\n[uploads]\nidle_timeout = 'soon'";
        let mistakes = load(file, &[("FILES__HTTP__PORT", "1"), ("FILES__SIGNING__KEYS", "short")])
            .expect_err("mistakes")
            .to_string();
        for name in ["colour", "grpc.listen", "uploads.idle_timeout", "http.port", "signing.keys"] {
            assert!(mistakes.contains(name), "{name} in {mistakes}");
        }
        assert!(mistakes.contains("FILES__HTTP__PORT"));
        assert!(!mistakes.contains("'short'"), "a secret shows in {mistakes}");
    }

    #[test]
    fn what_would_disable_or_overflow_something_is_a_mistake() {
        for (key, value) in [
            ("FILES__SWEEP__INTERVAL", "0s"),
            ("FILES__UPLOADS__IDLE_TIMEOUT", "0s"),
            ("FILES__UPLOADS__IDLE_TIMEOUT", "2000000years"),
            ("FILES__UPLOADS__CONCURRENT_MAX", "0"),
            ("FILES__GRPC__CONNECTION_WINDOW_BYTES", "64 KiB"),
            ("FILES__LINKS__TTL_DEFAULT", "8d"),
            ("FILES__HTTP__PUBLIC_URL", "ftp://x"),
        ] {
            assert!(load("", &[(key, value)]).is_err(), "{key} = {value}");
        }
    }

    #[test]
    fn types_and_purposes_extend_the_tables() {
        let file = "[types]\n'.ipynb' = 'application/x-ipynb+json'\n[purposes.notes]\n\
                    file_bytes_max = '1 MiB'\n[purposes.empty]";
        let policy = load(file, &[]).expect("valid").policy;
        assert!(policy.types.iter().any(|(extension, _)| extension == "ipynb"));
        assert_eq!(policy.file_bytes_max("notes"), 1024 * 1024);
        assert_eq!(policy.purposes.iter().count(), 2);
    }

    #[test]
    fn the_database_is_named_inline_or_in_a_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("url");
        std::fs::write(&path, "postgres://files:s3cret@db/files\n").expect("written");
        let path = path.to_str().expect("UTF-8");
        let config = load("", &[("FILES__DATABASE__URL_FILE", path)]).expect("valid");
        let url = config.database.url.as_ref().map(ExposeSecret::expose_secret);
        assert_eq!(url, Some("postgres://files:s3cret@db/files"));
        assert!(!format!("{config:?}").contains("s3cret"));
        let both = [("FILES__DATABASE__URL_FILE", path), ("FILES__DATABASE__URL", "sqlite:x")];
        assert!(load("", &both).is_err());
        assert!(load("", &[("FILES__DATABASE__URL", "mysql://x")]).is_err());
    }

    #[test]
    fn secrets_are_never_shown() {
        let key = "0123456789abcdef0123456789abcdef";
        let config = load("", &[("FILES__SIGNING__KEYS", key)]).expect("valid");
        assert!(config.signing_keys.is_some());
        let debug = format!("{config:?}");
        assert!(!debug.contains(key), "{debug}");
    }
}
