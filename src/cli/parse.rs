//! How values that several commands take are written: labels, hashes and times.

use std::{
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

const SHA256_BYTES: usize = 32;

/// `KEY=VALUE`; the value may hold more equals signs.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

/// A SHA-256 in hex.
pub(super) fn sha256(text: &str) -> Result<Bytes, String> {
    match hex::decode(text) {
        Ok(bytes) if bytes.len() == SHA256_BYTES => Ok(bytes.into()),
        _ => Err("must be 64 hex digits".to_owned()),
    }
}

/// RFC 3339, in UTC.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(text)
        .map_err(|_| "must be a time in UTC such as 2026-11-22T19:00:00Z".to_owned())
}

/// A time in the past, by the calendar or by how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PastTime {
    At(SystemTime),
    Ago(Duration),
}

impl PastTime {
    /// The time itself; what would lie before 1970 is 1970.
    pub(super) fn seen_from(self, now: SystemTime) -> SystemTime {
        match self {
            Self::At(time) => time,
            Self::Ago(span) => now.checked_sub(span).unwrap_or(UNIX_EPOCH).max(UNIX_EPOCH),
        }
    }
}

impl FromStr for PastTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = humantime::parse_duration(text) {
            return Ok(Self::Ago(span));
        }
        let both = |_| {
            "must be a time in UTC such as 2026-11-22T19:00:00Z, or how long ago, such as 2h"
                .to_owned()
        };
        time(text).map(Self::At).map_err(both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_UNIX_S: u64 = 1_795_348_800;

    fn noon() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOON_UNIX_S)
    }

    #[test]
    fn a_label_ends_its_key_at_the_first_equals_sign() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(label("k=v"), pair("k", "v"));
        assert_eq!(label("k=a=b"), pair("k", "a=b"));
        assert_eq!(label("k="), pair("k", ""));
        assert!(label("k").is_err());
    }

    #[test]
    fn a_hash_is_64_hex_digits() {
        assert_eq!(sha256(&"aF".repeat(32)), Ok(Bytes::from(vec![0xaf; 32])));
        for text in ["", "af", &"ag".repeat(32), &"af".repeat(33)] {
            assert!(sha256(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_time_is_rfc_3339_in_utc() {
        assert_eq!(time("2026-11-22T12:00:00Z"), Ok(noon()));
        assert_eq!(time("2026-11-22T12:00:00+00:00"), Ok(noon()));
        for text in ["", "2026-11-22", "2026-11-22T12:00:00", "2026-11-22T12:00:00+01:00", "2h"] {
            assert!(time(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_past_time_is_a_time_or_how_long_ago() {
        let seen = |text: &str| text.parse::<PastTime>().map(|past| past.seen_from(noon()));
        assert_eq!(seen("2026-11-22T12:00:00Z"), Ok(noon()));
        assert_eq!(seen("2h"), Ok(noon() - Duration::from_secs(7200)));
        assert_eq!(seen("1day 2h"), Ok(noon() - Duration::from_secs(93_600)));
        assert_eq!(seen("5000years"), Ok(UNIX_EPOCH));
        for text in ["", "2", "h", "-2h", "yesterday"] {
            assert!(seen(text).is_err(), "{text:?}");
        }
    }
}
