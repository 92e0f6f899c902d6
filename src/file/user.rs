//! Users: opaque ids of the platform's own.

use crate::error::FieldError;

const USER_ID_BYTES_MAX: usize = 255;

/// The id of a user: 1 to 255 bytes without control characters, opaque here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

impl UserId {
    /// Reads `text`; refuses what is empty, too long or holds control characters.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let refuse = |problem: &str| Err(FieldError::new("user_id", problem));
        if text.is_empty() {
            return refuse("is required");
        }
        if text.len() > USER_ID_BYTES_MAX {
            return refuse("must be at most 255 bytes");
        }
        if text.chars().any(char::is_control) {
            return refuse("must hold no control characters");
        }
        Ok(Self(text.to_owned()))
    }

    /// An id read back from where an accepted one was stored.
    pub const fn stored(text: String) -> Self {
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_from_1_to_255_bytes_are_accepted() {
        assert!(UserId::parse("u").is_ok());
        assert!(UserId::parse(&"é".repeat(127)).is_ok());
        for text in ["", &"u".repeat(256), "a\nb", "a\0"] {
            assert!(UserId::parse(text).is_err(), "{text:?}");
        }
    }
}
