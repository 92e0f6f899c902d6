//! The server: binds, wires, runs both listeners and drains. The only place that knows every type.

mod data_dir;
mod run;
mod settings;
mod stores;
pub mod upkeep;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, bail};
use clap::ValueEnum;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    clock::{Clock, SystemClock},
    config::{Config, HttpConfig},
    service::{Dependencies, FileService},
    signing::{UrlSigner, keys::KeyRing},
    telemetry::metrics,
};
use data_dir::DataDir;
use stores::{OpenFiles, Stores};

/// Which listeners a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Both.
    All,
    /// The gRPC service alone.
    Grpc,
    /// The HTTP download sidecar alone.
    Http,
}

impl Role {
    const fn runs_grpc(self) -> bool {
        matches!(self, Self::All | Self::Grpc)
    }

    const fn runs_http(self) -> bool {
        matches!(self, Self::All | Self::Http)
    }
}

/// A server that accepts connections.
#[derive(Debug)]
pub struct Server {
    /// Where the gRPC service listens.
    pub grpc: Option<SocketAddr>,
    /// Where the HTTP sidecar listens.
    pub http: Option<SocketAddr>,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Opens the data directory, binds the listeners of `role` and begins to answer.
    pub async fn start(config: Config, role: Role) -> anyhow::Result<Self> {
        Self::start_by(config, role, Arc::new(SystemClock)).await
    }

    /// The same at the time that `clock` shows, whatever a database's clock says.
    pub async fn start_at(
        mut config: Config,
        role: Role,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        config.database.follow_clock = false;
        Self::start_by(config, role, clock).await
    }

    async fn start_by(config: Config, role: Role, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        refuse_open_door(&config, role)?;
        let data = DataDir::open(&config.data_dir, role).await?;
        // An open file keeps its space when another process deletes it.
        let open_files = if role == Role::All { OpenFiles::Kept } else { OpenFiles::Closed };
        if let Some(listen) = config.metrics_listen {
            let shown = metrics::serve(listen);
            shown.with_context(|| format!("cannot show metrics on {listen}"))?;
        }
        let stores = Stores::open(&config, &data.layout(), open_files, &clock).await?;
        stores.refuse_lost_storage().await?;
        stores.warn_if_foreign().await;
        stores.probe(role.runs_grpc()).await?;
        let grpc = bind(role.runs_grpc(), config.grpc.listen).await?;
        let http = bind(role.runs_http(), config.http.listen).await?;
        let public_url = public_url(&config.http, http.as_ref())?;
        let signer = UrlSigner::new(signing_keys(&config, &data).await?, &public_url);
        let dependencies = Dependencies {
            repository: Arc::clone(&stores.repository),
            storage: stores.storage(),
            signer: Arc::new(signer),
            clock: Arc::clone(&stores.clock),
        };
        let service = Arc::new(FileService::new(dependencies, config.policy.clone()));
        let shutdown = CancellationToken::new();
        let (grpc_address, http_address) = (address(grpc.as_ref())?, address(http.as_ref())?);
        let parts = Parts { grpc, http, service, stores, _data: data };
        tracing::info!(
            grpc = grpc_address.map(tracing::field::display),
            http = http_address.map(tracing::field::display),
            public_url = %public_url,
            data_dir = %config.data_dir.display(),
            "serving"
        );
        Ok(Self {
            grpc: grpc_address,
            http: http_address,
            running: tokio::spawn(run::run(parts, config, shutdown.clone())),
            shutdown,
        })
    }

    /// Cancelling it begins the drain.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Waits until the server has ended: after its [`Server::shutdown_token`] was cancelled, or with an
    /// error of its own.
    pub async fn wait(self) -> anyhow::Result<()> {
        self.running.await?
    }
}

/// What a running server holds.
struct Parts {
    grpc: Option<TcpListener>,
    http: Option<TcpListener>,
    service: Arc<FileService>,
    stores: Stores,
    /// Its locks end with the server.
    _data: DataDir,
}

/// A gRPC listener that anybody on the network could use is opened only on purpose.
fn refuse_open_door(config: &Config, role: Role) -> anyhow::Result<()> {
    let listen = config.grpc.listen;
    if role.runs_grpc() && !listen.ip().is_loopback() && !config.allow_unauthenticated {
        bail!(
            "refusing to listen on {listen} without authentication: anybody who reaches it could read and \
             delete every file; listen on 127.0.0.1, or pass --allow-unauthenticated where the network \
             itself keeps strangers out"
        );
    }
    Ok(())
}

async fn bind(wanted: bool, listen: SocketAddr) -> anyhow::Result<Option<TcpListener>> {
    if !wanted {
        return Ok(None);
    }
    let listener = TcpListener::bind(listen).await;
    Ok(Some(listener.with_context(|| format!("cannot listen on {listen}"))?))
}

fn address(listener: Option<&TcpListener>) -> anyhow::Result<Option<SocketAddr>> {
    Ok(listener.map(TcpListener::local_addr).transpose()?)
}

/// What links begin with: as configured, else this machine's name for itself and the HTTP listener's port.
fn public_url(http: &HttpConfig, listener: Option<&TcpListener>) -> anyhow::Result<Url> {
    if let Some(url) = &http.public_url {
        return Ok(url.clone());
    }
    let port = address(listener)?.unwrap_or(http.listen).port();
    Ok(Url::parse(&format!("http://localhost:{port}"))?)
}

async fn signing_keys(config: &Config, data: &DataDir) -> anyhow::Result<KeyRing> {
    match &config.signing_keys {
        Some(keys) => Ok(keys.clone()),
        None => data.signing_key().await,
    }
}
