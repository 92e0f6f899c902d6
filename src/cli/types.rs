//! `files types`.

use std::io::{Write, stdout};

use clap::Args;
use serde_json::json;

use super::{connection::Connection, output::Format};

/// Write the types and purposes that the server accepts, and its limits
#[derive(Debug, Args)]
pub(super) struct Types {
    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    connection: Connection,
}

impl Types {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let found = self.connection.open().await?.capabilities().await?;
        let purposes: Vec<&str> = found.purposes.iter().map(|it| it.purpose.as_str()).collect();
        let mut out = stdout().lock();
        if !self.format.is_for_people() {
            let types = found.file_types.iter().map(|it| {
                json!({
                    "extension": it.extension,
                    "mime_type": it.mime_type,
                    "inline_safe": it.inline_safe,
                })
            });
            let all = json!({
                "file_types": types.collect::<Vec<_>>(),
                "purposes": purposes,
                "chunk_bytes_max": found.chunk_bytes_max,
                "file_bytes_max": found.file_bytes_max,
            });
            return Ok(writeln!(out, "{all}")?);
        }
        for it in &found.file_types {
            let shown = if it.inline_safe { "inline" } else { "attachment" };
            writeln!(out, "{:<8}{:<12}{}", it.extension, shown, it.mime_type)?;
        }
        writeln!(out, "\npurposes: {}", purposes.join(", "))?;
        Ok(writeln!(out, "largest file: {} bytes", found.file_bytes_max)?)
    }
}
