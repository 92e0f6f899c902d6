//! What a deployment accepts, and how much of it at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use crate::metadata::Grace;
use crate::{
    error::FieldError,
    file::{
        media_type::{FileTypes, MediaType},
        name::FileName,
        purpose::{Purpose, PurposePolicy, Purposes},
        usage::Quota,
        user::UserId,
    },
};

/// Most bytes in one data message of an upload.
pub const CHUNK_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What a deployment accepts.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The accepted types.
    pub types: FileTypes,
    /// The accepted purposes.
    pub purposes: Purposes,
    /// Most bytes in one file.
    pub file_bytes_max: u64,
    /// Life of a link whose request names none.
    pub link_ttl_default: Duration,
    /// How long deleted files can be undeleted.
    pub grace: Arc<Grace>,
    /// How much users may store.
    pub quotas: Quotas,
    /// How many uploads, and how much of them, at once.
    pub uploads: UploadLimits,
}

/// How much users may store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// For users without a quota of their own.
    pub default: Quota,
    /// By user.
    pub by_user: BTreeMap<String, Quota>,
}

impl Quotas {
    /// How much this user may store.
    pub fn of(&self, user_id: &UserId) -> Quota {
        self.by_user.get(user_id.as_str()).copied().unwrap_or(self.default)
    }
}

/// How many uploads, and how much of them, at once.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// Most uploads under way; more are OVERLOADED.
    pub concurrent_max: usize,
    /// Most bytes on their way from callers to storage, over all uploads.
    pub buffer_bytes_max: usize,
    /// Longest time without a message from the caller.
    pub idle_max: Duration,
    /// How much more must arrive of an upload until it is noted how far it is durable.
    pub checkpoint_bytes: u64,
    /// How long an unfinished upload can be gone on with after the last of it became durable.
    pub unfinished_max: Duration,
}

impl UploadLimits {
    /// How long an upload stays its owner's without being renewed: it outlasts the longest silence and a slow
    /// last sync of the disk.
    pub fn lease(&self) -> Duration {
        self.idle_max * 2 + Duration::from_secs(120)
    }

    /// The same of an upload that can be gone on with.
    pub fn unfinished_lease(&self) -> Duration {
        self.unfinished_max.max(self.lease())
    }

    /// One permit a byte; a message of the largest size always fits.
    pub(super) fn buffer_permits(&self) -> usize {
        self.buffer_bytes_max.clamp(CHUNK_BYTES_MAX, tokio::sync::Semaphore::MAX_PERMITS)
    }
}

impl Policy {
    /// Reads a purpose and a name together, and the type they come to; what does not go together is refused.
    pub fn admit(&self, purpose: &str, name: &FileName) -> Result<Admitted, FieldError> {
        let (purpose, policy) = self.purposes.parse(purpose)?;
        let media_type = self.types.decide(name)?;
        if !accepts(policy, &media_type) {
            let problem = format!(
                "files of type {} are not accepted for the purpose {}",
                media_type.as_str(),
                purpose.as_str()
            );
            return Err(FieldError::unsupported("filename", problem));
        }
        Ok(Admitted { purpose, media_type, default_ttl: policy.default_ttl })
    }

    /// Most bytes in a file of this purpose.
    pub fn file_bytes_max(&self, purpose: &str) -> u64 {
        let own = self.purposes.get(purpose);
        own.and_then(|policy| policy.file_bytes_max)
            .map_or(self.file_bytes_max, |own| own.min(self.file_bytes_max))
    }
}

/// A purpose and a type that go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// What the file is for.
    pub purpose: Purpose,
    /// Its type.
    pub media_type: MediaType,
    /// Life of a file whose upload names none; `None`: for ever.
    pub default_ttl: Option<Duration>,
}

fn accepts(policy: &PurposePolicy, media_type: &MediaType) -> bool {
    policy.mime_types.is_empty() || policy.mime_types.iter().any(|it| it == media_type.as_str())
}
