//! `files get`.

use clap::Args;

use super::{connection::Target, output::Output};

/// Write a file's metadata
#[derive(Debug, Args)]
pub(super) struct Get {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    output: Output,
}

impl Get {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.target.connection.open().await?;
        let file = client.get(&self.target.file_id, &self.target.user).await?;
        Ok(self.output.write_file(&file)?)
    }
}
