//! Connections: how many, for how long, and what each must promise before it is used.

use std::{fmt, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use super::{error::Unfit, transaction::out_of_time};

/// Connections that nobody used for this long are closed: before something on the way forgets them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest life of a connection, so that load finds its way to a server that was added.
const LIFETIME_MAX: Duration = Duration::from_secs(1800);

/// What each session is set to. A transaction that waits for a lock, or that nobody goes on with, ends well
/// before the statement timeout.
const SET: &str = "SELECT \
     set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
         WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false), \
     set_config('default_transaction_isolation', 'read committed', false), \
     set_config('client_min_messages', 'warning', false), \
     set_config('statement_timeout', $1, false), \
     set_config('lock_timeout', $2, false), \
     set_config('idle_in_transaction_session_timeout', $2, false)";

const READ_BACK: &str = "SELECT current_setting('synchronous_commit') IN ('on', 'remote_apply'), \
     current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on', \
     current_setting('server_encoding') = 'UTF8'";

/// What [`READ_BACK`] asks for, in its order.
const PROMISES: [&str; 4] =
    ["synchronous_commit=on", "fsync=on", "full_page_writes=on", "server_encoding=UTF8"];

/// Which database, and how long to wait for it.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`, with `sslmode` and the like as parameters.
    pub url: SecretString,
    /// Most connections at once.
    pub connections_max: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// How long one statement may take; waiting for a lock may take half of it.
    pub statement_timeout: Duration,
    /// How long a whole operation may take, with every new attempt.
    pub operation_timeout: Duration,
    /// Whether times are the database's own; otherwise they are the given clock's.
    pub follow_database_clock: bool,
}

impl PostgresOptions {
    /// The database at `url`, with usual limits, by its own clock.
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            connections_max: 16,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(20),
            follow_database_clock: true,
        }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PostgresOptions")
            .field("connections_max", &self.connections_max)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("operation_timeout", &self.operation_timeout)
            .field("follow_database_clock", &self.follow_database_clock)
            .finish_non_exhaustive()
    }
}

/// One connection outside every pool: what is wrong with the database shows with its reason.
pub(super) async fn connect(options: &PostgresOptions) -> sqlx::Result<PgConnection> {
    let target = target(options)?;
    let connecting = async {
        let mut connection = PgConnection::connect_with(&target).await?;
        prepare(&mut connection, options.statement_timeout).await?;
        Ok(connection)
    };
    timeout(options.acquire_timeout, connecting).await.unwrap_or_else(|_| Err(out_of_time()))
}

/// Connections to share, made when they are needed.
pub(super) fn pool(options: &PostgresOptions) -> sqlx::Result<PgPool> {
    let statement_timeout = options.statement_timeout;
    let pool = PgPoolOptions::new()
        .max_connections(options.connections_max)
        .min_connections(0)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(IDLE_TIMEOUT)
        .max_lifetime(LIFETIME_MAX)
        // A lost connection shows at its first statement, and the operation is then run again.
        .test_before_acquire(false)
        .after_connect(move |connection, _| Box::pin(prepare(connection, statement_timeout)))
        .connect_lazy_with(target(options)?);
    Ok(pool)
}

fn target(options: &PostgresOptions) -> sqlx::Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(options.url.expose_secret())?.application_name("files"))
}

/// Sets a new session up and refuses one that could lose what it has committed.
async fn prepare(connection: &mut PgConnection, statement_timeout: Duration) -> sqlx::Result<()> {
    let millis = |span: Duration| span.as_millis().max(1).to_string();
    sqlx::query(SET)
        .bind(millis(statement_timeout))
        .bind(millis(statement_timeout / 2))
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query(READ_BACK).fetch_one(connection).await?;
    for (column, promise) in PROMISES.into_iter().enumerate() {
        if !row.try_get::<bool, _>(column)? {
            return Err(Unfit::Setting(promise).into());
        }
    }
    Ok(())
}
