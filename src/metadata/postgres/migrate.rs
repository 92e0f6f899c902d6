//! The schema, step by step: each applied once, in order, by name. Any number of processes may start at once.

use sqlx::{Connection, PgConnection, Row};

use super::error::Unfit;

/// One step of the schema.
#[derive(Clone, Copy, Debug)]
struct Migration {
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 3] = [
    Migration {
        name: "0001_files",
        sql: include_str!("../../../migrations/postgres/0001_files.sql"),
    },
    Migration {
        name: "0002_lifecycle",
        sql: include_str!("../../../migrations/postgres/0002_lifecycle.sql"),
    },
    Migration {
        name: "0003_resume",
        sql: include_str!("../../../migrations/postgres/0003_resume.sql"),
    },
];

/// Whoever changes the schema holds this lock until the end of its transaction: `files` in ASCII.
const LOCK: i64 = 0x66_69_6c_65_73;

/// A migration takes as long as it takes, and so does waiting for another process's.
const WITHOUT_LIMITS: &str = "SELECT set_config('statement_timeout', '0', true), \
     set_config('lock_timeout', '0', true), \
     set_config('idle_in_transaction_session_timeout', '0', true)";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (\
     position BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, \
     applied_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())";

/// Brings the schema up to date; refuses one that this program does not know.
pub(super) async fn migrate(connection: &mut PgConnection) -> sqlx::Result<()> {
    if missing(connection).await?.is_empty() {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    sqlx::query(WITHOUT_LIMITS).execute(&mut *transaction).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    sqlx::query(TABLE).execute(&mut *transaction).await?;
    let missing = missing(&mut transaction).await?;
    let applied = MIGRATIONS.len().saturating_sub(missing.len());
    for (at, migration) in missing.iter().enumerate() {
        tracing::info!(name = migration.name, "applying a migration");
        sqlx::raw_sql(migration.sql).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO schema_migrations (position, name) VALUES ($1, $2)")
            .bind((applied + at + 1) as i64)
            .bind(migration.name)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

/// The steps that have not been applied.
async fn missing(connection: &mut PgConnection) -> sqlx::Result<&'static [Migration]> {
    let table = "SELECT to_regclass('schema_migrations') IS NOT NULL";
    if !sqlx::query_scalar::<_, bool>(table).fetch_one(&mut *connection).await? {
        return Ok(&MIGRATIONS);
    }
    let rows = sqlx::query("SELECT name FROM schema_migrations ORDER BY position")
        .fetch_all(connection)
        .await?;
    let applied: Vec<String> =
        rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>()?;
    for (at, (found, known)) in applied.iter().zip(MIGRATIONS).enumerate() {
        if *found != known.name {
            let (position, found, known) = (at + 1, found.clone(), known.name);
            return Err(Unfit::OtherSchema { position, found, known }.into());
        }
    }
    let (found, known) = (applied.len(), MIGRATIONS.len());
    MIGRATIONS.get(found..).ok_or_else(|| Unfit::TooNew { found, known }.into())
}
