//! `files download`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use tokio::fs::{self, OpenOptions};

use super::{connection::Target, progress};
use crate::{client::Client, proto::GetFileRequest};

/// Download a file and check its hash on the way
///
/// The file appears under its name only once it is whole.
#[derive(Debug, Args)]
pub(super) struct Download {
    #[command(flatten)]
    target: Target,

    /// Write to this path, replacing what is there; - is standard output. Without it the file's own name is
    /// used, in this directory, unless something has that name
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Download {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.target.caller.open().await?;
        if self.output.as_deref() == Some(Path::new("-")) {
            let mut out = tokio::io::stdout();
            let Target { file_id, caller } = &self.target;
            client.download(file_id, &caller.user, &mut out, |_, _| ()).await?;
            return Ok(());
        }
        let path = match &self.output {
            Some(path) => path.clone(),
            None => self.own_name(&client).await?,
        };
        self.download_to(&client, &path).await
    }

    async fn own_name(&self, client: &Client) -> anyhow::Result<PathBuf> {
        let request = GetFileRequest {
            file_id: self.target.file_id.clone(),
            user_id: self.target.caller.user.clone(),
            show_deleted: false,
        };
        let file = client.get(request).await?;
        // Whatever a server says, nothing is written outside this directory.
        let name = Path::new(&file.filename).file_name().context("the file has no usable name")?;
        let path = PathBuf::from(name);
        if fs::try_exists(&path).await? {
            bail!("{} is there already; choose a path with --output", path.display());
        }
        Ok(path)
    }

    async fn download_to(&self, client: &Client, path: &Path) -> anyhow::Result<()> {
        let partial = path.with_file_name(format!(".files-{}.part", std::process::id()));
        let opened = OpenOptions::new().write(true).create_new(true).open(&partial).await;
        let mut out = opened.with_context(|| format!("cannot write {}", partial.display()))?;
        let bar = progress::bar(&path.display().to_string(), 0);
        let progress = |received, size| {
            bar.set_length(size);
            bar.set_position(received);
        };
        let Target { file_id, caller } = &self.target;
        let downloaded = client.download(file_id, &caller.user, &mut out, progress).await;
        bar.finish_and_clear();
        let finished = match downloaded {
            Ok(_) => fs::rename(&partial, path).await.context("cannot finish the file"),
            Err(error) => Err(error.into()),
        };
        if finished.is_err() {
            // The download's own failure is what is told.
            let _ = fs::remove_file(&partial).await;
        }
        finished
    }
}
