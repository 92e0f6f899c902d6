//! The statements: states as in the migration (0 PENDING, 1 ACTIVE, 2 ABORTED, 3 PURGING, 4 DELETED). Every
//! move of a record names the state it comes from.

use std::sync::LazyLock;

use crate::metadata::select::{Dialect, RECORD, with_record};

/// How a listing is asked for.
pub(super) const DIALECT: Dialect = Dialect { parameter: '?', position: "instr", columns: record };

/// The columns of a record, its references last, in the order in which `rows::read_record` reads them.
pub(super) fn record() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{RECORD}, (SELECT json_group_array(json_array(own.kind, own.reference_id)) \
             FROM file_references AS own WHERE own.file_id = f.file_id)"
        )
    });
    &TEXT
}

with_record!(
    /// A finished or soft-deleted file by id.
    find,
    "SELECT RECORD FROM files AS f WHERE f.file_id = ?1 AND f.state IN (1, 4)"
);
with_record!(
    /// The live upload of an owner by upload_id.
    find_upload,
    "SELECT RECORD, f.state, f.start_sha256, f.persisted_bytes, f.progress, f.lease_until_us, \
         f.reserved_bytes FROM files AS f \
     WHERE f.user_id = ?1 AND f.upload_id = ?2 AND f.state IN (0, 1)"
);
with_record!(
    /// Every file, in the order of ids.
    walk,
    "SELECT RECORD FROM files AS f WHERE f.file_id > ?1 AND f.state IN (1, 4) ORDER BY f.file_id LIMIT ?2"
);
with_record!(
    /// What is to be verified next.
    unverified,
    "SELECT RECORD FROM files AS f WHERE f.state IN (1, 4) AND f.verified_time_us < ?1 \
     ORDER BY f.verified_time_us LIMIT ?2"
);

/// Notes an upload as PENDING.
pub(super) const INSERT: &str = "INSERT INTO files (file_id, state, user_id, purpose, filename, mime_type, \
     labels, blob_key, create_time_us, update_time_us, ttl_us, upload_id, start_sha256, lease_until_us, \
     filename_folded, mime_top_level, delete_when_unreferenced, reserved_bytes) \
     VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

/// Ties a file to a reference.
pub(super) const ATTACH: &str = "INSERT INTO file_references \
     (file_id, kind, reference_id, user_id, create_time_us) VALUES (?1, ?2, ?3, ?4, ?5) \
     ON CONFLICT DO NOTHING";

/// Unties a file from a reference.
pub(super) const DETACH: &str =
    "DELETE FROM file_references WHERE file_id = ?1 AND kind = ?2 AND reference_id = ?3";

/// Files tied to a reference, in whatever state.
pub(super) const TIED: &str =
    "SELECT file_id FROM file_references WHERE kind = ?1 AND reference_id = ?2 LIMIT ?3";

/// The same of one user.
pub(super) const TIED_OF_USER: &str = "SELECT file_id FROM file_references \
     WHERE kind = ?1 AND reference_id = ?2 AND user_id = ?4 LIMIT ?3";

/// A published file's time, for the order of its references.
pub(super) const DATE_REFERENCES: &str =
    "UPDATE file_references SET create_time_us = ?2 WHERE file_id = ?1";

/// Adds a label to those that files are found by.
pub(super) const LABEL: &str = "INSERT INTO file_labels (file_id, key, value, user_id, create_time_us) \
     VALUES (?1, ?2, ?3, ?4, ?5)";

/// Lengthens a lease, by the holder of the fence.
pub(super) const RENEW: &str =
    "UPDATE files SET lease_until_us = ?3 WHERE file_id = ?1 AND state = 0 AND fence = ?2";

/// Gives an unfinished upload to a newer call with the same upload_id.
pub(super) const TAKE_OVER: &str = "UPDATE files SET fence = fence + 1, \
     lease_until_us = max(lease_until_us, ?2) WHERE file_id = ?1 AND state = 0 \
     RETURNING fence, reserved_bytes";

/// Notes how much of an upload is durable, by the holder of the fence.
pub(super) const SAVE: &str = "UPDATE files SET persisted_bytes = ?3, progress = ?4, lease_until_us = ?5 \
     WHERE file_id = ?1 AND state = 0 AND fence = ?2 AND persisted_bytes <= ?3";

/// Notes what an upload's content will be, by the holder of the fence.
pub(super) const SEAL: &str = "UPDATE files SET size_bytes = ?3, sha256 = ?4 \
     WHERE file_id = ?1 AND state = 0 AND fence = ?2";

/// Whether somebody still holds the fence.
pub(super) const HOLDS: &str =
    "SELECT 1 FROM files WHERE file_id = ?1 AND state = 0 AND fence = ?2";

/// Whether an upload has become a file that is deleted and still kept.
pub(super) const WAS_DELETED: &str =
    "SELECT 1 FROM files WHERE user_id = ?1 AND upload_id = ?2 AND state = 4";

/// PENDING to ABORTED, by the owner.
pub(super) const CANCEL: &str = "UPDATE files SET state = 2, fence = fence + 1, lease_until_us = 0 \
     WHERE user_id = ?1 AND upload_id = ?2 AND state = 0 RETURNING file_id, blob_key";

/// What an upload has set aside, and whose it is, for the holder of the fence.
pub(super) const RESERVATION: &str =
    "SELECT user_id, reserved_bytes FROM files WHERE file_id = ?1 AND state = 0 AND fence = ?2";

/// Sets aside for an upload.
pub(super) const RESERVE: &str =
    "UPDATE files SET reserved_bytes = ?2 WHERE file_id = ?1 AND state = 0";

/// PENDING to ACTIVE, by the holder of the fence.
pub(super) const PUBLISH: &str = "UPDATE files SET state = 1, size_bytes = ?4, sha256 = ?5, \
     create_time_us = ?3, update_time_us = ?3, verified_time_us = ?3, expire_time_us = ?3 + ttl_us \
     WHERE file_id = ?1 AND state = 0 AND fence = ?2";

/// PENDING to ABORTED, by the holder of the fence.
pub(super) const ABANDON: &str = "UPDATE files SET state = 2, lease_until_us = 0 \
     WHERE file_id = ?1 AND state = 0 AND fence = ?2";

/// PENDING to ABORTED, by a newer call with the same upload_id.
pub(super) const ABORT: &str = "UPDATE files SET state = 2, fence = fence + 1, lease_until_us = 0 \
     WHERE file_id = ?1 AND state = 0";

/// Changes a visible file.
pub(super) const UPDATE: &str = "UPDATE files SET filename = ?2, filename_folded = ?3, labels = ?4, \
     expire_time_us = ?5, delete_when_unreferenced = ?6, link_epoch = ?7, revision = ?8, \
     update_time_us = ?9 WHERE file_id = ?1 AND state = 1";

/// ACTIVE to DELETED.
pub(super) const DELETE: &str = "UPDATE files SET state = 4, delete_time_us = ?2, purge_time_us = ?3, \
     revision = revision + 1, update_time_us = ?2 WHERE file_id = ?1 AND state = 1";

/// DELETED to ACTIVE. Where the upload_id is another live upload's by now, it stays there.
pub(super) const UNDELETE: &str = "UPDATE files AS f SET state = 1, delete_time_us = NULL, \
     purge_time_us = NULL, revision = revision + 1, update_time_us = ?2, upload_id = iif(EXISTS (\
         SELECT 1 FROM files AS o WHERE o.user_id = f.user_id AND o.upload_id = f.upload_id \
         AND o.state IN (0, 1)), NULL, f.upload_id) \
     WHERE f.file_id = ?1 AND f.state = 4";

/// ACTIVE or DELETED to PURGING.
pub(super) const PURGE: &str =
    "UPDATE files SET state = 3, lease_until_us = 0 WHERE file_id = ?1 AND state IN (1, 4)";

/// ACTIVE or DELETED to PURGING: those of a user that nobody will see again.
pub(super) const PURGE_OVER: &str = "UPDATE files SET state = 3, lease_until_us = 0 \
     WHERE file_id IN (SELECT file_id FROM files WHERE user_id = ?1 AND state IN (1, 4) \
         AND expire_time_us IS NOT NULL AND expire_time_us <= ?2 \
         UNION ALL SELECT file_id FROM files WHERE user_id = ?1 AND state = 4 AND purge_time_us <= ?2)";

/// A new etag.
pub(super) const TOUCH: &str = "UPDATE files SET revision = revision + 1, update_time_us = ?2 \
     WHERE file_id = ?1 AND state IN (1, 4)";

/// What a user stores and has under way.
pub(super) const HELD: &str = "SELECT file_count + pending_count, stored_bytes + reserved_bytes FROM usage \
     WHERE user_id = ?1";

/// What all users store.
pub(super) const TOTALS: &str =
    "SELECT coalesce(sum(file_count), 0), coalesce(sum(stored_bytes), 0) FROM usage";

/// What a user stores, but for what nobody will see again.
pub(super) const STORED: &str = "WITH over AS (SELECT size_bytes FROM files \
         WHERE user_id = ?1 AND state IN (1, 4) AND expire_time_us IS NOT NULL AND expire_time_us <= ?2 \
         UNION ALL SELECT size_bytes FROM files WHERE user_id = ?1 AND state = 4 AND purge_time_us <= ?2 \
         AND (expire_time_us IS NULL OR expire_time_us > ?2)) \
     SELECT file_count - coalesce((SELECT count(*) FROM over), 0), \
         stored_bytes - coalesce((SELECT sum(size_bytes) FROM over), 0) \
     FROM usage WHERE user_id = ?1";

macro_rules! orphans {
    () => {
        "SELECT file_id FROM files \
         WHERE state IN (0, 2, 3) AND (lease_until_us < ?1 OR (lease_until_us = ?1 AND state <> 0)) \
         UNION ALL SELECT file_id FROM files WHERE state = 4 AND purge_time_us <= ?1 \
         UNION ALL SELECT file_id FROM files \
         WHERE state IN (1, 4) AND expire_time_us IS NOT NULL AND expire_time_us <= ?1 LIMIT ?2"
    };
}

/// What there is to sweep.
pub(super) const LIST_ORPHANS: &str =
    concat!("SELECT file_id, blob_key FROM files WHERE file_id IN (", orphans!(), ")");

/// Raises the fence of what nobody needs, so that no slow uploader can publish it afterwards: PENDING whose
/// lease has ended becomes ABORTED; ACTIVE that has expired and DELETED past its time become PURGING.
pub(super) const CLAIM_ORPHANS: &str = concat!(
    "UPDATE files SET state = CASE state WHEN 0 THEN 2 WHEN 2 THEN 2 ELSE 3 END, fence = fence + 1, \
     lease_until_us = ?3 WHERE file_id IN (",
    orphans!(),
    ") RETURNING file_id, blob_key"
);

/// Removes a record whose bytes are gone.
pub(super) const FORGET: &str = "DELETE FROM files WHERE file_id = ?1 AND state IN (2, 3)";

/// Removes what a forgotten record was tied to.
pub(super) const FORGET_REFERENCES: &str = "DELETE FROM file_references WHERE file_id = ?1";

/// Removes the labels of a file from those that files are found by.
pub(super) const UNLABEL: &str = "DELETE FROM file_labels WHERE file_id = ?1";

/// Whether a record names a blob.
pub(super) const RECORDED: &str = "SELECT 1 FROM files WHERE blob_key = ?1";

/// Notes damage, or that there is none.
pub(super) const QUARANTINE: &str =
    "UPDATE files SET quarantined = ?2 WHERE file_id = ?1 AND state IN (1, 4)";

/// Notes when content was verified.
pub(super) const VERIFIED: &str =
    "UPDATE files SET verified_time_us = ?2 WHERE file_id = ?1 AND state IN (1, 4)";

/// Users whose counters do not agree with their records.
pub(super) const WRONG_USAGE: &str = "WITH counted AS (SELECT user_id, \
         sum(state IN (1, 4)) AS files, sum(iif(state IN (1, 4), size_bytes, 0)) AS bytes, \
         sum(state = 0) AS pending, sum(iif(state = 0, reserved_bytes, 0)) AS reserved \
         FROM files GROUP BY user_id) \
     SELECT user_id FROM usage AS u LEFT JOIN counted AS c USING (user_id) \
     WHERE (u.file_count, u.stored_bytes, u.pending_count, u.reserved_bytes) IS NOT \
         (coalesce(c.files, 0), coalesce(c.bytes, 0), coalesce(c.pending, 0), coalesce(c.reserved, 0)) \
     UNION SELECT c.user_id FROM counted AS c LEFT JOIN usage AS u USING (user_id) WHERE u.user_id IS NULL";

/// Counts a user's records anew.
pub(super) const RECOUNT: &str = "INSERT INTO usage \
         (user_id, file_count, stored_bytes, pending_count, reserved_bytes) \
     SELECT ?1, coalesce(sum(state IN (1, 4)), 0), coalesce(sum(iif(state IN (1, 4), size_bytes, 0)), 0), \
         coalesce(sum(state = 0), 0), coalesce(sum(iif(state = 0, reserved_bytes, 0)), 0) \
     FROM (SELECT state, size_bytes, reserved_bytes FROM files WHERE user_id = ?1 AND state = 1 \
         UNION ALL SELECT state, size_bytes, reserved_bytes FROM files WHERE user_id = ?1 AND state = 4 \
         UNION ALL SELECT state, size_bytes, reserved_bytes FROM files \
             WHERE user_id = ?1 AND state IN (0, 2, 3) AND state = 0) WHERE true \
     ON CONFLICT (user_id) DO UPDATE SET file_count = excluded.file_count, \
         stored_bytes = excluded.stored_bytes, pending_count = excluded.pending_count, \
         reserved_bytes = excluded.reserved_bytes";

/// The database's own id.
pub(super) const IDENTITY: &str = "SELECT id FROM identity WHERE one = 1";
