//! What a checkpoint of an object in parts notes: the multipart upload, and the parts that have arrived.

use aws_sdk_s3::types::CompletedPart;
use serde::{Deserialize, Serialize};

use crate::{
    blob::BlobKey,
    storage::{Checkpoint, Result, StorageError},
};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    /// The store's name for the multipart upload.
    pub(super) upload_id: String,
    /// The token that the object will bear.
    pub(super) token: String,
    /// The size of every part but the last.
    pub(super) part_bytes: usize,
    /// The parts that have arrived, from the first on.
    pub(super) parts: Vec<Part>,
}

/// A part as the store has acknowledged it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) e_tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crc32: Option<String>,
}

impl Part {
    pub(super) fn of(part: &CompletedPart) -> Self {
        Self {
            e_tag: part.e_tag().unwrap_or_default().to_owned(),
            crc32: part.checksum_crc32().map(str::to_owned),
        }
    }

    pub(super) fn numbered(&self, number: i32) -> CompletedPart {
        CompletedPart::builder()
            .part_number(number)
            .e_tag(&self.e_tag)
            .set_checksum_crc32(self.crc32.clone())
            .build()
    }
}

impl Notes {
    /// The checkpoint that holds these notes.
    pub(super) fn write(&self) -> Result<Checkpoint> {
        let size_bytes = self.size_bytes();
        let notes = serde_json::to_string(self).map_err(|error| StorageError::Unavailable {
            action: "note how far a blob has come",
            source: error.into(),
        })?;
        Ok(Checkpoint { size_bytes, notes })
    }

    /// Reads the notes of a checkpoint; those of another backend lead to nothing here.
    pub(super) fn read(key: &BlobKey, at: &Checkpoint) -> Result<Self> {
        let notes = serde_json::from_str(&at.notes).ok();
        notes
            .filter(|notes: &Self| notes.size_bytes() == at.size_bytes && at.size_bytes > 0)
            .ok_or(StorageError::Missing(*key))
    }

    const fn size_bytes(&self) -> u64 {
        self.parts.len() as u64 * self.part_bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(parts: usize) -> Notes {
        let part = Part { e_tag: "\"a\"".to_owned(), crc32: Some("AAAAAA==".to_owned()) };
        Notes {
            upload_id: "u".to_owned(),
            token: "t".to_owned(),
            part_bytes: 5,
            parts: vec![part; parts],
        }
    }

    #[test]
    fn notes_read_back_and_foreign_ones_do_not() {
        let key = BlobKey::from_bytes([1; 16]);
        let at = notes(3).write().expect("notes");
        assert_eq!(at.size_bytes, 15);
        assert_eq!(Notes::read(&key, &at).expect("notes"), notes(3));
        for (size_bytes, notes) in [(15, String::new()), (14, at.notes.clone()), (0, at.notes)] {
            let foreign = Checkpoint { size_bytes, notes };
            assert!(matches!(Notes::read(&key, &foreign), Err(StorageError::Missing(_))));
        }
    }
}
