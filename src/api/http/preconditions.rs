//! Which part of the content a request selects: preconditions first, then one range (RFC 9110, sections 13
//! and 14).

use std::time::SystemTime;

use headers::{ETag, HeaderMapExt, IfModifiedSince, IfNoneMatch};
use http::{
    HeaderMap, Method,
    header::{IF_RANGE, RANGE},
};
use http_range_header::{SyntacticallyCorrectRange, parse_range_header};

use crate::{clock::Timestamp, storage::ByteRange};

/// What tells one version of the content from another.
pub(super) struct Validators<'a> {
    /// The entity tag, quoted.
    pub(super) etag: &'a str,
    /// When the content came to be.
    pub(super) last_modified: Timestamp,
}

/// What a request selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// Nothing: the reader has it already.
    NotModified,
    /// A range that starts past the end.
    Unsatisfiable,
    /// Everything.
    Whole,
    /// One range.
    Part(ByteRange),
}

pub(super) fn select(
    method: &Method,
    headers: &HeaderMap,
    validators: &Validators<'_>,
    size_bytes: u64,
) -> Selected {
    let last_modified = SystemTime::from(Timestamp::from_unix_s(validators.last_modified.unix_s()));
    if is_fresh(headers, validators.etag, last_modified) {
        return Selected::NotModified;
    }
    // RFC 9110, section 14.2: Range is defined for GET alone.
    let mut ranges = headers.get_all(RANGE).iter();
    let (Some(range), None, &Method::GET) = (ranges.next(), ranges.next(), method) else {
        return Selected::Whole;
    };
    let unchanged = headers.get(IF_RANGE).is_none_or(|condition| {
        condition.to_str().is_ok_and(|it| matches(it, validators.etag, last_modified))
    });
    match range.to_str() {
        Ok(range) if unchanged => select_range(range, size_bytes),
        _ => Selected::Whole,
    }
}

/// Whether an If-Range names this version: the same strong tag, or exactly the same date (RFC 9110, section
/// 13.1.5).
fn matches(condition: &str, etag: &str, last_modified: SystemTime) -> bool {
    condition == etag
        || httpdate::parse_http_date(condition).is_ok_and(|date| date == last_modified)
}

fn is_fresh(headers: &HeaderMap, etag: &str, last_modified: SystemTime) -> bool {
    if let Some(known) = headers.typed_get::<IfNoneMatch>() {
        return etag.parse::<ETag>().is_ok_and(|etag| !known.precondition_passes(&etag));
    }
    headers.typed_get::<IfModifiedSince>().is_some_and(|since| !since.is_modified(last_modified))
}

/// One well-formed range; several, or a malformed one, select everything.
fn select_range(range: &str, size_bytes: u64) -> Selected {
    let Ok(ranges) = parse_range_header(range) else {
        return Selected::Whole;
    };
    let [range] = ranges.into_ranges()[..] else {
        return Selected::Whole;
    };
    let (offset, end) = match range {
        SyntacticallyCorrectRange::FromStart(first) => (first, size_bytes),
        SyntacticallyCorrectRange::FromLast(len) => (size_bytes.saturating_sub(len), size_bytes),
        SyntacticallyCorrectRange::Indexed(first, last) => {
            (first, last.saturating_add(1).min(size_bytes))
        }
    };
    if offset >= end {
        return Selected::Unsatisfiable;
    }
    let len = end - offset;
    Selected::Part(ByteRange { offset, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(offset: u64, len: u64) -> Selected {
        Selected::Part(ByteRange { offset, len })
    }

    #[test]
    fn one_range_is_cut_to_the_size() {
        for (range, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=3-", part(3, 7)),
            ("bytes=-4", part(6, 4)),
            ("bytes=-40", part(0, 10)),
            ("bytes=2-5", part(2, 4)),
            ("bytes=2-500", part(2, 8)),
            ("bytes=9-9", part(9, 1)),
            ("bytes=10-", Selected::Unsatisfiable),
            ("bytes=10-20", Selected::Unsatisfiable),
            ("bytes=-0", Selected::Unsatisfiable),
        ] {
            assert_eq!(select_range(range, 10), expected, "{range}");
        }
        assert_eq!(select_range("bytes=0-", 0), Selected::Unsatisfiable);
    }

    #[test]
    fn several_or_malformed_ranges_select_everything() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(select_range(range, 10), Selected::Whole, "{range}");
        }
    }
}
