//! What the sweeper and fsck ask for.

macro_rules! unfinished {
    () => {
        "(state IN (0, 2, 3) AND lease_until_us <= $1 AND (lease_until_us < $1 OR state <> 0))"
    };
}

macro_rules! past_purge_time {
    () => {
        "(state = 4 AND purge_time_us <= $1)"
    };
}

macro_rules! expired {
    () => {
        "(state IN (1, 4) AND expire_time_us IS NOT NULL AND expire_time_us <= $1)"
    };
}

macro_rules! orphans {
    () => {
        concat!(
            "(SELECT file_id FROM files WHERE ",
            unfinished!(),
            " LIMIT $2) UNION (SELECT file_id FROM files WHERE ",
            past_purge_time!(),
            " LIMIT $2) UNION (SELECT file_id FROM files WHERE ",
            expired!(),
            " LIMIT $2) LIMIT $2"
        )
    };
}

/// What there is to sweep.
pub(in super::super) const LIST_ORPHANS: &str =
    concat!("SELECT file_id, blob_key FROM files WHERE file_id IN (", orphans!(), ")");

/// Raises the fence of what nobody needs, so that no slow uploader can publish it afterwards: PENDING whose
/// lease has ended becomes ABORTED; ACTIVE that has expired and DELETED past its time become PURGING. What
/// somebody else is at is left to the next time.
pub(in super::super) const CLAIM_ORPHANS: &str = concat!(
    "WITH due AS MATERIALIZED (",
    orphans!(),
    "), owner AS MATERIALIZED (SELECT user_id FROM usage WHERE user_id = ANY \
         (ARRAY (SELECT user_id FROM files WHERE file_id = ANY (ARRAY (SELECT file_id FROM due)))) \
         ORDER BY user_id FOR UPDATE), \
     locked AS MATERIALIZED (SELECT file_id FROM files \
         WHERE file_id = ANY (ARRAY (SELECT file_id FROM due)) AND (SELECT count(*) FROM owner) >= 0 AND (",
    unfinished!(),
    " OR ",
    past_purge_time!(),
    " OR ",
    expired!(),
    ") FOR UPDATE SKIP LOCKED) \
     UPDATE files SET state = CASE state WHEN 0 THEN 2 WHEN 2 THEN 2 ELSE 3 END, \
         fence = fence + 1, lease_until_us = $3 \
     WHERE file_id = ANY (ARRAY (SELECT file_id FROM locked)) RETURNING file_id, blob_key"
);

/// Removes a record whose bytes are gone, and all it was tied to.
pub(in super::super) const FORGET: &str = "WITH gone AS (\
         DELETE FROM files WHERE file_id = $1 AND state IN (2, 3) RETURNING file_id), \
     untied AS (DELETE FROM file_references AS r USING gone WHERE r.file_id = gone.file_id) \
     DELETE FROM file_labels AS l USING gone WHERE l.file_id = gone.file_id";

/// Those of these blobs that a record names.
pub(in super::super) const RECORDED: &str = "SELECT blob_key FROM files WHERE blob_key = ANY ($1)";

/// Notes damage, or that there is none.
pub(in super::super) const QUARANTINE: &str =
    "UPDATE files SET quarantined = $2 WHERE file_id = $1 AND state IN (1, 4)";

/// Notes when content was verified.
pub(in super::super) const VERIFIED: &str =
    "UPDATE files SET verified_time_us = $2 WHERE file_id = $1 AND state IN (1, 4)";

/// Users whose counters do not agree with their records.
pub(in super::super) const WRONG_USAGE: &str = "WITH counted AS (SELECT user_id, \
         count(*) FILTER (WHERE state IN (1, 4)) AS files, \
         coalesce(sum(size_bytes) FILTER (WHERE state IN (1, 4)), 0) AS bytes, \
         count(*) FILTER (WHERE state = 0) AS pending, \
         coalesce(sum(reserved_bytes) FILTER (WHERE state = 0), 0) AS reserved \
         FROM files GROUP BY user_id) \
     SELECT user_id FROM usage AS u FULL JOIN counted AS c USING (user_id) \
     WHERE u.file_count IS NULL OR (u.file_count, u.stored_bytes, u.pending_count, u.reserved_bytes) \
         IS DISTINCT FROM (coalesce(c.files, 0), coalesce(c.bytes, 0), coalesce(c.pending, 0), \
             coalesce(c.reserved, 0)) ORDER BY user_id";

/// Counts the records of users anew, whose usage is locked.
pub(in super::super) const RECOUNT: &str = "UPDATE usage AS u SET file_count = c.files, \
         stored_bytes = c.bytes, pending_count = c.pending, reserved_bytes = c.reserved \
     FROM (SELECT w.user_id, \
             count(*) FILTER (WHERE f.state IN (1, 4)) AS files, \
             coalesce(sum(f.size_bytes) FILTER (WHERE f.state IN (1, 4)), 0)::bigint AS bytes, \
             count(*) FILTER (WHERE f.state = 0) AS pending, \
             coalesce(sum(f.reserved_bytes) FILTER (WHERE f.state = 0), 0)::bigint AS reserved \
         FROM unnest($1::text[]) AS w (user_id) LEFT JOIN files AS f ON f.user_id = w.user_id \
         GROUP BY w.user_id) AS c \
     WHERE u.user_id = c.user_id";

/// What all users store.
pub(in super::super) const TOTALS: &str = "SELECT coalesce(sum(file_count), 0)::bigint, \
     coalesce(sum(stored_bytes), 0)::bigint FROM usage";

/// The time by the database's clock.
pub(in super::super) const TIME: &str =
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// The database's own id.
pub(in super::super) const IDENTITY: &str = "SELECT id FROM identity WHERE one = 1";
