//! What is uploaded: bytes that are read and hashed once, and read again from where an upload goes on.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// Bytes in a message: the size from which on larger ones gain nothing.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where the bytes come from.
pub struct Content {
    source: Source,
    /// Where the next byte is read.
    position: u64,
    /// The hash of the first `hashed` bytes.
    sha256: Sha256,
    hashed: u64,
}

enum Source {
    Seekable(Box<dyn ReadSeek>),
    Stream(Box<dyn Read + Send>),
}

trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

impl Content {
    /// A file's bytes, and their number where it is known before they are read.
    pub fn open(path: &Path) -> io::Result<(Self, Option<u64>)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() {
            return Ok((Self::seekable(file), Some(metadata.len())));
        }
        Ok((Self::stream(file), None))
    }

    /// Everything that `reader` has from its beginning on; an upload that breaks off reads it again.
    pub fn seekable(reader: impl Read + Seek + Send + 'static) -> Self {
        Self::of(Source::Seekable(Box::new(reader)))
    }

    /// Everything that `reader` gives until its end. What has been read is gone: an upload that breaks off goes on
    /// only where the server has all of it.
    pub fn stream(reader: impl Read + Send + 'static) -> Self {
        Self::of(Source::Stream(Box::new(reader)))
    }

    fn of(source: Source) -> Self {
        Self { source, position: 0, sha256: Sha256::new(), hashed: 0 }
    }

    /// Goes to `offset`, where that can be; bytes on the way that were not hashed yet are.
    pub(super) fn seek(&mut self, offset: u64) -> io::Result<bool> {
        let known = offset.min(self.hashed);
        if self.position != known {
            match &mut self.source {
                Source::Seekable(reader) => {
                    reader.seek(SeekFrom::Start(known))?;
                    self.position = known;
                }
                Source::Stream(_) if self.position > offset => return Ok(false),
                Source::Stream(_) => {}
            }
        }
        while self.position < offset {
            let left = usize::try_from(offset - self.position).unwrap_or(CHUNK_BYTES);
            if self.read(left.min(CHUNK_BYTES))?.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(true)
    }

    /// The next chunk, full unless it is the last; empty at the end.
    pub(super) fn next(&mut self) -> io::Result<Bytes> {
        self.read(CHUNK_BYTES)
    }

    /// How many bytes come before the next one.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// The hash of all bytes, once all have been read.
    pub(super) fn sha256(&self) -> [u8; 32] {
        self.sha256.clone().finalize().into()
    }

    fn read(&mut self, most: usize) -> io::Result<Bytes> {
        let mut chunk = BytesMut::zeroed(most);
        let mut filled = 0;
        while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let read = match &mut self.source {
                Source::Seekable(reader) => reader.read(rest),
                Source::Stream(reader) => reader.read(rest),
            };
            match read {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        chunk.truncate(filled);
        let known = usize::try_from(self.hashed - self.position).unwrap_or(usize::MAX);
        let fresh = chunk.get(known.min(filled)..).unwrap_or_default();
        self.sha256.update(fresh);
        self.hashed += fresh.len() as u64;
        self.position += filled as u64;
        Ok(chunk.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        (0..3 * CHUNK_BYTES + 5).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn every_byte_is_hashed_once_wherever_reading_goes() -> io::Result<()> {
        let mut content = Content::seekable(io::Cursor::new(bytes()));
        for (offset, chunks) in [(0, 2), (7, 1), (CHUNK_BYTES as u64 * 3, 0), (100, 9)] {
            assert!(content.seek(offset)?);
            let mut at = offset as usize;
            for _ in 0..chunks {
                let chunk = content.next()?;
                assert_eq!(chunk, bytes()[at..at + chunk.len()]);
                at += chunk.len();
            }
            assert_eq!(content.position(), at as u64);
        }
        assert!(content.next()?.is_empty());
        assert_eq!(content.sha256(), <[u8; 32]>::from(Sha256::digest(bytes())));
        assert!(content.seek(bytes().len() as u64 + 1).is_err());
        Ok(())
    }

    #[test]
    fn a_stream_goes_forward_alone() -> io::Result<()> {
        let mut content = Content::stream(io::Cursor::new(bytes()));
        assert_eq!(content.next()?.len(), CHUNK_BYTES);
        assert!(content.seek(CHUNK_BYTES as u64)?);
        assert!(!content.seek(1)?);
        assert!(content.seek(2 * CHUNK_BYTES as u64)?);
        while !content.next()?.is_empty() {}
        assert_eq!(content.sha256(), <[u8; 32]>::from(Sha256::digest(bytes())));
        Ok(())
    }
}
