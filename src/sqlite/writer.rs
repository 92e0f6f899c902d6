//! The one writer: a thread that puts every job waiting for it into one transaction, so that one sync of the
//! disk serves them all. No timers: a lone job is committed at once.

use std::{
    fmt,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{DatabaseError, Result, classify, is_disk_full, is_fatal};

/// Most jobs in one transaction: bounds how long the first of them waits for the last.
const GROUP_MAX: usize = 256;

/// How the transaction of a group ended.
#[derive(Clone, Copy)]
enum Commit {
    Done,
    DiskFull,
    RolledBack,
}

/// Tells the caller how its job ended, once it is known how the commit did.
type Reply = Box<dyn FnOnce(Commit)>;

/// Runs inside the group's transaction. An error that it returns has broken the whole transaction.
type Job = Box<dyn FnOnce(&Connection) -> (Reply, rusqlite::Result<()>) + Send>;

/// A handle to the writing thread, which ends when the handle is dropped.
pub(super) struct Writer {
    jobs: Sender<Job>,
}

impl Writer {
    pub(super) fn start(connection: Connection, failed: CancellationToken) -> Result<Self> {
        let (jobs, queue) = channel();
        thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_groups(&connection, &queue, failed))
            .map_err(|source| DatabaseError::Io {
                action: "start the database's writer",
                source,
            })?;
        Ok(Self { jobs })
    }

    pub(super) async fn run<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let (outcome, transaction) = in_savepoint(connection, job);
            let reply: Reply = Box::new(move |commit| {
                let outcome = match (outcome, commit) {
                    (Err(error), _) => Err(classify(error)),
                    (Ok(value), Commit::Done) => Ok(value),
                    (Ok(_), Commit::DiskFull) => Err(DatabaseError::Full(None)),
                    (Ok(_), Commit::RolledBack) => Err(DatabaseError::RolledBack),
                };
                // A caller that has gone away does not want to know.
                let _ = answer.send(outcome);
            });
            (reply, transaction)
        });
        self.jobs.send(job).map_err(|_| DatabaseError::Failed)?;
        answered.await.map_err(|_| DatabaseError::RolledBack)?
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Writer")
    }
}

/// Runs a job so that its failure undoes the job alone. The second result is an error where the group's
/// transaction did not survive: on a full disk SQLite may have rolled back all of it.
fn in_savepoint<T>(
    connection: &Connection,
    job: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> (rusqlite::Result<T>, rusqlite::Result<()>) {
    if let Err(error) = run(connection, "SAVEPOINT job") {
        return (Err(duplicate(&error)), Err(error));
    }
    let outcome = job(connection);
    let ended = match &outcome {
        Err(error) if is_fatal(error) || connection.is_autocommit() => Err(duplicate(error)),
        Err(_) => run(connection, "ROLLBACK TO job").and_then(|()| run(connection, "RELEASE job")),
        Ok(_) => run(connection, "RELEASE job"),
    };
    (outcome, ended)
}

fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}

/// The same failure once more: what counts of it here is its code.
fn duplicate(error: &rusqlite::Error) -> rusqlite::Error {
    let code = error.sqlite_error().map_or(rusqlite::ffi::SQLITE_ERROR, |it| it.extended_code);
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(error.to_string()))
}

/// Serves the queue until every handle is gone, or until an error after which nothing could be trusted.
fn write_groups(connection: &Connection, queue: &Receiver<Job>, failed: CancellationToken) {
    // However this thread ends before its queue does, nothing is written any more.
    let failed = failed.drop_guard();
    while let Ok(first) = queue.recv() {
        let group = std::iter::once(first).chain(queue.try_iter()).take(GROUP_MAX);
        if let Err(error) = commit_group(connection, group) {
            tracing::error!(%error, "the database failed; it takes no more writes");
            return;
        }
    }
    failed.disarm();
}

/// Runs and commits one group. Only an error that makes later commits untrustworthy is returned.
fn commit_group(connection: &Connection, group: impl Iterator<Item = Job>) -> rusqlite::Result<()> {
    let mut replies = Vec::new();
    let outcome = run_group(connection, group, &mut replies);
    let commit = match &outcome {
        Ok(()) => Commit::Done,
        Err(error) if is_disk_full(error) => Commit::DiskFull,
        Err(_) => Commit::RolledBack,
    };
    for reply in replies {
        reply(commit);
    }
    match outcome {
        Err(error) if is_fatal(&error) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "a group of writes was rolled back");
            roll_back(connection)
        }
        Ok(()) => Ok(()),
    }
}

fn run_group(
    connection: &Connection,
    group: impl Iterator<Item = Job>,
    replies: &mut Vec<Reply>,
) -> rusqlite::Result<()> {
    run(connection, "BEGIN IMMEDIATE")?;
    for job in group {
        let (reply, transaction) = job(connection);
        replies.push(reply);
        // Without its transaction, every further job would commit on its own.
        transaction?;
    }
    run(connection, "COMMIT")
}

fn roll_back(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() {
        return Ok(());
    }
    connection.execute_batch("ROLLBACK")
}
