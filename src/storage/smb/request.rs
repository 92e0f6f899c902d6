//! What is asked of the server: opening, reading, writing, flushing, renaming, removing. Knows paths, no keys.

use std::sync::Arc;

use smb2::{
    DirectoryEntry, Frame,
    client::connection::CompoundOp,
    msg::{
        close::CloseRequest,
        create::{CreateDisposition, CreateRequest, CreateResponse},
        flush::FlushRequest,
        read::ReadResponse,
        write::{WriteRequest, WriteResponse},
    },
    pack::{FileTime, Pack, ReadCursor, Unpack},
    types::{Command, FileId, flags::FileAccessMask, status::NtStatus},
};

use super::{
    error::SmbError,
    message::{
        DELETE_ON_CLOSE, DIRECTORY, NO_DIRECTORY, SHARE_ALL, SHARE_DELETE, charge, create_request,
        read_request, remove_request, rename_request, truncate_request,
    },
    session::Session,
};

type Result<T> = std::result::Result<T, SmbError>;

/// How a file is opened.
#[derive(Clone, Copy)]
pub(super) enum Open {
    /// To be written from the start, renamed and removed; it must not be there yet.
    New,
    /// The same, where it may be there from an attempt whose answer was lost.
    Again,
    /// To be written on, renamed and removed, unless somebody else still writes to it.
    Resume,
    /// To be read.
    Read,
    /// To be made durable.
    Flush,
}

/// An open file. Dropped, it is closed soon after.
pub(super) struct Handle {
    session: Arc<Session>,
    id: FileId,
    /// The size of the file when it was opened.
    pub(super) size_bytes: u64,
    is_open: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.is_open && self.session.is_alive() {
            let (session, id) = (Arc::clone(&self.session), self.id);
            self.session.runtime.spawn(async move {
                // The session's end closes what this cannot.
                let _ = session.close(id).await;
            });
        }
    }
}

impl Handle {
    /// Opens the file at `path`.
    pub(super) async fn open(session: Arc<Session>, path: &str, how: Open) -> Result<Self> {
        let asked = how.request(path);
        let opened: CreateResponse = session.ask(Command::Create, &asked, 0).await?;
        Ok(Self { id: opened.file_id, size_bytes: opened.end_of_file, is_open: true, session })
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Exactly `len` bytes from `offset` on.
    pub(super) async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let asked = read_request(self.id, offset, len);
        let read: ReadResponse = self.session.ask(Command::Read, &asked, len).await?;
        if read.data.len() != len {
            return Err(SmbError::ShortRead);
        }
        Ok(read.data)
    }

    pub(super) async fn write(&self, offset: u64, data: Vec<u8>) -> Result<()> {
        let sent = data.len();
        let asked = WriteRequest {
            data_offset: 0x70,
            offset,
            file_id: self.id,
            channel: 0,
            remaining_bytes: 0,
            write_channel_info_offset: 0,
            write_channel_info_length: 0,
            flags: 0,
            data,
        };
        let written: WriteResponse = self.session.ask(Command::Write, &asked, sent).await?;
        if written.count as usize != sent {
            return Err(SmbError::ShortWrite { written: written.count, sent });
        }
        Ok(())
    }

    /// Makes the content durable.
    pub(super) async fn flush(&self) -> Result<()> {
        self.session.flush(self.id).await
    }

    /// Drops what is beyond `size_bytes`.
    pub(super) async fn truncate(&self, size_bytes: u64) -> Result<()> {
        let request = truncate_request(self.id, size_bytes);
        self.session.send(Command::SetInfo, &request, 0).await.map(drop)
    }

    /// Gives the file another name, which must be free.
    pub(super) async fn rename(&self, path: &str) -> Result<()> {
        self.session.send(Command::SetInfo, &rename_request(self.id, path), 0).await.map(drop)
    }

    /// Removes the file once it is closed.
    pub(super) async fn remove(&self) -> Result<()> {
        self.session.send(Command::SetInfo, &remove_request(self.id), 0).await.map(drop)
    }

    pub(super) async fn close(mut self) -> Result<()> {
        self.is_open = false;
        self.session.close(self.id).await
    }
}

impl Open {
    fn request(self, path: &str) -> CreateRequest {
        const WRITE: u32 = FileAccessMask::FILE_WRITE_DATA;
        const DELETE: u32 = FileAccessMask::DELETE;
        // A file that is being written can be read by nobody but removed by everybody: the handle of a
        // session that died must not hold it.
        let (access, share, disposition) = match self {
            Self::New => (WRITE | DELETE, SHARE_DELETE, CreateDisposition::FileCreate),
            Self::Again => (WRITE | DELETE, SHARE_DELETE, CreateDisposition::FileOpenIf),
            Self::Resume => (WRITE | DELETE, SHARE_DELETE, CreateDisposition::FileOpen),
            Self::Flush => (WRITE, SHARE_ALL, CreateDisposition::FileOpen),
            Self::Read => (FileAccessMask::FILE_READ_DATA, SHARE_ALL, CreateDisposition::FileOpen),
        };
        let access = access | FileAccessMask::FILE_READ_ATTRIBUTES;
        create_request(path, access, share, disposition, NO_DIRECTORY)
    }
}

impl Session {
    /// The size of the file at `path`.
    pub(super) async fn size(self: &Arc<Self>, path: &str) -> Result<u64> {
        let access = FileAccessMask::FILE_READ_ATTRIBUTES;
        let create =
            create_request(path, access, SHARE_ALL, CreateDisposition::FileOpen, NO_DIRECTORY);
        Ok(self.open_and_close(&create, None).await?.0.end_of_file)
    }

    /// The size of the file at `path` and, where they lie within it, exactly `len` bytes from `offset` on.
    pub(super) async fn read(
        self: &Arc<Self>,
        path: &str,
        offset: u64,
        len: usize,
    ) -> Result<(u64, Option<Vec<u8>>)> {
        let create = Open::Read.request(path);
        let read = read_request(FileId::SENTINEL, offset, len);
        let (opened, read) =
            self.open_and_close(&create, Some((Command::Read, &read, len))).await?;
        let size_bytes = opened.end_of_file;
        if offset.saturating_add(len as u64) > size_bytes {
            return Ok((size_bytes, None));
        }
        let read = read.ok_or(SmbError::ShortRead)?;
        let read: ReadResponse = unpack(&checked(read)?)?;
        if read.data.len() != len {
            return Err(SmbError::ShortRead);
        }
        Ok((size_bytes, Some(read.data)))
    }

    /// Removes the file at `path`: at once, or with the last who has it open. Where it is to be `alone`, it is
    /// refused while somebody has.
    pub(super) async fn remove(self: &Arc<Self>, path: &str, alone: bool) -> Result<()> {
        let share = if alone { SHARE_DELETE } else { SHARE_ALL };
        let access = FileAccessMask::DELETE | FileAccessMask::FILE_READ_ATTRIBUTES;
        // Nobody may hold it: write access is asked for as well, which a writer does not share.
        let access = if alone { access | FileAccessMask::FILE_WRITE_DATA } else { access };
        let create = create_request(path, access, share, CreateDisposition::FileOpen, NO_DIRECTORY);
        let remove = remove_request(FileId::SENTINEL);
        let (_, removed) =
            self.open_and_close(&create, Some((Command::SetInfo, &remove, 0))).await?;
        match removed {
            Some(frame) => checked(frame).map(drop),
            None => Ok(()),
        }
    }

    /// Makes a directory; one that is there is left as it is.
    pub(super) async fn make_directory(self: &Arc<Self>, path: &str) -> Result<()> {
        let access = FileAccessMask::FILE_READ_ATTRIBUTES;
        let create =
            create_request(path, access, SHARE_ALL, CreateDisposition::FileOpenIf, DIRECTORY);
        self.open_and_close(&create, None).await.map(drop)
    }

    /// Makes an empty file at `path` that is gone at once; answers the server's time.
    pub(super) async fn probe(self: &Arc<Self>, path: &str) -> Result<FileTime> {
        let access = FileAccessMask::DELETE | FileAccessMask::FILE_WRITE_DATA;
        let options = NO_DIRECTORY | DELETE_ON_CLOSE;
        let create =
            create_request(path, access, SHARE_ALL, CreateDisposition::FileCreate, options);
        Ok(self.open_and_close(&create, None).await?.0.last_write_time)
    }

    /// What is in a directory.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<DirectoryEntry>> {
        let mut connection = self.connection.clone();
        let listed = self.tree.list_directory(&mut connection, path).await;
        listed.map_err(|error| self.lost(error))
    }

    /// Makes the entries of a directory durable. False where the server does not do that for directories.
    pub(super) async fn sync_directory(self: &Arc<Self>, path: &str) -> Result<bool> {
        let synced = async {
            let kept = match self.kept_directory(path) {
                Some(kept) => kept,
                None => self.open_directory(path).await?,
            };
            self.flush(kept).await
        };
        match synced.await {
            Ok(()) => Ok(true),
            Err(error) if error.is_unsupported() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn open_directory(self: &Arc<Self>, path: &str) -> Result<FileId> {
        // In a directory this is the right to add files, without which it cannot be flushed.
        let access = FileAccessMask::FILE_WRITE_DATA | FileAccessMask::FILE_READ_ATTRIBUTES;
        let create =
            create_request(path, access, SHARE_ALL, CreateDisposition::FileOpen, DIRECTORY);
        let opened: CreateResponse = self.ask(Command::Create, &create, 0).await?;
        let (kept, extra) = self.keep_directory(path, opened.file_id);
        if let Some(extra) = extra {
            // The session's end closes what this cannot.
            let _ = self.close(extra).await;
        }
        Ok(kept)
    }

    async fn flush(&self, file_id: FileId) -> Result<()> {
        self.send(Command::Flush, &FlushRequest { file_id }, 0).await.map(drop)
    }

    async fn close(&self, file_id: FileId) -> Result<()> {
        self.send(Command::Close, &CloseRequest { flags: 0, file_id }, 0).await.map(drop)
    }

    /// One request; `bytes` are what goes or comes beside it.
    async fn send(&self, command: Command, body: &dyn Pack, bytes: usize) -> Result<Frame> {
        let sent = self.connection.execute_with_credits(
            command,
            body,
            Some(self.tree_id()),
            charge(bytes),
        );
        let frame = sent.await.map_err(|error| self.lost(error))?;
        checked(frame).inspect_err(|error| self.end_if_lost(error))
    }

    async fn ask<T: Unpack>(&self, command: Command, body: &dyn Pack, bytes: usize) -> Result<T> {
        unpack(&self.send(command, body, bytes).await?)
    }

    /// Opens a file, asks something of it, and closes it, in one go.
    async fn open_and_close(
        self: &Arc<Self>,
        create: &CreateRequest,
        ask: Option<(Command, &dyn Pack, usize)>,
    ) -> Result<(CreateResponse, Option<Frame>)> {
        let close = CloseRequest { flags: 0, file_id: FileId::SENTINEL };
        let tree_id = Some(self.tree_id());
        let mut parts = vec![CompoundOp::new(Command::Create, create, tree_id)];
        if let Some((command, body, bytes)) = ask {
            parts.push(CompoundOp { command, body, tree_id, credit_charge: charge(bytes) });
        }
        parts.push(CompoundOp::new(Command::Close, &close, tree_id));
        let answers = self.connection.execute_compound(&parts).await;
        let mut answers = answers.map_err(|error| self.lost(error))?.into_iter();
        let mut next = || match answers.next() {
            Some(answer) => answer.map_err(|error| self.lost(error)),
            None => Err(SmbError::Request(smb2::Error::invalid_data("an answer is missing"))),
        };
        let created = checked(next()?).inspect_err(|error| self.end_if_lost(error))?;
        let created: CreateResponse = unpack(&created)?;
        let answer = ask.is_some().then(&mut next).transpose()?;
        if checked(next()?).is_err() {
            // What failed before it may have taken the closing with it.
            self.close(created.file_id).await?;
        }
        Ok((created, answer))
    }

    fn lost(&self, error: smb2::Error) -> SmbError {
        let error = SmbError::Request(error);
        self.end_if_lost(&error);
        error
    }
}

fn checked(frame: Frame) -> Result<Frame> {
    let (status, command) = (frame.header.status, frame.header.command);
    if status == NtStatus::SUCCESS {
        return Ok(frame);
    }
    Err(smb2::Error::Protocol { status, command }.into())
}

fn unpack<T: Unpack>(frame: &Frame) -> Result<T> {
    Ok(T::unpack(&mut ReadCursor::new(&frame.body))?)
}
