//! The sidecar: validates a signed URL and streams what it grants, out or in. HTTP/1.1.

mod answer;
mod body;
mod cors;
mod preconditions;
mod refusal;
pub mod serve;
mod upload;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use tracing::{Level, Span};
use url::Url;

use crate::{
    error::ErrorCode,
    service::{FileRecord, FileService, ServiceError, upload::UPLOAD_URL_BYTES_MAX},
    signing::{DOWNLOAD_PATH, UPLOAD_PATH, link::SignedQuery},
    storage::ByteRange,
    telemetry::RequestId,
};
use answer::Entity;
pub use body::Body;
use preconditions::{Selected, select};
use refusal::{plain, refusal};
pub use upload::Incoming;

/// Longest request line in bytes (method, target and version).
const REQUEST_LINE_BYTES_MAX: usize = 2 * 1024;
/// Most header fields, and most bytes of them all together.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// How the sidecar answers, as configured.
#[derive(Clone, Debug)]
pub struct SidecarOptions {
    /// Origins whose scripts may read answers (CORS); empty: none.
    pub cors_origins: Vec<HeaderValue>,
    /// The value of `Cross-Origin-Resource-Policy`.
    pub resource_policy: HeaderValue,
    /// The Content-Security-Policy of each kind of content.
    pub policies: ContentPolicies,
    /// Longest a browser may keep content.
    pub fresh_max: Duration,
    /// Longest life of the storage's own URLs, to which readers are sent where it gives out any; `None`: all
    /// content passes through here.
    pub redirect: Option<Duration>,
}

/// The Content-Security-Policy of answers.
#[derive(Clone, Debug)]
pub struct ContentPolicies {
    /// For PDFs, whose viewer a sandbox breaks.
    pub pdf: HeaderValue,
    /// For audio and video, whose player loads the same URL again as its source.
    pub media: HeaderValue,
    /// For everything else.
    pub other: HeaderValue,
}

impl ContentPolicies {
    /// The policy of a MIME type.
    fn of(&self, media_type: &str) -> &HeaderValue {
        match media_type.split('/').next() {
            _ if media_type == "application/pdf" => &self.pdf,
            Some("audio" | "video") => &self.media,
            _ => &self.other,
        }
    }
}

/// Answers downloads over the use cases.
#[derive(Clone, Debug)]
pub struct Sidecar {
    service: Arc<FileService>,
    options: Arc<SidecarOptions>,
}

/// A request's outcome: an answer, or why there is none.
type Outcome = Result<Response<Body>, ServiceError>;

impl Sidecar {
    /// Answers with what `service` gives out.
    pub fn new(service: Arc<FileService>, options: SidecarOptions) -> Self {
        Self { service, options: Arc::new(options) }
    }

    /// Answers one request; every request gets an answer.
    pub async fn answer<B: Incoming>(&self, request: Request<B>) -> Response<Body> {
        let id = RequestId::of(request.headers());
        let (path, origin) = (request.uri().path().to_owned(), cors::origin(request.headers()));
        // Made only where something is to be logged: it costs more than a small file's look-up.
        let span = || id.span("http", &path);
        let mut response = match path == UPLOAD_PATH {
            true => self.route_upload(request, &span).await,
            false => self.route(&request, &span).await,
        };
        if tracing::enabled!(Level::DEBUG) {
            tracing::debug!(parent: &span(), status = response.status().as_u16(), "answered");
        }
        let origins = &self.options.cors_origins;
        cors::allow_origin(origins, origin.as_ref(), response.headers_mut());
        response.headers_mut().insert(RequestId::HEADER, id.into_value());
        response
    }

    async fn route<B>(&self, request: &Request<B>, span: &impl Fn() -> Span) -> Response<Body> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        if method == Method::OPTIONS && !self.options.cors_origins.is_empty() {
            return cors::preflight();
        }
        if method != Method::GET && method != Method::HEAD {
            return refusal::method_not_allowed(!self.options.cors_origins.is_empty());
        }
        match uri.path() {
            DOWNLOAD_PATH => {}
            "/healthz" => return plain("ok"),
            "/readyz" => return self.ready(span).await,
            _ => return refusal(ErrorCode::PathNotFound, "nothing lives at this path"),
        }
        if let Some(refused) = refuse_too_long(method, uri, headers) {
            return refused;
        }
        match self.download(request, span).await {
            Ok(response) => response,
            Err(error) => span().in_scope(|| refusal::of_error(&error)),
        }
    }

    /// What is about an upload; OPTIONS says what is spoken, whether or not it is a preflight.
    async fn route_upload<B: Incoming>(
        &self,
        request: Request<B>,
        span: &impl Fn() -> Span,
    ) -> Response<Body> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        if method == Method::OPTIONS {
            let mut response = upload::options();
            if !self.options.cors_origins.is_empty() {
                cors::allow_uploads(response.headers_mut());
            }
            return response;
        }
        if let Some(refused) = refuse_too_long(method, uri, headers) {
            return refused;
        }
        match self.upload(request).await {
            Ok(response) => response,
            Err(error) => span().in_scope(|| refusal::of_error(&error)),
        }
    }

    async fn ready(&self, span: &impl Fn() -> Span) -> Response<Body> {
        match self.service.check().await {
            Ok(()) => plain("ready"),
            Err(error) => span().in_scope(|| refusal::of_error(&error)),
        }
    }

    async fn download<B>(&self, request: &Request<B>, span: &impl Fn() -> Span) -> Outcome {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let query = SignedQuery::parse(uri.query().unwrap_or_default())?;
        let record = self.service.follow_link(&query).await?;
        let fresh_for = self.service.fresh_for(query.grant(), &record.file, self.options.fresh_max);
        let entity = Entity::new(&record.file, query.grant(), fresh_for, &self.options);
        let size_bytes = record.file.content.size_bytes;
        let range = match select(method, headers, &entity.validators(), size_bytes) {
            Selected::NotModified => return Ok(entity.not_modified()),
            Selected::Unsatisfiable => return Ok(refusal::unsatisfiable(size_bytes)),
            Selected::Whole => None,
            Selected::Part(range) => Some(range),
        };
        if method == Method::HEAD {
            return Ok(entity.head(size_bytes));
        }
        if let Some(elsewhere) = self.redirection(&query, &record, &entity).await? {
            return Ok(answer::redirect(&elsewhere));
        }
        let wanted = range.unwrap_or(ByteRange::whole(size_bytes));
        let blob = self.service.open_content(&record, wanted).await?;
        Ok(entity.content(Body::of(blob, span), range, size_bytes))
    }

    /// Where the reader is sent for the content: never for longer than the link lives, nor for what is safe
    /// only with the headers of this origin.
    async fn redirection(
        &self,
        query: &SignedQuery,
        record: &FileRecord,
        entity: &Entity,
    ) -> Result<Option<Url>, ServiceError> {
        let (Some(longest), Some(answer)) = (self.options.redirect, entity.elsewhere()) else {
            return Ok(None);
        };
        let life = self.service.fresh_for(query.grant(), &record.file, longest);
        if life < Duration::from_secs(1) {
            return Ok(None);
        }
        self.service.presign_content(record, &answer, life).await
    }
}

/// Refuses a request line or headers that are longer than any true link needs.
fn refuse_too_long(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response<Body>> {
    // Absolute targets name scheme and authority, too (RFC 9112, section 3.2.2).
    let authority = uri.authority().map_or(0, |it| it.as_str().len() + "https://".len());
    let target = authority + uri.path().len() + uri.query().map_or(0, |query| 1 + query.len());
    let line = method.as_str().len() + target + "  HTTP/1.1".len();
    let most = match uri.path() {
        UPLOAD_PATH => UPLOAD_URL_BYTES_MAX + REQUEST_LINE_BYTES_MAX,
        _ => REQUEST_LINE_BYTES_MAX,
    };
    if line > most {
        let message = format!("the request line is over {} KiB", most / 1024);
        return Some(refusal(ErrorCode::UriTooLong, &message));
    }
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len()
    };
    let bytes: usize = headers.iter().map(field).sum();
    (headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX)
        .then(|| refusal(ErrorCode::HeadersTooLarge, "the headers are over 16 KiB or 64 fields"))
}
