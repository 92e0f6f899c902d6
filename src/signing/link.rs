//! A link's parts: what it grants, the message that is signed, and the strict reading of its query.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{LinkError, keys::Signature};
use crate::file::{id::FileId, name::FileName};

/// Everything but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Digits of the latest expiry that can be written: enough for the next 30,000 years.
const EXPIRES_DIGITS_MAX: usize = 12;

/// How a link asks for its content to be treated (RFC 6266).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Shown in the page, where that is safe.
    Inline,
    /// Offered for saving.
    Attachment,
}

impl Disposition {
    /// The word used in a URL and in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Attachment => "attachment",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Inline, Self::Attachment]
            .into_iter()
            .find(|disposition| disposition.as_str() == text)
    }
}

/// What a link allows: one file, until a time, shown in a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The file.
    pub file_id: FileId,
    /// When the link ends, in Unix seconds: it works up to and at this time.
    pub expires_unix_s: i64,
    /// How the content is to be treated; `None`: as is safe.
    pub disposition: Option<Disposition>,
    /// The name offered to the browser; `None`: the file's own.
    pub filename: Option<FileName>,
}

impl Grant {
    /// The text that is signed: `F:E`, then each option present, then the epoch when it is above 0.
    pub fn message(&self, epoch: u64) -> String {
        let mut message = format!("{}:{}", self.file_id, self.expires_unix_s);
        for (name, value) in self.options() {
            // Writing to a String cannot fail.
            let _ = write!(message, ":{name}={value}");
        }
        if epoch > 0 {
            let _ = write!(message, ":epoch={epoch}");
        }
        message
    }

    /// The query of the link, which [`SignedQuery::parse`] reads back.
    pub fn query(&self, signature: &str) -> String {
        let mut query = format!(
            "file_id={}&expires={}&signature={signature}",
            self.file_id, self.expires_unix_s
        );
        for (name, value) in self.options() {
            let _ = write!(query, "&{name}={value}");
        }
        query
    }

    fn options(&self) -> impl Iterator<Item = (&'static str, String)> {
        let disposition = self.disposition.map(|it| ("disposition", it.as_str().to_owned()));
        let filename = self.filename.as_ref().map(|it| ("filename", encode(it.as_str())));
        disposition.into_iter().chain(filename)
    }
}

/// A link as it arrived: well formed, and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedQuery {
    grant: Grant,
    signature: Signature,
}

impl SignedQuery {
    /// Reads a raw query: every parameter known, present once and in its one strict form.
    pub fn parse(query: &str) -> Result<Self, LinkError> {
        let mut parameters = Parameters::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or(LinkError::Malformed)?;
            parameters.set(name, value)?;
        }
        parameters.read().ok_or(LinkError::Malformed)
    }

    /// What the link claims to grant.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The signature it carries.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

#[derive(Default)]
struct Parameters<'a> {
    file_id: Option<&'a str>,
    expires: Option<&'a str>,
    signature: Option<&'a str>,
    disposition: Option<&'a str>,
    filename: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    fn set(&mut self, name: &str, value: &'a str) -> Result<(), LinkError> {
        let slot = match name {
            "file_id" => &mut self.file_id,
            "expires" => &mut self.expires,
            "signature" => &mut self.signature,
            "disposition" => &mut self.disposition,
            "filename" => &mut self.filename,
            _ => return Err(LinkError::Malformed),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(LinkError::Malformed),
        }
    }

    fn read(&self) -> Option<SignedQuery> {
        let disposition = match self.disposition {
            None => None,
            Some(text) => Some(Disposition::parse(text)?),
        };
        let filename = match self.filename {
            None => None,
            Some(text) => Some(parse_filename(text)?),
        };
        Some(SignedQuery {
            grant: Grant {
                file_id: FileId::parse(self.file_id?)?,
                expires_unix_s: parse_expires(self.expires?)?,
                disposition,
                filename,
            },
            signature: parse_signature(self.signature?)?,
        })
    }
}

/// Digits only: no sign, no leading zero.
pub(super) fn parse_expires(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let strict = digits && !text.starts_with('0') && text.len() <= EXPIRES_DIGITS_MAX;
    strict.then(|| text.parse().ok()).flatten()
}

/// 64 lower-case hex digits.
pub(super) fn parse_signature(text: &str) -> Option<Signature> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut signature = Signature::default();
    (lower && hex::decode_to_slice(text, &mut signature).is_ok()).then_some(signature)
}

/// A name in the one encoding that signing uses: a second spelling of the same name is refused.
fn parse_filename(text: &str) -> Option<FileName> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    let name = FileName::parse("filename", &decoded).ok()?;
    (encode(name.as_str()) == text).then_some(name)
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: &str = "file_id=file_rxW1Vo7BgEKDqB8Lx7mN2f";
    const S: &str = "signature=2e130f8d210b43295d139d2d45e7d6a3d9ab83b85f368bcc39264585c4c01247";

    #[test]
    fn the_order_of_parameters_is_free() {
        assert!(SignedQuery::parse(&format!("{S}&expires=1711657200&{F}")).is_ok());
    }

    #[test]
    fn anything_but_the_strict_form_is_refused() {
        let upper = S.to_uppercase().replace("SIGNATURE", "signature");
        for query in [
            String::new(),
            format!("{F}&{S}"),
            format!("{F}&expires=1&{S}&"),
            format!("{F}&expires=01&{S}"),
            format!("{F}&expires=+1&{S}"),
            format!("{F}&expires=-1&{S}"),
            format!("{F}&expires=1e3&{S}"),
            format!("{F}&expires=&{S}"),
            format!("{F}&expires=9999999999999&{S}"),
            format!("{F}&expires=%31&{S}"),
            format!("{F}&expires=1&{upper}"),
            format!("{F}&expires=1&{S}0"),
            format!("{F}&expires=1&{S}&{S}"),
            format!("{F}&expires=1&{S}&x=1"),
            format!("{F}&expires=1&{S}&epoch=1"),
            format!("{F}&expires=1&{S}&disposition=INLINE"),
            format!("{F}&expires=1&{S}&disposition="),
            format!("{F}&expires=1&{S}&filename="),
            format!("{F}&expires=1&{S}&filename=a+b.txt"),
            format!("{F}&expires=1&{S}&filename=%61.txt"),
            format!("{F}&expires=1&{S}&filename=%c3%a9.txt"),
            format!("{F}&expires=1&{S}&filename=..%2Fx"),
            format!("{F}&expires=1&{S}&filename=%FF"),
        ] {
            assert_eq!(SignedQuery::parse(&query), Err(LinkError::Malformed), "{query}");
        }
    }
}
