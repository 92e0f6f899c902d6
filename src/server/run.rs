//! A server's life: both listeners, the sweeper and the health watch, until it drains or a store fails.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use super::{Parts, Stores, settings};
use crate::{
    api::{
        grpc::{GrpcApi, server as grpc},
        http::{Sidecar, serve as http},
    },
    config::{Config, SweepConfig},
    error::chain,
    service::FileService,
    sweep::{ScrubPace, Scrubber, StraySweeper, Sweeper},
};

/// How often the stores are looked at on behalf of gRPC's health checks.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
/// How long cut-off calls get to be answered.
const CUT_GRACE: Duration = Duration::from_secs(5);

type Listeners = JoinSet<anyhow::Result<()>>;

/// Runs until `shutdown`, then drains; ends with an error at once where a store has failed for good.
pub(super) async fn run(
    parts: Parts,
    config: Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (service, health) = (Arc::clone(&parts.service), HealthReporter::new());
    let stop = CancellationToken::new();
    if parts.grpc.is_some() {
        sweep(&parts.stores, config.sweep, &stop);
    }
    let watching = tokio::spawn(watch_health(Arc::clone(&service), health.clone()));
    let stores = parts.stores;
    let mut listeners = Listeners::new();
    if let Some(listener) = parts.grpc {
        let (api, limits) = (GrpcApi::new(Arc::clone(&service)), settings::grpc_limits(&config));
        listeners.spawn(grpc::serve(api, health.clone(), listener, limits, stop.clone()));
    }
    if let Some(listener) = parts.http {
        let options = settings::sidecar_options(&config)?;
        let sidecar = Sidecar::new(Arc::clone(&service), options);
        let serving =
            http::serve(sidecar, listener, stop.clone(), settings::connection_limits(&config));
        listeners.spawn(async move {
            serving.await;
            Ok(())
        });
    }
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = stores.failed() => bail!("a store failed; restart to recover from what is durable"),
        Some(ended) = listeners.join_next() => {
            ended?.context("a listener failed")?;
            bail!("a listener ended");
        }
    }
    tracing::info!(drain_timeout = ?config.drain_timeout, "shutting down");
    service.begin_shutdown();
    watching.abort();
    // Ended one way or the other, so that its last word does not come after this one.
    let _ = watching.await;
    grpc::report_serving(&health, false).await;
    // Probes are told before anybody is turned away.
    sleep(config.shutdown_delay).await;
    stop.cancel();
    drain(&service, listeners, config.drain_timeout).await;
    tracing::info!("stopped");
    Ok(())
}

/// Waits for the calls under way, and cuts off those that outlast `longest`.
async fn drain(service: &FileService, mut listeners: Listeners, longest: Duration) {
    let ended = async {
        while listeners.join_next().await.is_some() {}
        service.uploads_ended().await;
    };
    tokio::pin!(ended);
    if timeout(longest, &mut ended).await.is_err() {
        tracing::warn!("calls still under way are cut off");
        service.cut_uploads();
        // Whoever does not read the answer now never will, and the sweeper cleans up what is left.
        let _ = timeout(CUT_GRACE, ended).await;
    }
}

/// Tells probes how the stores are, for as long as it runs.
async fn watch_health(service: Arc<FileService>, health: HealthReporter) {
    let mut ticks = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        ticks.tick().await;
        let checked = service.check().await;
        if let Err(error) = &checked {
            tracing::warn!(error = chain(error), "not serving");
        }
        grpc::report_serving(&health, checked.is_ok()).await;
    }
}

/// Sweeps and scrubs until `stop`; a pass that is cut is taken up by the next start.
fn sweep(stores: &Stores, config: SweepConfig, stop: &CancellationToken) {
    let (repository, storage) = (Arc::clone(&stores.repository), stores.storage());
    let sweeper = Sweeper::new(Arc::clone(&repository), Arc::clone(&storage));
    let stopped = stop.clone();
    tokio::spawn(async move { sweeper.run(config.interval, stopped).await });
    let strays = StraySweeper::new(Arc::clone(&repository), Arc::clone(&storage));
    tokio::spawn(strays.run(config.blobs_interval, stop.clone()));
    if config.scrub_bytes_per_s_max > 0 {
        let pace = ScrubPace {
            period: config.scrub_period,
            bytes_per_s_max: config.scrub_bytes_per_s_max,
        };
        let scrubber = Scrubber::new(repository, storage, Arc::clone(&stores.clock), pace);
        let stopped = stop.clone();
        tokio::spawn(async move { scrubber.run(stopped).await });
    }
}
