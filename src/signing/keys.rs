//! The key ring: the first key signs, all of them verify.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// Fewest bytes in a key: as many as HMAC-SHA256 puts out (RFC 2104, section 3).
pub const KEY_BYTES_MIN: usize = 32;
/// Most keys in a ring: the one in use, the one before, and the one to come.
pub const KEYS_MAX: usize = 3;

/// An HMAC-SHA256.
pub type Signature = [u8; 32];

/// Why keys make no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// No key at all.
    #[error("at least one key is needed")]
    Empty,
    /// Too many keys.
    #[error("at most 3 keys are allowed")]
    TooMany,
    /// A key that could be guessed.
    #[error("every key needs 32 bytes or more")]
    Short,
}

/// An ordered ring of 1 to 3 keys, kept as prepared HMAC states; never shown.
#[derive(Clone)]
pub struct KeyRing(Vec<Hmac<Sha256>>);

impl KeyRing {
    /// A ring of `keys`, each taken as the bytes it is written in.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Result<Self, KeyRingError> {
        let mut states = Vec::new();
        for key in keys {
            let key = key.as_ref();
            if key.len() < KEY_BYTES_MIN {
                return Err(KeyRingError::Short);
            }
            states.push(Hmac::new_from_slice(key).map_err(|_| KeyRingError::Short)?);
        }
        match states.len() {
            0 => Err(KeyRingError::Empty),
            1..=KEYS_MAX => Ok(Self(states)),
            _ => Err(KeyRingError::TooMany),
        }
    }

    /// The first key's signature of `message`.
    pub fn sign(&self, message: &str) -> Signature {
        self.0.first().map(|state| tag(state, message)).unwrap_or_default()
    }

    /// Whether any key made `signature` for `message`: in constant time, and every key is tried.
    pub fn verify(&self, message: &str, signature: &Signature) -> bool {
        let matches = self
            .0
            .iter()
            .fold(Choice::from(0), |found, state| found | tag(state, message).ct_eq(signature));
        matches.into()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyRing({} keys)", self.0.len())
    }
}

fn tag(state: &Hmac<Sha256>, message: &str) -> Signature {
    state.clone().chain_update(message.as_bytes()).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    #[test]
    fn the_first_key_signs_and_all_verify() -> Result<(), KeyRingError> {
        let (old, rotated) = (KeyRing::new([OLD])?, KeyRing::new([NEW, OLD])?);
        assert!(rotated.verify("m", &old.sign("m")));
        assert!(rotated.verify("m", &rotated.sign("m")));
        assert!(!old.verify("m", &rotated.sign("m")));
        assert!(!old.verify("n", &old.sign("m")));
        Ok(())
    }

    #[test]
    fn a_ring_has_one_to_three_long_keys() {
        assert_eq!(KeyRing::new([""; 0]).err(), Some(KeyRingError::Empty));
        assert_eq!(KeyRing::new(["short"]).err(), Some(KeyRingError::Short));
        assert_eq!(KeyRing::new([OLD; 4]).err(), Some(KeyRingError::TooMany));
    }

    #[test]
    fn a_ring_never_shows_its_keys() -> Result<(), KeyRingError> {
        assert_eq!(format!("{:?}", KeyRing::new([OLD, NEW])?), "KeyRing(2 keys)");
        Ok(())
    }
}
