//! Gives every call a request id: in its log lines and in its answer.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tower::{Layer, Service};
use tracing::Instrument;

use crate::telemetry::RequestId;

/// Wraps a service so that its calls carry request ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestIdLayer;

impl<S> Layer<S> for RequestIdLayer {
    type Service = WithRequestId<S>;

    fn layer(&self, inner: S) -> WithRequestId<S> {
        WithRequestId { inner }
    }
}

/// A service whose calls carry request ids.
#[derive(Clone, Debug)]
pub(super) struct WithRequestId<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for WithRequestId<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let id = RequestId::of(request.headers());
        let span = id.span("grpc", request.uri().path());
        let call = self.inner.call(request).instrument(span.clone());
        Box::pin(async move {
            let mut response = call.await?;
            // Refusals carry their status here; a good stream ends with it, long after this.
            let status = response.headers().get("grpc-status").and_then(|it| it.to_str().ok());
            tracing::debug!(parent: &span, grpc_status = status.unwrap_or("0"), "answered");
            response.headers_mut().insert(RequestId::HEADER, id.into_value());
            Ok(response)
        })
    }
}
