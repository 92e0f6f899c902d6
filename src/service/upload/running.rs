//! The uploads of this process that another call can go on with, so that it need not wait for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::{file::id::FileId, metadata::UploadTicket};

type Running = Arc<Mutex<HashMap<FileId, Holder>>>;

/// At most one holder of each upload: a newer one stops the older.
#[derive(Debug, Default)]
pub(in crate::service) struct RunningUploads(Running);

#[derive(Clone, Debug)]
struct Holder {
    fence: u64,
    stop: CancellationToken,
}

/// A place among them; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    running: Running,
    file_id: FileId,
    holder: Holder,
}

impl RunningUploads {
    /// Takes the place of this upload; whoever had an older ticket is told to stop.
    pub(super) fn enter(&self, ticket: &UploadTicket) -> Place {
        let holder = Holder { fence: ticket.fence, stop: CancellationToken::new() };
        let mut running = lock(&self.0);
        match running.get(&ticket.file_id) {
            Some(newer) if newer.fence > ticket.fence => holder.stop.cancel(),
            _ => {
                if let Some(older) = running.insert(ticket.file_id, holder.clone()) {
                    older.stop.cancel();
                }
            }
        }
        Place { running: Arc::clone(&self.0), file_id: ticket.file_id, holder }
    }

    /// Tells whoever is at this upload to stop.
    pub(super) fn stop(&self, file_id: &FileId) {
        if let Some(holder) = lock(&self.0).remove(file_id) {
            holder.stop.cancel();
        }
    }
}

impl Place {
    /// Returns when the upload is somebody else's.
    pub(super) async fn taken(&self) {
        self.holder.stop.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        if running.get(&self.file_id).is_some_and(|holder| holder.fence == self.holder.fence) {
            running.remove(&self.file_id);
        }
    }
}

fn lock(running: &Running) -> MutexGuard<'_, HashMap<FileId, Holder>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobKey;

    fn ticket(fence: u64) -> UploadTicket {
        UploadTicket {
            file_id: FileId::parse("file_rxW1Vo7BgEKDqB8Lx7mN2f").expect("an id"),
            blob_key: BlobKey::from_bytes([1; 16]),
            fence,
            reserved_bytes: 0,
        }
    }

    #[tokio::test]
    async fn a_newer_ticket_stops_the_older_whichever_comes_first() {
        for fences in [[1, 2], [2, 1]] {
            let running = RunningUploads::default();
            let mut places = fences.map(|fence| running.enter(&ticket(fence)));
            places.sort_by_key(|place| place.holder.fence);
            let [older, newer] = places;
            older.taken().await;
            assert!(!newer.holder.stop.is_cancelled());
            drop(older);
            running.stop(&newer.file_id);
            newer.taken().await;
            drop(newer);
            assert!(lock(&running.0).is_empty());
        }
    }

    #[test]
    fn a_place_is_free_once_its_upload_has_ended() {
        let running = RunningUploads::default();
        drop(running.enter(&ticket(1)));
        assert!(lock(&running.0).is_empty());
    }
}
