//! Calls about files' metadata: looking, listing, changing, deleting and bringing back.

use futures_util::{Stream, StreamExt, stream};

use super::{Client, ClientError, FileChange, Result};
use crate::proto::{
    DeleteFileRequest, File, GetFileRequest, ListFilesRequest, UndeleteFileRequest,
};

/// Files a page, where the request names no number.
const PAGE_SIZE: i32 = 200;

impl Client {
    /// A file's metadata.
    pub async fn get(&self, request: GetFileRequest) -> Result<File> {
        let answer = self.ask(request, async |mut files, request| files.get_file(request).await);
        answer.await?.file.ok_or(ClientError::Incomplete("the file"))
    }

    /// All files that `request` asks for, newest first, from its page on; further pages are fetched as they
    /// are needed.
    pub fn list(&self, mut request: ListFilesRequest) -> impl Stream<Item = Result<File>> + Unpin {
        if request.page_size == 0 {
            request.page_size = PAGE_SIZE;
        }
        let pages = stream::unfold((self.clone(), Some(request)), async |(client, next)| {
            let mut request = next?;
            let page = client
                .ask(request.clone(), async |mut files, request| files.list_files(request).await)
                .await;
            match page {
                Err(error) => Some((vec![Err(error)], (client, None))),
                Ok(page) => {
                    request.page_token = page.next_page_token;
                    let next = (!request.page_token.is_empty()).then_some(request);
                    Some((page.files.into_iter().map(Ok).collect(), (client, next)))
                }
            }
        });
        Box::pin(pages.flat_map(stream::iter))
    }

    /// Changes what `change` sets, all of it or nothing; returns the file as it is then.
    pub async fn update(&self, file_id: &str, user_id: &str, change: FileChange) -> Result<File> {
        let request = change.into_request(file_id, user_id);
        let answer = self.files.clone().update_file(self.request(request)?).await?.into_inner();
        answer.file.ok_or(ClientError::Incomplete("the file"))
    }

    /// Deletes a file; `None` where there was none and that is allowed.
    pub async fn delete(&self, request: DeleteFileRequest) -> Result<Option<File>> {
        Ok(self.files.clone().delete_file(self.request(request)?).await?.into_inner().file)
    }

    /// Brings a soft-deleted file back.
    pub async fn undelete(&self, file_id: &str, user_id: &str) -> Result<File> {
        let request =
            UndeleteFileRequest { file_id: file_id.to_owned(), user_id: user_id.to_owned() };
        let answer = self.files.clone().undelete_file(self.request(request)?).await?.into_inner();
        answer.file.ok_or(ClientError::Incomplete("the file"))
    }
}
