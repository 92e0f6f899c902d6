//! What is to become of a file's metadata. The fields to change follow from what is set.

use std::{collections::BTreeMap, time::SystemTime};

use prost_types::FieldMask;

use crate::proto::{File, UpdateFileRequest};

/// A change of a file's metadata; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileChange {
    /// Its new base name.
    pub filename: Option<String>,
    /// Its labels from now on, in place of all that it has.
    pub labels: Option<BTreeMap<String, String>>,
    /// When it expires from now on.
    pub expiry: Option<Expiry>,
    /// Whether it goes when its last reference goes.
    pub delete_when_unreferenced: Option<bool>,
    /// Change it only while its etag is this one; empty: whatever it is.
    pub etag: String,
}

/// When a file expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At this time.
    At(SystemTime),
    /// Never.
    Never,
}

impl FileChange {
    /// Whether nothing is set that could change a file.
    pub fn is_empty(&self) -> bool {
        self.paths().is_empty()
    }

    /// The contract's names of the fields that are set.
    fn paths(&self) -> Vec<String> {
        let fields = [
            ("filename", self.filename.is_some()),
            ("labels", self.labels.is_some()),
            ("expire_time", self.expiry.is_some()),
            ("delete_when_unreferenced", self.delete_when_unreferenced.is_some()),
        ];
        fields.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()).collect()
    }

    pub(super) fn into_request(self, file_id: &str, user_id: &str) -> UpdateFileRequest {
        let paths = self.paths();
        let expire_time = match self.expiry {
            Some(Expiry::At(time)) => Some(time.into()),
            Some(Expiry::Never) | None => None,
        };
        let file = File {
            id: file_id.to_owned(),
            filename: self.filename.unwrap_or_default(),
            labels: self.labels.unwrap_or_default(),
            expire_time,
            delete_when_unreferenced: self.delete_when_unreferenced.unwrap_or_default(),
            etag: self.etag,
            ..File::default()
        };
        UpdateFileRequest {
            file: Some(file),
            update_mask: Some(FieldMask { paths }),
            user_id: user_id.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(change: FileChange) -> Vec<String> {
        change.into_request("f", "u").update_mask.map(|mask| mask.paths).unwrap_or_default()
    }

    #[test]
    fn the_mask_names_what_is_set_and_nothing_else() {
        assert_eq!(mask(FileChange::default()), [""; 0]);
        let cleared = FileChange {
            labels: Some(BTreeMap::new()),
            expiry: Some(Expiry::Never),
            delete_when_unreferenced: Some(false),
            ..FileChange::default()
        };
        assert_eq!(mask(cleared), ["labels", "expire_time", "delete_when_unreferenced"]);
        let renamed = FileChange { filename: Some("b.txt".to_owned()), ..FileChange::default() };
        assert_eq!(mask(renamed), ["filename"]);
    }

    #[test]
    fn an_etag_alone_changes_nothing() {
        let change = FileChange { etag: "1".to_owned(), ..FileChange::default() };
        assert!(change.is_empty());
        assert_eq!(change.into_request("f", "u").file.map(|file| file.etag), Some("1".to_owned()));
    }
}
