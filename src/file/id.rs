//! File ids: `file_` and 22 characters of base 62.

use std::{fmt, str::FromStr};

use crate::error::FieldError;

const PREFIX: &str = "file_";
const SUFFIX_CHARS: usize = 22;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The largest multiple of 62 in a byte: bytes at or above it would favour some characters.
const UNBIASED_BELOW: u8 = 248;

/// The id of a file: `^file_[0-9A-Za-z]{22}$`, 131 bits from the operating system's CSPRNG.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId([u8; SUFFIX_CHARS]);

impl FileId {
    /// Length of the text form in bytes.
    pub const TEXT_BYTES: usize = PREFIX.len() + SUFFIX_CHARS;

    /// A fresh id; fails only where the operating system gives no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut suffix = [0; SUFFIX_CHARS];
        let mut filled = 0;
        while filled < SUFFIX_CHARS {
            let mut random = [0; 32];
            getrandom::fill(&mut random)?;
            for byte in random.into_iter().filter(|byte| *byte < UNBIASED_BELOW) {
                if let Some(slot) = suffix.get_mut(filled) {
                    *slot = ALPHABET[usize::from(byte % 62)];
                    filled += 1;
                }
            }
        }
        Ok(Self(suffix))
    }

    /// Reads the text form; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let suffix = text.strip_prefix(PREFIX)?.as_bytes();
        let suffix: [u8; SUFFIX_CHARS] = suffix.try_into().ok()?;
        suffix.iter().all(u8::is_ascii_alphanumeric).then_some(Self(suffix))
    }

    /// The characters behind the prefix: evenly spread over all files.
    pub const fn as_bytes(&self) -> &[u8; SUFFIX_CHARS] {
        &self.0
    }

    fn suffix(&self) -> &str {
        // Only ASCII letters and digits ever get in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for FileId {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        Self::parse(text)
            .ok_or_else(|| FieldError::new("file_id", "must be file_ and 22 letters or digits"))
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(PREFIX)?;
        out.write_str(self.suffix())
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_reads_back() -> Result<(), getrandom::Error> {
        let id = FileId::random()?;
        assert_eq!(FileId::parse(&id.to_string()), Some(id));
        assert_ne!(FileId::random()?, id);
        Ok(())
    }

    #[test]
    fn anything_but_the_exact_form_is_refused() {
        for text in [
            "",
            "file_",
            "file_rxW1Vo7BgEKDqB8Lx7mN2",
            "file_rxW1Vo7BgEKDqB8Lx7mN2ff",
            "FILE_rxW1Vo7BgEKDqB8Lx7mN2f",
            "file_rxW1Vo7BgEKDqB8Lx7mN2-",
            "file_rxW1Vo7BgEKDqB8Lx7mNé",
            " file_rxW1Vo7BgEKDqB8Lx7mN2f",
        ] {
            assert_eq!(FileId::parse(text), None, "{text:?}");
        }
    }
}
