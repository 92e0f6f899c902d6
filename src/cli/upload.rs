//! `files upload`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use uuid::Uuid;

use super::{connection::Connection, exit::Usage, output::Output, parse, progress, reference};
use crate::{
    client::{Client, Content, NewFile},
    proto::Reference,
};

/// Upload files, one after the other, and write what became of each
///
/// Stops at the first that fails. Every file is hashed on the way and checked at both ends; what is written here
/// is durable there. An upload that breaks off goes on from where it was.
#[derive(Debug, Args)]
pub(super) struct Upload {
    /// The files; - is standard input, which needs --name
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The owner
    #[arg(long, env = "FILES_USER", value_name = "USER")]
    user: String,

    /// What the files are for, such as assistants; `files types` lists what there is
    #[arg(long, value_name = "PURPOSE")]
    purpose: String,

    /// Store a single file under this name instead of its own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// UUID by which running the same command again goes on where the first run ended, or returns its file
    #[arg(long, value_name = "UUID")]
    upload_id: Option<Uuid>,

    /// Life of the files, such as 12h or 30d [default: the purpose's, without end unless configured]
    #[arg(long, value_name = "SPAN")]
    ttl: Option<humantime::Duration>,

    /// A label of your own; can be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    labels: Vec<(String, String)>,

    /// What the files belong to, such as thread:t-42; can be given more than once, see `files help attach`
    #[arg(long = "reference", value_name = "KIND:ID", value_parser = reference::parse)]
    references: Vec<Reference>,

    /// Delete the files when nothing refers to them any more
    #[arg(long)]
    delete_when_unreferenced: bool,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    connection: Connection,
}

impl Upload {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let single = self.name.is_some() || self.upload_id.is_some();
        if single && self.files.len() > 1 {
            let problem = "--name and --upload-id go with a single file";
            return Err(Usage(problem.to_owned()).into());
        }
        let client = self.connection.open().await?;
        for path in &self.files {
            self.upload_one(&client, path).await?;
        }
        Ok(())
    }

    async fn upload_one(&self, client: &Client, path: &Path) -> anyhow::Result<()> {
        let (content, size_bytes) = open(path)?;
        let filename = self.filename(path)?;
        let bar = progress::bar(&filename, size_bytes.unwrap_or(0));
        let shown = bar.clone();
        let file = NewFile {
            user_id: self.user.clone(),
            purpose: self.purpose.clone(),
            filename,
            size_bytes,
            upload_id: self.upload_id,
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            ttl: self.ttl.map(Duration::from),
            references: self.references.clone(),
            delete_when_unreferenced: self.delete_when_unreferenced,
        };
        let uploaded = client.upload(file, content, move |sent| shown.set_position(sent)).await;
        bar.finish_and_clear();
        let uploaded = uploaded.with_context(|| path.display().to_string())?;
        Ok(self.output.write_file(&uploaded)?)
    }

    fn filename(&self, path: &Path) -> anyhow::Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let name = path.file_name().filter(|_| path != Path::new("-"));
        match name.map(|name| name.to_str()) {
            Some(Some(name)) => Ok(name.to_owned()),
            Some(None) => Err(Usage(format!("{}: the name is not UTF-8", path.display())).into()),
            None if path == Path::new("-") => {
                Err(Usage("standard input needs --name".to_owned()).into())
            }
            None => Err(Usage(format!("{} is no file", path.display())).into()),
        }
    }
}

/// The content, and its length where it is a file's.
fn open(path: &Path) -> anyhow::Result<(Content, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Content::stream(std::io::stdin()), None));
    }
    Content::open(path).with_context(|| format!("cannot read {}", path.display()))
}
