//! The statements: states as in the migration (0 PENDING, 1 ACTIVE, 2 ABORTED, 3 PURGING). Every move of a
//! record names the state it comes from.

use std::sync::LazyLock;

/// The columns of a record, in the order in which `rows::read_record` reads them.
const RECORD: &str = "file_id, user_id, purpose, filename, mime_type, labels, blob_key, size_bytes, sha256, \
     create_time_us, update_time_us, expire_time_us, revision, link_epoch";

macro_rules! with_record {
    ($(#[$doc:meta])* $name:ident, $format:literal) => {
        $(#[$doc])*
        pub(super) fn $name() -> &'static str {
            static TEXT: LazyLock<String> = LazyLock::new(|| $format.replace("RECORD", RECORD));
            &TEXT
        }
    };
}

with_record!(
    /// A finished file by id.
    find,
    "SELECT RECORD FROM files WHERE file_id = ?1 AND state = 1"
);
with_record!(
    /// The live upload of an owner by upload_id.
    find_upload,
    "SELECT RECORD, state, start_sha256 FROM files \
     WHERE user_id = ?1 AND upload_id = ?2 AND state IN (0, 1)"
);
with_record!(
    /// PENDING to ACTIVE, by the holder of the fence.
    publish,
    "UPDATE files SET state = 1, size_bytes = ?4, sha256 = ?5, create_time_us = ?3, update_time_us = ?3, \
     expire_time_us = ?3 + ttl_us \
     WHERE file_id = ?1 AND state = 0 AND fence = ?2 RETURNING RECORD"
);
with_record!(
    /// Ends all links of a file.
    raise_link_epoch,
    "UPDATE files SET link_epoch = link_epoch + 1, revision = revision + 1, update_time_us = ?2 \
     WHERE file_id = ?1 AND state = 1 RETURNING RECORD"
);
with_record!(
    /// The first page of a user's files.
    list_first,
    "SELECT RECORD FROM files \
     WHERE user_id = ?1 AND state = 1 AND (expire_time_us IS NULL OR expire_time_us > ?2) \
     ORDER BY create_time_us DESC, file_id DESC LIMIT ?3"
);
with_record!(
    /// A later page of a user's files.
    list_after,
    "SELECT RECORD FROM files \
     WHERE user_id = ?1 AND state = 1 AND (expire_time_us IS NULL OR expire_time_us > ?2) \
     AND (create_time_us, file_id) < (?4, ?5) \
     ORDER BY create_time_us DESC, file_id DESC LIMIT ?3"
);

/// Notes an upload as PENDING.
pub(super) const INSERT: &str = "INSERT INTO files (file_id, state, user_id, purpose, filename, mime_type, \
     labels, blob_key, create_time_us, update_time_us, ttl_us, upload_id, start_sha256, lease_until_us) \
     VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12)";

/// Lengthens a lease, by the holder of the fence.
pub(super) const RENEW: &str =
    "UPDATE files SET lease_until_us = ?3 WHERE file_id = ?1 AND state = 0 AND fence = ?2";

/// PENDING to ABORTED, by the holder of the fence.
pub(super) const ABANDON: &str =
    "UPDATE files SET state = 2 WHERE file_id = ?1 AND state = 0 AND fence = ?2";

/// PENDING to ABORTED, by a newer call with the same upload_id.
pub(super) const ABORT: &str =
    "UPDATE files SET state = 2, fence = fence + 1 WHERE file_id = ?1 AND state = 0";

/// ACTIVE to PURGING.
pub(super) const RETIRE: &str = "UPDATE files SET state = 3 WHERE file_id = ?1 AND state = 1";

/// Whether there is anything to sweep.
pub(super) const ANY_ORPHAN: &str = "SELECT 1 FROM files \
     WHERE state <> 1 AND (state <> 0 OR lease_until_us < ?1) \
     UNION ALL SELECT 1 FROM files \
     WHERE state = 1 AND expire_time_us IS NOT NULL AND expire_time_us <= ?1 LIMIT 1";

/// Raises the fence of what nobody needs, so that no slow uploader can publish it afterwards: PENDING whose
/// lease has ended becomes ABORTED, ACTIVE that has expired becomes PURGING.
pub(super) const CLAIM_ORPHANS: &str = "UPDATE files \
     SET state = CASE state WHEN 0 THEN 2 WHEN 1 THEN 3 ELSE state END, fence = fence + 1 \
     WHERE file_id IN (SELECT file_id FROM files \
         WHERE state <> 1 AND (state <> 0 OR lease_until_us < ?1) \
         UNION ALL SELECT file_id FROM files \
         WHERE state = 1 AND expire_time_us IS NOT NULL AND expire_time_us <= ?1 LIMIT ?2) \
     RETURNING file_id, blob_key";

/// Removes a record whose bytes are gone.
pub(super) const FORGET: &str = "DELETE FROM files WHERE file_id = ?1 AND state IN (2, 3)";
