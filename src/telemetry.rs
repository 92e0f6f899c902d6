//! What is logged and measured, and how: the subscriber, request ids, span fields and metrics, in one place.
//!
//! No signature, key or content ever gets here: spans hold a method or a path, never a query.

pub mod metrics;

use std::{
    io::IsTerminal,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;
use tracing_subscriber::EnvFilter;

/// Longest request id that is taken over from a caller.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether `level` is a filter as in `tracing_subscriber::EnvFilter`; the error says what is wrong.
pub fn check_level(level: &str) -> Result<(), String> {
    EnvFilter::try_new(level).map(drop).map_err(|error| error.to_string())
}

/// Starts logging to standard error. `level` is a filter as in `tracing_subscriber::EnvFilter`.
pub fn start(
    format: LogFormat,
    level: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::try_new(level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    match format {
        LogFormat::Text => builder.with_ansi(terminal).try_init(),
        LogFormat::Auto if terminal => builder.try_init(),
        LogFormat::Auto | LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
}

/// What tells one request's log lines from another's: the caller's `x-request-id`, or one of our own.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The header that carries it, both ways.
    pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

    /// The id a request came with, where it is of visible ASCII characters and not too long; else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(Self::HEADER).filter(|value| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&value.len())
                && value.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        given.map_or_else(Self::fresh, |value| Self(value.clone()))
    }

    fn fresh() -> Self {
        /// Tells processes apart; within one, counting is enough.
        static PROCESS: LazyLock<u32> = LazyLock::new(|| {
            let mut random = [0; 4];
            // Without randomness ids of two processes may coincide, which only makes logs harder to read.
            let _ = getrandom::fill(&mut random);
            u32::from_ne_bytes(random)
        });
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:08x}-{count:x}", *PROCESS);
        Self(HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("none")))
    }

    /// The id as a header's value.
    pub fn into_value(self) -> HeaderValue {
        self.0
    }

    /// The span that every log line of the request carries.
    pub fn span(&self, protocol: &'static str, path: &str) -> Span {
        let id = self.0.to_str().unwrap_or_default();
        tracing::info_span!("request", request_id = id, protocol, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        let of = |text: &'static [u8]| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(text).expect("a header value");
            headers.insert(RequestId::HEADER, value);
            RequestId::of(&headers).into_value()
        };
        assert_eq!(of(b"abc-123"), "abc-123");
        assert_ne!(of(b"a b"), "a b");
        assert_ne!(of(b"\xff"), "\u{ff}");
        let fresh = || RequestId::of(&HeaderMap::new()).into_value();
        assert_ne!(fresh(), fresh());
    }
}
