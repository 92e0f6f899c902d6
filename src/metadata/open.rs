//! Chooses a database by configuration.

use std::{path::PathBuf, sync::Arc};

use tokio::task::spawn_blocking;

use super::{FileRepository, MetadataError, Result, sqlite::SqliteRepository};
use crate::clock::Clock;

/// Which database, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseTarget {
    /// An SQLite database in a file; made where it is not there.
    Sqlite(PathBuf),
}

/// Opens the database and brings its schema up to date.
pub async fn open_repository(
    target: DatabaseTarget,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn FileRepository>> {
    match target {
        DatabaseTarget::Sqlite(path) => {
            let opened = spawn_blocking(move || SqliteRepository::open(&path, clock)).await;
            let repository = opened.map_err(|error| MetadataError::Unavailable(error.into()))??;
            Ok(Arc::new(repository))
        }
    }
}
