//! `files upload-url`.

use std::{
    io::{Write, stdout},
    time::Duration,
};

use clap::Args;
use serde_json::json;

use super::{connection::Connection, output};
use crate::{client::NewFile, proto::CreateUploadUrlRequest};

/// Make a signed URL through which somebody else can upload one file
///
/// The content goes to the HTTP listener: with one PUT, as `curl -T FILE URL` sends it, or with a tus 1.0 client.
#[derive(Debug, Args)]
pub(super) struct UploadUrl {
    /// The name that the file will have; its extension decides the type
    #[arg(value_name = "NAME")]
    name: String,

    /// The owner
    #[arg(long, env = "FILES_USER", value_name = "USER")]
    user: String,

    /// What the file is for, such as assistants; `files types` lists what there is
    #[arg(long, value_name = "PURPOSE")]
    purpose: String,

    /// Life of the URL, from 1s to 7d [default: 1h]
    #[arg(long, value_name = "SPAN")]
    ttl: Option<humantime::Duration>,

    /// Most bytes that the file may have, such as 10MiB [default: what its purpose allows]
    #[arg(long, value_name = "SIZE")]
    size_max: Option<bytesize::ByteSize>,

    /// Write URL, upload id and end as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    connection: Connection,
}

impl UploadUrl {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.connection.open().await?;
        let file = NewFile {
            user_id: self.user,
            purpose: self.purpose,
            filename: self.name,
            ..NewFile::default()
        };
        let ttl = self.ttl.map(Duration::from);
        let most = self.size_max.map_or(0, |size| size.as_u64());
        let request = CreateUploadUrlRequest {
            start: Some(file.into()),
            ttl: ttl.map(prost_types::Duration::try_from).transpose()?,
            size_bytes_max: i64::try_from(most)?,
        };
        let made = client.create_upload_url(request).await?;
        let text = if self.json {
            let end = output::time(made.expire_time);
            json!({"url": made.url, "upload_id": made.upload_id, "expire_time": end}).to_string()
        } else {
            made.url
        };
        Ok(writeln!(stdout(), "{text}")?)
    }
}
