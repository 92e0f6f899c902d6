//! `files delete-reference`.

use std::io::{Write, stdout};

use clap::Args;
use serde_json::json;

use super::{connection::Caller, output::Format, reference};
use crate::proto::{DeleteReferenceRequest, Reference};

/// Detach every file from a thread, a run or the like that is gone
///
/// Writes how many files were detached, and how many of them were deleted. A file is deleted with its last
/// reference if it was marked --delete-when-unreferenced. Without a user, files of every user are detached.
#[derive(Debug, Args)]
pub(super) struct DeleteReference {
    /// What is gone, such as thread:t-42; see `files help attach`
    #[arg(value_name = "KIND:ID", value_parser = reference::parse)]
    reference: Reference,

    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    caller: Caller,
}

impl DeleteReference {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.caller.open().await?;
        let request =
            DeleteReferenceRequest { reference: Some(self.reference), user_id: self.caller.user };
        let gone = client.delete_reference(request).await?;
        let (detached, deleted) = (gone.detached_count, gone.deleted_count);
        let text = if self.format.is_for_people() {
            format!("files detached: {detached}, deleted with it: {deleted}")
        } else {
            json!({"detached_count": detached, "deleted_count": deleted}).to_string()
        };
        Ok(writeln!(stdout(), "{text}")?)
    }
}
