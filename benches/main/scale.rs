//! How much is measured, and how often.

const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;

/// Bytes in each of the small files.
pub(crate) const SMALL_BYTES: u64 = 4 * KIB;
/// Small files that are under way at once.
pub(crate) const SMALL_AT_ONCE: usize = 16;

/// The sizes of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Whether this is only to see that it works.
    pub(crate) quick: bool,
    /// How often each case is measured.
    pub(crate) rounds: usize,
    /// Bytes in the large file.
    pub(crate) large_bytes: u64,
    /// How many small files there are.
    pub(crate) small_files: usize,
    /// How often the small files are downloaded in one measurement, so that it lasts long enough.
    pub(crate) small_passes: usize,
    /// Uploads at once, where memory is measured.
    pub(crate) memory_uploads: usize,
    /// Bytes in each of those uploads.
    pub(crate) memory_bytes: u64,
    /// Links signed or verified in one measurement.
    pub(crate) links: usize,
    /// Rows in the large database.
    pub(crate) rows: u64,
}

impl Scale {
    pub(crate) fn new(quick: bool, rounds: Option<usize>) -> Self {
        Self {
            quick,
            rounds: rounds.unwrap_or(if quick { 1 } else { 5 }).max(1),
            large_bytes: if quick { 128 * MIB } else { 1024 * MIB },
            small_files: if quick { 500 } else { 2_000 },
            small_passes: if quick { 10 } else { 25 },
            memory_uploads: 64,
            memory_bytes: if quick { 16 * MIB } else { 64 * MIB },
            links: if quick { 50_000 } else { 500_000 },
            rows: if quick { 20_000 } else { 1_000_000 },
        }
    }
}

/// Bytes as people say them: `1 GiB`, `4 KiB`.
pub(crate) fn spoken(bytes: u64) -> String {
    let units = [(1024 * MIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    let unit = units.into_iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size));
    let (size, name) = unit.unwrap_or((1, "bytes"));
    format!("{} {name}", bytes / size)
}
