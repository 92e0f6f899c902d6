//! URLs through which others may upload.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    error::FieldError,
    file::FileSpec,
    service::{FileService, Result},
    signing::{
        self, TTL_MAX,
        upload::{UploadGrant, UploadQuery},
    },
    upload::Upload,
};

/// Life of a URL whose request names none.
const TTL_DEFAULT: Duration = Duration::from_secs(3600);
const TTL_MIN: Duration = Duration::from_secs(1);
/// Longest URL: what servers and proxies let pass in a request line.
pub const UPLOAD_URL_BYTES_MAX: usize = 7 * 1024;

/// What a URL is to allow.
#[derive(Clone, Debug)]
pub struct UploadLinkSpec {
    /// What is to be uploaded.
    pub spec: FileSpec,
    /// The same as the URL carries it.
    pub start: String,
    /// Its life; `None`: an hour.
    pub ttl: Option<Duration>,
    /// Most bytes that the file may have; `None`: as many as its purpose allows.
    pub bytes_max: Option<u64>,
}

/// A URL that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadLink {
    /// The URL.
    pub url: String,
    /// When it ends.
    pub expire_time: Timestamp,
}

impl FileService {
    /// Makes a URL through which whoever holds it can upload one file.
    pub fn create_upload_link(&self, wanted: UploadLinkSpec) -> Result<UploadLink> {
        let ttl = wanted.ttl.unwrap_or(TTL_DEFAULT);
        if ttl < TTL_MIN || ttl > TTL_MAX {
            return Err(FieldError::new("ttl", "must be from 1 s to 7 days").into());
        }
        let bytes_max = self.bytes_max(&wanted.spec, wanted.bytes_max);
        Upload::begin(&wanted.spec, bytes_max)?;
        let expires_unix_s = signing::expiry(self.clock.now(), ttl);
        let grant =
            UploadGrant { start: wanted.start, expires_unix_s, bytes_max: wanted.bytes_max };
        let url = self.signer.sign_upload(&grant);
        if url.len() > UPLOAD_URL_BYTES_MAX {
            let problem = "has more labels and references than a URL can carry";
            return Err(FieldError::new("start", problem).into());
        }
        Ok(UploadLink { url, expire_time: Timestamp::from_unix_s(expires_unix_s) })
    }

    /// Believes a URL, or refuses it.
    pub fn follow_upload_link(&self, query: &UploadQuery) -> Result<()> {
        Ok(self.signer.verify_upload(query, self.clock.now())?)
    }

    /// Most bytes of a file, where its URL may allow fewer than its purpose.
    pub fn bytes_max(&self, spec: &FileSpec, own: Option<u64>) -> u64 {
        self.policy.file_bytes_max(spec.purpose.as_str()).min(own.unwrap_or(u64::MAX))
    }
}
