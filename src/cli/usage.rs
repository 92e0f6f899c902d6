//! `files usage`.

use std::io::{Write, stdout};

use bytesize::ByteSize;
use clap::Args;
use serde_json::json;

use super::{connection::Connection, output::Format};
use crate::proto::GetUsageResponse;

/// Write how many files and bytes a user stores, and the limits where there are any
#[derive(Debug, Args)]
pub(super) struct GetUsage {
    /// The user
    #[arg(long, env = "FILES_USER", value_name = "USER")]
    user: String,

    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    connection: Connection,
}

impl GetUsage {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let usage = self.connection.open().await?.usage(&self.user).await?;
        let text = if self.format.is_for_people() { lines(&usage) } else { line(&usage) };
        Ok(writeln!(stdout(), "{text}")?)
    }
}

/// The contract says 0 for no limit.
fn limit(most: i64) -> Option<i64> {
    Some(most).filter(|most| *most != 0)
}

fn line(usage: &GetUsageResponse) -> String {
    json!({
        "file_count": usage.file_count,
        "file_count_max": limit(usage.file_count_max),
        "stored_bytes": usage.stored_bytes,
        "stored_bytes_max": limit(usage.stored_bytes_max),
    })
    .to_string()
}

fn lines(usage: &GetUsageResponse) -> String {
    let size = |bytes: i64| ByteSize::b(bytes.unsigned_abs()).display().iec().to_string();
    let of = |most: Option<String>| most.map_or(String::new(), |most| format!(" of {most}"));
    let files = of(limit(usage.file_count_max).map(|most| most.to_string()));
    let bytes = of(limit(usage.stored_bytes_max).map(size));
    format!("files: {}{files}\nbytes: {}{bytes}", usage.file_count, size(usage.stored_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_where_there_are_any() {
        let mut usage =
            GetUsageResponse { file_count: 3, stored_bytes: 2048, ..GetUsageResponse::default() };
        assert_eq!(lines(&usage), "files: 3\nbytes: 2.0 KiB");
        assert!(line(&usage).contains("\"file_count_max\":null"));
        usage.file_count_max = 10;
        usage.stored_bytes_max = 1024 * 1024;
        assert_eq!(lines(&usage), "files: 3 of 10\nbytes: 2.0 KiB of 1.0 MiB");
        assert!(line(&usage).contains("\"stored_bytes_max\":1048576"));
    }
}
