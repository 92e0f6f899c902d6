//! `files backup` and `files restore`.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::{exit::Unfinished, output::Format, progress, settings::DataSettings};
use crate::{
    backup::Copied,
    server::upkeep::backup::{self, Progress},
};

/// Copy the embedded default's data to a directory, while servers may be running
///
/// Everything that was acknowledged before it began is in the copy, checked against its hash on the way. The
/// signing key is in it, too: keep it as secret as the data. For PostgreSQL see docs/operations.md.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The directory to copy to: a new or an empty one
    #[arg(value_name = "DIR")]
    target: PathBuf,

    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    settings: DataSettings,
}

/// Make a data directory of a backup
///
/// The data directory, given with --data, must be new or empty. All content is checked against its hash.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup
    #[arg(value_name = "DIR")]
    source: PathBuf,

    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    settings: DataSettings,
}

impl Backup {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.settings.load()?;
        let bar = progress::bar("backing up", 0);
        let copied = backup::backup(&config, &self.target, &|it| show(&bar, it)).await?;
        bar.finish_and_clear();
        report(self.format, &copied)
    }
}

impl Restore {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.settings.load()?;
        let bar = progress::bar("restoring", 0);
        let copied = backup::restore(&config, &self.source, &|it| show(&bar, it)).await?;
        bar.finish_and_clear();
        report(self.format, &copied)
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Begun(totals) => bar.set_length(totals.stored_bytes),
        Progress::Copied(bytes) => bar.inc(bytes),
    }
}

fn report(format: Format, copied: &Copied) -> anyhow::Result<()> {
    write_report(format, copied)?;
    match copied.damaged.len() {
        0 => Ok(()),
        lost => Err(Unfinished(format!(
            "the content of {lost} files was not there whole: the copy has them out of service"
        ))
        .into()),
    }
}

fn write_report(format: Format, copied: &Copied) -> io::Result<()> {
    let Copied { files, bytes, damaged } = copied;
    let mut out = io::stdout().lock();
    let people = format.is_for_people();
    for record in damaged {
        let file_id = record.file.id.to_string();
        match people {
            true => writeln!(out, "{file_id}: its content is not there whole")?,
            false => writeln!(out, "{}", json!({ "damaged": file_id }))?,
        }
    }
    match people {
        true => writeln!(out, "copied {files} files of {bytes} bytes"),
        false => {
            let damaged = damaged.len();
            writeln!(out, "{}", json!({ "files": files, "bytes": bytes, "damaged": damaged }))
        }
    }
}
