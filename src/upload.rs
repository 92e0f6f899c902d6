//! The upload state machine: counts, hashes and limits, whatever the backend. No I/O.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{
    Digest, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};

use crate::{
    error::{ErrorCode, FieldError},
    file::{
        Content, FileSpec, Sha256Digest,
        media_type::MediaType,
        sniff::{self, SNIFF_BYTES},
    },
};

/// Why content is refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// More bytes than a file may have here.
    #[error("the file is larger than the {bytes_max} bytes accepted for its purpose")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// Longer or shorter than the start promised.
    #[error(
        "size_bytes: {promised} bytes were promised, but the content has {}{received}",
        at_least(.received, .promised)
    )]
    SizeMismatch {
        /// What the start said.
        promised: u64,
        /// What arrived until it was refused.
        received: u64,
    },
    /// What comes again of an upload that goes on is not what is durable of it.
    #[error("data: the first {size_bytes} bytes are not those that the upload began with")]
    BeginningMismatch {
        /// How many bytes are durable.
        size_bytes: u64,
    },
    /// The content's hash is not the one that finish gave.
    #[error("sha256: the content received hashes to {}", hex::encode(.received))]
    ChecksumMismatch {
        /// What the received bytes hash to.
        received: Sha256Digest,
    },
    /// The content positively is of another type than the name says.
    #[error(transparent)]
    TypeContradicted(#[from] FieldError),
}

fn at_least(received: &u64, promised: &u64) -> &'static str {
    if received > promised { "at least " } else { "" }
}

impl UploadError {
    /// The row of the error table.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::FileTooLarge,
            Self::SizeMismatch { .. } => ErrorCode::SizeMismatch,
            Self::BeginningMismatch { .. } | Self::ChecksumMismatch { .. } => {
                ErrorCode::ChecksumMismatch
            }
            Self::TypeContradicted(error) => error.code(),
        }
    }
}

/// One attempt to bring bytes in: what has been received so far.
#[derive(Debug)]
pub struct Upload {
    media_type: MediaType,
    promised: Option<u64>,
    bytes_max: u64,
    size_bytes: u64,
    sha256: Sha256,
    /// The first bytes, until there are enough to tell the type.
    head: Option<Vec<u8>>,
    /// What is received already and comes again.
    repeated: Repeated,
    /// States are kept at multiples of this many bytes.
    grain: Option<u64>,
    /// States that somebody may want to go on from, by size.
    states: VecDeque<UploadState>,
}

/// Bytes that were received before and come again.
#[derive(Debug, Default)]
struct Repeated {
    left: u64,
    /// Of those that came again so far; `None` where they do not begin with the first.
    sha256: Option<Sha256>,
}

/// An upload at one size: enough to go on from there in another process, without reading anything back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadState {
    size_bytes: u64,
    /// The state of the hash, in hex.
    sha256: String,
    /// The first bytes, in hex, while there are not enough to tell the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
}

impl UploadState {
    /// Bytes received until then.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl Upload {
    /// Begins with nothing received; refuses a promise beyond `bytes_max` at once.
    pub fn begin(spec: &FileSpec, bytes_max: u64) -> Result<Self, UploadError> {
        if spec.size_bytes.is_some_and(|promised| promised > bytes_max) {
            return Err(UploadError::TooLarge { bytes_max });
        }
        Ok(Self {
            media_type: spec.media_type.clone(),
            promised: spec.size_bytes,
            bytes_max,
            size_bytes: 0,
            sha256: Sha256::new(),
            head: Some(Vec::new()),
            repeated: Repeated::default(),
            grain: None,
            states: VecDeque::new(),
        })
    }

    /// Goes on from `state`; `None` where it is none of ours. Refuses what is beyond `bytes_max`.
    pub fn resume(
        spec: &FileSpec,
        bytes_max: u64,
        state: &UploadState,
    ) -> Result<Option<Self>, UploadError> {
        let upload = Self::begin(spec, bytes_max)?;
        if state.size_bytes > bytes_max {
            return Err(UploadError::TooLarge { bytes_max });
        }
        let mut sha256 = SerializedState::<Sha256>::default();
        let head = state.head.as_ref().map(hex::decode).transpose();
        let (Ok(()), Ok(head)) = (hex::decode_to_slice(&state.sha256, &mut sha256), head) else {
            return Ok(None);
        };
        let Ok(sha256) = Sha256::deserialize(&sha256) else {
            return Ok(None);
        };
        Ok(Some(Self { size_bytes: state.size_bytes, sha256, head, ..upload }))
    }

    /// The next bytes are those from `offset` on, which may have been received already. All of them are compared
    /// with those, by their hash; from an offset in the middle they cannot be.
    pub fn repeat_from(&mut self, offset: u64) {
        let left = self.size_bytes.saturating_sub(offset);
        self.repeated = Repeated { left, sha256: (offset == 0 && left > 0).then(Sha256::new) };
    }

    /// Takes from `chunk` what was received before.
    pub fn skip_repeated(&mut self, chunk: &mut Bytes) -> Result<(), UploadError> {
        let repeated = &mut self.repeated;
        let len = usize::try_from(repeated.left).map_or(chunk.len(), |left| left.min(chunk.len()));
        if len == 0 {
            return Ok(());
        }
        let skipped = chunk.split_to(len);
        repeated.left -= len as u64;
        let Some(sha256) = &mut repeated.sha256 else {
            return Ok(());
        };
        sha256.update(&skipped);
        if repeated.left > 0 || sha256.clone().finalize() == self.sha256.clone().finalize() {
            return Ok(());
        }
        Err(UploadError::BeginningMismatch { size_bytes: self.size_bytes })
    }

    /// From now on a state is kept wherever the size is a multiple of `grain` bytes.
    pub fn keep_states(&mut self, grain: u64) {
        self.grain = Some(grain.max(1));
    }

    /// Keeps the state as it is now.
    pub fn keep_state(&mut self) {
        if self.states.back().is_some_and(|state| state.size_bytes == self.size_bytes) {
            return;
        }
        self.states.push_back(UploadState {
            size_bytes: self.size_bytes,
            sha256: hex::encode(self.sha256.serialize()),
            head: self.head.as_ref().map(hex::encode),
        });
    }

    /// The state that was kept at `size_bytes`, where one was; those before it are kept no longer.
    pub fn state_at(&mut self, size_bytes: u64) -> Option<&UploadState> {
        while self.states.front().is_some_and(|state| state.size_bytes < size_bytes) {
            self.states.pop_front();
        }
        self.states.front().filter(|state| state.size_bytes == size_bytes)
    }

    /// Counts and hashes the next bytes. A refusal comes before they may be stored: the caller stores only
    /// what was accepted.
    pub fn accept(&mut self, chunk: &Bytes) -> Result<(), UploadError> {
        let received = self.size_bytes.saturating_add(chunk.len() as u64);
        if received > self.bytes_max {
            return Err(UploadError::TooLarge { bytes_max: self.bytes_max });
        }
        if let Some(promised) = self.promised.filter(|promised| received > *promised) {
            return Err(UploadError::SizeMismatch { promised, received });
        }
        self.look_at_head(chunk)?;
        let mut rest = chunk.as_ref();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(self.up_to_grain(rest.len()));
            self.sha256.update(part);
            self.size_bytes += part.len() as u64;
            if self.grain.is_some_and(|grain| self.size_bytes.is_multiple_of(grain)) {
                self.keep_state();
            }
            rest = after;
        }
        Ok(())
    }

    /// How many of the next `len` bytes come before a state is to be kept.
    fn up_to_grain(&self, len: usize) -> usize {
        let Some(grain) = self.grain else {
            return len;
        };
        let left = grain - self.size_bytes % grain;
        len.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Bytes received so far.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Ends the upload: the content as measured, if it keeps every promise made.
    pub fn seal(self, expected: Option<Sha256Digest>) -> Result<Content, UploadError> {
        if let Some(promised) = self.promised.filter(|promised| self.size_bytes != *promised) {
            return Err(UploadError::SizeMismatch { promised, received: self.size_bytes });
        }
        if self.repeated.left > 0 {
            // The content ends before what is durable of it does: it is another one.
            let received = self.size_bytes - self.repeated.left;
            return Err(UploadError::SizeMismatch { promised: self.size_bytes, received });
        }
        if let Some(head) = &self.head {
            sniff::check(&self.media_type, head)?;
        }
        let received = self.sha256.finalize().into();
        match expected {
            Some(expected) if expected != received => {
                Err(UploadError::ChecksumMismatch { received })
            }
            _ => Ok(Content { size_bytes: self.size_bytes, sha256: received }),
        }
    }

    fn look_at_head(&mut self, chunk: &Bytes) -> Result<(), UploadError> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        let wanted = chunk.len().min(SNIFF_BYTES - head.len());
        head.extend_from_slice(chunk.get(..wanted).unwrap_or_default());
        if head.len() == SNIFF_BYTES {
            sniff::check(&self.media_type, head)?;
            self.head = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::file::{labels::Labels, name::FileName, purpose::Purpose, user::UserId};

    fn spec(name: &str, media_type: &str, size_bytes: Option<u64>) -> FileSpec {
        FileSpec {
            user_id: UserId::parse("u").expect("a user id"),
            purpose: Purpose::stored("assistants".to_owned()),
            name: FileName::parse("filename", name).expect("a name"),
            media_type: MediaType::parse(media_type).expect("a media type"),
            size_bytes,
            ttl: None,
            labels: Labels::default(),
            references: Default::default(),
            delete_when_unreferenced: false,
            upload_id: None,
        }
    }

    fn text(size_bytes: Option<u64>, bytes_max: u64) -> Result<Upload, UploadError> {
        Upload::begin(&spec("a.txt", "text/plain", size_bytes), bytes_max)
    }

    #[test]
    fn a_short_upload_cannot_be_sealed() -> Result<(), UploadError> {
        let mut upload = text(Some(4), 10)?;
        upload.accept(&Bytes::from_static(b"abc"))?;
        assert!(matches!(upload.seal(None), Err(UploadError::SizeMismatch { .. })));
        Ok(())
    }

    #[test]
    fn what_passes_a_limit_is_refused_before_it_is_counted() -> Result<(), UploadError> {
        let mut promised = text(Some(2), 10)?;
        let error = promised.accept(&Bytes::from_static(b"abc"));
        assert!(matches!(error, Err(UploadError::SizeMismatch { .. })));
        let mut unlimited = text(None, 2)?;
        let error = unlimited.accept(&Bytes::from_static(b"abc"));
        assert!(matches!(error, Err(UploadError::TooLarge { bytes_max: 2 })));
        assert!(matches!(text(Some(11), 10), Err(UploadError::TooLarge { .. })));
        Ok(())
    }

    #[test]
    fn a_wrong_hash_is_refused_and_a_zero_byte_file_is_a_file() -> Result<(), UploadError> {
        let wrong = text(None, 10)?.seal(Some([0; 32]));
        assert!(matches!(wrong, Err(UploadError::ChecksumMismatch { .. })));
        let empty = text(Some(0), 10)?.seal(Some(Sha256::digest(b"").into()))?;
        assert_eq!(empty.size_bytes, 0);
        Ok(())
    }

    #[test]
    fn a_page_named_png_is_refused_however_it_is_cut() -> Result<(), UploadError> {
        let mut upload = Upload::begin(&spec("a.png", "image/png", None), 100)?;
        for byte in b"<html><script>" {
            upload.accept(&Bytes::copy_from_slice(&[*byte]))?;
        }
        assert!(matches!(upload.seal(None), Err(UploadError::TypeContradicted(_))));
        Ok(())
    }

    #[test]
    fn a_state_of_another_kind_is_not_gone_on_from() -> Result<(), UploadError> {
        let mut upload = text(None, 10)?;
        upload.accept(&Bytes::from_static(b"abc"))?;
        upload.keep_state();
        let state = upload.state_at(3).cloned().expect("kept");
        let spec = spec("a.txt", "text/plain", None);
        for sha256 in ["", "00", &"zz".repeat(105)] {
            let broken = UploadState { sha256: sha256.to_owned(), ..state.clone() };
            assert!(Upload::resume(&spec, 10, &broken)?.is_none());
        }
        let beyond = Upload::resume(&spec, 2, &state);
        assert!(matches!(beyond, Err(UploadError::TooLarge { bytes_max: 2 })));
        Ok(())
    }

    #[test]
    fn a_page_named_png_is_refused_however_often_it_is_resumed() -> Result<(), UploadError> {
        let spec = spec("a.png", "image/png", None);
        let mut upload = Upload::begin(&spec, 100)?;
        for byte in b"<html><script>" {
            upload.accept(&Bytes::copy_from_slice(&[*byte]))?;
            upload.keep_state();
            let state = upload.state_at(upload.size_bytes()).cloned().expect("kept");
            upload = Upload::resume(&spec, 100, &state)?.expect("resumed");
        }
        assert!(matches!(upload.seal(None), Err(UploadError::TypeContradicted(_))));
        Ok(())
    }

    proptest! {
        #[test]
        fn any_resumption_gives_the_same_content(
            content in prop::collection::vec(any::<u8>(), 0..5_000),
            grain in 1_u64..700,
            chunk in 1_usize..900,
            wanted in any::<prop::sample::Index>(),
        ) {
            let whole = Bytes::from(content);
            let media = spec("a.bin", "application/octet-stream", None);
            let mut first = Upload::begin(&media, u64::MAX).expect("begins");
            first.keep_states(grain);
            for start in (0..whole.len()).step_by(chunk) {
                first.accept(&whole.slice(start..whole.len().min(start + chunk))).expect("accepted");
            }
            let borders: Vec<u64> = (1..=whole.len() as u64 / grain).map(|n| n * grain).collect();
            if !borders.is_empty() {
                let at = borders[wanted.index(borders.len())];
                let state = serde_json::to_string(first.state_at(at).expect("kept")).expect("json");
                let state = serde_json::from_str(&state).expect("a state");
                let resumed = Upload::resume(&media, u64::MAX, &state).expect("within limits");
                let mut resumed = resumed.expect("a state of ours");
                prop_assert_eq!(resumed.size_bytes(), at);
                resumed.accept(&whole.slice(at as usize..)).expect("accepted");
                let digest: Sha256Digest = Sha256::digest(&whole).into();
                prop_assert_eq!(resumed.seal(Some(digest)).expect("sealed").sha256, digest);
            }
        }

        #[test]
        fn any_chunking_gives_the_same_content(
            content in prop::collection::vec(any::<u8>(), 0..20_000),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(content.len() + 1)).collect();
            cuts.extend([0, content.len()]);
            cuts.sort_unstable();
            let whole = Bytes::from(content);
            let media = spec("a.bin", "application/octet-stream", None);
            let mut upload = Upload::begin(&media, u64::MAX).expect("begins");
            for pair in cuts.windows(2) {
                upload.accept(&whole.slice(pair[0]..pair[1])).expect("accepted");
            }
            let sealed = upload.seal(None).expect("sealed");
            prop_assert_eq!(sealed.size_bytes, whole.len() as u64);
            let digest: Sha256Digest = Sha256::digest(&whole).into();
            prop_assert_eq!(sealed.sha256, digest);
        }
    }
}
