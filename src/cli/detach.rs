//! `files detach`.

use std::io::{Write, stdout};

use clap::Args;
use serde_json::json;

use super::{connection::Caller, output::Format, reference};
use crate::proto::{DetachFilesRequest, Reference};

/// Detach files from a thread, a run or the like, and write how many were deleted with it
///
/// All of them are detached or none. A file that was uploaded with --delete-when-unreferenced is deleted
/// with its last reference.
#[derive(Debug, Args)]
pub(super) struct Detach {
    /// What the files belong to no longer, such as thread:t-42; see `files help attach`
    #[arg(value_name = "KIND:ID", value_parser = reference::parse)]
    reference: Reference,

    /// The files' ids, at most 100
    #[arg(required = true, value_name = "FILE_ID")]
    file_ids: Vec<String>,

    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    caller: Caller,
}

impl Detach {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.caller.open().await?;
        let request = DetachFilesRequest {
            reference: Some(self.reference),
            file_ids: self.file_ids,
            user_id: self.caller.user,
        };
        let deleted = client.detach(request).await?.deleted_count;
        let text = if self.format.is_for_people() {
            format!("files deleted with it: {deleted}")
        } else {
            json!({"deleted_count": deleted}).to_string()
        };
        Ok(writeln!(stdout(), "{text}")?)
    }
}
