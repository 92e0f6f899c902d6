//! Calls about what files belong to.

use super::{Client, Result};
use crate::proto::{
    AttachFilesRequest, DeleteReferenceRequest, DeleteReferenceResponse, DetachFilesRequest,
    DetachFilesResponse,
};

impl Client {
    /// Ties files to a reference, all of them or none. Tried again where that may help: what is tied already
    /// stays so.
    pub async fn attach(&self, request: AttachFilesRequest) -> Result<()> {
        let attached =
            self.ask(request, async |mut files, request| files.attach_files(request).await);
        attached.await.map(drop)
    }

    /// Unties files from a reference, all of them or none; tells how many were deleted because they lived
    /// only for it. Not tried again: a second call would tell another number.
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
