//! The sidecar's connections: accepting, limits against slow peers, and draining.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::{HEADERS_MAX, Sidecar};
use crate::api::accept::pause_after;

/// Longest a peer may take to send a request's head, and longest an idle connection is kept.
const HEAD_READ_MAX: Duration = Duration::from_secs(30);
/// The sidecar itself refuses request lines and headers over its limits with a proper answer; hyper's own
/// limits, whose answers are bare, lie beyond.
const HEAD_BYTES_MAX: usize = 72 * 1024;

/// Answers connections until `shutdown`, then lets those under way finish for at most `drain_max`. A reader
/// who takes nothing for `stall_max` is cut off.
pub async fn serve(
    sidecar: Sidecar,
    listener: TcpListener,
    shutdown: CancellationToken,
    limits: ConnectionLimits,
) {
    let graceful = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_MAX)
        .max_headers(4 * HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let places = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let sidecar = sidecar.clone();
        let answer = service_fn(move |request| {
            let sidecar = sidecar.clone();
            async move { Ok::<_, Infallible>(sidecar.answer(request).await) }
        });
        let io = TokioIo::new(Box::pin(guarded(stream, limits.stall_max)));
        let connection = graceful.watch(server.serve_connection(io, answer));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(limits.drain_max, graceful.shutdown()).await.is_err() {
        tracing::warn!("downloads still under way were cut off");
    }
}

/// How many connections there may be, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Most connections at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Longest a reader may take nothing.
    pub stall_max: Duration,
    /// Longest that answers under way may go on after a shutdown has begun.
    pub drain_max: Duration,
}

/// Waits for a place and a connection to give it to.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

fn guarded(stream: TcpStream, stall_max: Duration) -> TimeoutStream<TcpStream> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    let mut guarded = TimeoutStream::new(stream);
    guarded.set_write_timeout(Some(stall_max));
    guarded
}
