//! The metrics: their names, and where they are shown in the format of Prometheus.

use std::net::SocketAddr;

use metrics::{describe_counter, describe_gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder};

/// Records removed with their bytes by the sweeper.
pub const SWEPT: &str = "files_sweep_removed_total";
/// Blobs that the sweeper could not remove.
pub const SWEEP_FAILURES: &str = "files_sweep_failures_total";
/// Old blobs without a record, at the last look.
pub const STRAYS: &str = "files_sweep_strays";
/// Blobs without a record that were removed.
pub const STRAYS_REMOVED: &str = "files_sweep_strays_removed_total";
/// 1 while there are too many blobs without a record to remove them unasked.
pub const SWEEP_BRAKED: &str = "files_sweep_braked";
/// Bytes read by the scrub.
pub const SCRUBBED_BYTES: &str = "files_scrub_bytes_total";
/// Files found damaged by the scrub.
pub const DAMAGED: &str = "files_scrub_damaged_total";
/// Files that the scrub could not read.
pub const UNREADABLE: &str = "files_scrub_unreadable_total";

/// Shows the process's metrics at `listen`, on whatever path. Once for a process.
pub fn serve(listen: SocketAddr) -> Result<(), BuildError> {
    PrometheusBuilder::new().with_http_listener(listen).install()?;
    describe_counter!(SWEPT, "Records removed with their bytes by the sweeper");
    describe_counter!(SWEEP_FAILURES, "Blobs that the sweeper could not remove");
    describe_gauge!(STRAYS, "Old blobs without a record, at the last look");
    describe_counter!(STRAYS_REMOVED, "Blobs without a record that were removed");
    describe_gauge!(SWEEP_BRAKED, "1 while too many blobs have no record to remove them unasked");
    describe_counter!(SCRUBBED_BYTES, "Bytes read by the scrub");
    describe_counter!(DAMAGED, "Files found damaged by the scrub");
    describe_counter!(UNREADABLE, "Files that the scrub could not read");
    // Shown from the start, so that an alert can tell none from nothing known.
    for name in [SWEPT, SWEEP_FAILURES, STRAYS_REMOVED, SCRUBBED_BYTES, DAMAGED, UNREADABLE] {
        metrics::counter!(name).absolute(0);
    }
    for name in [STRAYS, SWEEP_BRAKED] {
        metrics::gauge!(name).set(0.0);
    }
    Ok(())
}
