//! Refusals: a status, a small JSON body with the stable reason, and nothing for caches to keep.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::json;

use super::Body;
use crate::{api::status::public_message, error::ErrorCode, service::ServiceError};

pub(super) fn refusal(code: ErrorCode, message: &str) -> Response<Body> {
    let text = json!({"error": {"code": code.reason(), "message": message}}).to_string();
    let mut response = small(code.http(), text.into(), "application/json");
    if code.is_retryable() {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

pub(super) fn of_error(error: &ServiceError) -> Response<Body> {
    let mut response = refusal(error.code(), &public_message(error));
    if let Some(size) = error.persisted_size_bytes() {
        response.headers_mut().insert("upload-offset", size.into());
    }
    if matches!(error, ServiceError::TusVersion) {
        response.headers_mut().insert("tus-version", HeaderValue::from_static("1.0.0"));
    }
    response
}

pub(super) fn method_not_allowed(cors: bool) -> Response<Body> {
    let mut response = refusal(ErrorCode::MethodNotAllowed, "only GET and HEAD are answered");
    let allowed = if cors { "GET, HEAD, OPTIONS" } else { "GET, HEAD" };
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

pub(super) fn unsatisfiable(size_bytes: u64) -> Response<Body> {
    let message = format!("the range starts past the end of {size_bytes} bytes");
    let mut response = refusal(ErrorCode::RangeNotSatisfiable, &message);
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size_bytes}")) {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    response
}

/// A short answer for probes.
pub(super) fn plain(text: &'static str) -> Response<Body> {
    small(StatusCode::OK, Bytes::from_static(text.as_bytes()), "text/plain")
}

pub(super) fn small(status: StatusCode, body: Bytes, content_type: &'static str) -> Response<Body> {
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
