//! Answers about uploads: the file as JSON, and what tus clients read off headers.

use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, LOCATION},
};
use serde_json::json;

use super::super::{Body, refusal};
use crate::{clock::Timestamp, error::ErrorCode, file::File};

/// The version of the protocol that is spoken here.
pub(super) const TUS_VERSION: &str = "1.0.0";
const METHODS: &str = "PUT, POST, HEAD, PATCH, DELETE, OPTIONS";

/// The file that an upload has become, now or before.
pub(super) fn file(file: &File, now: bool) -> Response<Body> {
    let about = json!({"file": {
        "id": file.id.to_string(),
        "user_id": file.user_id.as_str(),
        "purpose": file.purpose.as_str(),
        "filename": file.name.as_str(),
        "mime_type": file.media_type.as_str(),
        "size_bytes": file.content.size_bytes,
        "sha256": hex::encode(file.content.sha256),
    }});
    let status = if now { StatusCode::CREATED } else { StatusCode::OK };
    refusal::small(status, about.to_string().into(), "application/json")
}

/// How far an upload has come, as tus has it.
pub(super) struct Progress {
    /// How much of it is durable.
    pub(super) offset: u64,
    /// Its length, where it is known.
    pub(super) length: Option<u64>,
    /// When its URL ends.
    pub(super) expires: Timestamp,
    /// The file, once it is finished.
    pub(super) file_id: Option<String>,
}

impl Progress {
    pub(super) fn answer(&self, status: StatusCode) -> Response<Body> {
        let mut response = tus(status);
        set(&mut response, "upload-offset", &self.offset.to_string());
        if let Some(length) = self.length {
            set(&mut response, "upload-length", &length.to_string());
        }
        set(&mut response, "upload-expires", &httpdate::fmt_http_date(self.expires.into()));
        if let Some(file_id) = &self.file_id {
            set(&mut response, "files-file-id", file_id);
        }
        response
    }

    pub(super) fn created(&self, location: &str) -> Response<Body> {
        let mut response = self.answer(StatusCode::CREATED);
        if let Ok(location) = HeaderValue::from_str(location) {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

/// An answer without a body that nobody keeps.
pub(super) fn tus(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("tus-resumable", HeaderValue::from_static(TUS_VERSION));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

pub(super) fn set(response: &mut Response<Body>, name: &'static str, text: &str) {
    // Every text here is ASCII without control characters.
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(name, value);
    }
}

pub(super) fn method_not_allowed() -> Response<Body> {
    let message = "PUT, or POST, HEAD, PATCH and DELETE of tus 1.0 are answered";
    let mut response = refusal::refusal(ErrorCode::MethodNotAllowed, message);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    response
}
