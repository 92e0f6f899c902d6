//! `files sweep`.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;

use super::{exit::Unfinished, output::Format, settings::DataSettings};
use crate::{
    server::upkeep::{SweepPlan, SweepReport, Upkeeper},
    sweep::Brake,
};

/// Remove what nobody needs, once: what records say is over, and blobs that no record names
///
/// Servers do the same by themselves. They stop where more than 1 % of all blobs, or 1,000, have no record,
/// as something else must be wrong then, such as a database from an old backup. Look at --dry-run first, and
/// then say --force to go on. Blobs younger than a day are never removed for want of a record.
#[derive(Debug, Args)]
pub(super) struct Sweep {
    /// Write what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Remove blobs without a record, however many there are
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    settings: DataSettings,
}

impl Sweep {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let upkeeper = Upkeeper::open(&self.settings.load()?).await?;
        if self.dry_run {
            return Ok(write_plan(self.format, &upkeeper.plan_sweep().await?)?);
        }
        let brake = if self.force { Brake::Off } else { Brake::On };
        let report = upkeeper.sweep(brake).await?;
        write_report(self.format, &report)?;
        match report.strays.braked || report.records.failed > 0 {
            true => Err(Unfinished("not everything was removed; see above".to_owned()).into()),
            false => Ok(()),
        }
    }
}

fn write_plan(format: Format, plan: &SweepPlan) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if format.is_for_people() {
        for orphan in &plan.records {
            writeln!(out, "{}  blob {}", orphan.file_id, orphan.blob_key)?;
        }
        for stray in &plan.strays {
            writeln!(out, "blob {} of {} bytes has no record", stray.key, stray.size_bytes)?;
        }
        let (records, strays, blobs) = (plan.records.len(), plan.strays.len(), plan.blobs);
        writeln!(out, "{records} records and {strays} of {blobs} blobs would be removed")?;
        if plan.braked {
            writeln!(out, "the blobs without a record are too many to be removed without --force")?;
        }
        return Ok(());
    }
    for orphan in &plan.records {
        let (file_id, blob_key) = (orphan.file_id.to_string(), orphan.blob_key.to_string());
        writeln!(out, "{}", json!({ "file_id": file_id, "blob_key": blob_key }))?;
    }
    for stray in &plan.strays {
        let (blob_key, size_bytes) = (stray.key.to_string(), stray.size_bytes);
        writeln!(out, "{}", json!({ "blob_key": blob_key, "size_bytes": size_bytes }))?;
    }
    let summary = json!({
        "records": plan.records.len(),
        "strays": plan.strays.len(),
        "blobs": plan.blobs,
        "braked": plan.braked,
    });
    writeln!(out, "{summary}")
}

fn write_report(format: Format, report: &SweepReport) -> io::Result<()> {
    let SweepReport { records, strays } = report;
    let mut out = io::stdout().lock();
    if format.is_for_people() {
        let left = strays.strays - strays.removed;
        writeln!(
            out,
            "removed {} records with their blobs, {} failed; removed {} blobs without a record, {left} left",
            records.removed, records.failed, strays.removed
        )?;
        if strays.braked {
            let (strays, blobs) = (strays.strays, strays.blobs);
            writeln!(
                out,
                "{strays} of {blobs} blobs have no record: too many to go without --force"
            )?;
        }
        return Ok(());
    }
    let report = json!({
        "records_removed": records.removed,
        "records_failed": records.failed,
        "strays": strays.strays,
        "strays_removed": strays.removed,
        "blobs": strays.blobs,
        "braked": strays.braked,
    });
    writeln!(out, "{report}")
}
