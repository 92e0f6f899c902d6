//! The commands about a file's life: what it belongs to, how it changes, and how it goes and comes back.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cli::{fail, succeed},
    support::{Result, TestServer},
};

/// Deleted files can be brought back for this long.
const GRACE: (&str, &str) = ("FILES__DELETION__GRACE", "1h");
/// Every user may store one file.
const ONE_FILE: (&str, &str) = ("FILES__QUOTAS__FILE_COUNT_MAX", "1");

const USER: [&str; 2] = ["--user", "user-1"];
const NONE: [&str; 0] = [];

/// What a command that succeeds writes, line by line.
async fn values(server: &TestServer, arguments: &[&str]) -> Result<Vec<Value>> {
    let written = succeed(server, &[arguments, &USER].concat()).await?;
    Ok(written.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?)
}

/// The one line that a command that succeeds writes.
async fn value(server: &TestServer, arguments: &[&str]) -> Result<Value> {
    let values = values(server, arguments).await?;
    let [value] = &values[..] else { panic!("{arguments:?}: {values:?}") };
    Ok(value.clone())
}

/// Asserts that a command fails with this exit code and names the reason.
async fn refuse(server: &TestServer, arguments: &[&str], code: i32, reason: &str) -> Result {
    let (found, message) = fail(server, &[arguments, &USER].concat()).await?;
    assert_eq!(found, code, "{arguments:?}: {message}");
    assert!(message.contains(reason), "{arguments:?}: {message}");
    Ok(())
}

/// Uploads a small text file.
async fn upload(server: &TestServer, name: &str, more: &[&str]) -> Result<Value> {
    let directory = TempDir::new()?;
    let path = directory.path().join(name);
    std::fs::write(&path, "hello\n")?;
    let path = path.to_str().expect("UTF-8");
    value(server, &[&["upload", path, "--purpose", "assistants"], more].concat()).await
}

fn text<'a>(file: &'a Value, field: &str) -> &'a str {
    file[field].as_str().expect("a text")
}

#[tokio::test]
async fn a_listing_is_narrowed_by_every_option() -> Result {
    let server = TestServer::start().await?;
    let more = ["--reference", "thread:t:1", "--reference", "vector_store:v", "--label", "k=v"];
    let file = upload(&server, "Report.txt", &more).await?;
    let references = json!([{"kind": "thread", "id": "t:1"}, {"kind": "vector-store", "id": "v"}]);
    assert_eq!(file["references"], references);
    assert_eq!(file["delete_when_unreferenced"], false);
    upload(&server, "other.csv", &["--label", "k=w"]).await?;
    let unknown = "0".repeat(64);
    for (arguments, count) in [
        (&NONE[..], 2),
        (&["--purpose", "assistants", "--purpose", "vision"], 2),
        (&["--purpose", "vision"], 0),
        (&["--type", "text/plain"], 1),
        (&["--type", "text/*"], 2),
        (&["--name-contains", "rEPORT"], 1),
        (&["--reference", "thread:t:1"], 1),
        (&["--reference", "thread:t"], 0),
        (&["--sha256", text(&file, "sha256")], 2),
        (&["--sha256", &unknown], 0),
        (&["--label", "k=v"], 1),
        (&["--label", "k=v", "--label", "l=w"], 0),
        (&["--created-from", "1h"], 2),
        (&["--created-to", "1h"], 0),
        (&["--created-to", "1970-01-01T00:00:00Z"], 0),
        (&["--type", "text/*", "--limit", "1"], 1),
    ] {
        let listed = values(&server, &[&["list"], arguments].concat()).await?;
        assert_eq!(listed.len(), count, "{arguments:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_file_is_changed_only_as_it_was_seen() -> Result {
    let server = TestServer::start().await?;
    let file = upload(&server, "a.txt", &["--label", "k=v", "--ttl", "1h"]).await?;
    let (id, etag) = (text(&file, "id"), text(&file, "etag"));
    let more = ["--name", "b.txt", "--label", "a=1", "--label", "b=2", "--etag", etag];
    let changed = value(&server, &[&["update", id], &more[..]].concat()).await?;
    assert_eq!(changed["filename"], "b.txt");
    assert_eq!(changed["labels"], json!({"a": "1", "b": "2"}));
    assert_eq!(changed["expire_time"], file["expire_time"]);
    assert_ne!(changed["etag"], file["etag"]);
    assert_eq!(value(&server, &["get", id]).await?, changed);
    refuse(&server, &["update", id, "--no-labels", "--etag", etag], 4, "ETAG_MISMATCH").await?;
    refuse(&server, &["delete", id, "--etag", etag], 4, "ETAG_MISMATCH").await?;

    let bare = value(&server, &["update", id, "--no-labels", "--never-expires"]).await?;
    assert_eq!((&bare["labels"], &bare["expire_time"]), (&json!({}), &Value::Null));
    let end = "2999-01-02T03:04:05Z";
    let ends = value(&server, &["update", id, "--expires-at", end]).await?;
    assert_eq!(ends["expire_time"], end);
    let soon = value(&server, &["update", id, "--expires-in", "12h"]).await?;
    assert!(text(&soon, "expire_time") < end, "{soon}");
    let goes = value(&server, &["update", id, "--delete-when-unreferenced", "true"]).await?;
    assert_eq!(goes["delete_when_unreferenced"], true);
    refuse(&server, &["update", id], 2, "nothing to change").await?;
    refuse(&server, &["update", id, "--etag", etag], 2, "nothing to change").await
}

#[tokio::test]
async fn a_deleted_file_comes_back_until_it_is_purged() -> Result {
    let server = TestServer::configured(&[GRACE]).await?;
    let file = upload(&server, "a.txt", &["--reference", "thread:t-1"]).await?;
    let id = text(&file, "id");
    refuse(&server, &["delete", id], 4, "FILE_REFERENCED").await?;
    refuse(&server, &["undelete", id], 4, "FILE_NOT_DELETED").await?;
    let detached = value(&server, &["detach", "thread:t-1", id]).await?;
    assert_eq!(detached, json!({"deleted_count": 0}));

    let deleted = value(&server, &["delete", id]).await?;
    assert!(text(&deleted, "delete_time") < text(&deleted, "purge_time"), "{deleted}");
    refuse(&server, &["get", id], 3, "FILE_NOT_FOUND").await?;
    assert_eq!(value(&server, &["get", id, "--deleted"]).await?, deleted);
    assert!(values(&server, &["list"]).await?.is_empty());
    assert_eq!(values(&server, &["list", "--deleted"]).await?, [deleted]);

    let back = value(&server, &["undelete", id]).await?;
    assert_eq!((&back["delete_time"], &back["purge_time"]), (&Value::Null, &Value::Null));
    assert_eq!(values(&server, &["list"]).await?, [back]);
    let usage = json!({
        "file_count": 1,
        "file_count_max": null,
        "stored_bytes": 6,
        "stored_bytes_max": null,
    });
    assert_eq!(value(&server, &["usage"]).await?, usage);

    value(&server, &["delete", id]).await?;
    value(&server, &["delete", id, "--purge"]).await?;
    refuse(&server, &["get", id, "--deleted"], 3, "FILE_NOT_FOUND").await?;
    refuse(&server, &["undelete", id], 3, "FILE_NOT_FOUND").await?;
    assert!(values(&server, &["list", "--deleted"]).await?.is_empty());
    assert!(values(&server, &["delete", id, "--purge", "--allow-missing"]).await?.is_empty());
    assert_eq!(value(&server, &["usage"]).await?["file_count"], 0);
    Ok(())
}

#[tokio::test]
async fn a_file_goes_with_its_last_reference() -> Result {
    let server = TestServer::start().await?;
    let goes = "--delete-when-unreferenced";
    let one = upload(&server, "one.txt", &["--reference", "thread:t", goes]).await?;
    let two = upload(&server, "two.txt", &["--reference", "run:r", goes]).await?;
    let three = upload(&server, "three.txt", &["--reference", "run:r"]).await?;
    let [one, two, three] = [&one, &two, &three].map(|file| text(file, "id"));

    assert!(values(&server, &["attach", "run:r", one, two]).await?.is_empty());
    let attached = value(&server, &["get", one]).await?;
    assert_eq!(attached["references"].as_array().map(Vec::len), Some(2));
    let unknown = "file_0000000000000000000000";
    refuse(&server, &["attach", "tool:x", three, unknown], 3, "FILE_NOT_FOUND").await?;
    let whole = value(&server, &["get", three]).await?;
    assert_eq!(whole["references"], json!([{"kind": "run", "id": "r"}]));

    let detached = value(&server, &["detach", "run:r", one, two]).await?;
    assert_eq!(detached, json!({"deleted_count": 1}));
    refuse(&server, &["get", two], 3, "FILE_NOT_FOUND").await?;
    let gone = value(&server, &["delete-reference", "thread:t"]).await?;
    assert_eq!(gone, json!({"detached_count": 1, "deleted_count": 1}));
    refuse(&server, &["get", one], 3, "FILE_NOT_FOUND").await?;
    let gone = value(&server, &["delete-reference", "run:r"]).await?;
    assert_eq!(gone, json!({"detached_count": 1, "deleted_count": 0}));
    assert_eq!(value(&server, &["get", three]).await?["references"], json!([]));
    Ok(())
}

#[tokio::test]
async fn force_deletes_what_is_still_referenced() -> Result {
    let server = TestServer::start().await?;
    let file = upload(&server, "a.txt", &["--reference", "tool:x"]).await?;
    let id = text(&file, "id");
    refuse(&server, &["delete", id, "--purge"], 4, "FILE_REFERENCED").await?;
    value(&server, &["delete", id, "--force"]).await?;
    refuse(&server, &["get", id], 3, "FILE_NOT_FOUND").await
}

#[tokio::test]
async fn a_full_quota_is_a_refusal() -> Result {
    let server = TestServer::configured(&[ONE_FILE]).await?;
    upload(&server, "a.txt", &[]).await?;
    assert_eq!(value(&server, &["usage"]).await?["file_count_max"], 1);
    let directory = TempDir::new()?;
    let path = directory.path().join("b.txt");
    std::fs::write(&path, "x")?;
    let arguments = ["upload", path.to_str().expect("UTF-8"), "--purpose", "assistants"];
    refuse(&server, &arguments, 4, "QUOTA_EXCEEDED").await
}

#[tokio::test]
async fn a_mistake_is_told_before_the_server_is_asked() -> Result {
    let server = TestServer::start().await?;
    for (arguments, word) in [
        (&["attach", "folder:f", "x"][..], "vector-store"),
        (&["attach", "thread", "x"], "KIND:ID"),
        (&["attach", "thread:t"], "FILE_ID"),
        (&["delete-reference", "thread:"], "missing"),
        (&["list", "--sha256", "abc"], "64 hex digits"),
        (&["list", "--label", "k"], "KEY=VALUE"),
        (&["list", "--created-from", "yesterday"], "2h"),
        (&["update", "x", "--expires-at", "2h"], "2026-11-22T19:00:00Z"),
        (&["update", "x", "--expires-in", "2h", "--never-expires"], "cannot be used with"),
        (&["update", "x", "--no-labels", "--label", "k=v"], "cannot be used with"),
    ] {
        refuse(&server, arguments, 2, word).await?;
    }
    Ok(())
}
