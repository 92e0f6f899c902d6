//! What both listeners do when a connection cannot be accepted.

use std::{io, time::Duration};

use tokio::time::sleep;

/// How long to pause when the process has no descriptors left: closing connections frees some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells of the failure, and waits before the next try.
pub(super) async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "could not accept a connection");
    sleep(ACCEPT_PAUSE).await;
}
