//! Backup and restore of the embedded default.
//!
//! A backup is a directory laid out like a data directory: `metadata.db`, `blobs`, `signing.key`, and
//! `backup.json`, which is written last and says that it is whole. The database is copied first, at one
//! moment, then the content of the files it knew; a file deleted for good meanwhile is in neither.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use serde_json::json;

use super::{existing, refuse_other_schema};
use crate::{
    backup::{Copied, copy_content},
    clock::{Clock, SystemClock},
    config::{Config, StoragePlace},
    file::usage::Usage,
    metadata::{Deletion, FileRepository, Upkeep, open::DatabaseTarget, sqlite::SqliteRepository},
    server::{
        Role,
        data_dir::{DataDir, Layout},
        stores::database_target,
    },
    storage::{
        Storage,
        local::{LocalStorage, ReadCache},
    },
    sweep::Sweeper,
};

const MANIFEST: &str = "backup.json";
const FORMAT: u64 = 1;
const NO_CACHE: ReadCache = ReadCache { small_bytes_max: 0, open_files_max: 0 };

/// Told how much there is to copy, then of the bytes of each file copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// How much there is.
    Begun(Usage),
    /// Another file, of so many bytes.
    Copied(u64),
}

/// Copies a data directory to `target`, a new or empty directory, while servers may be running on it.
pub async fn backup(
    config: &Config,
    target: &Path,
    tell: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<Copied> {
    refuse_other_storage(config)?;
    let layout = existing(&config.data_dir)?;
    let DatabaseTarget::Sqlite(database) = database_target(config, &layout)? else {
        bail!("a backup of PostgreSQL is made with its own tools; see docs/operations.md");
    };
    refuse_other_schema(&database).await?;
    make_empty(target)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let live = SqliteRepository::open(&database, Arc::clone(&clock))?;
    let copy = Layout(target.to_owned());
    let unfinished = copy.unfinished();
    live.copy_to(&unfinished).await.context("cannot copy the database")?;
    let snapshot = Arc::new(SqliteRepository::open(&unfinished, Arc::clone(&clock))?);
    let from = storage(&layout, &clock)?;
    let to = storage(&copy, &clock)?;
    to.mark(snapshot.identity().await?).await?;
    tell(Progress::Begun(snapshot.totals().await?));
    let copied = |bytes| tell(Progress::Copied(bytes));
    let mut result = copy_content(snapshot.as_ref(), &from, &to, clock.now(), &copied).await?;
    let mut damaged = Vec::new();
    for record in std::mem::take(&mut result.damaged) {
        let file_id = record.file.id;
        if live.find(&file_id).await?.is_none() {
            // Deleted for good since the database was copied: it is not in the backup either.
            let deletion = Deletion { force: true, ..Deletion::default() };
            snapshot.delete(&file_id, deletion).await?;
            snapshot.forget(&file_id).await?;
        } else {
            snapshot.quarantine(&file_id, true).await?;
            damaged.push(record);
        }
    }
    result.damaged = damaged;
    forget_what_is_over(&snapshot, &to).await?;
    copy_key(&layout, &copy)?;
    finish(&snapshot, &copy).await?;
    write_manifest(target, &clock, &result)?;
    Ok(result)
}

/// Makes a data directory of a backup. The directory must be new or empty.
pub async fn restore(
    config: &Config,
    source: &Path,
    tell: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<Copied> {
    read_manifest(source)?;
    refuse_other_storage(config)?;
    if config.database.url.is_some() {
        bail!(
            "a restore makes a data directory with its own database: database.url must not be set"
        );
    }
    let target = config.data_dir.as_path();
    make_empty(target)?;
    // No server starts on half of it.
    let _locks = DataDir::open(target, Role::All).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (source, restored) = (Layout(source.to_owned()), Layout(target.to_owned()));
    let unfinished = restored.unfinished();
    fs::copy(source.database(), &unfinished).context("cannot copy the database")?;
    let records = Arc::new(SqliteRepository::open(&unfinished, Arc::clone(&clock))?);
    let from = storage(&source, &clock)?;
    let to = storage(&restored, &clock)?;
    to.mark(records.identity().await?).await?;
    tell(Progress::Begun(records.totals().await?));
    let copied = |bytes| tell(Progress::Copied(bytes));
    let result = copy_content(records.as_ref(), &from, &to, clock.now(), &copied).await?;
    for record in &result.damaged {
        records.quarantine(&record.file.id, true).await?;
    }
    forget_what_is_over(&records, &to).await?;
    copy_key(&source, &restored)?;
    finish(&records, &restored).await?;
    Ok(result)
}

/// A backup holds database and content together, as the data directory does.
fn refuse_other_storage(config: &Config) -> anyhow::Result<()> {
    match config.storage.place {
        StoragePlace::Local(None) => Ok(()),
        _ => bail!(
            "the content rests outside the data directory: back it up with the tools of its store; see \
             docs/operations.md"
        ),
    }
}

/// Removes records of what was given up, deleted or expired: its content was not copied.
async fn forget_what_is_over(
    records: &Arc<SqliteRepository>,
    storage: &Arc<dyn Storage>,
) -> anyhow::Result<()> {
    let records = Arc::clone(records) as Arc<dyn Upkeep>;
    Sweeper::new(records, Arc::clone(storage)).pass().await?;
    Ok(())
}

fn storage(layout: &Layout, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Storage>> {
    let storage = LocalStorage::open(&layout.blobs(), NO_CACHE, Arc::clone(clock))?;
    Ok(Arc::new(storage))
}

/// Makes a directory for its owner alone; one that holds anything is refused.
fn make_empty(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make {}", path.display()))?;
    let entries = path.read_dir().with_context(|| format!("cannot read {}", path.display()))?;
    if entries.count() > 0 {
        bail!("{} is not empty", path.display());
    }
    Ok(())
}

/// Puts the database in its place, whole, as the last of the data.
async fn finish(records: &SqliteRepository, layout: &Layout) -> anyhow::Result<()> {
    records.copy_to(&layout.database()).await?;
    let unfinished = layout.unfinished();
    for ending in ["db-wal", "db-shm", "ballast", "db"] {
        remove_if_there(&unfinished.with_extension(ending))?;
    }
    File::open(&layout.0)?.sync_all()?;
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn copy_key(from: &Layout, to: &Layout) -> anyhow::Result<()> {
    let key = match fs::read(from.signing_key()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        key => key.context("cannot read the signing key")?,
    };
    write_private(&to.signing_key(), &key).context("cannot copy the signing key")
}

fn write_private(path: &PathBuf, content: &[u8]) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(())
}

fn write_manifest(target: &Path, clock: &Arc<dyn Clock>, copied: &Copied) -> anyhow::Result<()> {
    let manifest = json!({
        "format": FORMAT,
        "version": env!("CARGO_PKG_VERSION"),
        "create_time": humantime::format_rfc3339_seconds(clock.now().into()).to_string(),
        "files": copied.files,
        "bytes": copied.bytes,
        "damaged": copied.damaged.len(),
    });
    write_private(&target.join(MANIFEST), manifest.to_string().as_bytes())?;
    File::open(target)?.sync_all()?;
    Ok(())
}

/// Refuses what is not a whole backup.
fn read_manifest(source: &Path) -> anyhow::Result<()> {
    let path = source.join(MANIFEST);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{} is no backup, or one that was never finished", source.display())
        }
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let manifest: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    match manifest["format"].as_u64() {
        Some(FORMAT) => Ok(()),
        _ => bail!("{} is of a format that this version does not know", path.display()),
    }
}
