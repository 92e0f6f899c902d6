//! The uploads of this process that another call can go on with, so that it need not wait for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    file::{id::FileId, user::UserId},
    metadata::UploadTicket,
};

type Running = Arc<Mutex<HashMap<FileId, Holder>>>;

/// At most one holder of each upload: a newer one stops the older.
#[derive(Debug, Default)]
pub(in crate::service) struct RunningUploads(Running);

/// An owner and an upload_id.
pub(super) type UploadKey = (UserId, Uuid);

#[derive(Clone, Debug)]
struct Holder {
    key: UploadKey,
    fence: u64,
    /// The upload is somebody else's.
    stop: CancellationToken,
    /// Its caller is about to go on with it.
    pause: CancellationToken,
    /// Cancelled when the holder has let go of it.
    ended: CancellationToken,
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
    pub(super) fn enter(&self, key: UploadKey, ticket: &UploadTicket) -> Place {
        let [stop, pause, ended] = [(); 3].map(|()| CancellationToken::new());
        let holder = Holder { key, fence: ticket.fence, stop, pause, ended };
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

    /// Asks whoever is at this upload to leave it as it is, and waits for that.
    pub(super) async fn pause(&self, key: &UploadKey) {
        let holders: Vec<Holder> =
            lock(&self.0).values().filter(|holder| holder.key == *key).cloned().collect();
        for holder in holders {
            holder.pause.cancel();
            holder.ended.cancelled().await;
        }
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

    /// Returns when the upload is to be left as it is.
    pub(super) async fn paused(&self) {
        self.holder.pause.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.holder.ended.cancel();
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

    fn key() -> UploadKey {
        (UserId::parse("u").expect("a user"), Uuid::from_u128(1))
    }

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
            let mut places = fences.map(|fence| running.enter(key(), &ticket(fence)));
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
        drop(running.enter(key(), &ticket(1)));
        assert!(lock(&running.0).is_empty());
    }
    #[tokio::test]
    async fn a_pause_lasts_until_the_holder_has_let_go() {
        let running = RunningUploads::default();
        let held = key();
        running.pause(&held).await;
        let place = running.enter(key(), &ticket(1));
        let leaves = async {
            place.paused().await;
            drop(place);
        };
        tokio::join!(running.pause(&held), leaves);
        assert!(lock(&running.0).is_empty());
    }
}
