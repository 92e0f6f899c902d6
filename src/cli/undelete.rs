//! `files undelete`.

use clap::Args;

use super::{connection::Target, output::Output};

/// Bring a deleted file back
///
/// This works until its purge_time, which `files list --deleted` writes.
#[derive(Debug, Args)]
pub(super) struct Undelete {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    output: Output,
}

impl Undelete {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.target.caller.open().await?;
        let file = client.undelete(&self.target.file_id, &self.target.caller.user).await?;
        Ok(self.output.write_file(&file)?)
    }
}
