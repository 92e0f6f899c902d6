//! Asks the kernel to start writing out a file's dirty pages, without waiting for them.

use std::{fs::File, os::fd::AsRawFd};

/// Starts writing out the `len` bytes before `end`. Only a hint: durability comes from the sync that
/// follows, so a failure here means nothing.
#[allow(unsafe_code)]
pub(super) fn start(file: &File, end: u64, len: u64) {
    let offset = i64::try_from(end.saturating_sub(len)).unwrap_or(0);
    let len = i64::try_from(len).unwrap_or(0);
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call touches no memory of
    // ours.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE);
    }
}
