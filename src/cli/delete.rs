//! `files delete`.

use clap::Args;

use super::{connection::Target, output::Output};

/// Delete a file; its signed URLs end with it
#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    target: Target,

    /// Succeed even where there is no such file
    #[arg(long)]
    allow_missing: bool,

    #[command(flatten)]
    output: Output,
}

impl Delete {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.target.connection.open().await?;
        let Target { file_id, user, .. } = &self.target;
        match client.delete(file_id, user, self.allow_missing).await? {
            Some(file) => Ok(self.output.write_file(&file)?),
            None => Ok(()),
        }
    }
}
