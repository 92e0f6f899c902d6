//! Where things are on the share: paths, the directories that are made ahead, listings, the owner's mark.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use smb2::DirectoryEntry;
use uuid::Uuid;

use super::{
    error::SmbError,
    request::{Handle, Open},
    session::Session,
};
use crate::blob::BlobKey;

/// How many directories are made or listed at once.
const AT_ONCE: usize = 16;

/// The paths of one storage.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Every directory from the share down to the one of the blobs, which is the last.
    above: Vec<String>,
    root: String,
}

impl Layout {
    /// Below `directory`, a path of the share that may be empty.
    pub(super) fn below(directory: &str) -> Self {
        let names = directory.split('/').filter(|name| !name.is_empty()).chain(["blobs"]);
        let above: Vec<String> = names
            .scan(String::new(), |path, name| {
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(name);
                Some(path.clone())
            })
            .collect();
        Self { root: above.last().cloned().unwrap_or_default(), above }
    }

    pub(super) fn staging(&self) -> String {
        format!("{}/staging", self.root)
    }

    pub(super) fn staged(&self, key: &BlobKey) -> String {
        format!("{}/staging/{key}", self.root)
    }

    /// A name in the staging directory that no blob has.
    pub(super) fn aside(&self, purpose: &str) -> String {
        format!("{}/staging/{purpose}.{}", self.root, Uuid::new_v4())
    }

    pub(super) fn shard(&self, shard: u8) -> String {
        format!("{}/{shard:02x}", self.root)
    }

    pub(super) fn shard_of(&self, key: &BlobKey) -> String {
        self.shard(first_byte(key))
    }

    pub(super) fn blob(&self, key: &BlobKey) -> String {
        format!("{}/{key}", self.shard_of(key))
    }

    fn owner(&self) -> String {
        format!("{}/owner", self.root)
    }

    /// Makes what is missing of the directories, durably.
    pub(super) async fn prepare(&self, session: &Arc<Session>) -> Result<(), SmbError> {
        for path in &self.above {
            session.make_directory(path).await?;
        }
        let there = session.list(&self.root).await?;
        let there: HashSet<&str> = there.iter().map(|entry| entry.name.as_str()).collect();
        let names = (0..=u8::MAX).map(|shard| format!("{shard:02x}"));
        let missing = names.chain(["staging".to_owned()]).filter(|name| !there.contains(&**name));
        let made = missing.map(|name| {
            let (session, path) = (Arc::clone(session), format!("{}/{name}", self.root));
            async move { session.make_directory(&path).await }
        });
        stream::iter(made).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        // The top of the share may not be ours to sync; what was made in it is older than any blob.
        for path in &self.above {
            session.sync_directory(path).await?;
        }
        Ok(())
    }

    /// Committed blobs after `after`, in order, at least `most` of them where there are as many.
    pub(super) async fn list(
        &self,
        session: &Arc<Session>,
        after: Option<BlobKey>,
        most: usize,
    ) -> Result<Vec<(BlobKey, DirectoryEntry)>, SmbError> {
        let first = after.as_ref().map_or(0, first_byte);
        let shards = (first..=u8::MAX).map(|shard| {
            let (session, path) = (Arc::clone(session), self.shard(shard));
            async move { list_directory(&session, &path, after).await }
        });
        let mut listings = stream::iter(shards).buffered(AT_ONCE);
        let mut page = Vec::new();
        while page.len() < most
            && let Some(shard) = listings.try_next().await?
        {
            page.extend(shard);
        }
        Ok(page)
    }

    /// What lies in the staging directory, in the same way.
    pub(super) async fn list_staging(
        &self,
        session: &Arc<Session>,
        after: Option<BlobKey>,
    ) -> Result<Vec<(BlobKey, DirectoryEntry)>, SmbError> {
        list_directory(session, &self.staging(), after).await
    }

    /// The mark that says whose the directory is.
    pub(super) async fn read_owner(
        &self,
        session: &Arc<Session>,
    ) -> Result<Option<Uuid>, SmbError> {
        let path = self.owner();
        let size_bytes = match session.size(&path).await {
            Err(error) if error.is_missing() => return Ok(None),
            size_bytes => size_bytes?.min(64) as usize,
        };
        let (_, text) = session.read(&path, 0, size_bytes).await?;
        let text = text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
        let owner = Uuid::try_parse(text.trim());
        owner.map(Some).map_err(|_| SmbError::Settings("the owner's mark holds no id"))
    }

    /// Puts the mark there unless there is one. It appears whole, and the first one stays.
    pub(super) async fn write_owner(
        &self,
        session: &Arc<Session>,
        owner: Uuid,
    ) -> Result<(), SmbError> {
        let handle = Handle::open(Arc::clone(session), &self.aside("owner"), Open::New).await?;
        handle.write(0, owner.to_string().into_bytes()).await?;
        handle.flush().await?;
        match handle.rename(&self.owner()).await {
            Err(error) if error.is_taken() => handle.remove().await?,
            renamed => renamed?,
        }
        handle.close().await?;
        session.sync_directory(&self.root).await.map(drop)
    }
}

async fn list_directory(
    session: &Arc<Session>,
    path: &str,
    after: Option<BlobKey>,
) -> Result<Vec<(BlobKey, DirectoryEntry)>, SmbError> {
    let entries = session.list(path).await?.into_iter();
    // Whatever is not named like a blob is none of ours.
    let blobs = entries.filter(|entry| !entry.is_directory);
    let blobs = blobs.filter_map(|entry| Some((BlobKey::parse(&entry.name)?, entry)));
    let mut blobs: Vec<_> =
        blobs.filter(|(key, _)| after.is_none_or(|after| *key > after)).collect();
    blobs.sort_unstable_by_key(|(key, _)| *key);
    Ok(blobs)
}

/// A blob's shard is the first byte of its key.
fn first_byte(key: &BlobKey) -> u8 {
    let [first, ..] = *key.as_bytes();
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_above_the_blobs_is_known() {
        assert_eq!(Layout::below("").above, ["blobs"]);
        assert_eq!(Layout::below("/a//b/").above, ["a", "a/b", "a/b/blobs"]);
    }

    #[test]
    fn paths_of_two_blobs_differ_where_case_does_not_count() -> Result<(), getrandom::Error> {
        let layout = Layout::below("Files");
        for _ in 0..100 {
            let key = BlobKey::random()?;
            let path = layout.blob(&key);
            let below = path.strip_prefix("Files/blobs/").unwrap_or_default();
            assert_eq!(below.len(), 2 + 1 + 32);
            assert_eq!(below, below.to_lowercase());
            assert_eq!(below.get(..2), below.get(3..5));
        }
        Ok(())
    }
}
