//! What is uploaded and downloaded: text that looks random, made once, with its hash.

use std::{io::Write, path::Path};

use anyhow::Result;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::scale::SMALL_BYTES;

/// Bytes in one message of an upload.
pub(crate) const MESSAGE_BYTES: usize = 256 * 1024;
/// The large file repeats a block of this size: the client sends it out of the processor's cache, so that
/// reading it costs the measurement nothing.
const BLOCK_BYTES: usize = 1024 * 1024;

/// A file's content.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Its name.
    pub(crate) name: String,
    /// Its hash.
    pub(crate) sha256: Bytes,
    /// Its length.
    pub(crate) size_bytes: u64,
    pieces: Vec<Bytes>,
}

impl Content {
    /// One of `size_bytes`, a multiple of 1 MiB.
    pub(crate) fn large(size_bytes: u64) -> Self {
        let block = Bytes::from(text(u64::MAX, BLOCK_BYTES));
        let message = |at: usize| block.slice(at..at + MESSAGE_BYTES);
        let messages = (0..BLOCK_BYTES).step_by(MESSAGE_BYTES).map(message).cycle();
        let count = size_bytes / MESSAGE_BYTES as u64;
        Self::new("large.txt".to_owned(), messages.take(count as usize).collect())
    }

    /// The small one with this number.
    pub(crate) fn small(number: usize) -> Self {
        let text = text(number as u64, SMALL_BYTES as usize);
        Self::new(format!("{number}.txt"), vec![Bytes::from(text)])
    }

    fn new(name: String, pieces: Vec<Bytes>) -> Self {
        let mut sha256 = Sha256::new();
        pieces.iter().for_each(|piece| sha256.update(piece));
        Self {
            name,
            sha256: Bytes::copy_from_slice(&sha256.finalize()),
            size_bytes: pieces.iter().map(|piece| piece.len() as u64).sum(),
            pieces,
        }
    }

    /// The bytes, as the messages of an upload hold them.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Bytes> + Send + 'static {
        self.pieces.clone().into_iter()
    }

    /// Writes a file of this name and content into `directory`.
    pub(crate) fn write_into(&self, directory: &Path) -> Result<()> {
        let mut file = std::fs::File::create(directory.join(&self.name))?;
        for piece in &self.pieces {
            file.write_all(piece)?;
        }
        Ok(())
    }
}

/// Printable bytes from a generator (splitmix64) whose states `seed` keeps apart.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    let byte = |random: u64| b'0' + (random >> 58) as u8;
    (0..len).map(|_| byte(next())).collect()
}
