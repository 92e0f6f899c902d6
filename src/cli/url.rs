//! `files url`.

use std::{
    io::{Write, stdout},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{connection::Target, output};
use crate::proto::{CreateSignedUrlRequest, Disposition};

/// Make a signed URL that gives a file out until it ends
#[derive(Debug, Args)]
pub(super) struct SignUrl {
    #[command(flatten)]
    target: Target,

    /// Life of the URL, from 1s to 7d [default: the server's, 10m unless configured]
    #[arg(long, value_name = "SPAN")]
    ttl: Option<humantime::Duration>,

    /// How a browser is to treat the content: shown, where that is safe, or offered for saving
    #[arg(long, value_enum)]
    disposition: Option<Shown>,

    /// Name offered to the browser [default: the file's own]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    filename: String,

    /// Text of the Markdown link [default: the filename]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    label: String,

    /// Write a Markdown link instead of the bare URL
    #[arg(long, conflicts_with = "json")]
    markdown: bool,

    /// Write URL, Markdown link and end as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shown {
    Inline,
    Attachment,
}

impl SignUrl {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.target.caller.open().await?;
        let disposition = match self.disposition {
            None => Disposition::Unspecified,
            Some(Shown::Inline) => Disposition::Inline,
            Some(Shown::Attachment) => Disposition::Attachment,
        };
        let ttl = self.ttl.map(Duration::from);
        let request = CreateSignedUrlRequest {
            file_id: self.target.file_id,
            user_id: self.target.caller.user,
            ttl: ttl.map(prost_types::Duration::try_from).transpose()?,
            disposition: disposition.into(),
            filename: self.filename,
            label: self.label,
        };
        let link = client.create_signed_url(request).await?;
        let text = if self.json {
            let end = output::time(link.expire_time);
            json!({"url": link.url, "markdown": link.markdown, "expire_time": end}).to_string()
        } else if self.markdown {
            link.markdown
        } else {
            link.url
        };
        Ok(writeln!(stdout(), "{text}")?)
    }
}
