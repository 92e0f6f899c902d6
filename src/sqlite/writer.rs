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
/// Runs inside the transaction; says whether it met an error that ends all writing.
type Job = Box<dyn FnOnce(&Connection) -> (Reply, bool) + Send>;

/// A handle to the writing thread, which ends when the handle is dropped.
pub(super) struct Writer {
    jobs: Sender<Job>,
}

impl Writer {
    pub(super) fn start(connection: Connection, failed: CancellationToken) -> Result<Self> {
        let (jobs, queue) = channel();
        thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_groups(&connection, &queue, &failed))
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
            let outcome = in_savepoint(connection, job);
            let fatal = outcome.as_ref().is_err_and(is_fatal);
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
            (reply, fatal)
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

fn in_savepoint<T>(
    connection: &Connection,
    job: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let outcome = job(connection);
    if outcome.is_err() {
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    connection.prepare_cached("RELEASE job")?.execute([])?;
    outcome
}

/// Serves the queue until every handle is gone, or until an error after which nothing could be trusted.
fn write_groups(connection: &Connection, queue: &Receiver<Job>, failed: &CancellationToken) {
    while let Ok(first) = queue.recv() {
        let group = std::iter::once(first).chain(queue.try_iter()).take(GROUP_MAX);
        if let Err(error) = commit_group(connection, group) {
            tracing::error!(%error, "the database failed; it takes no more writes");
            failed.cancel();
            return;
        }
    }
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
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut fatal = false;
    for job in group {
        let (reply, job_fatal) = job(connection);
        replies.push(reply);
        fatal |= job_fatal;
    }
    if fatal {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR),
            None,
        ));
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

fn roll_back(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() {
        return Ok(());
    }
    connection.execute_batch("ROLLBACK")
}
