//! Links: making them, ending them, and telling what a true one gives out.

use std::{sync::Arc, time::Duration};

use super::{FileService, Result, ServiceError, download::refuse_damaged};
use crate::{
    clock::Timestamp,
    error::FieldError,
    file::{File, id::FileId, name::FileName, user::UserId},
    metadata::{FileRecord, FileUpdate},
    signing::{
        self, TTL_MAX,
        link::{Disposition, Grant, SignedQuery},
        markdown,
    },
};

/// Shortest life of a link.
const TTL_MIN: Duration = Duration::from_secs(1);

/// What a link is to allow.
#[derive(Clone, Debug)]
pub struct LinkSpec {
    /// The file.
    pub file_id: FileId,
    /// On whose behalf; see [`FileService::get`].
    pub owner: Option<UserId>,
    /// Its life; `None`: the deployment's default.
    pub ttl: Option<Duration>,
    /// How the content is to be treated.
    pub disposition: Option<Disposition>,
    /// The name offered to the browser; `None`: the file's own.
    pub filename: Option<FileName>,
    /// The text of the Markdown link; `None`: the name offered.
    pub label: Option<String>,
}

/// A link that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The URL.
    pub url: String,
    /// The same as Markdown.
    pub markdown: String,
    /// When it ends.
    pub expire_time: Timestamp,
}

impl FileService {
    /// Makes a link to a visible file.
    pub async fn create_link(&self, spec: LinkSpec) -> Result<Link> {
        let ttl = spec.ttl.unwrap_or(self.policy.link_ttl_default);
        if ttl < TTL_MIN || ttl > TTL_MAX {
            return Err(FieldError::new("ttl", "must be from 1 s to 7 days").into());
        }
        let record = self.get(&spec.file_id, spec.owner.as_ref()).await?;
        refuse_damaged(&record)?;
        let grant = Grant {
            file_id: spec.file_id,
            expires_unix_s: signing::expiry(self.clock.now(), ttl),
            disposition: spec.disposition,
            filename: spec.filename,
        };
        let url = self.signer.sign(&grant, record.file.link_epoch);
        let name = grant.filename.as_ref().unwrap_or(&record.file.name);
        let label = spec.label.as_deref().unwrap_or(name.as_str());
        Ok(Link {
            markdown: markdown::link(label, &url),
            url,
            expire_time: Timestamp::from_unix_s(grant.expires_unix_s),
        })
    }

    /// Ends every link made for the file so far.
    pub async fn revoke_links(
        &self,
        file_id: &FileId,
        owner: Option<&UserId>,
    ) -> Result<FileRecord> {
        self.get(file_id, owner).await?;
        let revoked = self.repository.update(file_id, FileUpdate::ending_links()).await?;
        revoked.ok_or(ServiceError::FileNotFound)
    }

    /// The file that a link gives out now. Whether the file exists shows only to who holds a signature of
    /// ours.
    pub async fn follow_link(&self, query: &SignedQuery) -> Result<Arc<FileRecord>> {
        let now = self.clock.now();
        let found = self.repository.find(&query.grant().file_id).await?;
        let epoch = found.as_ref().map_or(0, |record| record.file.link_epoch);
        self.signer.verify(query, epoch, now)?;
        let visible = found.filter(|record| record.is_visible(now));
        let record = visible.ok_or(ServiceError::FileNotFound)?;
        refuse_damaged(&record)?;
        Ok(record)
    }

    /// How long a link's content may be kept by the browser that fetched it: at most `most`, and never past
    /// the link's end or the file's.
    pub fn fresh_for(&self, grant: &Grant, file: &File, most: Duration) -> Duration {
        let link_ends = Timestamp::from_unix_s(grant.expires_unix_s);
        let ends = file.expire_time.map_or(link_ends, |expires| expires.min(link_ends));
        most.min(ends.since(self.clock.now()))
    }
}
