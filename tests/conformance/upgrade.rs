//! A database of the first version opens in this one, with everything in it.

use std::sync::Arc;

use files::{
    clock::{ManualClock, Timestamp},
    file::{id::FileId, name::folded, user::UserId},
    metadata::{FileFilter, FileRepository, ListQuery, Upkeep, sqlite::SqliteRepository},
};

const FIRST: &str = include_str!("../../migrations/sqlite/0001_files.sql");

/// A row of the first version in a state, with a name and labels.
fn row(n: u8, state: u8, name: &str, labels: &str) -> String {
    let published = if state == 1 { format!("{n}, zeroblob(32)") } else { "NULL, NULL".to_owned() };
    format!(
        "INSERT INTO files (file_id, state, user_id, purpose, filename, mime_type, labels, blob_key, \
             size_bytes, sha256, create_time_us, update_time_us, start_sha256, lease_until_us) \
         VALUES ('file_{n:022}', {state}, 'u', 'assistants', '{name}', 'text/plain', '{labels}', \
             randomblob(16), {published}, {n}, {n}, zeroblob(32), 99999999);"
    )
}

#[tokio::test]
async fn a_database_of_the_first_version_keeps_everything() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("metadata.db");
    let first = rusqlite::Connection::open(&path)?;
    first.execute_batch(FIRST)?;
    first.pragma_update(None, "user_version", 1)?;
    first.execute_batch(&row(1, 1, "Ärger.txt", "{\"team\":\"red\"}"))?;
    first.execute_batch(&row(2, 1, "plain.txt", "{}"))?;
    first.execute_batch(&row(3, 0, "pending.txt", "{}"))?;
    first.execute_batch(&row(4, 3, "gone.txt", "{}"))?;
    drop(first);

    let clock = Arc::new(ManualClock::at(Timestamp::from_unix_s(10)));
    let repository = SqliteRepository::open(&path, clock)?;
    let id = |n: u8| FileId::parse(&format!("file_{n:022}")).expect("an id");
    let found = repository.find(&id(1)).await?.expect("there");
    assert_eq!(found.file.name.as_str(), "Ärger.txt");
    assert!(!found.quarantined && found.file.references.is_empty());
    let user_id = UserId::parse("u")?;
    let list = async |filter| {
        let user_id = user_id.clone();
        let query = ListQuery { user_id, filter, show_deleted: true, after: None, limit: 10 };
        let page = repository.list(&query).await?;
        anyhow::Ok(page.iter().map(|record| record.file.id).collect::<Vec<_>>())
    };
    let none = FileFilter::default;
    assert_eq!(list(none()).await?, [id(2), id(1)]);
    let labels = [("team".to_owned(), "red".to_owned())].into();
    assert_eq!(list(FileFilter { labels, ..none() }).await?, [id(1)]);
    let name_contains = Some(folded("äRGER"));
    assert_eq!(list(FileFilter { name_contains, ..none() }).await?, [id(1)]);
    let usage = repository.usage(&user_id).await?;
    assert_eq!((usage.file_count, usage.stored_bytes), (2, 3));
    assert!(repository.check_usage(false).await?.is_empty());
    let orphans = repository.list_orphans(10).await?;
    assert_eq!(orphans.iter().map(|orphan| orphan.file_id).collect::<Vec<_>>(), [id(4)]);
    let unverified = repository
        .claim_unverified(Timestamp::from_unix_s(9), std::time::Duration::from_secs(1), 10)
        .await?;
    assert_eq!(unverified.len(), 2);
    Ok(())
}
