//! Blobs on a share of a file server that speaks SMB 3, such as Samba.
//!
//! ```text
//! DIR/blobs/00 … DIR/blobs/ff   committed blobs, by the first byte of their key
//! DIR/blobs/staging             blobs being written
//! DIR/blobs/owner               the id of the database that the blobs belong to
//! ```
//!
//! A commit flushes the staging file (SMB2 FLUSH, for which the server syncs it), renames it without replacing
//! anything, and flushes the directory that it is in now. What is acknowledged so outlives the server's loss of
//! power, as long as the server keeps its word: Samba with `strict sync = no`, or a disk that only says that it
//! has synced, voids the promise.
//!
//! A session is signed or encrypted, or it is not used. Names that a share might hold for the same do not occur:
//! all of them are lower-case.

mod error;
mod layout;
mod message;
mod negotiation;
mod pool;
mod publish;
mod reader;
mod request;
mod session;
mod writer;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use secrecy::SecretString;
use smb2::DirectoryEntry;
use tokio::{sync::Semaphore, time::sleep};
use uuid::Uuid;

use super::{
    Blob, BlobEntry, BlobWriter, ByteRange, Checkpoint, LIST_PAGE, Result, Storage, StorageError,
};
use crate::{
    blob::BlobKey,
    clock::{Clock, Timestamp},
};
use error::{SmbError, failure};
use layout::Layout;
use pool::Pool;
use session::Session;
use writer::SmbWriter;

/// How long a staging file that somebody still holds is waited for: a writer that was dropped lets go of it
/// soon after.
const HELD: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(75),
    Duration::from_millis(200),
    Duration::from_millis(500),
];

/// Which share, and as whom.
#[derive(Clone, Debug)]
pub struct SmbOptions {
    /// The server's name or address.
    pub host: String,
    /// Its port; 445 is SMB's.
    pub port: u16,
    /// The share.
    pub share: String,
    /// A directory of the share, with `/` between names; made where it is not there. Empty for the share itself.
    pub directory: String,
    /// Who signs in. There are no guests.
    pub username: String,
    /// The user's domain; empty for a user of the server's own.
    pub domain: String,
    /// The user's password.
    pub password: SecretString,
    /// Whether a session that is not encrypted is refused.
    pub encryption: SmbEncryption,
    /// Most connections to the server at once. Each carries many requests.
    pub connections_max: usize,
    /// How long connecting may take, and how long the server may keep silent.
    pub timeout: Duration,
}

/// What the way to the server must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmbEncryption {
    /// Encrypted: with a server that cannot, there is no session.
    Required,
    /// Encrypted where the server can, and signed where it cannot.
    WhenAvailable,
}

impl SmbOptions {
    fn address(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }

    fn check(&self) -> std::result::Result<(), SmbError> {
        if self.username.is_empty() || self.username.eq_ignore_ascii_case("guest") {
            return Err(SmbError::Settings("there are no guest sessions: a user must sign in"));
        }
        Ok(())
    }
}

/// Blobs below one directory of a share.
pub struct SmbStorage {
    share: Arc<Share>,
    clock: Arc<dyn Clock>,
    /// By how many microseconds the server's clock is ahead of ours.
    ahead_us: AtomicI64,
}

/// What readers and writers have in common.
struct Share {
    pool: Pool,
    layout: Layout,
    read_ahead: Arc<Semaphore>,
}

impl fmt::Debug for SmbStorage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SmbStorage")
            .field("options", self.share.pool.options())
            .finish_non_exhaustive()
    }
}

impl SmbStorage {
    /// Signs in, and makes the directories that are not there. The ages of blobs are told by `clock` and by how
    /// far the server's is ahead of it.
    pub async fn connect(options: SmbOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        options.check().map_err(failure("connect to the share"))?;
        let layout = Layout::below(&options.directory);
        let share = Share { pool: Pool::new(options), layout, read_ahead: reader::read_ahead() };
        let session = share.pool.session().await.map_err(failure("connect to the share"))?;
        let prepared = share.layout.prepare(&session).await;
        prepared.map_err(failure("prepare the blob directory"))?;
        let storage = Self { share: Arc::new(share), clock, ahead_us: AtomicI64::new(0) };
        storage.probe().await.map_err(failure("write to the share"))?;
        Ok(storage)
    }

    /// Writes an empty file that is gone at once, and compares the clocks by it.
    async fn probe(&self) -> std::result::Result<(), SmbError> {
        let probe = |session: Arc<Session>| {
            let path = self.share.layout.aside("probe");
            async move { session.probe(&path).await }
        };
        match self.share.pool.repeat(probe).await {
            Ok(time) => {
                if let Some(time) = time.to_system_time().map(Timestamp::from) {
                    let ahead_us = time.unix_us().saturating_sub(self.clock.now().unix_us());
                    self.ahead_us.store(ahead_us, Ordering::Relaxed);
                }
                Ok(())
            }
            // What frees space needs none, and the next upload says so itself.
            Err(error) if error.is_full() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// At most a page of what was listed.
    fn page(&self, listed: Vec<(BlobKey, DirectoryEntry)>) -> Vec<BlobEntry> {
        let ahead_us = self.ahead_us.load(Ordering::Relaxed);
        let now_us = self.clock.now().unix_us().saturating_add(ahead_us);
        let entry = |(key, entry): (BlobKey, DirectoryEntry)| {
            let modified = entry.modified.to_system_time().unwrap_or(SystemTime::UNIX_EPOCH);
            let age = Timestamp::from_unix_us(now_us).since(modified.into());
            BlobEntry { key, size_bytes: entry.size, age }
        };
        listed.into_iter().take(LIST_PAGE).map(entry).collect()
    }
}

#[async_trait]
impl Storage for SmbStorage {
    async fn create(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(SmbWriter::create(Arc::clone(&self.share), *key).await?))
    }

    async fn resume(&self, key: &BlobKey, at: &Checkpoint) -> Result<Box<dyn BlobWriter>> {
        let share = Arc::clone(&self.share);
        Ok(Box::new(SmbWriter::resume(share, *key, at.size_bytes).await?))
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob> {
        reader::open(&self.share, key, range).await
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        let path = self.share.layout.blob(key);
        let path = path.as_str();
        let size = |session: Arc<Session>| async move { session.size(path).await };
        match self.share.pool.repeat(size).await {
            Err(error) if error.is_missing() => Err(StorageError::Missing(*key)),
            size_bytes => size_bytes.map_err(failure("look at a blob")),
        }
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        let removed = async {
            self.share.remove_staging(key).await?;
            self.share.remove_blob(key).await
        };
        removed.await.map_err(failure("delete a blob"))
    }

    async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        let (layout, after) = (&self.share.layout, after.copied());
        let list =
            |session: Arc<Session>| async move { layout.list(&session, after, LIST_PAGE).await };
        let listed = self.share.pool.repeat(list).await.map_err(failure("list blobs"))?;
        Ok(self.page(listed))
    }

    async fn list_unfinished(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        let (layout, after) = (&self.share.layout, after.copied());
        let list =
            |session: Arc<Session>| async move { layout.list_staging(&session, after).await };
        let listed =
            self.share.pool.repeat(list).await.map_err(failure("list unfinished blobs"))?;
        Ok(self.page(listed))
    }

    async fn owner(&self) -> Result<Option<Uuid>> {
        let layout = &self.share.layout;
        let read = |session: Arc<Session>| async move { layout.read_owner(&session).await };
        self.share.pool.repeat(read).await.map_err(failure("read the owner's mark"))
    }

    async fn mark(&self, owner: Uuid) -> Result<Uuid> {
        if let Some(owner) = self.owner().await? {
            return Ok(owner);
        }
        let layout = &self.share.layout;
        let write =
            |session: Arc<Session>| async move { layout.write_owner(&session, owner).await };
        self.share.pool.repeat(write).await.map_err(failure("write the owner's mark"))?;
        Ok(self.owner().await?.unwrap_or(owner))
    }

    async fn check(&self) -> Result<()> {
        self.probe().await.map_err(failure("write to the share"))
    }
}

impl Share {
    /// Removes a staging file. One that somebody keeps open for longer goes when it is closed.
    async fn remove_staging(&self, key: &BlobKey) -> std::result::Result<(), SmbError> {
        let path = self.layout.staged(key);
        for pause in HELD {
            sleep(pause).await;
            match self.remove(&path, true).await {
                Err(error) if error.is_shared() => {}
                removed => return removed.map(drop),
            }
        }
        self.remove(&path, false).await.map(drop)
    }

    /// Removes a blob, durably. One that is being read is missing from now on, and goes with its last reader.
    async fn remove_blob(&self, key: &BlobKey) -> std::result::Result<(), SmbError> {
        if !self.remove(&self.layout.blob(key), false).await? {
            return Ok(());
        }
        let directory = self.layout.shard_of(key);
        let directory = directory.as_str();
        let sync = |session: Arc<Session>| async move {
            session.sync_directory(directory).await.map(drop)
        };
        self.pool.repeat(sync).await
    }

    /// Whether there was something to remove.
    async fn remove(&self, path: &str, alone: bool) -> std::result::Result<bool, SmbError> {
        let remove = |session: Arc<Session>| async move { session.remove(path, alone).await };
        match self.pool.repeat(remove).await {
            Err(error) if error.is_missing() => Ok(false),
            removed => removed.map(|()| true),
        }
    }
}
