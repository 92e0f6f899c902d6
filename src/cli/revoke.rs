//! `files revoke`.

use clap::Args;

use super::{connection::Target, output::Output};

/// End every signed URL made for a file so far
#[derive(Debug, Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    output: Output,
}

impl Revoke {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.target.connection.open().await?;
        let file = client.revoke_signed_urls(&self.target.file_id, &self.target.user).await?;
        Ok(self.output.write_file(&file)?)
    }
}
