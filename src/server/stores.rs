//! Where records and bytes are kept, opened as configured and wrapped for whoever works with them.

use std::sync::Arc;

use anyhow::{Context, bail};
use secrecy::ExposeSecret;

use super::data_dir::Layout;
use crate::{
    clock::Clock,
    config::{Config, StoragePlace},
    error::chain,
    metadata::{
        Upkeep,
        cached::{CacheLimits, CachedRepository, Changes},
        open::{DatabaseTarget, open_repository},
        postgres::PostgresOptions,
    },
    storage::{
        Storage,
        limit::LimitedStorage,
        local::ReadCache,
        open::{StorageTarget, open_storage},
        owned::OwnedStorage,
        probe::{ProbeStep, probe},
    },
};

/// Records kept at hand.
const RECORDS_CACHED_MAX: usize = 32 * 1024;
/// Files kept open for reading where one process alone deletes them.
const OPEN_FILES_MAX: usize = 512;

/// The blob that a start is tried with.
const PROBE_BYTES: usize = 1024;

/// Whether files are kept open between downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenFiles {
    Kept,
    Closed,
}

/// Where records and bytes are kept.
pub(super) struct Stores {
    pub(super) repository: Arc<dyn Upkeep>,
    pub(super) clock: Arc<dyn Clock>,
    storage: Arc<OwnedStorage>,
    /// The same, whoever's it is.
    bare: Arc<dyn Storage>,
}

impl Stores {
    pub(super) async fn open(
        config: &Config,
        layout: &Layout,
        open_files: OpenFiles,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let target = database_target(config, layout)?;
        let age_max = target.age_max(config.database.record_age_max);
        // Shared with every process on the same data directory, whatever the database.
        let path = layout.changes();
        let changes = Changes::shared(&path);
        let changes = changes.with_context(|| format!("cannot use {}", path.display()))?;
        let opened = open_repository(target, Arc::clone(clock)).await;
        let opened = opened.context("cannot open the database")?;
        let clock = opened.clock;
        let limits = CacheLimits { records_max: RECORDS_CACHED_MAX, age_max };
        let cached = CachedRepository::new(opened.repository, changes, Arc::clone(&clock), limits);
        let repository: Arc<dyn Upkeep> = Arc::new(cached);
        let bare = storage(config, layout, open_files, &clock).await?;
        let identity = repository.identity().await.context("cannot read the database's id")?;
        let storage = Arc::new(OwnedStorage::new(Arc::clone(&bare), identity));
        Ok(Self { repository, clock, storage, bare })
    }

    /// Goes through what the storage is for, with a blob of its own. A process that only reads asks no more
    /// than that it answers.
    pub(super) async fn probe(&self, writes: bool) -> anyhow::Result<()> {
        match writes {
            true => probe(self.bare.as_ref(), PROBE_BYTES, &mut |_, _| {}).await?,
            false => self.bare.check().await.context("cannot reach the storage")?,
        }
        Ok(())
    }

    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.storage) as Arc<dyn Storage>
    }

    /// Whether the storage bears this database's mark.
    pub(super) async fn check_owner(&self) -> crate::storage::Result<()> {
        self.storage.check_owner().await
    }

    /// An empty storage without a mark, under a database that knows files, is one that is not there: a volume
    /// that was not mounted, most likely.
    pub(super) async fn refuse_lost_storage(&self) -> anyhow::Result<()> {
        let files = self.repository.totals().await?.file_count;
        let marked = self.storage.owner().await?.is_some();
        if files > 0 && !marked && self.storage.list(None).await?.is_empty() {
            bail!(
                "the database knows {files} files, but the storage is empty: is its volume mounted?"
            );
        }
        Ok(())
    }

    /// Says so at the start rather than at the first deletion.
    pub(super) async fn warn_if_foreign(&self) {
        if let Err(error) = self.check_owner().await {
            tracing::error!(error = chain(&error), "the storage is not this database's");
        }
    }

    /// Returns once one of them has failed for good.
    pub(super) async fn failed(&self) {
        let (repository, storage) = (self.repository.failed(), self.storage.failed());
        tokio::select! {
            () = repository.cancelled() => {}
            () = storage.cancelled() => {}
        }
    }
}

/// The storage that is configured, within its limits.
pub(super) async fn storage(
    config: &Config,
    layout: &Layout,
    open_files: OpenFiles,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<dyn Storage>> {
    storage_at(&config.storage.place, (config, layout), open_files, clock).await
}

/// The same at another place.
pub(super) async fn storage_at(
    place: &StoragePlace,
    (config, layout): (&Config, &Layout),
    open_files: OpenFiles,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<dyn Storage>> {
    let target = match place {
        StoragePlace::Local(root) => StorageTarget::Local {
            root: root.clone().unwrap_or_else(|| layout.blobs()),
            cache: ReadCache {
                small_bytes_max: config.storage.cache_bytes,
                open_files_max: if open_files == OpenFiles::Kept { OPEN_FILES_MAX } else { 0 },
            },
        },
        StoragePlace::S3(options) => StorageTarget::S3(options.clone()),
        StoragePlace::Smb(options) => StorageTarget::Smb(options.clone()),
    };
    let opened = open_storage(target, Arc::clone(clock)).await;
    let opened = opened.with_context(|| {
        let advice = ProbeStep::Reach.advice();
        format!("cannot open the storage ({advice})")
    })?;
    Ok(Arc::new(LimitedStorage::new(opened, config.storage.limits)))
}

/// The database that is configured; else the one in the data directory.
pub(super) fn database_target(config: &Config, layout: &Layout) -> anyhow::Result<DatabaseTarget> {
    let Some(url) = &config.database.url else {
        return Ok(DatabaseTarget::Sqlite(layout.database()));
    };
    match url.expose_secret().strip_prefix("sqlite:") {
        Some("") => bail!("database.url: sqlite: wants a path behind it"),
        Some(path) => Ok(DatabaseTarget::Sqlite(path.strip_prefix("//").unwrap_or(path).into())),
        None => Ok(DatabaseTarget::Postgres(PostgresOptions {
            connections_max: config.database.connections_max,
            acquire_timeout: config.database.timeout,
            statement_timeout: config.database.timeout,
            operation_timeout: config.database.timeout * 2,
            follow_database_clock: config.database.follow_clock,
            ..PostgresOptions::new(url.clone())
        })),
    }
}
