//! What a listing asks for, and whether a file answers it.

use std::collections::BTreeMap;

use super::FileRecord;
use crate::{
    clock::Timestamp,
    file::{File, Sha256Digest, id::FileId, name, reference::Reference, user::UserId},
};

/// A page of a user's files.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// The owner.
    pub user_id: UserId,
    /// Which of them.
    pub filter: FileFilter,
    /// Whether soft-deleted files are among them for as long as they can be undeleted.
    pub show_deleted: bool,
    /// The last file of the page before; `None`: from the newest on.
    pub after: Option<ListPosition>,
    /// Most files in the page.
    pub limit: usize,
}

impl ListQuery {
    /// Whether a user's file belongs into the listing at `now`, wherever its page begins.
    pub(super) fn selects(&self, record: &FileRecord, now: Timestamp) -> bool {
        let shown = record.is_visible(now) || (self.show_deleted && record.is_recoverable(now));
        shown && record.file.user_id == self.user_id && self.filter.selects(&record.file)
    }
}

/// Which files: every condition that is set must hold, and of a list one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFilter {
    /// One of these purposes; empty: any.
    pub purposes: Vec<String>,
    /// One of these types; empty: any.
    pub media_types: Vec<MediaTypePattern>,
    /// A part of the name, [folded](name::folded).
    pub name_contains: Option<String>,
    /// Belongs to this.
    pub reference: Option<Reference>,
    /// Has exactly this content.
    pub sha256: Option<Sha256Digest>,
    /// Carries all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Created at or after this time.
    pub create_time_from: Option<Timestamp>,
    /// Created before this time.
    pub create_time_to: Option<Timestamp>,
}

/// A MIME type, or all of one top-level type (RFC 6838, section 4.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MediaTypePattern {
    /// Such as `image/*`; holds the top-level type alone.
    TopLevel(String),
    /// Such as `image/png`.
    Exact(String),
}

impl MediaTypePattern {
    fn selects(&self, media_type: &str) -> bool {
        match self {
            Self::Exact(exact) => media_type == exact,
            Self::TopLevel(top_level) => top_level_of(media_type) == top_level,
        }
    }
}

/// The part of a MIME type before the slash.
pub(super) fn top_level_of(media_type: &str) -> &str {
    media_type.split_once('/').map_or(media_type, |(top_level, _)| top_level)
}

impl FileFilter {
    fn selects(&self, file: &File) -> bool {
        let purpose = file.purpose.as_str();
        let media_type = file.media_type.as_str();
        let labels = file.labels.as_map();
        (self.purposes.is_empty() || self.purposes.iter().any(|it| it == purpose))
            && (self.media_types.is_empty()
                || self.media_types.iter().any(|it| it.selects(media_type)))
            && self
                .name_contains
                .as_ref()
                .is_none_or(|part| name::folded(file.name.as_str()).contains(part))
            && self.reference.as_ref().is_none_or(|it| file.references.contains(it))
            && self.sha256.is_none_or(|it| file.content.sha256 == it)
            && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.create_time_from.is_none_or(|from| file.create_time >= from)
            && self.create_time_to.is_none_or(|to| file.create_time < to)
    }
}

/// A file's place in a listing, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPosition {
    /// When the file was created.
    pub create_time: Timestamp,
    /// Its id, which orders files created in the same microsecond.
    pub file_id: FileId,
}

impl From<&File> for ListPosition {
    fn from(file: &File) -> Self {
        Self { create_time: file.create_time, file_id: file.id }
    }
}
