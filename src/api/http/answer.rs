//! Good answers and their headers.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::{Body, SidecarOptions, preconditions::Validators};
use crate::{
    clock::Timestamp,
    file::{File, media_type::Rendering},
    signing::link::{Disposition, Grant},
    storage::{ByteRange, PresignedAnswer},
};

const TEXT_PLAIN: &str = "text/plain; charset=utf-8";
/// What the names of types hold that other pages can pull in as script or style, whatever the disposition
/// says.
const ACTIVE_SUBRESOURCES: [&str; 3] = ["javascript", "ecmascript", "css"];
/// Everything but the attr-char of RFC 8187, section 3.2.1.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// A file as a link gives it out: the headers that every answer about it carries.
pub(super) struct Entity {
    headers: HeaderMap,
    etag: String,
    last_modified: Timestamp,
    /// Whether the content is safe without the headers that only this origin sends.
    safe_elsewhere: bool,
}

impl Entity {
    pub(super) fn new(
        file: &File,
        grant: &Grant,
        fresh_for: Duration,
        options: &SidecarOptions,
    ) -> Self {
        let etag = format!("\"{}\"", hex::encode(file.content.sha256));
        let disposition = disposition(file, grant);
        let name = grant.filename.as_ref().unwrap_or(&file.name);
        let mut headers = HeaderMap::with_capacity(16);
        let mut set = |name, text: &str| {
            // Every text here is ASCII without control characters.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        set(ETAG, &etag);
        set(LAST_MODIFIED, &httpdate::fmt_http_date(file.create_time.into()));
        set(CACHE_CONTROL, &format!("private, max-age={}", fresh_for.as_secs()));
        set(CONTENT_TYPE, content_type(file, disposition));
        set(CONTENT_DISPOSITION, &content_disposition(disposition, name.as_str()));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert("cross-origin-resource-policy", options.resource_policy.clone());
        let policy = options.policies.of(file.media_type.as_str());
        headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        let text = file.media_type.rendering() == Rendering::PlainText;
        let safe_elsewhere = !text && !is_active(file.media_type.as_str());
        Self { headers, etag, last_modified: file.create_time, safe_elsewhere }
    }

    /// The headers with which a storage may answer in this one's place; `None` where it must not: its answers
    /// bear neither `nosniff`, without which other pages can pull any text in as a script, nor a
    /// Content-Security-Policy.
    pub(super) fn elsewhere(&self) -> Option<PresignedAnswer> {
        let text = |name| self.headers.get(name).and_then(|value| value.to_str().ok());
        self.safe_elsewhere.then_some(PresignedAnswer {
            content_type: text(CONTENT_TYPE)?.to_owned(),
            content_disposition: text(CONTENT_DISPOSITION)?.to_owned(),
            cache_control: text(CACHE_CONTROL)?.to_owned(),
        })
    }

    pub(super) fn validators(&self) -> Validators<'_> {
        Validators { etag: &self.etag, last_modified: self.last_modified }
    }

    /// The whole content (200), or one part of it (206).
    pub(super) fn content(
        self,
        body: Body,
        part: Option<ByteRange>,
        size_bytes: u64,
    ) -> Response<Body> {
        let Some(range) = part else {
            return self.respond(StatusCode::OK, body, Some(size_bytes));
        };
        let last = range.end().saturating_sub(1);
        let text = format!("bytes {}-{last}/{size_bytes}", range.offset);
        let mut response = self.respond(StatusCode::PARTIAL_CONTENT, body, Some(range.len));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(CONTENT_RANGE, value);
        }
        response
    }

    /// What GET would answer, without the content.
    pub(super) fn head(self, size_bytes: u64) -> Response<Body> {
        self.respond(StatusCode::OK, Body::empty(), Some(size_bytes))
    }

    /// The reader has the content already.
    pub(super) fn not_modified(mut self) -> Response<Body> {
        self.headers.remove(CONTENT_TYPE);
        self.respond(StatusCode::NOT_MODIFIED, Body::empty(), None)
    }

    fn respond(self, status: StatusCode, body: Body, length: Option<u64>) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = self.headers;
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        response
    }
}

/// Sends the reader to a URL that is as good as the content for as long as it lives: nobody keeps it.
pub(super) fn redirect(elsewhere: &Url) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(elsewhere.as_str()) {
        headers.insert(LOCATION, location);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// What the link asks for, as far as it is safe: nothing that could run a script is ever inline.
fn disposition(file: &File, grant: &Grant) -> Disposition {
    match (file.media_type.rendering(), grant.disposition) {
        (Rendering::AttachmentOnly, _) | (_, Some(Disposition::Attachment)) => {
            Disposition::Attachment
        }
        (Rendering::Native | Rendering::PlainText, _) => Disposition::Inline,
    }
}

fn content_type(file: &File, disposition: Disposition) -> &str {
    let media_type = file.media_type.as_str();
    let shown_as_text =
        disposition == Disposition::Inline && file.media_type.rendering() == Rendering::PlainText;
    if shown_as_text || is_active(media_type) { TEXT_PLAIN } else { media_type }
}

fn is_active(media_type: &str) -> bool {
    ACTIVE_SUBRESOURCES.iter().any(|it| media_type.contains(it))
}

/// RFC 6266: an ASCII `filename` for old readers, and the true name as `filename*` (RFC 8187).
fn content_disposition(disposition: Disposition, name: &str) -> String {
    let ascii: String = name
        .chars()
        .map(|char| match char {
            // A percent sign would make some readers decode what is no encoding.
            '"' | '\\' | '%' => '_',
            ' '..='~' => char,
            _ => '_',
        })
        .collect();
    let utf8 = utf8_percent_encode(name, NOT_ATTR_CHAR);
    format!("{}; filename=\"{ascii}\"; filename*=UTF-8''{utf8}", disposition.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_in_both_forms() {
        let header = |name| content_disposition(Disposition::Inline, name);
        assert_eq!(
            header("plot (final).png"),
            "inline; filename=\"plot (final).png\"; filename*=UTF-8''plot%20%28final%29.png"
        );
        assert_eq!(
            header("Ü\"x%41.txt"),
            "inline; filename=\"__x_41.txt\"; filename*=UTF-8''%C3%9C%22x%2541.txt"
        );
    }
}
