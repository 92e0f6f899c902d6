-- References, soft deletion, quarantine, verification and usage.
--
-- state: 0 PENDING (being uploaded), 1 ACTIVE, 2 ABORTED (bytes to be removed), 3 PURGING (deleted for good
-- or expired, bytes to be removed), 4 DELETED (can be undeleted until purge_time_us).
CREATE TABLE files_2 (
    file_id TEXT NOT NULL PRIMARY KEY,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    user_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    filename TEXT NOT NULL,
    -- The name as it is searched: without regard to case.
    filename_folded TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    -- What stands before the slash.
    mime_top_level TEXT NOT NULL,
    labels TEXT NOT NULL,
    delete_when_unreferenced INTEGER NOT NULL DEFAULT 0 CHECK (delete_when_unreferenced IN (0, 1)),

    -- The content: where it rests, what was measured while it arrived (NULL until published), whether it was
    -- found damaged since, and when it was last verified.
    blob_key BLOB NOT NULL UNIQUE,
    size_bytes INTEGER,
    sha256 BLOB,
    quarantined INTEGER NOT NULL DEFAULT 0 CHECK (quarantined IN (0, 1)),
    verified_time_us INTEGER NOT NULL DEFAULT 0,

    create_time_us INTEGER NOT NULL,
    update_time_us INTEGER NOT NULL,
    expire_time_us INTEGER,
    delete_time_us INTEGER,
    purge_time_us INTEGER,
    ttl_us INTEGER,
    revision INTEGER NOT NULL DEFAULT 1,
    link_epoch INTEGER NOT NULL DEFAULT 0,

    -- The upload: its idempotency key, what its start said, who may still write, and what it has set aside of
    -- its owner's quota. For ABORTED and PURGING the lease is that of whoever removes the bytes.
    upload_id BLOB,
    start_sha256 BLOB NOT NULL,
    fence INTEGER NOT NULL DEFAULT 1,
    lease_until_us INTEGER NOT NULL,
    reserved_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO files_2 (
    file_id, state, user_id, purpose, filename, filename_folded, mime_type, mime_top_level, labels, blob_key,
    size_bytes, sha256, create_time_us, update_time_us, expire_time_us, ttl_us, revision, link_epoch,
    upload_id, start_sha256, fence, lease_until_us, verified_time_us
)
SELECT
    file_id, state, user_id, purpose, filename, folded(filename), mime_type,
    substr(mime_type, 1, instr(mime_type || '/', '/') - 1), labels, blob_key, size_bytes, sha256,
    create_time_us, update_time_us, expire_time_us, ttl_us, revision, link_epoch, upload_id, start_sha256,
    fence, CASE WHEN state IN (2, 3) THEN 0 ELSE lease_until_us END, create_time_us
FROM files;

DROP TABLE files;
ALTER TABLE files_2 RENAME TO files;

-- One live upload for each owner and upload_id: a retry finds the first one instead of making a second file.
CREATE UNIQUE INDEX files_upload ON files (user_id, upload_id)
    WHERE upload_id IS NOT NULL AND state IN (0, 1);

-- A user's files, newest first: all of them, and those of each condition that a listing can have.
CREATE INDEX files_by_user ON files (user_id, create_time_us DESC, file_id DESC) WHERE state = 1;
CREATE INDEX files_by_purpose ON files (user_id, purpose, create_time_us DESC, file_id DESC)
    WHERE state = 1;
CREATE INDEX files_by_mime_type ON files (user_id, mime_type, create_time_us DESC, file_id DESC)
    WHERE state = 1;
CREATE INDEX files_by_mime_top_level ON files (user_id, mime_top_level, create_time_us DESC, file_id DESC)
    WHERE state = 1;
CREATE INDEX files_by_sha256 ON files (user_id, sha256, create_time_us DESC, file_id DESC)
    WHERE state = 1;
CREATE INDEX files_deleted ON files (user_id, create_time_us DESC, file_id DESC) WHERE state = 4;

-- What the sweeper looks for, and what is to be verified next.
CREATE INDEX files_unfinished ON files (lease_until_us) WHERE state IN (0, 2, 3);
CREATE INDEX files_purging ON files (purge_time_us) WHERE state = 4;
CREATE INDEX files_expiring ON files (expire_time_us) WHERE state IN (1, 4) AND expire_time_us IS NOT NULL;
CREATE INDEX files_expiring_of_user ON files (user_id, expire_time_us)
    WHERE state IN (1, 4) AND expire_time_us IS NOT NULL;
CREATE INDEX files_purging_of_user ON files (user_id, purge_time_us) WHERE state = 4;
CREATE INDEX files_unverified ON files (verified_time_us) WHERE state IN (1, 4);

-- What files belong to. The owner and the time (0 until published) are the file's, so that one index finds a
-- reference's files in the order of a listing.
CREATE TABLE file_references (
    file_id TEXT NOT NULL,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 6),
    reference_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    create_time_us INTEGER NOT NULL,
    PRIMARY KEY (file_id, kind, reference_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX file_references_of_user
    ON file_references (user_id, kind, reference_id, create_time_us DESC, file_id DESC);
CREATE INDEX file_references_of_all ON file_references (kind, reference_id, file_id);

-- The labels of published files once more, to find files by them.
CREATE TABLE file_labels (
    file_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    user_id TEXT NOT NULL,
    create_time_us INTEGER NOT NULL,
    PRIMARY KEY (file_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX file_labels_of_user
    ON file_labels (user_id, key, value, create_time_us DESC, file_id DESC);

INSERT INTO file_labels (file_id, key, value, user_id, create_time_us)
SELECT file_id, label.key, label.value, user_id, create_time_us
FROM files, json_each(files.labels) AS label
WHERE state = 1;

-- What each user stores (ACTIVE and DELETED) and has set aside (PENDING). It follows the rows by itself.
CREATE TABLE usage (
    user_id TEXT NOT NULL PRIMARY KEY,
    file_count INTEGER NOT NULL DEFAULT 0,
    stored_bytes INTEGER NOT NULL DEFAULT 0,
    pending_count INTEGER NOT NULL DEFAULT 0,
    reserved_bytes INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

INSERT INTO usage (user_id, file_count, stored_bytes, pending_count, reserved_bytes)
SELECT
    user_id,
    sum(state IN (1, 4)),
    sum(iif(state IN (1, 4), size_bytes, 0)),
    sum(state = 0),
    sum(iif(state = 0, reserved_bytes, 0))
FROM files
GROUP BY user_id;

CREATE TRIGGER usage_of_upload AFTER INSERT ON files WHEN new.state = 0
BEGIN
    INSERT INTO usage (user_id, pending_count, reserved_bytes)
    VALUES (new.user_id, 1, new.reserved_bytes)
    ON CONFLICT (user_id) DO UPDATE SET
        pending_count = pending_count + 1,
        reserved_bytes = reserved_bytes + excluded.reserved_bytes;
END;

CREATE TRIGGER usage_of_change AFTER UPDATE OF state, reserved_bytes ON files
BEGIN
    UPDATE usage SET
        file_count = file_count + (new.state IN (1, 4)) - (old.state IN (1, 4)),
        stored_bytes = stored_bytes
            + iif(new.state IN (1, 4), new.size_bytes, 0) - iif(old.state IN (1, 4), old.size_bytes, 0),
        pending_count = pending_count + (new.state = 0) - (old.state = 0),
        reserved_bytes = reserved_bytes
            + iif(new.state = 0, new.reserved_bytes, 0) - iif(old.state = 0, old.reserved_bytes, 0)
    WHERE user_id = new.user_id;
END;

-- The database's own id: blobs are marked as belonging to it.
CREATE TABLE identity (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id BLOB NOT NULL
) STRICT;

INSERT INTO identity (one, id) VALUES (1, randomblob(16));
