//! `files migrate-storage`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{exit::Unfinished, output::Format, progress, settings::DataSettings};
use crate::{backup::Moved, server::upkeep::Upkeeper};

/// Copy all content to another storage, while servers run on the one there is
///
/// It goes on until nothing is left to copy, and may be run again at any time: what is whole there already is not
/// copied again. Each file's content is read back and checked against its hash. To move: run it while the servers
/// serve, stop them, run it once more with --trust-sizes for the last uploads, set storage.url, and start them.
/// What the URL leaves out, such as credentials, is as configured in storage.s3 and storage.smb.
#[derive(Debug, Args)]
pub(super) struct MigrateStorage {
    /// Where to: file:PATH, s3://BUCKET/PREFIX or smb://HOST/SHARE/DIRECTORY
    #[arg(long, value_name = "URL")]
    to: String,

    /// Take what is there in the right size for whole, rather than reading it: for the last run of a move
    #[arg(long)]
    trust_sizes: bool,

    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    settings: DataSettings,
}

impl MigrateStorage {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.settings.load()?;
        let upkeeper = Upkeeper::open(&config).await?;
        let bar = progress::bar("copying content", upkeeper.totals().await?.stored_bytes);
        let wanted = (self.to.as_str(), self.trust_sizes);
        let moved = upkeeper.migrate_storage(&config, wanted, &|bytes| bar.inc(bytes)).await?;
        bar.finish_and_clear();
        write_report(self.format, &moved)?;
        match moved.copied.damaged.len() {
            0 => Ok(()),
            lost => {
                let text = format!("the content of {lost} files could not be copied whole");
                Err(Unfinished(text).into())
            }
        }
    }
}

fn write_report(format: Format, moved: &Moved) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let people = format.is_for_people();
    for record in &moved.copied.damaged {
        let file_id = record.file.id.to_string();
        match people {
            true => writeln!(out, "{file_id}: its content is not there whole")?,
            false => writeln!(out, "{}", json!({ "damaged": file_id }))?,
        }
    }
    let (files, bytes, there) = (moved.copied.files, moved.copied.bytes, moved.there);
    match people {
        true => writeln!(out, "copied {files} files of {bytes} bytes; {there} were there already"),
        false => {
            let damaged = moved.copied.damaged.len();
            let report =
                json!({ "files": files, "bytes": bytes, "there": there, "damaged": damaged });
            writeln!(out, "{report}")
        }
    }
}
