-- References, soft deletion, quarantine, verification and usage.
--
-- state: 0 PENDING (being uploaded), 1 ACTIVE, 2 ABORTED (bytes to be removed), 3 PURGING (deleted for good
-- or expired, bytes to be removed), 4 DELETED (can be undeleted until purge_time_us).
ALTER TABLE files DROP CONSTRAINT files_state;
ALTER TABLE files
    ADD CONSTRAINT files_state CHECK (state BETWEEN 0 AND 4),
    -- The name as it is searched: without regard to case.
    ADD COLUMN filename_folded TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- What stands before the slash of mime_type.
    ADD COLUMN mime_top_level TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN delete_when_unreferenced BIGINT NOT NULL DEFAULT 0
        CHECK (delete_when_unreferenced IN (0, 1)),
    -- Whether the content was found damaged, and when it was last verified.
    ADD COLUMN quarantined BIGINT NOT NULL DEFAULT 0 CHECK (quarantined IN (0, 1)),
    ADD COLUMN verified_time_us BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN delete_time_us BIGINT,
    ADD COLUMN purge_time_us BIGINT,
    -- What an upload has set aside of its owner's quota.
    ADD COLUMN reserved_bytes BIGINT NOT NULL DEFAULT 0;

-- Folds ASCII alone: before this step no program kept files in PostgreSQL.
UPDATE files SET
    filename_folded = lower(filename),
    mime_top_level = split_part(mime_type, '/', 1),
    verified_time_us = create_time_us,
    -- For ABORTED and PURGING the lease is that of whoever removes the bytes.
    lease_until_us = CASE WHEN state IN (2, 3) THEN 0 ELSE lease_until_us END;

ALTER TABLE files
    ALTER COLUMN filename_folded DROP DEFAULT,
    ALTER COLUMN mime_top_level DROP DEFAULT;

DROP INDEX files_unfinished, files_expiring;

-- A user's files, newest first: those of each condition that a listing can have.
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
    file_id TEXT COLLATE "C" NOT NULL,
    kind BIGINT NOT NULL CHECK (kind BETWEEN 1 AND 6),
    reference_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    create_time_us BIGINT NOT NULL,
    PRIMARY KEY (file_id, kind, reference_id)
);

CREATE INDEX file_references_of_user
    ON file_references (user_id, kind, reference_id, create_time_us DESC, file_id DESC);
CREATE INDEX file_references_of_all ON file_references (kind, reference_id, file_id);

-- The labels of published files once more, to find files by them.
CREATE TABLE file_labels (
    file_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    create_time_us BIGINT NOT NULL,
    PRIMARY KEY (file_id, key)
);

CREATE INDEX file_labels_of_user
    ON file_labels (user_id, key, value, create_time_us DESC, file_id DESC);

INSERT INTO file_labels (file_id, key, value, user_id, create_time_us)
SELECT f.file_id, label.key, label.value, f.user_id, f.create_time_us
FROM files AS f, json_each_text(f.labels::json) AS label
WHERE f.state = 1;

-- What each user stores (ACTIVE and DELETED) and has set aside (PENDING). It follows the rows by itself.
CREATE TABLE usage (
    user_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    file_count BIGINT NOT NULL DEFAULT 0,
    stored_bytes BIGINT NOT NULL DEFAULT 0,
    pending_count BIGINT NOT NULL DEFAULT 0,
    reserved_bytes BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

INSERT INTO usage (user_id, file_count, stored_bytes, pending_count, reserved_bytes)
SELECT
    user_id,
    count(*) FILTER (WHERE state IN (1, 4)),
    coalesce(sum(size_bytes) FILTER (WHERE state IN (1, 4)), 0),
    count(*) FILTER (WHERE state = 0),
    coalesce(sum(reserved_bytes) FILTER (WHERE state = 0), 0)
FROM files
GROUP BY user_id;

-- Users in order, so that no two statements wait for each other.
CREATE FUNCTION usage_of_upload() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage AS u (user_id, pending_count, reserved_bytes)
    SELECT n.user_id, count(*), sum(n.reserved_bytes)
    FROM new_rows AS n WHERE n.state = 0
    GROUP BY n.user_id ORDER BY n.user_id
    ON CONFLICT (user_id) DO UPDATE SET
        pending_count = u.pending_count + excluded.pending_count,
        reserved_bytes = u.reserved_bytes + excluded.reserved_bytes;
    RETURN NULL;
END $$;

CREATE TRIGGER usage_of_upload AFTER INSERT ON files
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usage_of_upload();

CREATE FUNCTION usage_of_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage AS u (user_id, file_count, stored_bytes, pending_count, reserved_bytes)
    SELECT change.user_id, sum(files), sum(bytes), sum(pending), sum(reserved)
    FROM (
        SELECT
            n.user_id,
            (n.state IN (1, 4))::int - (o.state IN (1, 4))::int AS files,
            CASE WHEN n.state IN (1, 4) THEN n.size_bytes ELSE 0 END
                - CASE WHEN o.state IN (1, 4) THEN o.size_bytes ELSE 0 END AS bytes,
            (n.state = 0)::int - (o.state = 0)::int AS pending,
            CASE WHEN n.state = 0 THEN n.reserved_bytes ELSE 0 END
                - CASE WHEN o.state = 0 THEN o.reserved_bytes ELSE 0 END AS reserved
        FROM new_rows AS n JOIN old_rows AS o USING (file_id)
    ) AS change
    WHERE files <> 0 OR bytes <> 0 OR pending <> 0 OR reserved <> 0
    GROUP BY change.user_id ORDER BY change.user_id
    ON CONFLICT (user_id) DO UPDATE SET
        file_count = u.file_count + excluded.file_count,
        stored_bytes = u.stored_bytes + excluded.stored_bytes,
        pending_count = u.pending_count + excluded.pending_count,
        reserved_bytes = u.reserved_bytes + excluded.reserved_bytes;
    RETURN NULL;
END $$;

CREATE TRIGGER usage_of_change AFTER UPDATE ON files
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usage_of_change();

-- The database's own id: blobs are marked as belonging to it.
CREATE TABLE identity (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    id BYTEA NOT NULL
);

INSERT INTO identity (one, id) VALUES (1, uuid_send(gen_random_uuid()));
