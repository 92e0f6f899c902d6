//! Blobs: a file's bytes, known by their key alone.

use std::fmt;

/// The name of a blob: 128 random bits, used once and never again. Its text form is 32 lower-case hex
/// digits, so that keys differ on case-insensitive shares, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey([u8; 16]);

impl BlobKey {
    /// A fresh key; fails only where the operating system gives no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; 16];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }

    /// A key read back from where it was stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key's bytes, for storing.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads the text form; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        let key = Self(bytes);
        (key.to_string() == text).then_some(key)
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_spelling() -> Result<(), getrandom::Error> {
        let key = BlobKey::random()?;
        assert_eq!(BlobKey::parse(&key.to_string()), Some(key));
        for text in ["", "00", &"AB".repeat(16), &"0".repeat(33), &"g".repeat(32)] {
            assert_eq!(BlobKey::parse(text), None, "{text:?}");
        }
        Ok(())
    }
}
