//! What a user stores, and how much of it may be stored.

/// What a user stores: finished files, soft-deleted ones with them for as long as their bytes are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many files.
    pub file_count: u64,
    /// How many bytes.
    pub stored_bytes: u64,
}

/// How much a user may store; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Most files.
    pub file_count_max: Option<u64>,
    /// Most bytes.
    pub stored_bytes_max: Option<u64>,
}

impl Quota {
    /// Whether nothing is limited.
    pub const fn is_unlimited(self) -> bool {
        self.file_count_max.is_none() && self.stored_bytes_max.is_none()
    }

    /// Whether one more file may begin where `held` is held already.
    pub fn has_place(self, held: Usage) -> bool {
        self.file_count_max.is_none_or(|most| held.file_count < most)
    }

    /// How many more bytes may be stored where `held` are held already.
    pub fn bytes_left(self, held: Usage) -> u64 {
        self.stored_bytes_max.map_or(u64::MAX, |most| most.saturating_sub(held.stored_bytes))
    }
}
