//! File names: what a user may call a file, so that no reader of the name can be fooled by it.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::error::FieldError;

const NAME_BYTES_MAX: usize = 255;

/// A base name in Unicode NFC, 1 to 255 bytes, that is no path and holds nothing that changes how the rest of
/// it reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileName(String);

impl FileName {
    /// Reads `text` for the request's `field`, bringing it into NFC.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, FieldError> {
        // Composing can shrink a name, but never a name this long below the limit by much: bounding the
        // input first bounds the work.
        if text.len() > 4 * NAME_BYTES_MAX {
            return Err(FieldError::new(field, "must be at most 255 bytes"));
        }
        let name: String = text.nfc().collect();
        match problem_of(&name) {
            Some(problem) => Err(FieldError::new(field, problem)),
            None => Ok(Self(name)),
        }
    }

    /// A name read back from where an accepted one was stored.
    pub const fn stored(text: String) -> Self {
        Self(text)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last dot, in lower case: the part that decides the type.
    pub fn extension(&self) -> Option<String> {
        let (stem, extension) = self.0.rsplit_once('.')?;
        (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_lowercase())
    }
}

/// A text as names are searched for it: without regard to case or composition.
pub fn folded(text: &str) -> String {
    text.nfc().collect::<String>().to_lowercase()
}

impl fmt::Display for FileName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn problem_of(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is required")
    } else if name.len() > NAME_BYTES_MAX {
        Some("must be at most 255 bytes")
    } else if name.contains(['/', '\\']) {
        Some("must be a base name, not a path")
    } else if name.chars().all(|char| char == '.') {
        Some("must not consist of dots")
    } else if name.chars().any(is_deceptive) {
        Some("must hold no control, line-separator or bidirectional-override characters")
    } else {
        None
    }
}

/// Control characters (Unicode Cc), line and paragraph separators, and the bidirectional embeddings,
/// overrides and isolates of UAX #9, which can make `gnp.exe` read `exe.png`.
fn is_deceptive(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
        || matches!(char, '\u{200E}' | '\u{200F}' | '\u{061C}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FileName, FieldError> {
        FileName::parse("filename", text)
    }

    #[test]
    fn names_are_kept_in_nfc() -> Result<(), FieldError> {
        assert_eq!(parse("cafe\u{301}.txt")?.as_str(), "caf\u{e9}.txt");
        Ok(())
    }

    #[test]
    fn paths_dots_and_deceptive_names_are_refused() {
        let long = "x".repeat(256);
        for name in [
            "",
            ".",
            "..",
            "...",
            "../x",
            "/etc/passwd",
            "C:\\x",
            "a\0.txt",
            "a\n.txt",
            "a\u{7f}.txt",
            "a\u{2028}.txt",
            "a\u{202E}gnp.txt",
            "a\u{2066}.txt",
            &long,
            &"x".repeat(100_000),
        ] {
            assert!(parse(name).is_err(), "{name:?}");
        }
        assert!(parse(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn the_last_extension_counts_whatever_its_case() -> Result<(), FieldError> {
        for (name, extension) in [
            ("archive.tar.gz", Some("gz")),
            ("PLOT.PNG", Some("png")),
            (".png", None),
            ("png", None),
            ("x.", None),
        ] {
            assert_eq!(parse(name)?.extension().as_deref(), extension, "{name}");
        }
        Ok(())
    }
}
