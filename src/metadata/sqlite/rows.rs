//! Rows to records and back. What does not read back is damage, and said to be.

use std::{error::Error, time::Duration};

use rusqlite::{Row, types::Type};

use super::FileRecord;
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{
        Content, File, Sha256Digest, id::FileId, labels::Labels, media_type::MediaType,
        name::FileName, purpose::Purpose, user::UserId,
    },
    metadata::{Orphan, Progress, json, known::KnownUpload},
};

/// Reads the columns of `statements::RECORD`.
pub(super) fn read_record(row: &Row<'_>) -> rusqlite::Result<FileRecord> {
    let content = Content { size_bytes: unsigned(row, 7)?, sha256: row.get(8)? };
    let file = File {
        id: file_id(row, 0)?,
        user_id: UserId::stored(row.get(1)?),
        purpose: Purpose::stored(row.get(2)?),
        name: FileName::stored(row.get(3)?),
        media_type: MediaType::stored(row.get(4)?),
        labels: text(row, 5, |text| json::parse_labels(&text))?,
        content,
        create_time: Timestamp::from_unix_us(row.get(9)?),
        update_time: Timestamp::from_unix_us(row.get(10)?),
        expire_time: time(row, 11)?,
        revision: unsigned(row, 12)?,
        link_epoch: unsigned(row, 13)?,
        delete_time: time(row, 14)?,
        purge_time: time(row, 15)?,
        delete_when_unreferenced: row.get(16)?,
        references: text(row, 18, |text| json::parse_references(&text))?,
    };
    Ok(FileRecord { file, blob_key: blob_key(row, 6)?, quarantined: row.get(17)? })
}

/// Reads the columns of `statements::find_upload`.
pub(super) fn read_upload(row: &Row<'_>) -> rusqlite::Result<KnownUpload> {
    let active = row.get::<_, i64>(19)? == 1;
    Ok(KnownUpload {
        file_id: file_id(row, 0)?,
        start: row.get(20)?,
        blob_key: blob_key(row, 6)?,
        record: active.then(|| read_record(row)).transpose()?,
        progress: read_progress(row)?.filter(|_| !active),
        sealed: read_sealed(row)?.filter(|_| !active),
        reserved_bytes: unsigned(row, 24)?,
        lease_until: Timestamp::from_unix_us(row.get(23)?),
    })
}

fn read_progress(row: &Row<'_>) -> rusqlite::Result<Option<Progress>> {
    let persisted_size_bytes = unsigned(row, 21)?;
    let state: Option<String> = row.get(22)?;
    Ok(state.map(|state| Progress { persisted_size_bytes, state }))
}

fn read_sealed(row: &Row<'_>) -> rusqlite::Result<Option<Content>> {
    let sha256: Option<Sha256Digest> = row.get(8)?;
    sha256.map(|sha256| Ok(Content { size_bytes: unsigned(row, 7)?, sha256 })).transpose()
}

/// Reads an id and a blob key.
pub(super) fn read_orphan(row: &Row<'_>) -> rusqlite::Result<Orphan> {
    Ok(Orphan { file_id: file_id(row, 0)?, blob_key: blob_key(row, 1)? })
}

pub(super) fn file_id(row: &Row<'_>, column: usize) -> rusqlite::Result<FileId> {
    text(row, column, |text| text.parse::<FileId>())
}

pub(super) fn blob_key(row: &Row<'_>, column: usize) -> rusqlite::Result<BlobKey> {
    Ok(BlobKey::from_bytes(row.get(column)?))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_unix_us))
}

pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn labels_text(labels: &Labels) -> rusqlite::Result<String> {
    json::labels_text(labels).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn text<T, E>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(String) -> Result<T, E>,
) -> rusqlite::Result<T>
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    parse(row.get(column)?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    })
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}
