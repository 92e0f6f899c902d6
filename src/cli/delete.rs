//! `files delete`.

use clap::Args;

use super::{connection::Target, output::Output};
use crate::proto::DeleteFileRequest;

/// Delete a file; its signed URLs end with it
///
/// Where the server keeps deleted files for a while, `files undelete` brings it back until its purge_time.
#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    target: Target,

    /// Delete the file even while something refers to it
    #[arg(long)]
    force: bool,

    /// Delete the file for good, so that it cannot be brought back; also one that is deleted already
    #[arg(long)]
    purge: bool,

    /// Delete the file only while its etag is this one, which `files get --json` writes
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,

    /// Succeed even where there is no such file
    #[arg(long)]
    allow_missing: bool,

    #[command(flatten)]
    output: Output,
}

impl Delete {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.target.caller.open().await?;
        let request = DeleteFileRequest {
            file_id: self.target.file_id,
            user_id: self.target.caller.user,
            force: self.force,
            allow_missing: self.allow_missing,
            purge: self.purge,
            etag: self.etag,
        };
        match client.delete(request).await? {
            Some(file) => Ok(self.output.write_file(&file)?),
            None => Ok(()),
        }
    }
}
