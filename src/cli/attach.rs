//! `files attach`.

use clap::Args;

use super::{connection::Caller, reference};
use crate::proto::{AttachFilesRequest, Reference};

/// Attach files to a thread, a run or the like, all of them or none
///
/// While a file belongs to something, `files delete` refuses to delete it without --force.
#[derive(Debug, Args)]
pub(super) struct Attach {
    /// What the files belong to: assistant, thread, message, run, tool or vector-store, a colon, and its id,
    /// such as thread:t-42
    #[arg(value_name = "KIND:ID", value_parser = reference::parse)]
    reference: Reference,

    /// The files' ids, at most 100
    #[arg(required = true, value_name = "FILE_ID")]
    file_ids: Vec<String>,

    #[command(flatten)]
    caller: Caller,
}

impl Attach {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.caller.open().await?;
        let request = AttachFilesRequest {
            reference: Some(self.reference),
            file_ids: self.file_ids,
            user_id: self.caller.user,
        };
        Ok(client.attach(request).await?)
    }
}
