//! `files serve`.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use rustix::{
    fs::Mode,
    process::{Resource, getrlimit, setrlimit},
};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Usage;
use crate::{
    config::{Config, Sources},
    server::{Role, Server},
    telemetry,
};

/// Run the service: gRPC for callers, HTTP for signed URLs
///
/// Without options everything is kept below ./data, and both listeners are on loopback. SIGTERM or Ctrl-C
/// drains: calls under way may finish until shutdown.drain_timeout. Settings come from defaults, the file
/// given with --config, FILES__* variables and flags, each winning over the one before; `files config check`
/// shows them all.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,

    /// Which listeners this process runs; two processes, one a role, can share a data directory
    #[arg(long, value_enum, default_value_t = Role::All)]
    role: Role,
}

/// Flags that stand for settings.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Read settings from this TOML file
    #[arg(long, env = "FILES_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Keep database, blobs, key and locks in this directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Listen for gRPC here [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    grpc: Option<String>,

    /// Listen for HTTP downloads here [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,

    /// Begin signed URLs with this [default: http://localhost and the HTTP listener's port]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// Let the gRPC listener leave loopback although callers are not authenticated
    #[arg(long)]
    allow_unauthenticated: bool,
}

impl Settings {
    pub(super) fn load(self) -> anyhow::Result<Config> {
        let file = self.config.map(|path| match std::fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(error) => Err(Usage(format!("cannot read {}: {error}", path.display()))),
        });
        let allow = self.allow_unauthenticated.then(|| "true".to_owned());
        let flags = [
            ("data_dir", "--data", self.data),
            ("grpc.listen", "--grpc", self.grpc),
            ("http.listen", "--http", self.http),
            ("http.public_url", "--public-url", self.public_url),
            ("auth.allow_unauthenticated", "--allow-unauthenticated", allow),
        ];
        let given = |(key, flag, value): (_, _, Option<String>)| Some((key, flag, value?));
        Ok(Config::load(Sources {
            file: file.transpose()?,
            // What is not UTF-8 is none of ours.
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            flags: flags.into_iter().filter_map(given).collect(),
        })?)
    }
}

/// Every connection and every open file takes a descriptor; the system's default allows few.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where this is not allowed, the service runs with what it has.
    let _ = setrlimit(Resource::Nofile, limit);
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.settings.load()?;
        // Whatever is made below the data directory is its owner's alone.
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        raise_descriptor_limit();
        telemetry::start(config.log_format, &config.log_level)
            .map_err(|error| anyhow!("log.level: {error}"))?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
        let server = Server::start(config, self.role).await?;
        let stop = server.shutdown_token();
        let running = server.wait();
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => return ended,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        tokio::select! {
            ended = &mut running => ended,
            _ = terminate.recv() => bail!("told to stop twice: ended without draining"),
            _ = interrupt.recv() => bail!("told to stop twice: ended without draining"),
        }
    }
}
