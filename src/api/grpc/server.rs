//! The gRPC server around the service: limits, health and reflection.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{GrpcApi, request_id::RequestIdLayer};
use crate::{
    api::accept::pause_after,
    proto::{self, files_service_server::FilesServiceServer},
    service::policy::CHUNK_BYTES_MAX,
};

/// The service's full name, as health checks ask for it.
const SERVICE_NAME: &str = "files.v1.FilesService";
/// Room for the framing of a largest message.
const FRAMING_BYTES: usize = 64 * 1024;
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Streams that a client may reset before they are answered, and that we may reset for its errors
/// (CVE-2023-44487).
const RESET_STREAMS_MAX: usize = 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What one connection may take.
#[derive(Clone, Copy, Debug)]
pub struct GrpcLimits {
    /// Bytes of one stream that may wait to be read.
    pub stream_window_bytes: u32,
    /// Bytes of all streams of a connection that may wait to be read; above the stream's, or one stalled
    /// stream would block its connection.
    pub connection_window_bytes: u32,
    /// Most streams of a connection at once.
    pub concurrent_streams_max: u32,
}

/// Tells probes that the service answers, or that it soon will not.
pub async fn report_serving(health: &HealthReporter, serving: bool) {
    let status = match serving {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    };
    for service in ["", SERVICE_NAME] {
        health.set_service_status(service, status).await;
    }
}

/// Answers calls until `shutdown`, then until the calls under way have ended.
pub async fn serve(
    api: GrpcApi,
    health: HealthReporter,
    listener: TcpListener,
    limits: GrpcLimits,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).then(|accepted| async {
        if let Err(error) = &accepted {
            pause_after(error).await;
        }
        accepted
    });
    Server::builder()
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_concurrent_streams(limits.concurrent_streams_max)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
        .http2_max_local_error_reset_streams(Some(RESET_STREAMS_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(RequestIdLayer)
        .add_routes(routes(api, health)?)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await?;
    Ok(())
}

/// Every service that is answered: the contract's, health, and reflection in both its versions.
fn routes(api: GrpcApi, health: HealthReporter) -> anyhow::Result<Routes> {
    let files =
        FilesServiceServer::new(api).max_decoding_message_size(CHUNK_BYTES_MAX + FRAMING_BYTES);
    let health = tonic_health::server::HealthService::from_health_reporter(health);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(files)
        .add_service(tonic_health::pb::health_server::HealthServer::new(health))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}
