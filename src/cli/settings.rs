//! Flags that stand for settings.

use std::path::PathBuf;

use clap::Args;
use rustix::fs::Mode;

use super::exit::Usage;
use crate::{
    config::{Config, Sources},
    telemetry,
};

/// Where settings come from, and which data they are about.
#[derive(Debug, Args)]
pub(super) struct DataSettings {
    /// Read settings from this TOML file
    #[arg(long, env = "FILES_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Keep database, blobs, key and locks in this directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
}

/// The settings of a server.
#[derive(Debug, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    data: DataSettings,

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

type Flag = (&'static str, &'static str, Option<String>);

impl DataSettings {
    /// Reads the settings for a command that works on the data itself, with its log on standard error.
    pub(super) fn load(self) -> anyhow::Result<Config> {
        let config = self.with(Vec::new())?;
        keep_private();
        telemetry::start(config.log_format, &config.log_level)
            .map_err(|error| anyhow::anyhow!("log.level: {error}"))?;
        Ok(config)
    }

    fn with(self, mut flags: Vec<Flag>) -> anyhow::Result<Config> {
        let file = self.config.map(|path| match std::fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(error) => Err(Usage(format!("cannot read {}: {error}", path.display()))),
        });
        flags.push(("data_dir", "--data", self.data));
        let given = |(key, flag, value): Flag| Some((key, flag, value?));
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

impl Settings {
    pub(super) fn load(self) -> anyhow::Result<Config> {
        let allow = self.allow_unauthenticated.then(|| "true".to_owned());
        self.data.with(vec![
            ("grpc.listen", "--grpc", self.grpc),
            ("http.listen", "--http", self.http),
            ("http.public_url", "--public-url", self.public_url),
            ("auth.allow_unauthenticated", "--allow-unauthenticated", allow),
        ])
    }
}

/// Whatever is made below the data directory is its owner's alone.
pub(super) fn keep_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}
