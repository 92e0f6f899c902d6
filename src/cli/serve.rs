//! `files serve`.

use anyhow::{Context, anyhow, bail};
use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::settings::{Settings, keep_private};
use crate::{
    server::{Role, Server},
    telemetry,
};

/// Run the service: gRPC for callers, HTTP for signed URLs
///
/// Without options everything is kept below ./data, and both listeners are on loopback. SIGTERM or Ctrl-C
/// drains: calls under way may finish until shutdown.drain_timeout. Settings come from defaults, the file
/// given with --config, FILES__* variables and flags, each winning over the one before; `files config check`
/// shows them all.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,

    /// Which listeners this process runs; two processes, one a role, can share a data directory
    #[arg(long, value_enum, default_value_t = Role::All)]
    role: Role,
}

/// Every connection and every open file takes a descriptor; the system's default allows few.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where this is not allowed, the service runs with what it has.
    let _ = setrlimit(Resource::Nofile, limit);
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.settings.load()?;
        keep_private();
        raise_descriptor_limit();
        telemetry::start(config.log_format, &config.log_level)
            .map_err(|error| anyhow!("log.level: {error}"))?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
        let server = Server::start(config, self.role).await?;
        let stop = server.shutdown_token();
        let running = server.wait();
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => return ended,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        tokio::select! {
            ended = &mut running => ended,
            _ = terminate.recv() => bail!("told to stop twice: ended without draining"),
            _ = interrupt.recv() => bail!("told to stop twice: ended without draining"),
        }
    }
}
