//! `files get`.

use clap::Args;

use super::{connection::Target, output::Output};
use crate::proto::GetFileRequest;

/// Write a file's metadata
#[derive(Debug, Args)]
pub(super) struct Get {
    #[command(flatten)]
    target: Target,

    /// Find a deleted file, too, for as long as it can be brought back
    #[arg(long)]
    deleted: bool,

    #[command(flatten)]
    output: Output,
}

impl Get {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.target.caller.open().await?;
        let request = GetFileRequest {
            file_id: self.target.file_id,
            user_id: self.target.caller.user,
            show_deleted: self.deleted,
        };
        Ok(self.output.write_file(&client.get(request).await?)?)
    }
}
