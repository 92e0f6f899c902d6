//! Moving to another storage: its content is copied while servers run on the one there is.

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};

use super::Upkeeper;
use crate::{
    backup::{KnownBlobs, Moved, copy_missing, present_blobs},
    config::Config,
    server::{
        data_dir::Layout,
        stores::{OpenFiles, storage_at},
    },
    storage::{
        Storage,
        owned::OwnedStorage,
        probe::{is_same_place, probe},
    },
};

/// The blob that the new storage is tried with.
const PROBE_BYTES: usize = 1024;

impl Upkeeper {
    /// Copies the content of every file to the storage at `url`, unless it is whole there already, until a pass
    /// over all files finds nothing to copy: what is uploaded meanwhile is copied, too. Each blob is read back
    /// and checked against its hash; with `trust_sizes` those that are there in the right size are not. `told`
    /// hears of the bytes of each file in the first pass.
    pub async fn migrate_storage(
        &self,
        config: &Config,
        (url, trust_sizes): (&str, bool),
        told: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<Moved> {
        // The URL itself may hold what must not be shown.
        let place = config.storage.place_at(url).map_err(|problem| anyhow!("--to {problem}"))?;
        let layout = Layout(config.data_dir.clone());
        let clock = Arc::clone(&self.stores.clock);
        let bare = storage_at(&place, (config, &layout), OpenFiles::Closed, &clock).await?;
        let repository = &self.stores.repository;
        let to = OwnedStorage::new(Arc::clone(&bare), repository.identity().await?);
        to.check_owner().await.context("the new storage is another database's")?;
        probe(bare.as_ref(), PROBE_BYTES, &mut |_, _| {}).await?;
        let from = self.stores.storage();
        if is_same_place(bare.as_ref(), from.as_ref()).await? {
            bail!("--to names the storage that is in use: is storage.url set already?");
        }
        let mut known = match trust_sizes {
            true => present_blobs(bare.as_ref()).await?,
            false => KnownBlobs::new(),
        };
        let stores = (from.as_ref(), &to as &dyn Storage);
        let records = repository.as_ref();
        let mut total = copy_missing(records, stores, clock.now(), &mut known, told).await?;
        loop {
            let more = copy_missing(records, stores, clock.now(), &mut known, &|_| {}).await?;
            total.copied.files += more.copied.files;
            total.copied.bytes += more.copied.bytes;
            total.copied.damaged = more.copied.damaged;
            if more.copied.files == 0 {
                return Ok(total);
            }
        }
    }
}
