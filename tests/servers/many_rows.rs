//! Statements that fill a database with files of many users, one of whom has a tenth of them. The schema is
//! spelled out here on purpose: going through the service would take hours.

/// The user with a tenth of all files.
pub(crate) const BUSY_USER: &str = "busy";

/// `rows` files in SQLite; with their labels and references.
pub(crate) fn sqlite(rows: u64) -> String {
    let numbers = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {rows})"
    );
    let digits = "printf('%022d', n)";
    let hash = "CAST(printf('%032d', (n / 10) % 2) AS BLOB)";
    let key = "CAST(printf('%016d', n) AS BLOB)";
    insert(&numbers, "numbers", digits, hash, key)
}

/// The same in PostgreSQL.
pub(crate) fn postgres(rows: u64) -> String {
    let numbers = format!("generate_series(0, {rows} - 1) AS numbers (n)");
    let digits = "lpad(n::text, 22, '0')";
    let hash = "convert_to(lpad(((n / 10) % 2)::text, 32, '0'), 'UTF8')";
    let key = "convert_to(lpad(n::text, 16, '0'), 'UTF8')";
    insert("", &numbers, digits, hash, key) + "; ANALYZE"
}

/// Half of each user's files meet each condition.
fn insert(with: &str, numbers: &str, digits: &str, hash: &str, key: &str) -> String {
    let user = format!("CASE n % 10 WHEN 0 THEN '{BUSY_USER}' ELSE 'user ' || (n % 997) END");
    let half = "(n / 10) % 2 = 0";
    let pick = |one: &str, other: &str| format!("CASE WHEN {half} THEN '{one}' ELSE '{other}' END");
    let (purpose, mime_type) = (pick("vision", "batch"), pick("image/png", "text/plain"));
    let (top_level, labels) = (pick("image", "text"), pick("{\"team\":\"red\"}", "{}"));
    let id = format!("'file_' || {digits}");
    format!(
        "{with} INSERT INTO files (file_id, state, user_id, purpose, filename, filename_folded, mime_type, \
             mime_top_level, labels, blob_key, size_bytes, sha256, create_time_us, update_time_us, \
             start_sha256, lease_until_us) \
         SELECT {id}, 1, {user}, {purpose}, 'Plan ' || n, 'plan ' || n, {mime_type}, {top_level}, {labels}, \
             {key}, n, {hash}, n, n, {hash}, 0 FROM {numbers}; \
         {with} INSERT INTO file_labels (file_id, key, value, user_id, create_time_us) \
         SELECT {id}, 'team', 'red', {user}, n FROM {numbers} WHERE {half}; \
         {with} INSERT INTO file_references (file_id, kind, reference_id, user_id, create_time_us) \
         SELECT {id}, 2, 't', {user}, n FROM {numbers} WHERE {half}"
    )
}
