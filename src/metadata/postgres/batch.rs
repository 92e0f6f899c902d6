//! Group commits: what queues up while the database is busy shares its next transaction.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{mpsc, oneshot};

use super::{
    error::{Closed, is_lost},
    transaction::{Attempt, Database},
};
use crate::metadata::{MetadataError, Result};

/// Most jobs in one transaction.
const GROUP_MAX: usize = 64;
/// Jobs that may wait; further callers wait for their turn to queue up.
const QUEUE_MAX: usize = 1024;
/// Jobs of a failed group that are run alone at a time.
const ALONE_AT_ONCE: usize = 8;

/// What is done in groups.
pub(super) trait Job: Send + Sync + Sized + 'static {
    /// What one job comes to.
    type Answer: Send + Sync + 'static;
    /// What two jobs have in common that must not meet in one transaction.
    type Key: Ord + Send;

    /// Jobs with the same key go into different groups, in the order in which they came; without one a job
    /// goes with every other.
    fn key(&self) -> Option<Self::Key>;

    /// Does all of the jobs in one transaction, and answers them in order.
    fn run_all<'c>(
        attempt: Attempt<'c, Vec<Result<Self::Answer>>>,
        jobs: &'c [Self],
    ) -> BoxFuture<'c, sqlx::Result<Vec<Result<Self::Answer>>>>;
}

/// Where jobs of one kind queue up. The task that does them ends when this is dropped.
#[derive(Debug)]
pub(super) struct Queue<J: Job>(mpsc::Sender<Queued<J>>);

#[derive(Debug)]
struct Queued<J: Job> {
    job: J,
    answer: oneshot::Sender<Result<J::Answer>>,
}

impl<J: Job> Queue<J> {
    /// Starts the task that does the jobs.
    pub(super) fn start(database: Database) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        // It ends with the last sender, and leaves nothing behind.
        tokio::spawn(work(database, receiver));
        Self(sender)
    }

    /// Does `job` and waits until it is durable.
    pub(super) async fn run(&self, job: J) -> Result<J::Answer> {
        let closed = || MetadataError::Unavailable(Closed.into());
        let (answer, answered) = oneshot::channel();
        self.0.send(Queued { job, answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

async fn work<J: Job>(database: Database, mut queue: mpsc::Receiver<Queued<J>>) {
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match queue.recv().await {
                Some(first) => waiting.push_back(first),
                None => return,
            }
        }
        while let Ok(next) = queue.try_recv() {
            waiting.push_back(next);
        }
        serve(&database, gather(&mut waiting)).await;
    }
}

/// Takes the next group, in order. Jobs that share a key with one of the group stay, and so does what is
/// behind a full group; nobody waits for the answers to what is left out.
fn gather<J: Job>(waiting: &mut VecDeque<Queued<J>>) -> Vec<Queued<J>> {
    let mut keys = BTreeSet::new();
    let mut group = Vec::new();
    let mut left = VecDeque::new();
    for queued in waiting.drain(..).filter(|queued| !queued.answer.is_closed()) {
        let fits = group.len() < GROUP_MAX;
        // The key of what is left behind is noted, too: nothing overtakes it.
        let alone = queued.job.key().is_none_or(|key| keys.insert(key));
        if fits && alone { group.push(queued) } else { left.push_back(queued) }
    }
    *waiting = left;
    group
}

async fn serve<J: Job>(database: &Database, group: Vec<Queued<J>>) {
    let (jobs, answers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|queued| (queued.job, queued.answer)).unzip();
    if jobs.is_empty() {
        return;
    }
    let failure = match database.write_group(jobs.as_slice(), J::run_all).await {
        Ok(done) => {
            for (answer, done) in answers.into_iter().zip(done) {
                // Whoever has stopped waiting will read it.
                let _ = answer.send(done);
            }
            return;
        }
        Err(failure) => failure,
    };
    if jobs.len() > 1 && !is_lost(&failure.error) && failure.doubted.is_none() {
        tracing::warn!(error = %failure.error, jobs = jobs.len(), "doing the jobs of a group alone");
        serve_alone(database, jobs.into_iter().zip(answers)).await;
        return;
    }
    let error = Arc::new(failure.error);
    for answer in answers {
        // Whoever has stopped waiting needs no answer.
        let _ = answer.send(Err(shared(&error)));
    }
}

/// Does each job in a transaction of its own, so that one that fails harms no other.
async fn serve_alone<J: Job>(
    database: &Database,
    jobs: impl Iterator<Item = (J, oneshot::Sender<Result<J::Answer>>)>,
) {
    let mut jobs = jobs.peekable();
    while jobs.peek().is_some() {
        let some = jobs.by_ref().take(ALONE_AT_ONCE).map(|(job, answer)| async move {
            let done = match database.write_group([job].as_slice(), J::run_all).await {
                Ok(done) => done.into_iter().next(),
                Err(failure) => Some(Err(failure.error.into())),
            };
            // Whoever has stopped waiting needs no answer.
            let _ = done.map(|done| answer.send(done));
        });
        join_all(some).await;
    }
}

/// An error that several callers get.
fn shared(error: &Arc<sqlx::Error>) -> MetadataError {
    MetadataError::Unavailable(Box::new(Arc::clone(error)))
}
