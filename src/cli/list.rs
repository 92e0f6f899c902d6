//! `files list`.

use clap::Args;
use futures_util::StreamExt;

use super::{connection::Connection, output::Output};

/// Write the metadata of a user's files, newest first
#[derive(Debug, Args)]
pub(super) struct List {
    /// The user
    #[arg(long, env = "FILES_USER", value_name = "USER")]
    user: String,

    /// Stop after this many files
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl List {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.connection.open().await?;
        let mut files = client.list(&self.user).take(self.limit.unwrap_or(usize::MAX));
        while let Some(file) = files.next().await {
            self.output.write_file(&file?)?;
        }
        Ok(())
    }
}
