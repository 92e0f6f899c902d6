-- Uploads that can be gone on with: how much of one is durable, and what it takes to go on from there. The size
-- and hash of an upload that has all of its content are noted (size_bytes, sha256) before its bytes are committed.
ALTER TABLE files
    ADD COLUMN persisted_bytes BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN progress TEXT;

-- Uploads whose file has been deleted and is still kept: a URL that made it makes no other one.
CREATE INDEX files_upload_deleted ON files (user_id, upload_id) WHERE upload_id IS NOT NULL AND state = 4;
