//! How, when and how often uploads are cut, and how they end: drawn from a seed.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::site::Kind;

/// What a connection needs beside the content: preface, settings, head, and what is around each message.
const OVERHEAD_BYTES: u64 = 600;

/// The ways to cut an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Reset,
    HalfClose,
    Deadline,
    ClientGone,
    NeverFinished,
    ServerKilled,
    DatabaseGone,
    StorageGone,
}

impl Way {
    /// How many there are; an embedded database is never gone.
    pub(super) fn count(kind: Kind) -> usize {
        if kind == Kind::DiskAndSqlite { 7 } else { 8 }
    }

    pub(super) fn draw(random: &mut Random, kind: Kind) -> Self {
        let is_local = kind == Kind::DiskAndSqlite;
        match random.below(100) {
            0..22 => Self::Reset,
            22..40 => Self::HalfClose,
            40..58 => Self::Deadline,
            58..80 => Self::ClientGone,
            80..86 => Self::NeverFinished,
            86..92 => Self::ServerKilled,
            92..96 if !is_local => Self::DatabaseGone,
            _ => Self::StorageGone,
        }
    }
}

/// When it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// When so many bytes of the connection have been sent.
    Byte(u64),
    /// So long after the last message.
    AfterFinish(Duration),
}

impl Moment {
    /// A moment for one more cut of an upload that has so many bytes left to send.
    pub(super) fn draw(random: &mut Random, way: Way, left: u64, finishes: bool) -> Self {
        // What happens to the servers matters most while they publish.
        let one_in = if way >= Way::ServerKilled { 2 } else { 3 };
        if finishes && random.below(one_in) == 0 {
            let most_us = [0, 3_000, 30_000][random.below(3) as usize];
            return Self::AfterFinish(Duration::from_micros(random.below(most_us)));
        }
        Self::Byte(random.below(left + left / 1000 + OVERHEAD_BYTES))
    }

    /// Where a connection is held for it.
    pub(super) const fn byte(self) -> u64 {
        match self {
            Self::Byte(byte) => byte,
            Self::AfterFinish(_) => u64::MAX,
        }
    }
}

/// What is done with an upload in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Finished,
    /// Never finished, nor cancelled.
    Left,
    /// Cancelled, be it after its last message.
    Cancelled,
}

/// How often an upload was cut, in each way, before its last message and after it.
pub(super) type Cuts = BTreeMap<Way, (u64, u64)>;

/// A generator (splitmix64) that is the same for every run of one seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }

    /// Content that is random but for its beginning, by which nobody takes it for anything but text.
    pub(super) fn content(&mut self, size: usize) -> Bytes {
        let mut content = Vec::with_capacity(size + 16);
        content.extend_from_slice(b"cut and gone on ");
        while content.len() < size {
            content.extend_from_slice(&self.next().to_le_bytes());
        }
        content.truncate(size);
        content.into()
    }
}
