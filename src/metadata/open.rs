//! Chooses a database by configuration.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::task::spawn_blocking;

use super::{
    MetadataError, Result, Upkeep,
    postgres::{PostgresOptions, PostgresRepository},
    sqlite::SqliteRepository,
};
use crate::clock::Clock;

/// Which database, and where.
#[derive(Clone, Debug)]
pub enum DatabaseTarget {
    /// An SQLite database in a file; made where it is not there.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresOptions),
}

impl DatabaseTarget {
    /// How long a record read from it may serve without being read again. Processes that share an SQLite
    /// database tell each other of changes, so that only one killed in the middle leaves anything to this;
    /// replicas over PostgreSQL do not, so that a change by another one shows within `between_replicas`.
    pub const fn age_max(&self, between_replicas: Duration) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::from_secs(60),
            Self::Postgres(_) => between_replicas,
        }
    }
}

/// An open database.
#[derive(Debug)]
pub struct OpenedRepository {
    /// The records.
    pub repository: Arc<dyn Upkeep>,
    /// The clock that its times are told by.
    pub clock: Arc<dyn Clock>,
}

/// Opens the database and brings its schema up to date.
pub async fn open_repository(
    target: DatabaseTarget,
    clock: Arc<dyn Clock>,
) -> Result<OpenedRepository> {
    match target {
        DatabaseTarget::Sqlite(path) => {
            let own = Arc::clone(&clock);
            let opened = spawn_blocking(move || SqliteRepository::open(&path, own)).await;
            let repository = opened.map_err(|error| MetadataError::Unavailable(error.into()))??;
            Ok(OpenedRepository { repository: Arc::new(repository), clock })
        }
        DatabaseTarget::Postgres(options) => {
            let repository = PostgresRepository::open(options, clock).await?;
            let clock = repository.clock();
            Ok(OpenedRepository { repository: Arc::new(repository), clock })
        }
    }
}
