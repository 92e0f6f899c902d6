//! Labels: small key-value pairs of the caller's own.

use std::collections::BTreeMap;

use crate::error::FieldError;

const LABELS_MAX: usize = 32;
const KEY_BYTES_MAX: usize = 63;
const VALUE_BYTES_MAX: usize = 256;

/// At most 32 labels, keys of 1 to 63 bytes, values of at most 256, none with a NUL, in the keys' order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Takes `labels` if they keep within the limits.
    pub fn parse(labels: BTreeMap<String, String>) -> Result<Self, FieldError> {
        let refuse = |problem: &str| Err(FieldError::new("labels", problem));
        if labels.len() > LABELS_MAX {
            return refuse("must be at most 32");
        }
        for (key, value) in &labels {
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return refuse("keys must be 1 to 63 bytes");
            }
            if value.len() > VALUE_BYTES_MAX {
                return refuse("values must be at most 256 bytes");
            }
            // PostgreSQL keeps no text with a NUL in it.
            if key.contains('\0') || value.contains('\0') {
                return refuse("keys and values must hold no NUL");
            }
        }
        Ok(Self(labels))
    }

    /// Labels read back from where accepted ones were stored.
    pub const fn stored(labels: BTreeMap<String, String>) -> Self {
        Self(labels)
    }

    /// The labels by key.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Labels, FieldError> {
        Labels::parse(pairs.into_iter().collect())
    }

    #[test]
    fn the_limits_hold() {
        let pair = |key: &str, value: &str| [(key.to_owned(), value.to_owned())];
        assert!(of(pair("k", "")).is_ok());
        assert!(of(pair("", "v")).is_err());
        assert!(of(pair("k\0", "v")).is_err());
        assert!(of(pair("k", "v\0")).is_err());
        assert!(of(pair(&"k".repeat(64), "v")).is_err());
        assert!(of(pair("k", &"v".repeat(257))).is_err());
        assert!(of((0..32).map(|n| (n.to_string(), String::new()))).is_ok());
        assert!(of((0..33).map(|n| (n.to_string(), String::new()))).is_err());
    }
}
