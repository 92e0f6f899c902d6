//! Operations on the database: each within a time limit, and run again as a whole where another transaction
//! was in its way or its connection was lost.
//!
//! A COMMIT whose answer is lost leaves in doubt whether it took place. The operation is then run again and
//! given what it had answered: once it holds its locks, the first transaction has ended one way or the other,
//! and reading settles which.

use std::{io, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{Connection, PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::time::{sleep, timeout};

use super::error::{is_lost, is_passing};
use crate::metadata::Result;

/// New attempts after the first.
const RETRIES_MAX: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What a job in a transaction comes to: an error of the database undoes it, a refusal leaves what it has
/// done.
pub(super) type Job<T> = sqlx::Result<Result<T>>;

/// One run of an operation.
pub(super) struct Attempt<'c, T> {
    pub(super) connection: &'c mut PgConnection,
    /// What an earlier run answered, where its COMMIT is in doubt.
    pub(super) doubted: Option<&'c T>,
}

/// An operation in a transaction of its own, on an input that stays the same however often it is run.
pub(super) type Operation<I, T> =
    for<'c> fn(Attempt<'c, T>, &'c I) -> BoxFuture<'c, sqlx::Result<T>>;

/// A statement that comes to the same when it is run twice.
pub(super) type Statement<I, T> =
    for<'c> fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, sqlx::Result<T>>;

/// An operation that came to nothing, as far as is known.
pub(super) struct Failure<T> {
    pub(super) error: sqlx::Error,
    /// What may have been committed all the same.
    pub(super) doubted: Option<T>,
}

impl<T> From<sqlx::Error> for Failure<T> {
    fn from(error: sqlx::Error) -> Self {
        Self { error, doubted: None }
    }
}

/// The database, as operations see it.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pool: PgPool,
    operation_timeout: Duration,
}

impl Database {
    pub(super) const fn new(pool: PgPool, operation_timeout: Duration) -> Self {
        Self { pool, operation_timeout }
    }

    /// Waits for `answer` for as long as an operation may take.
    pub(super) async fn within<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = timeout(self.operation_timeout, answer).await;
        answer.unwrap_or_else(|_| Err(out_of_time().into()))
    }

    /// Runs one statement that commits by itself.
    pub(super) async fn run<I, T>(&self, input: I, statement: Statement<I, T>) -> Result<T> {
        self.run_within(self.operation_timeout, input, statement).await
    }

    /// The same within another limit.
    pub(super) async fn run_within<I, T>(
        &self,
        limit: Duration,
        input: I,
        statement: Statement<I, T>,
    ) -> Result<T> {
        let attempts = async {
            let mut retries = Retries::default();
            loop {
                match self.run_once(&input, statement, retries.made > 0).await {
                    Err(error) if retries.again(&error).await => {}
                    done => return done,
                }
            }
        };
        Ok(timeout(limit, attempts).await.unwrap_or_else(|_| Err(out_of_time()))?)
    }

    /// Runs an operation in a transaction and waits until it is durable.
    pub(super) async fn write<I, T>(&self, input: I, job: Operation<I, Result<T>>) -> Result<T> {
        self.write_within(self.operation_timeout, input, job).await
    }

    /// The same within another limit.
    pub(super) async fn write_within<I, T>(
        &self,
        limit: Duration,
        input: I,
        job: Operation<I, Result<T>>,
    ) -> Result<T> {
        match timeout(limit, self.attempts(&input, job)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => Err(failure.error.into()),
            Err(_) => Err(out_of_time().into()),
        }
    }

    /// Runs an operation for many callers; says what it failed with, for its parts to be tried alone.
    pub(super) async fn write_group<I: ?Sized, T>(
        &self,
        input: &I,
        job: Operation<I, T>,
    ) -> std::result::Result<T, Failure<T>> {
        let attempts = timeout(self.operation_timeout, self.attempts(input, job));
        attempts.await.unwrap_or_else(|_| Err(out_of_time().into()))
    }

    async fn attempts<I: ?Sized, T>(
        &self,
        input: &I,
        job: Operation<I, T>,
    ) -> std::result::Result<T, Failure<T>> {
        let mut retries = Retries::default();
        let mut doubted = None;
        loop {
            match self.attempt(input, job, doubted.as_ref(), retries.made > 0).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    doubted = failure.doubted.or(doubted);
                    if !retries.again(&failure.error).await {
                        return Err(Failure { error: failure.error, doubted });
                    }
                }
            }
        }
    }

    async fn attempt<I: ?Sized, T>(
        &self,
        input: &I,
        job: Operation<I, T>,
        doubted: Option<&T>,
        again: bool,
    ) -> std::result::Result<T, Failure<T>> {
        let mut borrowed = self.borrow(again).await?;
        let mut transaction = borrowed.connection.begin().await?;
        let answer = job(Attempt { connection: &mut transaction, doubted }, input).await?;
        match transaction.commit().await {
            Ok(()) => {}
            Err(error) if is_lost(&error) => return Err(Failure { error, doubted: Some(answer) }),
            Err(error) => return Err(error.into()),
        }
        borrowed.whole = true;
        Ok(answer)
    }

    async fn run_once<I, T>(
        &self,
        input: &I,
        statement: Statement<I, T>,
        again: bool,
    ) -> sqlx::Result<T> {
        let mut borrowed = self.borrow(again).await?;
        let done = statement(&mut borrowed.connection, input).await?;
        borrowed.whole = true;
        Ok(done)
    }

    /// A connection; for a new attempt one that answers, as others in the pool may be lost with the first.
    async fn borrow(&self, again: bool) -> sqlx::Result<Borrowed> {
        loop {
            let connection = self.pool.acquire().await?;
            let mut borrowed = Borrowed { connection, whole: false };
            if !again || borrowed.connection.ping().await.is_ok() {
                return Ok(borrowed);
            }
        }
    }
}

/// A connection that goes back to the pool only where the last thing asked of it was answered well.
struct Borrowed {
    connection: PoolConnection<Postgres>,
    whole: bool,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.whole {
            self.connection.close_on_drop();
        }
    }
}

#[derive(Default)]
struct Retries {
    made: u32,
}

impl Retries {
    /// Waits for a moment and says whether to try again.
    async fn again(&mut self, error: &sqlx::Error) -> bool {
        if self.made >= RETRIES_MAX || !is_passing(error) {
            return false;
        }
        tracing::warn!(%error, "trying the database again");
        sleep(FIRST_PAUSE * 4_u32.pow(self.made)).await;
        self.made += 1;
        true
    }
}

/// The error of a database that does not answer.
pub(super) fn out_of_time() -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the database did not answer in time").into()
}
