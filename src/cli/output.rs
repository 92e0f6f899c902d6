//! How results are written: for people on a terminal, as JSON, a line each, elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, UNIX_EPOCH},
};

use bytesize::ByteSize;
use clap::Args;
use serde_json::{Value, json};

use crate::proto::File;

/// Options of every command that writes files' metadata.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Output {
    /// Write JSON, one object a line: the default where standard output is not a terminal
    #[arg(long)]
    json: bool,

    /// Write nothing but the ids
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

impl Output {
    /// Whether a person is looking on.
    pub(super) fn is_for_people(self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    pub(super) fn write_file(self, file: &File) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.quiet {
            writeln!(out, "{}", file.id)
        } else if self.is_for_people() {
            let size = ByteSize::b(file.size_bytes.unsigned_abs()).display().iec();
            writeln!(
                out,
                "{}  {:>10}  {:<20}  {}  {}",
                file.id,
                size.to_string(),
                time(file.create_time).unwrap_or_default(),
                file.mime_type,
                file.filename
            )
        } else {
            writeln!(out, "{}", file_json(file))
        }
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
        "labels": file.labels,
        "etag": file.etag,
    })
}

/// RFC 3339, in UTC.
pub(super) fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    let nanos = u32::try_from(time.nanos).unwrap_or(0);
    let since = Duration::new(u64::try_from(time.seconds).unwrap_or(0), nanos);
    Some(humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string())
}
