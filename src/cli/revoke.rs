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
        let client = self.target.caller.open().await?;
        let Target { file_id, caller } = &self.target;
        let file = client.revoke_signed_urls(file_id, &caller.user).await?;
        Ok(self.output.write_file(&file)?)
    }
}
