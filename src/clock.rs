//! Time, passed in: nothing else in the crate asks the operating system what time it is.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const MICROS_PER_S: i64 = 1_000_000;

/// A point in time in whole microseconds since the Unix epoch: what both databases store exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_unix_us(unix_us: i64) -> Self {
        Self(unix_us)
    }

    /// From seconds since the Unix epoch; saturates.
    pub const fn from_unix_s(unix_s: i64) -> Self {
        Self(unix_s.saturating_mul(MICROS_PER_S))
    }

    /// Microseconds since the Unix epoch.
    pub const fn unix_us(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn unix_s(self) -> i64 {
        self.0.div_euclid(MICROS_PER_S)
    }

    /// Microseconds past [`Timestamp::unix_s`], 0 to 999,999.
    pub const fn subsec_us(self) -> i64 {
        self.0.rem_euclid(MICROS_PER_S)
    }

    /// How long ago `earlier` was at this time; nothing where it was not.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// This time less `span`; saturates.
    pub fn minus(self, span: Duration) -> Self {
        let span_us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(span_us))
    }

    /// This time plus `span`; saturates.
    pub fn plus(self, span: Duration) -> Self {
        let span_us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(span_us))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let unix_us = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Self(unix_us)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let span = Duration::from_micros(time.0.unsigned_abs());
        if time.0 >= 0 { UNIX_EPOCH + span } else { UNIX_EPOCH - span }
    }
}

/// Tells the time.
pub trait Clock: Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// A clock that stands still until it is moved: for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.unix_us()))
    }

    /// Moves the clock on by `span`.
    pub fn advance(&self, span: Duration) {
        let later = self.now().plus(span);
        self.0.store(later.unix_us(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_time_and_timestamp_convert_both_ways() {
        for unix_us in [0, 1, 1_711_657_200_123_456, -5] {
            let time = Timestamp::from_unix_us(unix_us);
            assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        }
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(Timestamp::from_unix_s(10));
        assert_eq!(clock.now().unix_s(), 10);
        clock.advance(Duration::from_millis(1500));
        assert_eq!((clock.now().unix_s(), clock.now().subsec_us()), (11, 500_000));
    }
}
