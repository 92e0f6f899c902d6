//! What the store says in the headers of its answers beside an operation's result: how long to wait, and
//! what time it is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{
            BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
        },
    },
    error::BoxError,
};

use crate::clock::{Clock, Timestamp};

/// Makes the client wait as long as `Retry-After` says (RFC 9110, section 10.2.3), within a bound, before it
/// sends a request again. By itself it knows only AWS's own header of that meaning.
#[derive(Debug)]
pub(super) struct RetryAfter {
    /// Longest to wait.
    pub(super) wait_max: Duration,
}

impl Intercept for RetryAfter {
    fn name(&self) -> &'static str {
        "RetryAfter"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response_mut().headers_mut();
        let asked = headers.get("retry-after").and_then(|text| text.parse().ok());
        if let Some(wait) = asked.map(Duration::from_secs) {
            let wait_ms = wait.min(self.wait_max).as_millis();
            headers.insert("x-amz-retry-after", wait_ms.to_string());
        }
        Ok(())
    }
}

/// How far the store's clock is ahead of ours.
#[derive(Clone, Debug)]
pub(super) struct StoreClock {
    ours: Arc<dyn Clock>,
    ahead_us: Arc<AtomicI64>,
}

impl StoreClock {
    /// Until the store has been asked, its clock shows what ours does.
    pub(super) fn new(ours: Arc<dyn Clock>) -> Self {
        Self { ours, ahead_us: Arc::default() }
    }

    /// The time there.
    pub(super) fn now(&self) -> Timestamp {
        let ahead_us = self.ahead_us.load(Ordering::Relaxed);
        Timestamp::from_unix_us(self.ours.now().unix_us().saturating_add(ahead_us))
    }

    /// How far it is ahead of ours; negative: behind.
    pub(super) fn ahead_s(&self) -> i64 {
        self.ahead_us.load(Ordering::Relaxed) / 1_000_000
    }
}

/// As an interceptor of a request it sets the clock by the answer's `Date`.
impl Intercept for StoreClock {
    fn name(&self) -> &'static str {
        "StoreClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(Ok(there)) = date.map(httpdate::parse_http_date) {
            let ahead_us = Timestamp::from(there).unix_us() - self.ours.now().unix_us();
            self.ahead_us.store(ahead_us, Ordering::Relaxed);
        }
        Ok(())
    }
}
