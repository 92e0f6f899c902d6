//! `files list`.

use clap::Args;
use futures_util::StreamExt;

use super::{connection::Connection, filter::Filter, output::Output};
use crate::{
    clock::{Clock, SystemClock},
    proto::ListFilesRequest,
};

/// Write the metadata of a user's files, newest first
///
/// A file is listed when it meets every option given.
#[derive(Debug, Args)]
pub(super) struct List {
    /// The user
    #[arg(long, env = "FILES_USER", value_name = "USER")]
    user: String,

    #[command(flatten)]
    filter: Filter,

    /// List deleted files, too, for as long as they can be brought back
    #[arg(long)]
    deleted: bool,

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
        let request = ListFilesRequest {
            user_id: self.user,
            filter: self.filter.seen_from(SystemClock.now().into()),
            show_deleted: self.deleted,
            ..ListFilesRequest::default()
        };
        let mut files = client.list(request).take(self.limit.unwrap_or(usize::MAX));
        while let Some(file) = files.next().await {
            self.output.write_file(&file?)?;
        }
        Ok(())
    }
}
