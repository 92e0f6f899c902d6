//! Upkeep from the command line, beside a running server or without one: sweeping, checking, migrating,
//! backing up.

pub mod backup;
pub mod migrate_storage;
pub mod storage;

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use tokio::task::spawn_blocking;

use super::{
    data_dir::Layout,
    stores::{OpenFiles, Stores, database_target},
};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    file::usage::Usage,
    fsck::{Event, Fsck, FsckOptions, Summary},
    metadata::{
        Orphan,
        open::{DatabaseTarget, open_repository},
        sqlite::SqliteRepository,
    },
    storage::BlobEntry,
    sweep::{Brake, StraySweeper, StraysSwept, Sweeper, Swept, find_strays},
};

/// Records named in a dry run.
const NAMED_MAX: usize = 10_000;

/// The stores of a deployment, opened for upkeep.
pub struct Upkeeper {
    stores: Stores,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// What the records asked for.
    pub records: Swept,
    /// Blobs without a record.
    pub strays: StraysSwept,
}

/// What a sweep would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepPlan {
    /// Records to be removed with their bytes.
    pub records: Vec<Orphan>,
    /// Blobs without a record to be removed.
    pub strays: Vec<BlobEntry>,
    /// All blobs there are.
    pub blobs: usize,
    /// Whether there are too many blobs without a record to remove them unasked.
    pub braked: bool,
}

impl Upkeeper {
    /// Opens what is configured; a data directory is never made here.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let layout = existing(&config.data_dir)?;
        if let DatabaseTarget::Sqlite(database) = database_target(config, &layout)? {
            refuse_other_schema(&database).await?;
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Nothing is kept open beside a server that deletes.
        let stores = Stores::open(config, &layout, OpenFiles::Closed, &clock).await?;
        Ok(Self { stores })
    }

    /// Removes what nobody needs: what the records say, and blobs without a record.
    pub async fn sweep(&self, brake: Brake) -> anyhow::Result<SweepReport> {
        self.stores.refuse_lost_storage().await?;
        self.stores.check_owner().await?;
        let (repository, storage) = (Arc::clone(&self.stores.repository), self.stores.storage());
        let records = Sweeper::new(Arc::clone(&repository), Arc::clone(&storage)).pass().await?;
        let mut strays = StraySweeper::new(repository, storage);
        // Seen in two passes, as always.
        strays.pass(brake).await?;
        Ok(SweepReport { records, strays: strays.pass(brake).await? })
    }

    /// What [`Upkeeper::sweep`] would remove.
    pub async fn plan_sweep(&self) -> anyhow::Result<SweepPlan> {
        let (repository, storage) = (Arc::clone(&self.stores.repository), self.stores.storage());
        let found = find_strays(repository.as_ref(), storage.as_ref()).await?;
        let strays: Vec<BlobEntry> = found.old().copied().collect();
        Ok(SweepPlan {
            records: repository.list_orphans(NAMED_MAX).await?,
            braked: !Brake::On.lets_pass(strays.len(), found.blobs),
            blobs: found.blobs,
            strays,
        })
    }

    /// How much there is to check.
    pub async fn totals(&self) -> anyhow::Result<Usage> {
        Ok(self.stores.repository.totals().await?)
    }

    /// Checks everything, and tells as it goes.
    pub async fn fsck(
        &self,
        options: FsckOptions,
        tell: &mut (dyn FnMut(Event) + Send),
    ) -> anyhow::Result<Summary> {
        let repository = Arc::clone(&self.stores.repository);
        let fsck = Fsck::new(repository, self.stores.storage(), options);
        Ok(fsck.run(tell).await?)
    }
}

/// Brings the database's schema up to date.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let layout = Layout(config.data_dir.clone());
    let target = database_target(config, &layout)?;
    let opened = open_repository(target, Arc::new(SystemClock)).await;
    opened.context("cannot migrate the database")?;
    Ok(())
}

fn existing(data_dir: &Path) -> anyhow::Result<Layout> {
    if !data_dir.is_dir() {
        bail!("there is no data directory {}; name it with --data", data_dir.display());
    }
    let layout = Layout(data_dir.to_owned());
    layout.refuse_unfinished()?;
    Ok(layout)
}

/// Refuses a database that is not there, or that a server of another version may be running on: upkeep looks
/// and mends, and neither makes nor migrates one.
async fn refuse_other_schema(database: &Path) -> anyhow::Result<()> {
    let path = database.to_owned();
    let is_current = spawn_blocking(move || SqliteRepository::is_current(&path)).await?;
    match is_current.with_context(|| format!("cannot open the database {}", database.display()))? {
        true => Ok(()),
        false => bail!(
            "the schema of {} is of another version: stop its servers and run `files migrate` first",
            database.display()
        ),
    }
}
