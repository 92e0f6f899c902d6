//! What files belong to: tying them to threads, runs and the like, and what goes when those go.

use super::{FileService, Result};
use crate::{
    file::{reference::Reference, user::UserId},
    metadata::Association,
};

/// Files untied at a time when a reference is gone: bounds how long it holds anything up.
const BATCH: usize = 500;

/// How many files a reference lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untied {
    /// Files that lost the reference.
    pub detached: usize,
    /// Those among them that lived only for it and went with it.
    pub deleted: usize,
}

impl FileService {
    /// Ties files to a reference, all or none.
    pub async fn attach(&self, association: Association) -> Result<()> {
        Ok(self.repository.attach(association).await?)
    }

    /// Unties files from a reference, all or none.
    pub async fn detach(&self, association: Association) -> Result<Untied> {
        let grace = self.policy.grace.clone();
        let detached = self.repository.detach(association, grace).await?;
        Ok(Untied { detached: detached.detached.len(), deleted: detached.deleted.len() })
    }

    /// Unties every file of `owner`, or of every user, from a reference that is gone. What fails on the way
    /// leaves the rest tied: a repeated call goes on from there.
    pub async fn delete_reference(
        &self,
        owner: Option<&UserId>,
        reference: &Reference,
    ) -> Result<Untied> {
        let mut untied = Untied::default();
        loop {
            let grace = self.policy.grace.clone();
            let batch = self.repository.delete_reference(owner, reference, grace, BATCH).await?;
            untied.detached += batch.detached.len();
            untied.deleted += batch.deleted.len();
            if batch.untied().next().is_none() {
                return Ok(untied);
            }
        }
    }
}
