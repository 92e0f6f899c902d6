//! What users have: a file's nouns, each parsed once at the edge and trusted from then on.

pub mod id;
pub mod labels;
pub mod media_type;
pub mod name;
pub mod purpose;
pub mod reference;
pub mod sniff;
pub mod usage;
pub mod user;

use std::time::Duration;

use uuid::Uuid;

use crate::clock::Timestamp;
use id::FileId;
use labels::Labels;
use media_type::MediaType;
use name::FileName;
use purpose::Purpose;
use reference::References;
use user::UserId;

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// What a client says of a file before it sends the bytes; every field has been parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// The owner.
    pub user_id: UserId,
    /// What the file is for.
    pub purpose: Purpose,
    /// Its name.
    pub name: FileName,
    /// Its type, decided by the name's extension.
    pub media_type: MediaType,
    /// The promised length in bytes, where one was given.
    pub size_bytes: Option<u64>,
    /// Life from the end of the upload; `None`: for ever.
    pub ttl: Option<Duration>,
    /// The caller's own labels.
    pub labels: Labels,
    /// What the file belongs to from the start.
    pub references: References,
    /// Whether the file goes when its last reference goes.
    pub delete_when_unreferenced: bool,
    /// Idempotency key, unique for each owner.
    pub upload_id: Option<Uuid>,
}

/// What was received: measured while receiving, never claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Length in bytes.
    pub size_bytes: u64,
    /// SHA-256 of all bytes.
    pub sha256: Sha256Digest,
}

/// A finished file's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its id.
    pub id: FileId,
    /// The owner.
    pub user_id: UserId,
    /// What it is for.
    pub purpose: Purpose,
    /// Its name.
    pub name: FileName,
    /// Its type.
    pub media_type: MediaType,
    /// Its content's length and hash.
    pub content: Content,
    /// When its upload was finished.
    pub create_time: Timestamp,
    /// When its metadata last changed.
    pub update_time: Timestamp,
    /// From this time on it is as good as deleted.
    pub expire_time: Option<Timestamp>,
    /// When it was soft-deleted; `None` while it is not.
    pub delete_time: Option<Timestamp>,
    /// When the bytes of a soft-deleted file go; until then it can be undeleted.
    pub purge_time: Option<Timestamp>,
    /// The caller's own labels.
    pub labels: Labels,
    /// What it belongs to.
    pub references: References,
    /// Whether it goes when its last reference goes.
    pub delete_when_unreferenced: bool,
    /// Raised by one with every metadata change; shown as the etag.
    pub revision: u64,
    /// Raised to revoke all links; joins the signed message when above 0.
    pub link_epoch: u64,
}

impl File {
    /// Bytes of what its owner can make large: name, labels and references.
    pub fn variable_bytes(&self) -> usize {
        /// What an entry takes beside its texts.
        const ENTRY: usize = 8;
        let labels = self.labels.as_map().iter();
        let labels: usize = labels.map(|(key, value)| key.len() + value.len() + ENTRY).sum();
        let references: usize = self.references.iter().map(|it| it.id().len() + ENTRY).sum();
        self.name.as_str().len() + self.user_id.as_str().len() + labels + references
    }

    /// The opaque value that changes with every metadata change.
    pub fn etag(&self) -> String {
        format!("{:x}", self.revision)
    }
}
