//! `files fsck`.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;

use super::{exit::Unfinished, output::Format, progress, settings::DataSettings};
use crate::{
    fsck::{Event, Finding, FsckOptions, Summary},
    server::upkeep::Upkeeper,
    sweep::Brake,
};

/// Check that every file has its content, every blob its record, and that the counters agree
///
/// It may run beside servers. A visible file is never deleted: content that is lost is taken out of service
/// with --repair, and its downloads then answer CONTENT_DAMAGED. Exit code 6 says that something was found
/// and left as it is.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Read all content and compare it with its hash, rather than its size alone
    #[arg(long)]
    content: bool,

    /// Mend what can be mended, and take lost content out of service
    #[arg(long)]
    repair: bool,

    /// With --repair, remove blobs without a record however many there are; see `files sweep --help`
    #[arg(long, requires = "repair")]
    force: bool,

    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    settings: DataSettings,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let upkeeper = Upkeeper::open(&self.settings.load()?).await?;
        let options = FsckOptions {
            content: self.content,
            repair: self.repair,
            brake: if self.force { Brake::Off } else { Brake::On },
        };
        let totals = upkeeper.totals().await?;
        let bar = match self.content {
            true => progress::bar("checking content", totals.stored_bytes),
            false => progress::count("checking files", totals.file_count),
        };
        let (format, content) = (self.format, self.content);
        let mut broken_pipe = None;
        let mut tell = |event| match event {
            Event::Looked(bytes) => bar.inc(if content { bytes } else { 1 }),
            Event::Found(finding) => {
                let written = bar.suspend(|| write_finding(format, &finding));
                broken_pipe = broken_pipe.take().or(written.err());
            }
        };
        let summary = upkeeper.fsck(options, &mut tell).await?;
        bar.finish_and_clear();
        if let Some(error) = broken_pipe {
            return Err(error.into());
        }
        write_summary(self.format, &summary)?;
        match summary.left {
            0 => Ok(()),
            left => Err(Unfinished(format!("{left} findings are left as they were")).into()),
        }
    }
}

fn write_finding(format: Format, finding: &Finding) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if format.is_for_people() {
        let mended = if finding.mended { "mended: " } else { "" };
        return writeln!(out, "{mended}{}", finding.problem);
    }
    writeln!(out, "{}", finding.to_json())
}

fn write_summary(format: Format, summary: &Summary) -> io::Result<()> {
    let Summary { files, bytes, blobs, findings, left } = summary;
    let mut out = io::stdout().lock();
    if format.is_for_people() {
        return writeln!(
            out,
            "{files} files of {bytes} bytes and {blobs} blobs: {findings} findings, {left} left"
        );
    }
    let summary = json!({
        "files": files, "bytes": bytes, "blobs": blobs, "findings": findings, "left": left,
    });
    writeln!(out, "{}", json!({ "summary": summary }))
}
