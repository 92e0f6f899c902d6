//! Which server, and on whose behalf.

use clap::Args;

use crate::client::{Client, Result};

/// Options of every command that talks to a server.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// The server's gRPC address
    #[arg(
        long,
        env = "FILES_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:50051"
    )]
    server: String,

    /// Longest that the command may wait for the server, with all its attempts, such as 30s or 1h
    #[arg(long, env = "FILES_TIMEOUT", value_name = "SPAN")]
    timeout: Option<humantime::Duration>,

    /// The trace that the calls are part of, as W3C Trace Context has it
    #[arg(long, env = "TRACEPARENT", value_name = "TRACEPARENT")]
    traceparent: Option<String>,
}

impl Connection {
    pub(super) async fn open(&self) -> Result<Client> {
        let mut client = Client::connect(&self.server).await?;
        if let Some(timeout) = self.timeout {
            client = client.within(timeout.into());
        }
        match &self.traceparent {
            Some(traceparent) => client.traced(traceparent),
            None => Ok(client),
        }
    }
}

/// Options of every command on files that their ids alone can name.
#[derive(Debug, Args)]
pub(super) struct Caller {
    /// The user on whose behalf to ask: another user's file is not found. Without it, the id alone decides
    #[arg(
        long,
        env = "FILES_USER",
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) user: String,

    #[command(flatten)]
    connection: Connection,
}

impl Caller {
    pub(super) async fn open(&self) -> Result<Client> {
        self.connection.open().await
    }
}

/// Options of every command about one file.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The file's id
    #[arg(value_name = "ID")]
    pub(super) file_id: String,

    #[command(flatten)]
    pub(super) caller: Caller,
}
