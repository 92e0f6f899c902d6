//! The statements: states as in the migration (0 PENDING, 1 ACTIVE, 2 ABORTED, 3 PURGING, 4 DELETED). Every
//! move of a record names the state it comes from.
//!
//! Locks are taken in one order: owners' usage by user, then files by id. What may change usage locks the
//! owners first, in a statement of its own or in a part on which the rest of the statement depends; what is
//! read for a decision is read by a later statement, which sees all that happened before the locks were had.
//!
//! `= ANY (ARRAY (…))` where `IN (…)` would do: the rows are then found by the index, whatever the planner
//! thinks of how many there are.

pub(super) mod upkeep;

use std::sync::LazyLock;

use crate::metadata::select::{Dialect, RECORD, with_record};

/// How a listing is asked for.
pub(super) const DIALECT: Dialect = Dialect { parameter: '$', position: "strpos", columns: record };

/// The columns of a record, its references last, in the order in which `rows::read_record` reads them.
pub(super) fn record() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{RECORD}, (SELECT coalesce(json_agg(json_build_array(own.kind, own.reference_id))::text, '[]') \
             FROM file_references AS own WHERE own.file_id = f.file_id)"
        )
    });
    &TEXT
}

with_record!(
    /// Finished or soft-deleted files by id.
    find,
    "SELECT RECORD FROM files AS f WHERE f.file_id = ANY ($1) AND f.state IN (1, 4)"
);
with_record!(
    /// The live uploads of owners by upload_id.
    find_uploads,
    "SELECT RECORD, f.state, f.start_sha256, f.upload_id, f.reserved_bytes, f.persisted_bytes, f.progress, \
         f.lease_until_us \
     FROM unnest($1::text[], $2::bytea[]) AS w (user_id, upload_id) \
     JOIN files AS f ON f.user_id = w.user_id AND f.upload_id = w.upload_id WHERE f.state IN (0, 1)"
);
with_record!(
    /// The same, none of which changes until the transaction ends.
    lock_uploads,
    "SELECT RECORD, f.state, f.start_sha256, f.upload_id, f.reserved_bytes, f.persisted_bytes, f.progress, \
         f.lease_until_us \
     FROM unnest($1::text[], $2::bytea[]) AS w (user_id, upload_id) \
     JOIN files AS f ON f.user_id = w.user_id AND f.upload_id = w.upload_id WHERE f.state IN (0, 1) \
     ORDER BY f.file_id FOR UPDATE OF f"
);
with_record!(
    /// Every file, in the order of ids.
    walk,
    "SELECT RECORD FROM files AS f WHERE f.file_id > $1 AND f.state IN (1, 4) ORDER BY f.file_id LIMIT $2"
);
with_record!(
    /// Takes what is to be verified next, but for what is being changed right now.
    claim_unverified,
    "WITH due AS (SELECT file_id, verified_time_us FROM files \
         WHERE state IN (1, 4) AND verified_time_us < $1 \
         ORDER BY verified_time_us LIMIT $2 FOR UPDATE SKIP LOCKED), \
     claimed AS (UPDATE files SET verified_time_us = $3 \
         WHERE file_id = ANY (ARRAY (SELECT file_id FROM due)) RETURNING *) \
     SELECT RECORD FROM claimed AS f JOIN due ON due.file_id = f.file_id ORDER BY due.verified_time_us"
);
with_record!(
    /// PENDING to ACTIVE, by the holders of the fences, with the labels by which files are found.
    publish,
    "WITH ticket AS MATERIALIZED (SELECT * FROM \
         unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[]) \
         AS t (file_id, fence, size_bytes, sha256, now_us)), \
     published AS (UPDATE files AS f SET state = 1, size_bytes = t.size_bytes, sha256 = t.sha256, \
             create_time_us = t.now_us, update_time_us = t.now_us, verified_time_us = t.now_us, \
             expire_time_us = t.now_us + f.ttl_us \
         FROM ticket AS t WHERE f.file_id = t.file_id AND f.state = 0 AND f.fence = t.fence \
         RETURNING f.*), \
     labelled AS (INSERT INTO file_labels (file_id, key, value, user_id, create_time_us) \
         SELECT p.file_id, label.key, label.value, p.user_id, p.create_time_us \
         FROM published AS p, json_each_text(p.labels::json) AS label), \
     dated AS (UPDATE file_references AS r SET create_time_us = p.create_time_us \
         FROM published AS p WHERE r.file_id = p.file_id) \
     SELECT RECORD FROM published AS f"
);
with_record!(
    /// Files that the holders of the fences have published at these times.
    find_published,
    "SELECT RECORD FROM files AS f \
     JOIN unnest($1::text[], $2::bigint[], $3::bigint[]) AS t (file_id, fence, now_us) \
         ON f.file_id = t.file_id AND f.fence = t.fence AND f.create_time_us = t.now_us \
     WHERE f.state IN (1, 3, 4)"
);

/// Locks owners' usage, made where it is not there, and says what they store and have under way.
pub(super) const LOCK_OWNERS: &str = "INSERT INTO usage AS u (user_id) \
     SELECT owner FROM unnest($1::text[]) AS owner ORDER BY owner COLLATE \"C\" \
     ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id \
     RETURNING u.user_id, u.file_count + u.pending_count, u.stored_bytes + u.reserved_bytes";

/// Locks the usage of an upload's owner, and says what the owner stores and has under way.
pub(super) const LOCK_OWNER: &str = "SELECT file_count + pending_count, stored_bytes + reserved_bytes \
     FROM usage WHERE user_id = (SELECT user_id FROM files WHERE file_id = $1) FOR UPDATE";

/// Locks files.
pub(super) const LOCK_FILES: &str =
    "SELECT file_id FROM files WHERE file_id = ANY ($1) ORDER BY file_id FOR UPDATE";

/// Locks the usage of files' owners, and then the files.
pub(super) const LOCK_WITH_OWNERS: &str = "WITH owner AS MATERIALIZED (\
         SELECT user_id FROM usage \
         WHERE user_id = ANY (ARRAY (SELECT user_id FROM files WHERE file_id = ANY ($1))) \
         ORDER BY user_id FOR UPDATE) \
     SELECT file_id FROM files WHERE file_id = ANY ($1) AND (SELECT count(*) FROM owner) >= 0 \
     ORDER BY file_id FOR UPDATE";

/// Which of these ids have a record.
pub(super) const EXISTING: &str = "SELECT file_id FROM files WHERE file_id = ANY ($1)";

/// PENDING to ABORTED by a newer call with the same upload_id, and ACTIVE to PURGING where that has expired.
pub(super) const DISPLACE: &str = "UPDATE files SET state = CASE state WHEN 0 THEN 2 ELSE 3 END, \
     fence = CASE state WHEN 0 THEN fence + 1 ELSE fence END, lease_until_us = 0 \
     WHERE file_id = ANY ($1) AND state IN (0, 1)";

/// Gives unfinished uploads to newer calls with the same upload_id.
pub(super) const TAKE_OVER: &str = "UPDATE files AS f SET fence = f.fence + 1, \
     lease_until_us = greatest(f.lease_until_us, t.lease_until_us) \
     FROM unnest($1::text[], $2::bigint[]) AS t (file_id, lease_until_us) \
     WHERE f.file_id = t.file_id AND f.state = 0 RETURNING f.file_id, f.fence, f.reserved_bytes";

/// Notes how much of an upload is durable, by the holder of the fence.
pub(super) const SAVE: &str = "UPDATE files SET persisted_bytes = $3, progress = $4, lease_until_us = $5 \
     WHERE file_id = $1 AND state = 0 AND fence = $2 AND persisted_bytes <= $3";

/// Notes what an upload's content will be, by the holder of the fence.
pub(super) const SEAL: &str = "UPDATE files SET size_bytes = $3, sha256 = $4 \
     WHERE file_id = $1 AND state = 0 AND fence = $2";

/// Whether somebody still holds the fence.
pub(super) const HOLDS: &str =
    "SELECT EXISTS (SELECT 1 FROM files WHERE file_id = $1 AND state = 0 AND fence = $2)";

/// Whether an upload has become a file that is deleted and still kept.
pub(super) const WAS_DELETED: &str =
    "SELECT EXISTS (SELECT 1 FROM files WHERE user_id = $1 AND upload_id = $2 AND state = 4)";

/// Locks a user's usage.
pub(super) const LOCK_USER: &str = "SELECT 1 FROM usage WHERE user_id = $1 FOR UPDATE";

/// PENDING to ABORTED, by the owner.
pub(super) const CANCEL: &str = "UPDATE files SET state = 2, fence = fence + 1, lease_until_us = 0 \
     WHERE user_id = $1 AND upload_id = $2 AND state = 0 RETURNING file_id, blob_key";

/// Notes uploads as PENDING.
pub(super) const INSERT: &str = "INSERT INTO files (file_id, user_id, purpose, filename, filename_folded, \
     mime_type, mime_top_level, labels, blob_key, create_time_us, update_time_us, ttl_us, upload_id, \
     start_sha256, lease_until_us, delete_when_unreferenced, reserved_bytes, state) \
     SELECT n.file_id, n.user_id, n.purpose, n.filename, n.filename_folded, n.mime_type, n.mime_top_level, \
         n.labels, n.blob_key, n.now_us, n.now_us, n.ttl_us, n.upload_id, n.start_sha256, n.lease_until_us, \
         n.own, n.reserved_bytes, 0 \
     FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
         $8::text[], $9::bytea[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bigint[], \
         $15::bigint[], $16::bigint[]) AS n (file_id, user_id, purpose, filename, filename_folded, \
         mime_type, mime_top_level, labels, blob_key, now_us, ttl_us, upload_id, start_sha256, \
         lease_until_us, own, reserved_bytes)";

/// Ties uploads to their references.
pub(super) const INSERT_REFERENCES: &str = "INSERT INTO file_references \
     (file_id, kind, reference_id, user_id, create_time_us) \
     SELECT *, 0 FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])";

/// Lengthens a lease, by the holder of the fence.
pub(super) const RENEW: &str =
    "UPDATE files SET lease_until_us = $3 WHERE file_id = $1 AND state = 0 AND fence = $2";

/// What an upload has set aside, and whose it is, for the holder of the fence.
pub(super) const RESERVATION: &str =
    "SELECT user_id, reserved_bytes FROM files WHERE file_id = $1 AND state = 0 AND fence = $2";

/// Sets aside for an upload.
pub(super) const RESERVE: &str =
    "UPDATE files SET reserved_bytes = $2 WHERE file_id = $1 AND state = 0";

/// PENDING to ABORTED, by the holder of the fence.
pub(super) const ABANDON: &str = "UPDATE files SET state = 2, lease_until_us = 0 \
     WHERE file_id = $1 AND state = 0 AND fence = $2";

/// Whether an upload is ABORTED and nobody but the holder of the fence has given it up.
pub(super) const ABANDONED: &str =
    "SELECT count(*) = 1 FROM files WHERE file_id = $1 AND state = 2 AND fence = $2";

/// ACTIVE or DELETED to PURGING: those of a user that nobody will see again.
pub(super) const PURGE_OVER: &str = "UPDATE files SET state = 3, lease_until_us = 0, update_time_us = $2 \
     WHERE user_id = $1 AND ((state IN (1, 4) AND expire_time_us IS NOT NULL AND expire_time_us <= $2) \
         OR (state = 4 AND purge_time_us <= $2)) RETURNING size_bytes";

/// What a user stores, but for what nobody will see again.
pub(super) const STORED: &str = "WITH unseen AS (SELECT size_bytes FROM files \
         WHERE user_id = $1 AND state IN (1, 4) AND expire_time_us IS NOT NULL AND expire_time_us <= $2 \
         UNION ALL SELECT size_bytes FROM files WHERE user_id = $1 AND state = 4 AND purge_time_us <= $2 \
         AND (expire_time_us IS NULL OR expire_time_us > $2)) \
     SELECT file_count - (SELECT count(*) FROM unseen), \
         (stored_bytes - coalesce((SELECT sum(size_bytes) FROM unseen), 0))::bigint \
     FROM usage WHERE user_id = $1";

/// Changes a visible file.
pub(super) const UPDATE: &str = "UPDATE files SET filename = $2, filename_folded = $3, labels = $4, \
     expire_time_us = $5, delete_when_unreferenced = $6, link_epoch = $7, revision = $8, \
     update_time_us = $9 WHERE file_id = $1 AND state = 1";

/// Removes the labels of a file from those that files are found by.
pub(super) const UNLABEL: &str = "DELETE FROM file_labels WHERE file_id = $1";

/// Adds a file's labels to those that files are found by.
pub(super) const LABEL: &str = "INSERT INTO file_labels (file_id, key, value, user_id, create_time_us) \
     SELECT f.file_id, label.key, label.value, f.user_id, f.create_time_us \
     FROM files AS f, json_each_text(f.labels::json) AS label WHERE f.file_id = $1";

/// ACTIVE to DELETED.
pub(super) const DELETE: &str = "UPDATE files AS f SET state = 4, delete_time_us = $3, \
     purge_time_us = d.purge_time_us, revision = revision + 1, update_time_us = $3 \
     FROM unnest($1::text[], $2::bigint[]) AS d (file_id, purge_time_us) \
     WHERE f.file_id = d.file_id AND f.state = 1";

/// ACTIVE or DELETED to PURGING.
pub(super) const PURGE: &str = "UPDATE files SET state = 3, lease_until_us = 0, update_time_us = $2 \
     WHERE file_id = ANY ($1) AND state IN (1, 4)";

/// Whether a file was deleted for good at this time.
pub(super) const PURGED: &str =
    "SELECT count(*) = 1 FROM files WHERE file_id = $1 AND state = 3 AND update_time_us = $2";

/// DELETED to ACTIVE. Where the upload_id is another live upload's by now, it stays there.
pub(super) const UNDELETE: &str = "UPDATE files AS f SET state = 1, delete_time_us = NULL, \
     purge_time_us = NULL, revision = revision + 1, update_time_us = $2, upload_id = CASE WHEN EXISTS (\
         SELECT 1 FROM files AS o WHERE o.user_id = f.user_id AND o.upload_id = f.upload_id \
         AND o.state IN (0, 1)) THEN NULL ELSE f.upload_id END \
     WHERE f.file_id = $1 AND f.state = 4";

/// Ties files to a reference; each that was not tied gets a new etag.
pub(super) const ATTACH: &str = "WITH tied AS (INSERT INTO file_references \
         (file_id, kind, reference_id, user_id, create_time_us) \
         SELECT file_id, $2, $3, user_id, create_time_us FROM files \
         WHERE file_id = ANY ($1) AND state = 1 ON CONFLICT DO NOTHING RETURNING file_id) \
     UPDATE files AS f SET revision = revision + 1, update_time_us = $4 FROM tied \
     WHERE f.file_id = tied.file_id AND f.state = 1";

/// Unties files from a reference; each that was tied gets a new etag.
pub(super) const DETACH: &str = "WITH untied AS (DELETE FROM file_references \
         WHERE file_id = ANY ($1) AND kind = $2 AND reference_id = $3 RETURNING file_id) \
     UPDATE files AS f SET revision = revision + 1, update_time_us = $4 FROM untied \
     WHERE f.file_id = untied.file_id AND f.state = 1";

/// Whether any of these files is tied to a reference.
pub(super) const ANY_TIED: &str = "SELECT EXISTS (SELECT 1 FROM file_references \
     WHERE file_id = ANY ($1) AND kind = $2 AND reference_id = $3)";

/// Files tied to a reference, in whatever state.
pub(super) const TIED: &str =
    "SELECT file_id FROM file_references WHERE kind = $1 AND reference_id = $2 LIMIT $3";

/// The same of one user.
pub(super) const TIED_OF_USER: &str = "SELECT file_id FROM file_references \
     WHERE kind = $1 AND reference_id = $2 AND user_id = $4 LIMIT $3";

/// Takes a reference from locked files that nobody sees; a soft-deleted one gets a new etag.
pub(super) const UNTIE_HIDDEN: &str = "WITH untied AS (DELETE FROM file_references \
         WHERE file_id = ANY ($1) AND kind = $2 AND reference_id = $3 RETURNING file_id), \
     touched AS (UPDATE files AS f SET revision = revision + 1, update_time_us = $4 FROM untied \
         WHERE f.file_id = untied.file_id AND f.state = 4) \
     SELECT file_id FROM untied";
