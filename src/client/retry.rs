//! Which failures are worth another attempt, and how long to wait for it: exponential backoff with full jitter,
//! and at least as long as the server asks for (AIP-194, google.rpc.RetryInfo).

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Attempts that may fail one after the other without anything gained.
const ATTEMPTS_MAX: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Reasons after which the same call may well succeed.
const PASSING: [&str; 5] =
    ["OVERLOADED", "STORAGE_UNAVAILABLE", "SHUTTING_DOWN", "UPLOAD_INCOMPLETE", "UPLOAD_STALLED"];

/// Counts attempts that gained nothing.
#[derive(Debug, Default)]
pub(super) struct Retries {
    failed: u32,
}

impl Retries {
    /// Something was gained: counting begins anew.
    pub(super) const fn gained(&mut self) {
        self.failed = 0;
    }

    /// How long to wait before the next attempt; `None` where there is to be none.
    pub(super) fn pause(&mut self, status: &Status) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= ATTEMPTS_MAX || !is_passing(status) {
            return None;
        }
        let most = (FIRST_PAUSE * 2_u32.pow(self.failed - 1)).min(PAUSE_MAX);
        let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
        Some(asked.unwrap_or_default() + most.mul_f64(fraction()))
    }
}

/// Whether the call broke off, or the server said that it may succeed later.
fn is_passing(status: &Status) -> bool {
    match status.get_details_error_info() {
        Some(info) => PASSING.contains(&info.reason.as_str()),
        // The way to the server, or what stands in it.
        None => matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::Aborted
        ),
    }
}

/// A random number from 0 to 1; without randomness there is no jitter.
fn fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn answered(reason: &str, delay: Option<Duration>) -> Status {
        let mut details = ErrorDetails::with_error_info(reason, "files.v1", HashMap::new());
        details.set_retry_info(delay);
        Status::with_error_details(Code::Unavailable, "", details)
    }

    #[test]
    fn pauses_grow_within_bounds_and_end() {
        let mut retries = Retries::default();
        for most in [100, 200, 400, 800, 1600, 3200, 5000] {
            let pause = retries.pause(&Status::unavailable("")).expect("another attempt");
            assert!(pause <= Duration::from_millis(most), "{pause:?}");
        }
        assert_eq!(retries.pause(&Status::unavailable("")), None);
        retries.gained();
        assert!(retries.pause(&Status::unavailable("")).is_some());
    }

    #[test]
    fn a_server_is_given_the_time_it_asks_for() {
        let second = Duration::from_secs(1);
        let pause = Retries::default().pause(&answered("OVERLOADED", Some(second)));
        assert!(pause.is_some_and(|pause| pause >= second));
    }

    #[test]
    fn refusals_are_final() {
        for reason in ["CHECKSUM_MISMATCH", "UPLOAD_TAKEN_OVER", "INTERNAL"] {
            assert_eq!(Retries::default().pause(&answered(reason, None)), None, "{reason}");
        }
        assert_eq!(Retries::default().pause(&Status::deadline_exceeded("")), None);
    }
}
