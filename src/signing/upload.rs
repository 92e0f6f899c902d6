//! Signed URLs for uploads: what they grant, the message that is signed, and the strict reading of their query.
//! What is to be uploaded is opaque here.

use super::{
    LinkError,
    keys::Signature,
    link::{parse_expires, parse_signature},
};

/// What a URL allows: one upload, until a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadGrant {
    /// What is to be uploaded, in letters that need no encoding in a URL.
    pub start: String,
    /// When the URL ends, in Unix seconds: it works up to and at this time.
    pub expires_unix_s: i64,
    /// Most bytes that the file may have; `None`: as many as its purpose allows.
    pub bytes_max: Option<u64>,
}

impl UploadGrant {
    /// The text that is signed; no link for a download has one like it, as those begin with a file's id.
    pub fn message(&self) -> String {
        let bytes_max = self.bytes_max.unwrap_or(0);
        format!("upload:{}:{}:{bytes_max}", self.start, self.expires_unix_s)
    }

    /// The query of the URL, which [`UploadQuery::parse`] reads back.
    pub fn query(&self, signature: &str) -> String {
        let Self { start, expires_unix_s, bytes_max } = self;
        let bytes_max = bytes_max.map(|most| format!("&bytes_max={most}")).unwrap_or_default();
        format!("start={start}&expires={expires_unix_s}{bytes_max}&signature={signature}")
    }
}

/// A URL as it arrived: well formed, and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadQuery {
    /// What the URL claims to grant.
    pub grant: UploadGrant,
    /// The signature it carries.
    pub signature: Signature,
    /// The length that the holder has promised since; nobody has signed it.
    pub length: Option<u64>,
}

impl UploadQuery {
    /// Reads a raw query: every parameter known, present once and in its one strict form.
    pub fn parse(query: &str) -> Result<Self, LinkError> {
        let mut found: [Option<&str>; 5] = [None; 5];
        let names = ["start", "expires", "bytes_max", "signature", "length"];
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or(LinkError::Malformed)?;
            let at = names.iter().position(|known| *known == name);
            let slot = at.and_then(|at| found.get_mut(at)).ok_or(LinkError::Malformed)?;
            if slot.replace(value).is_some() {
                return Err(LinkError::Malformed);
            }
        }
        Self::read(found).ok_or(LinkError::Malformed)
    }

    /// The same query for a content whose length its holder promises.
    pub fn with_length(&self, length: u64) -> String {
        format!("{}&length={length}", self.grant.query(&hex::encode(self.signature)))
    }

    fn read([start, expires, bytes_max, signature, length]: [Option<&str>; 5]) -> Option<Self> {
        let grant = UploadGrant {
            start: start.filter(|start| is_plain(start))?.to_owned(),
            expires_unix_s: parse_expires(expires?)?,
            bytes_max: optional(bytes_max, parse_positive)?,
        };
        let length = optional(length, parse_number)?;
        Some(Self { grant, signature: parse_signature(signature?)?, length })
    }
}

/// What is there must be in its strict form.
fn optional<T>(text: Option<&str>, parse: fn(&str) -> Option<T>) -> Option<Option<T>> {
    match text {
        Some(text) => parse(text).map(Some),
        None => Some(None),
    }
}

fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(plain)
}

/// Digits only: no sign, no leading zero.
fn parse_number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

fn parse_positive(text: &str) -> Option<u64> {
    parse_number(text).filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: &str = "signature=2e130f8d210b43295d139d2d45e7d6a3d9ab83b85f368bcc39264585c4c01247";

    #[test]
    fn a_query_reads_back() -> Result<(), LinkError> {
        let signature = S.trim_start_matches("signature=");
        for bytes_max in [None, Some(7)] {
            let start = "CiQx-_9".to_owned();
            let grant = UploadGrant { start, expires_unix_s: 1_711_657_200, bytes_max };
            let query = grant.query(signature);
            let read = UploadQuery::parse(&query)?;
            assert_eq!((&read.grant, read.length), (&grant, None));
            let promised = UploadQuery::parse(&read.with_length(0))?;
            assert_eq!(promised, UploadQuery { length: Some(0), ..read });
        }
        Ok(())
    }

    #[test]
    fn anything_but_the_strict_form_is_refused() {
        for query in [
            String::new(),
            format!("start=a&{S}"),
            format!("expires=1&{S}"),
            format!("start=&expires=1&{S}"),
            format!("start=a%41&expires=1&{S}"),
            format!("start=a&expires=01&{S}"),
            format!("start=a&start=a&expires=1&{S}"),
            format!("start=a&expires=1&bytes_max=0&{S}"),
            format!("start=a&expires=1&bytes_max=+1&{S}"),
            format!("start=a&expires=1&length=00&{S}"),
            format!("start=a&expires=1&x=1&{S}"),
            format!("start=a&expires=1&{S}0"),
        ] {
            assert_eq!(UploadQuery::parse(&query), Err(LinkError::Malformed), "{query}");
        }
    }
}
