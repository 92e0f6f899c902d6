//! How results are written: for people on a terminal, as JSON, a line each, elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, UNIX_EPOCH},
};

use bytesize::ByteSize;
use clap::Args;
use serde_json::{Value, json};

use super::reference;
use crate::proto::{File, Reference};

/// Options of every command that writes results.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Format {
    /// Write JSON, one object a line: the default where standard output is not a terminal
    #[arg(long)]
    json: bool,
}

impl Format {
    /// Whether a person is looking on.
    pub(super) fn is_for_people(self) -> bool {
        !self.json && io::stdout().is_terminal()
    }
}

/// Options of every command that writes files' metadata.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Output {
    #[command(flatten)]
    format: Format,

    /// Write nothing but the ids
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

impl Output {
    pub(super) fn write_file(self, file: &File) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.quiet {
            writeln!(out, "{}", file.id)
        } else if self.format.is_for_people() {
            writeln!(out, "{}", file_line(file))
        } else {
            writeln!(out, "{}", file_json(file))
        }
    }
}

fn file_line(file: &File) -> String {
    let size = ByteSize::b(file.size_bytes.unsigned_abs()).display().iec();
    let line = format!(
        "{}  {:>10}  {:<20}  {}  {}",
        file.id,
        size.to_string(),
        time(file.create_time).unwrap_or_default(),
        file.mime_type,
        file.filename
    );
    match (file.delete_time, time(file.purge_time)) {
        (None, _) => line,
        (Some(_), None) => format!("{line}  (deleted)"),
        (Some(_), Some(purged)) => format!("{line}  (deleted, gone for good at {purged})"),
    }
}

fn file_json(file: &File) -> Value {
    json!({
        "id": file.id,
        "user_id": file.user_id,
        "purpose": file.purpose,
        "filename": file.filename,
        "mime_type": file.mime_type,
        "size_bytes": file.size_bytes,
        "sha256": hex::encode(&file.sha256),
        "create_time": time(file.create_time),
        "update_time": time(file.update_time),
        "expire_time": time(file.expire_time),
        "delete_time": time(file.delete_time),
        "purge_time": time(file.purge_time),
        "labels": file.labels,
        "references": file.references.iter().map(reference_json).collect::<Vec<_>>(),
        "delete_when_unreferenced": file.delete_when_unreferenced,
        "etag": file.etag,
    })
}

fn reference_json(reference: &Reference) -> Value {
    json!({"kind": reference::kind(reference), "id": reference.id})
}

/// RFC 3339, in UTC.
pub(super) fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    let nanos = u32::try_from(time.nanos).unwrap_or(0);
    let since = Duration::new(u64::try_from(time.seconds).unwrap_or(0), nanos);
    Some(humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted() -> File {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        File {
            filename: "a.txt".to_owned(),
            delete_time: at(0),
            purge_time: at(3600),
            references: reference::parse("vector_store:v-1").into_iter().collect(),
            ..File::default()
        }
    }

    #[test]
    fn a_deleted_file_is_marked_with_its_end() {
        let end = "  a.txt  (deleted, gone for good at 1970-01-01T01:00:00Z)";
        assert!(file_line(&deleted()).ends_with(end), "{}", file_line(&deleted()));
        let live = File { delete_time: None, purge_time: None, ..deleted() };
        assert!(file_line(&live).ends_with("  a.txt"), "{}", file_line(&live));
    }

    #[test]
    fn json_tells_what_a_file_belongs_to_and_when_it_goes() {
        let json = file_json(&deleted());
        assert_eq!(json["references"], json!([{"kind": "vector-store", "id": "v-1"}]));
        assert_eq!(json["purge_time"], "1970-01-01T01:00:00Z");
        assert_eq!(json["delete_when_unreferenced"], false);
    }
}
