//! Which bucket, how it is reached, and how objects are kept in it.

use std::{fmt, path::PathBuf};

use secrecy::SecretString;
use url::Url;

/// Smallest part of a multipart upload but the last: S3's own bound.
pub const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
/// Largest part: a part must get through within the time that an answer may take, and beyond this size one that
/// is lost costs more than it saves.
pub const PART_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most parts of a multipart upload: S3's own bound.
pub const PARTS_MAX: u64 = 10_000;

/// Which bucket, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// What the names of all objects begin with: empty, or ending in `/`. Nothing else is ever touched.
    pub prefix: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Where the store answers; `None`: where AWS does for the region.
    pub endpoint: Option<Url>,
    /// Where readers reach the store with presigned URLs; `None`: at `endpoint`.
    pub public_endpoint: Option<Url>,
    /// Whether the bucket is named in the path rather than in the host name.
    pub path_style: bool,
    /// As whom.
    pub credentials: S3Credentials,
    /// How the store encrypts objects; `None`: as the bucket says.
    pub encryption: Option<Encryption>,
    /// The objects' storage class; `None`: the bucket's default.
    pub storage_class: Option<String>,
    /// How content is protected on its way.
    pub checksums: Checksums,
    /// Bytes of one part of a multipart upload, [`PART_BYTES_MIN`] to [`PART_BYTES_MAX`]. Smaller objects are
    /// put at once.
    pub part_bytes: usize,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// As whom the store is asked.
#[derive(Clone)]
pub enum S3Credentials {
    /// With these keys.
    Static {
        /// The key's id.
        access_key_id: String,
        /// The key.
        secret_access_key: SecretString,
        /// The token of a temporary key.
        session_token: Option<SecretString>,
    },
    /// With what the surroundings give: the environment, a profile, a web identity (as on Kubernetes), the
    /// container's or the instance's role.
    Ambient {
        /// The profile to take; `None`: the default one.
        profile: Option<String>,
    },
}

impl S3Credentials {
    /// What may be shown of them.
    fn shown(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Static { .. } => ("static", None),
            Self::Ambient { profile } => ("ambient", profile.as_deref()),
        }
    }
}

/// Secrets are never shown.
impl fmt::Debug for S3Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().fmt(out)
    }
}

impl PartialEq for S3Credentials {
    fn eq(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret;
        let parts = |it: &Self| match it {
            Self::Static { access_key_id, secret_access_key, session_token } => Ok((
                access_key_id.clone(),
                secret_access_key.expose_secret().to_owned(),
                session_token.as_ref().map(|token| token.expose_secret().to_owned()),
            )),
            Self::Ambient { profile } => Err(profile.clone()),
        };
        parts(self) == parts(other)
    }
}

impl Eq for S3Credentials {}

/// How the store encrypts objects at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of the store's own (SSE-S3).
    Aes256,
    /// With a key of the key management service (SSE-KMS).
    Kms {
        /// Which key; `None`: the account's default one.
        key_id: Option<String>,
    },
}

/// How content is protected on its way to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Each object and part carries its CRC-32, which the store compares.
    Crc32,
    /// None: the signature of each request covers its content's SHA-256 instead. For stores that refuse
    /// checksums.
    Signed,
}
