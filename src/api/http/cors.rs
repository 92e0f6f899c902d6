//! CORS (the Fetch standard): which other origins' scripts may read answers.

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
    },
};

use super::Body;

/// What scripts may read of answers.
const EXPOSED: &str = "accept-ranges, content-disposition, content-length, content-range, etag, files-file-id, \
     location, tus-extension, tus-resumable, tus-version, upload-expires, upload-length, upload-offset";
/// What scripts may send with an upload.
const UPLOAD_HEADERS: &str = "content-type, traceparent, tus-resumable, upload-length, upload-metadata, \
     upload-offset, x-http-method-override, x-request-id, x-requested-with";

/// Where a request comes from, where it says so.
pub(super) fn origin(request: &HeaderMap) -> Option<HeaderValue> {
    request.get(ORIGIN).cloned()
}

/// Adds what lets the request's origin read the answer, where it is one of `origins` or they hold `*`.
pub(super) fn allow_origin(
    origins: &[HeaderValue],
    origin: Option<&HeaderValue>,
    answer: &mut HeaderMap,
) {
    if origins.is_empty() {
        return;
    }
    answer.append(VARY, HeaderValue::from_static("origin"));
    let Some(origin) = origin else {
        return;
    };
    let allowed = origins.iter().find(|known| *known == origin || *known == "*");
    if let Some(allowed) = allowed {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

/// Adds what a preflight request of an upload asks for.
pub(super) fn allow_uploads(answer: &mut HeaderMap) {
    answer.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("PUT, POST, HEAD, PATCH, DELETE, OPTIONS"),
    );
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(UPLOAD_HEADERS));
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
}

/// The answer to a preflight request.
pub(super) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("if-modified-since, if-none-match, if-range, range"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}
