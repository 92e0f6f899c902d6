//! What is known of an upload, and giving one up.

use uuid::Uuid;

use crate::{
    file::user::UserId,
    metadata::UploadStatus,
    service::{FileService, Result, ServiceError},
};

impl FileService {
    /// How far an owner's upload has come.
    pub async fn find_upload(&self, user_id: &UserId, upload_id: &Uuid) -> Result<UploadStatus> {
        let found = self.repository.find_upload(user_id, upload_id).await?;
        found.ok_or(ServiceError::UploadNotFound)
    }

    /// The same for a caller that is about to go on with it: an attempt that is still at it in this process is
    /// ended first, so that all it has received counts.
    pub async fn pause_upload(&self, user_id: &UserId, upload_id: &Uuid) -> Result<UploadStatus> {
        self.running.pause(&(user_id.clone(), *upload_id)).await;
        self.find_upload(user_id, upload_id).await
    }

    /// Gives an owner's unfinished upload up, whoever is at it, and removes what was stored of it.
    pub async fn cancel_upload(&self, user_id: &UserId, upload_id: &Uuid) -> Result<()> {
        let cancelled = self.repository.cancel(user_id, upload_id).await?;
        let orphan = cancelled.ok_or(ServiceError::UploadNotFound)?;
        self.running.stop(&orphan.file_id);
        self.discard(&orphan).await;
        Ok(())
    }
}
