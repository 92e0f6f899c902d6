-- Files and the uploads that become files. Times are microseconds since the Unix epoch. Texts are compared
-- byte by byte, as everywhere else in the program.
--
-- state: 0 PENDING (being uploaded), 1 ACTIVE, 2 ABORTED (bytes to be removed), 3 PURGING (deleted or
-- expired, bytes to be removed).
CREATE TABLE files (
    file_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    state BIGINT NOT NULL CONSTRAINT files_state CHECK (state BETWEEN 0 AND 3),
    user_id TEXT COLLATE "C" NOT NULL,
    purpose TEXT COLLATE "C" NOT NULL,
    filename TEXT COLLATE "C" NOT NULL,
    mime_type TEXT COLLATE "C" NOT NULL,
    labels TEXT COLLATE "C" NOT NULL,

    -- The content: where it rests, and what was measured while it arrived (NULL until published).
    blob_key BYTEA NOT NULL UNIQUE,
    size_bytes BIGINT,
    sha256 BYTEA,

    create_time_us BIGINT NOT NULL,
    update_time_us BIGINT NOT NULL,
    expire_time_us BIGINT,
    ttl_us BIGINT,
    revision BIGINT NOT NULL DEFAULT 1,
    link_epoch BIGINT NOT NULL DEFAULT 0,

    -- The upload: its idempotency key, what its start said, and who may still write.
    upload_id BYTEA,
    start_sha256 BYTEA NOT NULL,
    fence BIGINT NOT NULL DEFAULT 1,
    lease_until_us BIGINT NOT NULL
);

-- One live upload for each owner and upload_id: a retry finds the first one instead of making a second file.
CREATE UNIQUE INDEX files_upload ON files (user_id, upload_id)
    WHERE upload_id IS NOT NULL AND state IN (0, 1);

-- A user's files, newest first.
CREATE INDEX files_by_user ON files (user_id, create_time_us DESC, file_id DESC) WHERE state = 1;

-- What the sweeper looks for.
CREATE INDEX files_unfinished ON files (lease_until_us) WHERE state <> 1;
CREATE INDEX files_expiring ON files (expire_time_us) WHERE state = 1 AND expire_time_us IS NOT NULL;
