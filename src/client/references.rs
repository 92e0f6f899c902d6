//! Calls about what files belong to.

use super::{Client, Result};
use crate::proto::{
    AttachFilesRequest, DeleteReferenceRequest, DeleteReferenceResponse, DetachFilesRequest,
    DetachFilesResponse,
};

impl Client {
    /// Ties files to a reference, all of them or none.
    pub async fn attach(&self, request: AttachFilesRequest) -> Result<()> {
        self.files.clone().attach_files(self.request(request)?).await?;
        Ok(())
    }

    /// Unties files from a reference, all of them or none; tells how many were deleted because they lived
    /// only for it.
    pub async fn detach(&self, request: DetachFilesRequest) -> Result<DetachFilesResponse> {
        Ok(self.files.clone().detach_files(self.request(request)?).await?.into_inner())
    }

    /// Unties every file from a reference that is gone; tells how many there were, and how many of them were
    /// deleted because they lived only for it.
    pub async fn delete_reference(
        &self,
        request: DeleteReferenceRequest,
    ) -> Result<DeleteReferenceResponse> {
        Ok(self.files.clone().delete_reference(self.request(request)?).await?.into_inner())
    }
}
