//! Sniffing: refuses content whose first bytes contradict the type that the name decided.
//!
//! Unknown bytes are no contradiction: a browser is told `nosniff` and never guesses. What is refused is
//! content that positively is something else, such as an HTML page named `.png`.

use infer::MatcherType;

use crate::{error::FieldError, file::media_type::MediaType};

/// How many first bytes of the content are looked at.
pub const SNIFF_BYTES: usize = 8 * 1024;

/// A tar archive begins with the name of its first member, which may read like anything.
const TAR: &str = "application/x-tar";

/// Checks the first bytes of a content, at most [`SNIFF_BYTES`] of them, against its type.
pub fn check(media_type: &MediaType, head: &[u8]) -> Result<(), FieldError> {
    let head = head.get(..SNIFF_BYTES).unwrap_or(head);
    let found = if media_type.is_text() {
        contradiction_of_text(head)
    } else {
        contradiction_of_binary(media_type, head)
    };
    match found {
        None => Ok(()),
        Some(found) => {
            let problem =
                format!("the name says {}, but the content is {found}", media_type.as_str());
            Err(FieldError::unsupported("filename", problem))
        }
    }
}

/// Text may begin like anything ("BM", "MZ"), so only what is not text can contradict.
fn contradiction_of_text(head: &[u8]) -> Option<&'static str> {
    if is_plausible_text(head) {
        return None;
    }
    infer::get(head)
        .filter(|found| found.matcher_type() != MatcherType::Text)
        .map(|found| found.mime_type())
}

fn contradiction_of_binary(media_type: &MediaType, head: &[u8]) -> Option<&'static str> {
    if looks_like_markup(head) && media_type.as_str() != TAR {
        return Some("markup");
    }
    let family = family_of(media_type.as_str())?;
    let found = infer::get(head)?;
    (!family.contains(found.mime_type())).then(|| found.mime_type())
}

/// What `infer` may call content that is truly of a type.
struct Family {
    exact: &'static [&'static str],
    prefix: Option<&'static str>,
}

impl Family {
    fn contains(&self, found: &str) -> bool {
        self.exact.contains(&found) || self.prefix.is_some_and(|prefix| found.starts_with(prefix))
    }
}

/// The family of a built-in binary type; other types have no magic bytes known here.
fn family_of(media_type: &str) -> Option<Family> {
    const OFFICE: &str = "application/vnd.openxmlformats-officedocument";
    let exact = |exact| Some(Family { exact, prefix: None });
    let or_prefix = |exact, prefix| Some(Family { exact, prefix: Some(prefix) });
    match media_type {
        "image/png" => exact(&["image/png"]),
        "image/jpeg" => exact(&["image/jpeg"]),
        "image/gif" => exact(&["image/gif"]),
        "application/pdf" => exact(&["application/pdf"]),
        "application/msword" => {
            exact(&["application/msword", "application/x-ole-storage", "application/rtf"])
        }
        "application/vnd.ms-excel" => {
            exact(&["application/vnd.ms-excel", "application/x-ole-storage"])
        }
        "application/zip" => or_prefix(ZIP_BASED, OFFICE),
        // An encrypted document is kept in the older container.
        office if office.starts_with(OFFICE) => {
            or_prefix(&["application/zip", "application/x-ole-storage"], OFFICE)
        }
        "application/gzip" => exact(&["application/gzip"]),
        "application/vnd.rar" => exact(&["application/vnd.rar"]),
        "application/x-7z-compressed" => exact(&["application/x-7z-compressed"]),
        "audio/mpeg" => exact(&["audio/mpeg"]),
        "audio/wav" => exact(&["audio/x-wav", "audio/wav"]),
        "audio/ogg" => exact(&["audio/ogg", "audio/opus", "video/ogg", "application/ogg"]),
        "video/mp4" => {
            exact(&["video/mp4", "video/x-m4v", "video/quicktime", "audio/m4a", "video/3gpp"])
        }
        _ => None,
    }
}

/// Formats that are zip archives by construction.
const ZIP_BASED: &[&str] = &[
    "application/zip",
    "application/epub+zip",
    "application/java-archive",
    "application/vnd.android.package-archive",
    "application/vnd.oasis.opendocument.text",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.presentation",
];

/// UTF-8 without control characters other than white space and escape; the cut at the end may split one.
fn is_plausible_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            let (valid, _) = head.split_at(error.valid_up_to());
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text
        .chars()
        .any(|char| char.is_control() && !matches!(char, '\t' | '\n' | '\r' | '\u{c}' | '\u{1b}'))
}

fn looks_like_markup(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    head.trim_ascii_start().starts_with(b"<") && is_plausible_text(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    fn accepts(media_type: &str, head: &[u8]) -> bool {
        MediaType::parse(media_type).is_some_and(|media_type| check(&media_type, head).is_ok())
    }

    #[test]
    fn content_that_is_something_else_is_refused() {
        assert!(!accepts("image/png", b"<!DOCTYPE html><script>alert(1)</script>"));
        assert!(!accepts("image/png", b"\n <svg xmlns='http://www.w3.org/2000/svg'/>"));
        assert!(!accepts("image/png", b"GIF89a\x01\x00\x01\x00"));
        assert!(!accepts("image/jpeg", PNG));
        assert!(!accepts("application/pdf", b"PK\x03\x04\x14\0"));
        assert!(!accepts("text/plain", PNG));
        assert!(!accepts("text/csv", b"PK\x03\x04\x14\0\0\0\x08\0"));
    }

    #[test]
    fn content_that_is_what_its_name_says_is_accepted() {
        assert!(accepts("image/png", PNG));
        assert!(accepts("application/pdf", b"%PDF-1.7\n"));
        assert!(accepts(
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            b"PK\x03\x04\x14\0\x06\0"
        ));
        assert!(accepts("audio/mpeg", b"ID3\x04\0\0\0\0\0\0"));
        assert!(accepts("application/x-tar", b"BMW.txt\0\0\0\0"));
    }

    #[test]
    fn text_may_begin_like_anything() {
        for text in ["BM,price\n", "MZ\n", "%PDF is a format", "<html>", "GIF89a", "naïve"] {
            assert!(accepts("text/csv", text.as_bytes()), "{text}");
        }
        let cut_inside_a_character = &"é".as_bytes()[..1];
        assert!(accepts("text/plain", cut_inside_a_character));
    }

    #[test]
    fn unknown_and_empty_content_contradicts_nothing() {
        assert!(accepts("image/png", b""));
        assert!(accepts("image/png", b"\x01\x02\x03"));
        assert!(accepts("text/plain", b"\xff\xfe\x00\x01"));
    }
}
