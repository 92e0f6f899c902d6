//! `files storage`.

use std::{
    io::{self, Write},
    time::Duration,
};

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{output::Format, settings::DataSettings};
use crate::{server::upkeep::storage::check_storage, storage::probe::ProbeStep};

/// A small blob tells how long a request takes, a large one how fast bytes move.
const SIZES: [usize; 2] = [4 * 1024, 64 * 1024 * 1024];

/// Look at the storage by itself
#[derive(Debug, Subcommand)]
pub(super) enum StorageCommand {
    Check(Check),
}

/// Write, read, list and delete a small and a large blob, and tell how fast that was
///
/// It may run beside servers and needs no database. What it writes is gone in the end. Where a step fails, it
/// says which, why, and what to check.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    settings: DataSettings,
}

impl StorageCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check(command) => command.run().await,
        }
    }
}

impl Check {
    async fn run(self) -> anyhow::Result<()> {
        let config = self.settings.load()?;
        let (format, mut unwritten) = (self.format, None);
        let mut tell = |size_bytes, step, took| {
            let written = write_step(format, size_bytes, step, took);
            unwritten = unwritten.take().or(written.err());
        };
        check_storage(&config, &SIZES, &mut tell).await?;
        match unwritten {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

fn write_step(
    format: Format,
    size_bytes: usize,
    step: ProbeStep,
    took: Duration,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let took_ms = took.as_secs_f64() * 1000.0;
    let moves_bytes = matches!(step, ProbeStep::Write | ProbeStep::Read);
    if format.is_for_people() {
        let size = ByteSize::b(size_bytes as u64).display().iec().to_string();
        let rate = match moves_bytes {
            true => format!("{:.1} MiB/s", size_bytes as f64 / took.as_secs_f64() / 1_048_576.0),
            false => String::new(),
        };
        return writeln!(out, "{size:>10}  {:<6} {took_ms:>9.1} ms  {rate}", step.as_str());
    }
    let step = json!({ "size_bytes": size_bytes, "step": step.as_str(), "took_ms": took_ms });
    writeln!(out, "{step}")
}
