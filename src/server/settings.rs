//! Settings in the terms of those who keep to them.

use anyhow::Context;
use http::HeaderValue;

use crate::{
    api::{
        grpc::server::GrpcLimits,
        http::{ContentPolicies, SidecarOptions, serve::ConnectionLimits},
    },
    config::Config,
};

pub(super) fn grpc_limits(config: &Config) -> GrpcLimits {
    GrpcLimits {
        stream_window_bytes: config.grpc.stream_window_bytes,
        connection_window_bytes: config.grpc.connection_window_bytes,
        concurrent_streams_max: config.grpc.concurrent_streams_max,
    }
}

pub(super) fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: config.http.connections_max as usize,
        stall_max: config.http.stall_timeout,
        drain_max: config.drain_timeout,
    }
}

pub(super) fn sidecar_options(config: &Config) -> anyhow::Result<SidecarOptions> {
    let http = &config.http;
    let frame_ancestors = &http.frame_ancestors;
    let policy = |directives: &str| {
        let text = format!("default-src 'none'; {directives}frame-ancestors {frame_ancestors}");
        HeaderValue::from_str(&text).context("http.frame_ancestors is not a header's value")
    };
    Ok(SidecarOptions {
        cors_origins: http.cors_origins.clone(),
        resource_policy: http.resource_policy.clone(),
        policies: ContentPolicies {
            pdf: policy("")?,
            media: policy("media-src 'self'; sandbox allow-same-origin; ")?,
            other: policy("sandbox; ")?,
        },
        fresh_max: http.cache_max_age,
        redirect: config.redirect,
    })
}
