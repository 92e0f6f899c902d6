//! How the databases answer listings: from an index, in its order, whatever the condition.

use std::{collections::BTreeMap, sync::Arc};

use files::{
    clock::{SystemClock, Timestamp},
    file::{
        id::FileId,
        reference::{Reference, ReferenceKind},
        user::UserId,
    },
    metadata::{
        FileFilter, ListPosition, ListQuery, MediaTypePattern, postgres::PostgresRepository,
        sqlite::SqliteRepository,
    },
};

use crate::{many_rows, postgres_server};

type Result<T = ()> = anyhow::Result<T>;

const ROWS: u64 = 50_000;

/// Each condition alone, with the index that must answer it.
fn single() -> Vec<(&'static str, FileFilter, &'static str)> {
    let none = FileFilter::default;
    let reference = Reference::parse("reference", Some(ReferenceKind::Thread), "t").expect("valid");
    let labels = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
    let sha256 = format!("{:032}", 0).into_bytes().try_into().expect("32 bytes");
    let at = Timestamp::from_unix_us(20_000);
    let top_level = MediaTypePattern::TopLevel("image".to_owned());
    let exact = MediaTypePattern::Exact("image/png".to_owned());
    vec![
        ("no condition", none(), "files_by_user"),
        ("purpose", FileFilter { purposes: vec!["vision".into()], ..none() }, "files_by_purpose"),
        ("type", FileFilter { media_types: vec![exact], ..none() }, "files_by_mime_type"),
        (
            "top level",
            FileFilter { media_types: vec![top_level], ..none() },
            "files_by_mime_top_level",
        ),
        ("sha256", FileFilter { sha256: Some(sha256), ..none() }, "files_by_sha256"),
        (
            "reference",
            FileFilter { reference: Some(reference), ..none() },
            "file_references_of_user",
        ),
        ("label", FileFilter { labels, ..none() }, "file_labels_of_user"),
        ("from", FileFilter { create_time_from: Some(at), ..none() }, "files_by_user"),
        ("to", FileFilter { create_time_to: Some(at), ..none() }, "files_by_user"),
    ]
}

fn pages(filter: &FileFilter) -> Vec<ListQuery> {
    let user_id = UserId::parse(many_rows::BUSY_USER).expect("a user id");
    let middle = ListPosition {
        create_time: Timestamp::from_unix_us(25_000),
        file_id: FileId::parse("file_0000000000000000025000").expect("an id"),
    };
    let page = |after| ListQuery {
        user_id: user_id.clone(),
        filter: filter.clone(),
        show_deleted: false,
        after,
        limit: 51,
    };
    vec![page(None), page(Some(middle))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_answers_every_condition_from_an_index_in_order() -> Result {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("metadata.db");
    let repository = SqliteRepository::open(&path, Arc::new(SystemClock))?;
    rusqlite::Connection::open(&path)?.execute_batch(&many_rows::sqlite(ROWS))?;
    for (name, filter, index) in single() {
        for query in pages(&filter) {
            let plan = repository.explain(&query).await?;
            assert!(plan.contains(index), "{name}: {plan}");
            for bad in ["SCAN", "TEMP B-TREE", "AUTOMATIC"] {
                assert!(!plan.contains(bad), "{name}: {plan}");
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_answers_every_condition_from_an_index_in_order() -> Result {
    let server = postgres_server::shared();
    let database = server.database().await;
    let repository =
        PostgresRepository::open(server.options(&database), Arc::new(SystemClock)).await?;
    server.execute(&database, &many_rows::postgres(ROWS)).await;
    for (name, filter, index) in single() {
        for query in pages(&filter) {
            let plan = repository.explain(&query).await?;
            assert!(plan.contains("Index"), "{name}: {plan}");
            // A condition that half of the files meet may be sorted out while going along the user's own.
            let along = plan.contains(index) || plan.contains("files_by_user");
            assert!(along, "{name}: {plan}");
            for bad in ["Seq Scan", "Sort", "Hash", "Bitmap"] {
                assert!(!plan.contains(bad), "{name}: {plan}");
            }
        }
    }
    Ok(())
}
