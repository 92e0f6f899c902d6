//! The storage by itself, without a database.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    server::{
        data_dir::Layout,
        stores::{OpenFiles, storage},
    },
    storage::probe::{ProbeStep, probe},
};

/// Goes through what the storage is for with a blob of each of `sizes`, and tells of each step as it
/// succeeds. What was written is gone in the end.
pub async fn check_storage(
    config: &Config,
    sizes: &[usize],
    tell: &mut (dyn FnMut(usize, ProbeStep, Duration) + Send),
) -> anyhow::Result<()> {
    let layout = Layout(config.data_dir.clone());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let storage = storage(config, &layout, OpenFiles::Closed, &clock).await?;
    for size_bytes in sizes {
        let mut told = |step, took| tell(*size_bytes, step, took);
        probe(storage.as_ref(), *size_bytes, &mut told).await?;
    }
    Ok(())
}
