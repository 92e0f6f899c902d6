//! What a check can find.

use std::fmt;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    blob::BlobKey,
    file::{id::FileId, user::UserId},
    metadata::FileRecord,
    storage::BlobEntry,
    sweep::Verdict,
};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub problem: Problem,
    /// Whether nothing of it is left to do: it was mended, or lost content is out of service.
    pub mended: bool,
}

/// What is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A file whose content is lost.
    Damaged {
        /// The file.
        file_id: FileId,
        /// Its owner.
        user_id: UserId,
        /// Where its bytes should rest.
        blob_key: BlobKey,
        /// What is there instead.
        verdict: Verdict,
    },
    /// A file that is out of service although its content is whole.
    Healed {
        /// The file.
        file_id: FileId,
    },
    /// A file whose content cannot be read now.
    Unreadable {
        /// The file.
        file_id: FileId,
        /// Where its bytes rest.
        blob_key: BlobKey,
        /// What the storage said.
        error: String,
    },
    /// A record whose bytes are still to be removed.
    StaleRecord {
        /// The record.
        file_id: FileId,
        /// Its bytes.
        blob_key: BlobKey,
    },
    /// A blob that no record names, older than a day.
    Stray(BlobEntry),
    /// More of those than are removed unasked.
    Braked {
        /// How many.
        strays: usize,
        /// Out of how many blobs.
        blobs: usize,
    },
    /// A user whose counters do not agree with the records.
    WrongUsage {
        /// The user.
        user_id: UserId,
    },
    /// More lost content than is taken out of service unasked.
    QuarantineBraked,
    /// The storage bears no mark: a server that starts gives it one.
    UnmarkedStorage,
    /// The storage bears another database's mark.
    ForeignStorage {
        /// Whose it is.
        owner: Uuid,
    },
}

impl Problem {
    pub(super) fn of_verdict(record: &FileRecord, verdict: Verdict) -> Self {
        let file_id = record.file.id;
        match verdict {
            Verdict::Whole => Self::Healed { file_id },
            verdict => Self::Damaged {
                file_id,
                user_id: record.file.user_id.clone(),
                blob_key: record.blob_key,
                verdict,
            },
        }
    }

    /// A stable name of its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "content_damaged",
            Self::Healed { .. } => "content_whole_again",
            Self::Unreadable { .. } => "content_unreadable",
            Self::StaleRecord { .. } => "record_stale",
            Self::Stray(_) => "blob_without_record",
            Self::Braked { .. } => "too_many_blobs_without_record",
            Self::WrongUsage { .. } => "usage_wrong",
            Self::QuarantineBraked => "too_much_content_damaged",
            Self::UnmarkedStorage => "storage_unmarked",
            Self::ForeignStorage { .. } => "storage_foreign",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { file_id, user_id, blob_key, verdict } => {
                let user_id = user_id.as_str();
                write!(out, "{file_id} of {user_id}: its content is lost: blob {blob_key} ")?;
                describe(*verdict, out)
            }
            Self::Healed { file_id } => {
                write!(out, "{file_id}: out of service, but its content is whole")
            }
            Self::Unreadable { file_id, blob_key, error } => {
                write!(out, "{file_id}: blob {blob_key} cannot be read: {error}")
            }
            Self::StaleRecord { file_id, .. } => {
                write!(out, "{file_id}: given up, deleted or expired, and not yet removed")
            }
            Self::Stray(BlobEntry { key, size_bytes, .. }) => {
                write!(out, "blob {key} of {size_bytes} bytes has no record")
            }
            Self::Braked { strays, blobs } => write!(
                out,
                "{strays} of {blobs} blobs have no record: too many to remove them unasked"
            ),
            Self::WrongUsage { user_id } => {
                write!(out, "the counters of {} do not agree with the records", user_id.as_str())
            }
            Self::QuarantineBraked => out.write_str(
                "so much content is lost that the rest stays in service; is the storage the right one?",
            ),
            Self::UnmarkedStorage => out.write_str(
                "the storage bears no database's mark: nothing is mended; a server that starts marks it",
            ),
            Self::ForeignStorage { owner } => write!(
                out,
                "the storage belongs to the database {owner}, not to this one: nothing is mended"
            ),
        }
    }
}

fn describe(verdict: Verdict, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    match verdict {
        Verdict::Whole => out.write_str("is whole"),
        Verdict::Missing => out.write_str("is missing"),
        Verdict::WrongSize { found_bytes } => write!(out, "has {found_bytes} bytes"),
        Verdict::WrongHash => out.write_str("holds other bytes"),
    }
}

impl Finding {
    /// The finding as JSON.
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "finding": self.problem.kind(),
            "mended": self.mended,
            "message": self.problem.to_string(),
        });
        let fields = match &self.problem {
            Problem::Damaged { file_id, user_id, blob_key, .. } => json!({
                "file_id": file_id.to_string(),
                "user_id": user_id.as_str(),
                "blob_key": blob_key.to_string(),
            }),
            Problem::Healed { file_id } => json!({ "file_id": file_id.to_string() }),
            Problem::Unreadable { file_id, blob_key, .. }
            | Problem::StaleRecord { file_id, blob_key } => json!({
                "file_id": file_id.to_string(),
                "blob_key": blob_key.to_string(),
            }),
            Problem::Stray(stray) => json!({
                "blob_key": stray.key.to_string(),
                "size_bytes": stray.size_bytes,
                "age_s": stray.age.as_secs(),
            }),
            Problem::Braked { strays, blobs } => json!({ "strays": strays, "blobs": blobs }),
            Problem::WrongUsage { user_id } => json!({ "user_id": user_id.as_str() }),
            Problem::QuarantineBraked | Problem::UnmarkedStorage => json!({}),
            Problem::ForeignStorage { owner } => json!({ "owner": owner.to_string() }),
        };
        if let (Some(all), Value::Object(fields)) = (json.as_object_mut(), fields) {
            all.extend(fields);
        }
        json
    }
}
