//! Signed URLs: the message, the keys, signing and verifying. No HTTP in it, and no clock: time is passed in.

pub mod keys;
pub mod link;
pub mod markdown;
pub mod upload;

use std::time::Duration;

use url::Url;

use crate::{clock::Timestamp, error::ErrorCode};
use keys::KeyRing;
use link::{Grant, SignedQuery};
use upload::{UploadGrant, UploadQuery};

/// The path that every signed URL has.
pub const DOWNLOAD_PATH: &str = "/v1/files/download";
/// The path that every URL to upload through has.
pub const UPLOAD_PATH: &str = "/v1/files/upload";
/// Longest life of a link.
pub const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Expiry times are rounded up to this grid, so that signing again soon gives the same URL.
const EXPIRY_GRID_S: i64 = 60;
/// Rounding may lengthen a link's life by a tenth at most: shorter lives are kept to the second.
const ROUNDED_FROM: Duration = Duration::from_secs(600);

/// Why a link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A parameter is unknown, repeated, missing or not in its strict form.
    #[error("the link is malformed")]
    Malformed,
    /// No key of the ring made this signature for this link.
    #[error("the signature is not valid for this link")]
    Signature,
    /// The link's time is over.
    #[error("the link has expired")]
    Expired,
    /// The link is signed for longer than links may live.
    #[error("the link is valid for longer than 7 days")]
    TooLong,
}

impl LinkError {
    /// The row of the error table.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Malformed => ErrorCode::LinkMalformed,
            Self::Signature => ErrorCode::SignatureInvalid,
            Self::Expired => ErrorCode::LinkExpired,
            Self::TooLong => ErrorCode::LinkTooLong,
        }
    }
}

/// Makes links under one public address and tells true ones from false.
#[derive(Debug)]
pub struct UrlSigner {
    keys: KeyRing,
    base: String,
}

impl UrlSigner {
    /// A signer whose links begin with `public_base`, an `http` or `https` URL; a path in it is kept.
    pub fn new(keys: KeyRing, public_base: &Url) -> Self {
        Self { keys, base: public_base.as_str().trim_end_matches('/').to_owned() }
    }

    /// The URL that gives out what `grant` allows while the file's epoch is `epoch`.
    pub fn sign(&self, grant: &Grant, epoch: u64) -> String {
        let signature = hex::encode(self.keys.sign(&grant.message(epoch)));
        format!("{}{DOWNLOAD_PATH}?{}", self.base, grant.query(&signature))
    }

    /// The URL through which what `grant` allows can be uploaded.
    pub fn sign_upload(&self, grant: &UploadGrant) -> String {
        let signature = hex::encode(self.keys.sign(&grant.message()));
        format!("{}{UPLOAD_PATH}?{}", self.base, grant.query(&signature))
    }

    /// Checks a URL for an upload against the time.
    pub fn verify_upload(&self, query: &UploadQuery, now: Timestamp) -> Result<(), LinkError> {
        if !self.keys.verify(&query.grant.message(), &query.signature) {
            return Err(LinkError::Signature);
        }
        in_time(query.grant.expires_unix_s, now)
    }

    /// Checks a link against the file's `epoch` (0 where there is no such file) and the time.
    pub fn verify(&self, query: &SignedQuery, epoch: u64, now: Timestamp) -> Result<(), LinkError> {
        let grant = query.grant();
        // Authenticity before expiry: an unsigned expiry proves nothing.
        if !self.keys.verify(&grant.message(epoch), query.signature()) {
            return Err(LinkError::Signature);
        }
        in_time(grant.expires_unix_s, now)
    }

    /// The key ring, for other messages that only this deployment may make.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }
}

fn in_time(expires_unix_s: i64, now: Timestamp) -> Result<(), LinkError> {
    let expires = Timestamp::from_unix_s(expires_unix_s);
    if now > expires {
        return Err(LinkError::Expired);
    }
    if expires > now.plus(TTL_MAX) {
        return Err(LinkError::TooLong);
    }
    Ok(())
}

/// When a link made at `now` for `ttl` ends, in Unix seconds: rounded up to a whole second, or to a whole
/// minute where that adds a tenth at most, and never beyond [`TTL_MAX`].
pub fn expiry(now: Timestamp, ttl: Duration) -> i64 {
    let grid_s = if ttl < ROUNDED_FROM { 1 } else { EXPIRY_GRID_S };
    let end = now.plus(ttl);
    let end_s = end.unix_s() + i64::from(end.subsec_us() > 0);
    let rounded_s = end_s.saturating_add(grid_s - 1) / grid_s * grid_s;
    rounded_s.min(now.plus(TTL_MAX).unix_s())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{link::Disposition, *};
    use crate::file::{id::FileId, name::FileName};

    const KEY: &str = "test-secret-0123456789abcdef0123";
    const ID: &str = "file_rxW1Vo7BgEKDqB8Lx7mN2f";
    const EXPIRES: i64 = 1_711_657_200;

    fn signer() -> UrlSigner {
        let keys = KeyRing::new([KEY]).expect("a ring");
        let base = Url::parse("http://localhost:9000").expect("a url");
        UrlSigner::new(keys, &base)
    }

    fn grant(disposition: Option<Disposition>, filename: Option<&str>) -> Grant {
        Grant {
            file_id: FileId::parse(ID).expect("an id"),
            expires_unix_s: EXPIRES,
            disposition,
            filename: filename.map(|name| FileName::parse("filename", name).expect("a name")),
        }
    }

    fn verify(url: &str, epoch: u64, now_s: i64) -> Result<(), LinkError> {
        let (_, query) = url.split_once('?').expect("a query");
        let query = SignedQuery::parse(query)?;
        signer().verify(&query, epoch, Timestamp::from_unix_s(now_s))
    }

    #[test]
    fn the_published_vectors_hold() {
        let inline = grant(Some(Disposition::Inline), Some("plot (final).png"));
        let attachment = grant(Some(Disposition::Attachment), None);
        for (grant, epoch, expected) in [
            (
                grant(None, None),
                0,
                "2e130f8d210b43295d139d2d45e7d6a3d9ab83b85f368bcc39264585c4c01247",
            ),
            (
                grant(None, None),
                1,
                "e0bf6edd4ca618653ed68f976bdc1a0d4d6cfe75f1a416b579de360c35af9de0",
            ),
            (attachment, 0, "4a09e4bf915d789b9195ca0aee276bcfc7712e3e3e435788efdfd78409ef134b"),
            (inline, 0, "23926b22c29f799652bb4043726695d542bbda0b07179129c2e6d5f21a5c7488"),
        ] {
            let url = signer().sign(&grant, epoch);
            assert!(url.contains(&format!("&signature={expected}")), "{url}");
            assert_eq!(verify(&url, epoch, EXPIRES), Ok(()));
        }
    }

    #[test]
    fn a_plain_link_has_exactly_the_documented_shape() {
        let url = signer().sign(&grant(None, None), 0);
        let signature = "2e130f8d210b43295d139d2d45e7d6a3d9ab83b85f368bcc39264585c4c01247";
        let expected = format!(
            "http://localhost:9000/v1/files/download?file_id={ID}&expires={EXPIRES}&signature={signature}"
        );
        assert_eq!(url, expected);
    }

    #[test]
    fn a_link_ends_and_a_revoked_one_is_a_forgery() {
        let url = signer().sign(&grant(None, None), 0);
        assert_eq!(verify(&url, 0, EXPIRES + 1), Err(LinkError::Expired));
        assert_eq!(verify(&url, 1, EXPIRES + 1), Err(LinkError::Signature));
        let week_s = 7 * 24 * 3600;
        assert_eq!(verify(&url, 0, EXPIRES - week_s), Ok(()));
        assert_eq!(verify(&url, 0, EXPIRES - week_s - 1), Err(LinkError::TooLong));
    }

    #[test]
    fn expiry_is_cache_stable_and_never_too_long() {
        let at = |unix_s| Timestamp::from_unix_s(unix_s);
        let ten_minutes = Duration::from_secs(600);
        assert_eq!(expiry(at(1), ten_minutes), 660);
        assert_eq!(expiry(at(59), ten_minutes), 660);
        assert_eq!(expiry(at(60), ten_minutes), 660);
        assert_eq!(expiry(at(1), Duration::from_secs(1)), 2);
        let later = Timestamp::from_unix_us(1_000_001);
        assert_eq!(expiry(later, Duration::from_secs(1)), 3);
        assert_eq!(expiry(later, TTL_MAX), 1 + TTL_MAX.as_secs() as i64);
        assert_eq!(expiry(at(1), TTL_MAX), 1 + TTL_MAX.as_secs() as i64);
    }

    proptest! {
        #[test]
        fn any_changed_byte_of_a_link_is_refused(
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            inline in any::<bool>(),
        ) {
            let disposition = inline.then_some(Disposition::Inline);
            let url = signer().sign(&grant(disposition, Some("plot (final) é.png")), 0);
            let (_, query) = url.split_once('?').expect("a query");
            let mut changed = query.as_bytes().to_vec();
            let place = place.index(changed.len());
            prop_assume!(changed[place] != byte);
            changed[place] = byte;
            let now = Timestamp::from_unix_s(EXPIRES);
            let accepted = std::str::from_utf8(&changed)
                .ok()
                .and_then(|query| SignedQuery::parse(query).ok())
                .is_some_and(|query| signer().verify(&query, 0, now).is_ok());
            prop_assert!(!accepted);
        }
    }
}
