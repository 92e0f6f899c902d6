//! Media types: the table of accepted extensions, and how a browser may be shown each type.

use std::collections::BTreeMap;

use crate::{error::FieldError, file::name::FileName};

/// The accepted extensions and their MIME types: the one table that code, docs and `GetCapabilities` share.
pub const FILE_TYPES: [(&str, &str); 40] = [
    ("7z", "application/x-7z-compressed"),
    ("c", "text/x-c"),
    ("cpp", "text/x-c++"),
    ("cs", "text/x-csharp"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("gif", "image/gif"),
    ("go", "text/x-golang"),
    ("gz", "application/gzip"),
    ("html", "text/html"),
    ("java", "text/x-java"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("md", "text/markdown"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ogg", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("php", "text/x-php"),
    ("png", "image/png"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("py", "text/x-python"),
    ("pyx", "text/x-script.python"),
    ("rar", "application/vnd.rar"),
    ("rb", "text/x-ruby"),
    ("sh", "application/x-sh"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tex", "text/x-tex"),
    ("ts", "application/typescript"),
    ("tsv", "text/tab-separated-values"),
    ("txt", "text/plain"),
    ("wav", "audio/wav"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("zip", "application/zip"),
];

/// Types that are text although their names do not begin with `text/`.
const TEXT_APPLICATIONS: [&str; 3] =
    ["application/json", "application/typescript", "application/x-sh"];

/// A MIME type without parameters, in lower case: `image/png`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(String);

/// How a browser may be shown content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rendering {
    /// Inline as the type it is: browsers run nothing in it.
    Native,
    /// Inline, but as `text/plain; charset=utf-8`.
    PlainText,
    /// Only ever as an attachment: inline it could run scripts, or no browser shows it.
    AttachmentOnly,
}

impl MediaType {
    /// Reads `type/subtype` of RFC 9110 tokens; brings it into lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, subtype) = text.split_once('/')?;
        let is_token = |part: &str| {
            let token_char =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
            !part.is_empty() && part.bytes().all(token_char)
        };
        (is_token(kind) && is_token(subtype)).then(|| Self(text.to_ascii_lowercase()))
    }

    /// A type read back from where an accepted one was stored.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether content of this type is text that an editor would show.
    pub fn is_text(&self) -> bool {
        self.0.starts_with("text/")
            || self.is_markup()
            || TEXT_APPLICATIONS.contains(&self.as_str())
    }

    /// Whether browsers would parse content of this type as a document that can hold scripts.
    fn is_markup(&self) -> bool {
        self.0.contains("html") || self.0.ends_with("xml")
    }

    /// How a browser may be shown content of this type.
    pub fn rendering(&self) -> Rendering {
        match self.as_str() {
            _ if self.is_markup() => Rendering::AttachmentOnly,
            "image/png" | "image/jpeg" | "image/gif" | "application/pdf" | "video/mp4" => {
                Rendering::Native
            }
            text if text.starts_with("audio/") => Rendering::Native,
            _ if self.is_text() => Rendering::PlainText,
            _ => Rendering::AttachmentOnly,
        }
    }
}

/// The accepted extensions of a deployment, each with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTypes(BTreeMap<String, MediaType>);

impl FileTypes {
    /// The built-in table with `extra` added; an entry of `extra` wins. Extensions are in lower case and
    /// without their dot.
    pub fn extended(extra: BTreeMap<String, MediaType>) -> Self {
        let mut types = Self::default();
        types.0.extend(extra);
        types
    }

    /// The type that `name`'s extension decides; none or an unknown one is refused.
    pub fn decide(&self, name: &FileName) -> Result<MediaType, FieldError> {
        let refuse = |problem: String| Err(FieldError::unsupported("filename", problem));
        match name.extension() {
            None => refuse("needs an extension that names its type, such as .txt".to_owned()),
            Some(extension) => match self.0.get(&extension) {
                Some(media_type) => Ok(media_type.clone()),
                None => refuse(format!(
                    "files of type .{extension} are not accepted; GetCapabilities lists those that are"
                )),
            },
        }
    }

    /// Every extension with its type, in the extensions' order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MediaType)> {
        self.0.iter().map(|(extension, media_type)| (extension.as_str(), media_type))
    }
}

impl Default for FileTypes {
    fn default() -> Self {
        let entry = |(extension, media_type): (&str, &str)| {
            (extension.to_owned(), MediaType(media_type.to_owned()))
        };
        Self(FILE_TYPES.into_iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendering(text: &str) -> Option<Rendering> {
        MediaType::parse(text).map(|media_type| media_type.rendering())
    }

    #[test]
    fn the_extension_decides_whatever_its_case() -> Result<(), FieldError> {
        let types = FileTypes::default();
        for (name, expected) in [
            ("plot.PNG", "image/png"),
            ("archive.tar.gz", "application/gzip"),
            ("a.b.pyx", "text/x-script.python"),
        ] {
            let name = FileName::parse("filename", name)?;
            assert_eq!(types.decide(&name)?.as_str(), expected);
        }
        let unknown = FileName::parse("filename", "run.exe")?;
        assert!(types.decide(&unknown).is_err_and(|error| error.unsupported_type));
        Ok(())
    }

    #[test]
    fn nothing_that_can_run_scripts_is_ever_inline() {
        for text in [
            "text/html",
            "image/svg+xml",
            "text/xml",
            "application/xml",
            "application/xhtml+xml",
            "application/zip",
            "application/octet-stream",
            "application/msword",
        ] {
            assert_eq!(rendering(text), Some(Rendering::AttachmentOnly), "{text}");
        }
    }

    #[test]
    fn source_code_is_shown_as_plain_text() {
        for text in ["text/javascript", "text/css", "application/json", "text/x-c++", "text/plain"]
        {
            assert_eq!(rendering(text), Some(Rendering::PlainText), "{text}");
        }
        for text in ["image/png", "application/pdf", "audio/ogg", "video/mp4"] {
            assert_eq!(rendering(text), Some(Rendering::Native), "{text}");
        }
    }
}
