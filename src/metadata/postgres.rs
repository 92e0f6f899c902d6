//! Records in PostgreSQL: for any number of processes that share one database. Beginnings and publications
//! commit in groups; everything else has a transaction or a statement of its own.

mod batch;
mod changes;
mod clock;
mod connect;
mod error;
mod intend;
mod migrate;
mod publish;
mod references;
mod rows;
mod statements;
mod transaction;
mod upkeep;
mod uploads;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, Postgres, Row, postgres::PgArguments, query::Query,
};
use uuid::Uuid;

use super::{
    Association, Deletion, Detached, FileRecord, FileRepository, FileUpdate, Grace, Intended,
    Intent, ListQuery, MetadataError, Orphan, Progress, Result, Upkeep, UploadStatus, UploadTicket,
    select::{Select, Value},
    start_digest,
};
use crate::{
    clock::{Clock, Timestamp},
    file::{
        Content,
        id::FileId,
        reference::Reference,
        usage::{Quota, Usage},
        user::UserId,
    },
};
use batch::Queue;
use clock::{DatabaseClock, Reading};
pub use connect::PostgresOptions;
use intend::Beginning;
use publish::Publication;
use references::{Gone, Untying};
use transaction::Database;
use uploads::Reservation;

/// How long the database may take to say that it is there.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Keeps the records in one PostgreSQL database.
#[derive(Debug)]
pub struct PostgresRepository {
    database: Database,
    beginnings: Queue<Beginning>,
    publications: Queue<Publication>,
    clock: Arc<dyn Clock>,
    /// The same clock, where it is set by the database's.
    database_clock: Option<Arc<DatabaseClock>>,
}

impl PostgresRepository {
    /// Opens the database and brings its schema up to date; any number of processes may do so at once. Its
    /// times, leases too, are the database's where the options say so, and `clock`'s otherwise. Refuses a
    /// database that could lose what it has committed.
    pub async fn open(options: PostgresOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut connection = connect::connect(&options).await?;
        migrate::migrate(&mut connection).await?;
        connection.close().await?;
        let database = Database::new(connect::pool(&options)?, options.operation_timeout);
        let database_clock =
            options.follow_database_clock.then(|| Arc::new(DatabaseClock::new(Arc::clone(&clock))));
        let repository = Self {
            beginnings: Queue::start(database.clone()),
            publications: Queue::start(database.clone()),
            clock: database_clock.clone().map_or(clock, |clock| clock as Arc<dyn Clock>),
            database_clock,
            database,
        };
        repository.check().await?;
        Ok(repository)
    }

    /// How the database would answer a listing, in its own words.
    pub async fn explain(&self, query: &ListQuery) -> Result<String> {
        let mut select = Select::page(query, self.clock.now(), statements::DIALECT);
        select.sql.insert_str(0, "EXPLAIN ");
        self.database.run(select, |connection, select| Box::pin(explain(connection, select))).await
    }

    /// The clock of the repository's times; with it the rest of the process tells the same time.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }
}

#[async_trait]
impl FileRepository for PostgresRepository {
    async fn intend(&self, intent: Intent) -> Result<Intended> {
        let (start, now) = (start_digest(&intent.spec), self.clock.now());
        self.database.within(self.beginnings.run(Beginning { intent, start, now })).await
    }

    async fn reserve(&self, ticket: &UploadTicket, needed_bytes: u64, quota: Quota) -> Result<u64> {
        let now = self.clock.now();
        let reservation = Reservation { ticket: *ticket, needed_bytes, quota, now };
        self.database
            .write(reservation, |attempt, it| Box::pin(uploads::reserve(attempt, it)))
            .await
    }

    async fn renew(&self, ticket: &UploadTicket, lease: Duration) -> Result<()> {
        let until = self.clock.now().plus(lease);
        let renewed = self
            .database
            .run((*ticket, until), |connection, (ticket, until)| {
                Box::pin(uploads::renew(connection, ticket, *until))
            })
            .await?;
        held(renewed)
    }

    async fn save(&self, ticket: &UploadTicket, progress: Progress, lease: Duration) -> Result<()> {
        let saving = (*ticket, progress, self.clock.now().plus(lease));
        held(
            self.database
                .run(saving, |connection, it| Box::pin(uploads::save(connection, it)))
                .await?,
        )
    }

    async fn seal(&self, ticket: &UploadTicket, content: Content) -> Result<()> {
        let sealed = (*ticket, content);
        held(
            self.database
                .run(sealed, |connection, it| Box::pin(uploads::seal(connection, it)))
                .await?,
        )
    }

    async fn holds(&self, ticket: &UploadTicket) -> Result<bool> {
        self.database.run(*ticket, |connection, it| Box::pin(uploads::holds(connection, it))).await
    }

    async fn find_upload(
        &self,
        user_id: &UserId,
        upload_id: &Uuid,
    ) -> Result<Option<UploadStatus>> {
        let asked = ((user_id.clone(), *upload_id), self.clock.now());
        self.database.run(asked, |connection, it| Box::pin(uploads::status(connection, it))).await
    }

    async fn cancel(&self, user_id: &UserId, upload_id: &Uuid) -> Result<Option<Orphan>> {
        let key = (user_id.clone(), *upload_id);
        self.database.write(key, |attempt, key| Box::pin(uploads::cancel(attempt, key))).await
    }

    async fn publish(&self, ticket: &UploadTicket, content: Content) -> Result<FileRecord> {
        let publication = Publication { ticket: *ticket, content, now: self.clock.now() };
        self.database.within(self.publications.run(publication)).await
    }

    async fn abandon(&self, ticket: &UploadTicket) -> Result<bool> {
        self.database
            .write(*ticket, |attempt, ticket| Box::pin(uploads::abandon(attempt, ticket)))
            .await
    }

    async fn find(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>> {
        let found = self
            .database
            .run(*file_id, |connection, file_id| Box::pin(find(connection, file_id)))
            .await?;
        Ok(found.map(Arc::new))
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<FileRecord>> {
        let select = Select::page(query, self.clock.now(), statements::DIALECT);
        self.database.run(select, |connection, select| Box::pin(list(connection, select))).await
    }

    async fn update(&self, file_id: &FileId, update: FileUpdate) -> Result<Option<FileRecord>> {
        let change = (*file_id, update, self.clock.now());
        self.database.write(change, |attempt, it| Box::pin(changes::update(attempt, it))).await
    }

    async fn delete(&self, file_id: &FileId, deletion: Deletion) -> Result<Option<FileRecord>> {
        let change = (*file_id, deletion, self.clock.now());
        self.database.write(change, |attempt, it| Box::pin(changes::delete(attempt, it))).await
    }

    async fn undelete(&self, file_id: &FileId) -> Result<Option<FileRecord>> {
        let change = (*file_id, self.clock.now());
        self.database.write(change, |attempt, it| Box::pin(changes::undelete(attempt, it))).await
    }

    async fn attach(&self, association: Association) -> Result<()> {
        let change = (association, self.clock.now());
        self.database.write(change, |attempt, it| Box::pin(references::attach(attempt, it))).await
    }

    async fn detach(&self, association: Association, grace: Arc<Grace>) -> Result<Detached> {
        let reference = association.reference.clone();
        let change = (association, Untying { reference, grace, now: self.clock.now() });
        self.database.write(change, |attempt, it| Box::pin(references::detach(attempt, it))).await
    }

    async fn delete_reference(
        &self,
        owner: Option<&UserId>,
        reference: &Reference,
        grace: Arc<Grace>,
        limit: usize,
    ) -> Result<Detached> {
        let untying = Untying { reference: reference.clone(), grace, now: self.clock.now() };
        let gone = Gone { untying, owner: owner.cloned(), limit };
        self.database.write(gone, |attempt, gone| Box::pin(references::delete(attempt, gone))).await
    }

    async fn usage(&self, user_id: &UserId) -> Result<Usage> {
        let whose = (user_id.clone(), self.clock.now());
        self.database
            .run(whose, |connection, (user_id, now)| {
                Box::pin(uploads::stored(connection, user_id, *now))
            })
            .await
    }

    async fn check(&self) -> Result<()> {
        let clock = self.database_clock.as_deref();
        let asked = clock.map(|clock| clock.inner().now());
        let said = self.database.run_within(CHECK_TIMEOUT, (), |connection, ()| {
            Box::pin(sqlx::query_scalar(statements::upkeep::TIME).fetch_one(connection))
        });
        let said = Timestamp::from_unix_us(said.await?);
        if let (Some(clock), Some(asked)) = (clock, asked) {
            clock.set(Reading { asked, said, answered: clock.inner().now() });
        }
        Ok(())
    }
}

/// What a change came to that only the holder of the fence can make.
const fn held(changed: bool) -> Result<()> {
    if changed { Ok(()) } else { Err(MetadataError::UploadTakenOver) }
}

async fn find(connection: &mut PgConnection, file_id: &FileId) -> sqlx::Result<Option<FileRecord>> {
    Ok(find_all(connection, &[*file_id]).await?.pop())
}

/// The file, if it is visible.
async fn find_visible(
    connection: &mut PgConnection,
    file_id: &FileId,
    now: Timestamp,
) -> sqlx::Result<Option<FileRecord>> {
    Ok(find(connection, file_id).await?.filter(|record| record.is_visible(now)))
}

/// The finished and soft-deleted files among these.
async fn find_all(
    connection: &mut PgConnection,
    file_ids: &[FileId],
) -> sqlx::Result<Vec<FileRecord>> {
    let ids = rows::texts(file_ids);
    let found = sqlx::query(statements::find()).bind(ids).fetch_all(connection).await?;
    rows::read_records(&found)
}

async fn list(connection: &mut PgConnection, select: &Select) -> sqlx::Result<Vec<FileRecord>> {
    rows::read_records(&bound(select).fetch_all(connection).await?)
}

async fn explain(connection: &mut PgConnection, select: &Select) -> sqlx::Result<String> {
    let rows = bound(select).fetch_all(connection).await?;
    let lines = rows.iter().map(|row| row.try_get::<String, _>(0));
    Ok(lines.collect::<sqlx::Result<Vec<_>>>()?.join("\n"))
}

/// A listing's statement with its parameters. It is planned each time, for the values that it has.
fn bound(select: &Select) -> Query<'_, Postgres, PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(select.sql.as_str())).persistent(false);
    for value in &select.values {
        query = match value {
            // Nothing that is stored holds a NUL, so that nothing equals a text with one, or NULL.
            Value::Text(text) => query.bind((!text.contains('\0')).then_some(text)),
            Value::Number(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        };
    }
    query
}
