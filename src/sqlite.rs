//! SQLite as this crate uses it: durable, with one writer that commits in groups and readers beside it.
//!
//! Knows no table. Whatever is written through [`Database::write`] is on stable storage when the call
//! returns: `journal_mode=WAL` and `synchronous=FULL` are set and read back.

mod ballast;
mod writer;

use std::{
    ffi::c_int,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode as SqliteCode, OpenFlags, TransactionBehavior, hooks::Wal};
use tokio_util::sync::CancellationToken;

use ballast::Ballast;
use writer::Writer;

/// How long to wait for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections kept open for reading.
const IDLE_READERS_MAX: usize = 8;
/// Pages in the log from which on it is moved into the database: 8 MiB, so that many commits share the
/// syncs of one checkpoint.
const CHECKPOINT_PAGES: c_int = 2048;
const STATEMENTS_CACHED: usize = 128;
/// What the writer keeps at hand of the database, in KiB: keys are random, and each job touches pages of its
/// own.
const WRITER_CACHE_KIB: i64 = 8 * 1024;
/// Pages copied in one step of a copy: all of them, so that it is of one moment and no write restarts it.
const COPIED_PAGES: c_int = c_int::MAX;

/// What database operations return.
pub type Result<T> = std::result::Result<T, DatabaseError>;

/// Why a database operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The disk has no space left.
    #[error("the database's disk is full")]
    Full(#[source] Option<rusqlite::Error>),
    /// The database's files could not be reached.
    #[error("could not {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// SQLite refused or failed.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The commit that held the write failed.
    #[error("the write was not committed")]
    RolledBack,
    /// An I/O error has ended writing: a later commit could report success falsely.
    #[error("the database has failed and takes no more writes")]
    Failed,
    /// A newer version of this program has changed the schema.
    #[error(
        "the database's schema is version {found}, but this program knows only version {known}"
    )]
    TooNew {
        /// The version found.
        found: usize,
        /// The latest version known.
        known: usize,
    },
    /// A setting that durability rests on did not take.
    #[error("the database does not keep {0}")]
    NotDurable(&'static str),
}

/// One step of a schema: applied once, in order, by name.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its file name without the ending.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
    ballast: Ballast,
    failed: CancellationToken,
}

impl Database {
    /// Opens or makes the database at `path` and brings its schema up to date. Any number of processes may
    /// do so at once.
    pub fn open(path: &Path, migrations: &[Migration]) -> Result<Arc<Self>> {
        Self::open_with(path, migrations, |_| Ok(()))
    }

    /// The same where the migrations use functions of their own, which `add_functions` adds.
    pub fn open_with(
        path: &Path,
        migrations: &[Migration],
        add_functions: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<Arc<Self>> {
        let mut connection = connect(path)?;
        add_functions(&connection)?;
        make_durable(&connection)?;
        checkpoint_in_sight(&mut connection)?;
        migrate(&mut connection, migrations)?;
        sync_parent(path)?;
        let failed = CancellationToken::new();
        Ok(Arc::new(Self {
            path: path.to_owned(),
            writer: Writer::start(connection, failed.clone())?,
            readers: Mutex::new(Vec::new()),
            ballast: Ballast::beside(path),
            failed,
        }))
    }

    /// Runs `job` in a transaction of its own and waits until it is durable. Jobs that queue up while the
    /// disk is busy share one commit. A job that fails leaves no trace.
    pub async fn write<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.writer.run(job).await
    }

    /// Copies the database as it is at one moment to a new file at `path`, while it is in use.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        let source = connect_reader(&self.path)?;
        let mut target = Connection::open(path)?;
        {
            let backup = rusqlite::backup::Backup::new(&source, &mut target)?;
            backup.run_to_completion(COPIED_PAGES, Duration::ZERO, None)?;
        }
        target.close().map_err(|(_, error)| error)?;
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|source| DatabaseError::Io { action: "sync a copy", source })?;
        sync_parent(path)
    }

    /// The same for a job that frees space: on a full disk it may use the space set aside for that.
    pub async fn write_freeing<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Clone + Send + 'static,
    {
        match self.write(job.clone()).await {
            Err(DatabaseError::Full(_)) if self.ballast.give_up() => self.write(job).await,
            written => {
                self.ballast.take_in();
                written
            }
        }
    }

    /// Runs `query` on a reading connection, in the caller's thread: for look-ups by key, which take
    /// microseconds. It sees every write that was acknowledged before.
    pub fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let pooled = self.readers().pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => connect_reader(&self.path)?,
        };
        let found = query(&connection)?;
        let mut readers = self.readers();
        if readers.len() < IDLE_READERS_MAX {
            readers.push(connection);
        }
        Ok(found)
    }

    /// Cancelled once an I/O error has ended writing: the process must end, too.
    pub fn failed(&self) -> &CancellationToken {
        &self.failed
    }

    /// Fails once an I/O error has ended writing.
    pub fn check(&self) -> Result<()> {
        match self.failed.is_cancelled() {
            true => Err(DatabaseError::Failed),
            false => Ok(()),
        }
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many migrations have been applied to the database at `path`, which must be there.
pub fn schema_version(path: &Path) -> Result<usize> {
    let connection = connect_reader(path)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn connect(path: &Path) -> Result<Connection> {
    configured(Connection::open(path)?)
}

fn connect_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    configured(Connection::open_with_flags(path, flags)?)
}

fn configured(connection: Connection) -> Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

fn make_durable(connection: &Connection) -> Result<()> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(DatabaseError::NotDurable("journal_mode=WAL"));
    }
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    // A group stays in memory until it is committed: a full disk then shows at the commit, for all of it.
    connection.execute_batch("PRAGMA cache_spill = OFF")?;
    // What undoes a single job of a group stays in memory, too.
    connection.execute_batch("PRAGMA temp_store = MEMORY")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    let level: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    if level != 2 {
        return Err(DatabaseError::NotDurable("synchronous=FULL"));
    }
    Ok(())
}

/// Moves the log's pages into the database as part of a commit, so that an error while doing so is seen:
/// SQLite's own automatic checkpoint keeps its errors to itself.
fn checkpoint_in_sight(connection: &mut Connection) -> Result<()> {
    let checkpoint = |log: &mut Wal, pages: c_int| {
        if pages < CHECKPOINT_PAGES {
            return Ok(());
        }
        // Where somebody else is at it, or the disk is full, the next commit tries again.
        log.checkpoint().or_else(|error| if is_fatal(&error) { Err(error) } else { Ok(()) })
    };
    Ok(connection.wal_hook(Some(checkpoint))?)
}

/// Applies what is missing, under the write lock: a second process waits and then finds nothing to do.
fn migrate(connection: &mut Connection, migrations: &[Migration]) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    let missing =
        migrations.get(found..).ok_or(DatabaseError::TooNew { found, known: migrations.len() })?;
    for migration in missing {
        tracing::info!(name = migration.name, "applying a migration");
        transaction.execute_batch(migration.sql)?;
    }
    transaction.pragma_update(None, "user_version", migrations.len() as i64)?;
    transaction.commit()?;
    Ok(())
}

/// Makes the database's directory entry durable.
fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| DatabaseError::Io { action: "sync the database's directory", source })
}

/// Sorts an SQLite error by what it means for the caller.
fn classify(error: rusqlite::Error) -> DatabaseError {
    if is_disk_full(&error) {
        DatabaseError::Full(Some(error))
    } else {
        DatabaseError::Sqlite(error)
    }
}

fn is_disk_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(SqliteCode::DiskFull)
}

/// Whether nothing that is written after `error` can be trusted.
fn is_fatal(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(SqliteCode::SystemIoFailure | SqliteCode::DatabaseCorrupt | SqliteCode::NotADatabase)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Migration = Migration {
        name: "0001_numbers",
        sql: "CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT;",
    };

    fn insert(n: i64) -> impl FnOnce(&Connection) -> rusqlite::Result<usize> + Send + 'static {
        move |connection| connection.execute("INSERT INTO numbers VALUES (?1)", [n])
    }

    fn count(database: &Database) -> Result<i64> {
        database.read(|connection| {
            connection.query_row("SELECT count(*) FROM numbers", [], |row| row.get(0))
        })
    }

    #[tokio::test]
    async fn a_failing_job_leaves_no_trace_and_harms_no_other() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let database = Database::open(&directory.path().join("a.db"), &[TABLE])?;
        let twice = database.write(|connection| {
            insert(7)(connection)?;
            insert(7)(connection)
        });
        let (twice, other) = tokio::join!(twice, database.write(insert(8)));
        assert!(twice.is_err());
        other?;
        assert_eq!(count(&database)?, 1);
        Ok(())
    }

    /// Everything the writer says is stored is stored, and nothing else, however a full disk cuts groups.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_refuses_what_it_does_not_store() -> anyhow::Result<()> {
        const BLOBS: Migration = Migration {
            name: "0001_blobs",
            sql: "CREATE TABLE blobs (n INTEGER PRIMARY KEY, content BLOB) STRICT;",
        };
        let directory = tempfile::tempdir()?;
        let database = Database::open(&directory.path().join("a.db"), &[BLOBS])?;
        let limit = |pages: i64| {
            move |connection: &Connection| {
                let set = format!("PRAGMA max_page_count = {pages}");
                connection.query_row(&set, [], |row| row.get::<_, i64>(0))
            }
        };
        database.write(limit(900)).await?;
        let inserts = (0..200_i64).map(|n| {
            let database = Arc::clone(&database);
            tokio::spawn(async move {
                let insert = move |connection: &Connection| {
                    let insert = "INSERT INTO blobs VALUES (?1, zeroblob(32768))";
                    connection.prepare_cached(insert)?.execute([n])
                };
                database.write(insert).await.map(|_| n)
            })
        });
        let mut stored = Vec::new();
        for insert in inserts.collect::<Vec<_>>() {
            match insert.await? {
                Ok(n) => stored.push(n),
                Err(error) => assert!(matches!(error, DatabaseError::Full(_)), "{error:?}"),
            }
        }
        stored.sort_unstable();
        assert!(!stored.is_empty() && stored.len() < 200, "{}", stored.len());
        let found: Vec<i64> = database.read(|connection| {
            let mut statement = connection.prepare("SELECT n FROM blobs ORDER BY n")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })?;
        assert_eq!(found, stored);
        database.write(limit(100_000)).await?;
        Ok(())
    }

    #[tokio::test]
    async fn concurrent_starts_migrate_once() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("a.db");
        let start = || {
            let path = path.clone();
            std::thread::spawn(move || Database::open(&path, &[TABLE]).map(|_| ()))
        };
        let starts: Vec<_> = (0..16).map(|_| start()).collect();
        for started in starts {
            started.join().expect("no panic")?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_schema_of_a_newer_program_is_refused() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("a.db");
        drop(Database::open(&path, &[TABLE])?);
        let older = Database::open(&path, &[]);
        assert!(matches!(older, Err(DatabaseError::TooNew { found: 1, known: 0 })));
        Ok(())
    }
}
