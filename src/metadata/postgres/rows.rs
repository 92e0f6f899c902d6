//! Rows to records and back. What does not read back is damage, and said to be.

use std::{error::Error, time::Duration};

use sqlx::{Row, postgres::PgRow};

use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{
        Content, File, Sha256Digest, id::FileId, labels::Labels, media_type::MediaType,
        name::FileName, purpose::Purpose, usage::Usage, user::UserId,
    },
    metadata::{FileRecord, Orphan, Progress, json, known::KnownUpload},
};

/// Reads the columns of `statements::record`.
pub(super) fn read_record(row: &PgRow) -> sqlx::Result<FileRecord> {
    let content = Content { size_bytes: unsigned(row, 7)?, sha256: row.try_get(8)? };
    let file = File {
        id: file_id(row, 0)?,
        user_id: UserId::stored(row.try_get(1)?),
        purpose: Purpose::stored(row.try_get(2)?),
        name: FileName::stored(row.try_get(3)?),
        media_type: MediaType::stored(row.try_get(4)?),
        labels: parsed(row, 5, json::parse_labels)?,
        content,
        create_time: Timestamp::from_unix_us(row.try_get(9)?),
        update_time: Timestamp::from_unix_us(row.try_get(10)?),
        expire_time: time(row, 11)?,
        revision: unsigned(row, 12)?,
        link_epoch: unsigned(row, 13)?,
        delete_time: time(row, 14)?,
        purge_time: time(row, 15)?,
        delete_when_unreferenced: row.try_get::<i64, _>(16)? != 0,
        references: parsed(row, 18, json::parse_references)?,
    };
    let quarantined = row.try_get::<i64, _>(17)? != 0;
    Ok(FileRecord { file, blob_key: blob_key(row, 6)?, quarantined })
}

/// Reads many records.
pub(super) fn read_records(rows: &[PgRow]) -> sqlx::Result<Vec<FileRecord>> {
    rows.iter().map(read_record).collect()
}

/// Reads the id of each row.
pub(super) fn read_ids(rows: &[PgRow]) -> sqlx::Result<Vec<FileId>> {
    rows.iter().map(|row| file_id(row, 0)).collect()
}

/// Reads an id and a blob key from each row.
/// Reads the columns of `statements::find_uploads`.
pub(super) fn read_upload(row: &PgRow) -> sqlx::Result<KnownUpload> {
    let active = row.try_get::<i64, _>(19)? == 1;
    let persisted_size_bytes = unsigned(row, 23)?;
    let state: Option<String> = row.try_get(24)?;
    let progress = state.map(|state| Progress { persisted_size_bytes, state });
    Ok(KnownUpload {
        file_id: file_id(row, 0)?,
        start: digest(row, 20)?,
        blob_key: blob_key(row, 6)?,
        record: active.then(|| read_record(row)).transpose()?,
        progress: progress.filter(|_| !active),
        sealed: read_sealed(row)?.filter(|_| !active),
        reserved_bytes: unsigned(row, 22)?,
        lease_until: Timestamp::from_unix_us(row.try_get(25)?),
    })
}

fn read_sealed(row: &PgRow) -> sqlx::Result<Option<Content>> {
    let sha256: Option<Sha256Digest> = row.try_get(8)?;
    sha256.map(|sha256| Ok(Content { size_bytes: unsigned(row, 7)?, sha256 })).transpose()
}

/// Reads an id and a blob key.
pub(super) fn read_orphan(row: &PgRow) -> sqlx::Result<Orphan> {
    Ok(Orphan { file_id: file_id(row, 0)?, blob_key: blob_key(row, 1)? })
}

pub(super) fn read_orphans(rows: &[PgRow]) -> sqlx::Result<Vec<Orphan>> {
    rows.iter().map(read_orphan).collect()
}

/// Reads a count of files and one of bytes, from this column on.
pub(super) fn read_usage(row: &PgRow, column: usize) -> sqlx::Result<Usage> {
    Ok(Usage { file_count: unsigned(row, column)?, stored_bytes: unsigned(row, column + 1)? })
}

pub(super) fn file_id(row: &PgRow, column: usize) -> sqlx::Result<FileId> {
    parsed(row, column, str::parse::<FileId>)
}

pub(super) fn blob_key(row: &PgRow, column: usize) -> sqlx::Result<BlobKey> {
    Ok(BlobKey::from_bytes(row.try_get(column)?))
}

pub(super) fn digest(row: &PgRow, column: usize) -> sqlx::Result<Sha256Digest> {
    row.try_get(column)
}

pub(super) fn unsigned(row: &PgRow, column: usize) -> sqlx::Result<u64> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|error| damaged(column, error))
}

/// Ids as the database knows them.
pub(super) fn texts<'a>(file_ids: impl IntoIterator<Item = &'a FileId>) -> Vec<String> {
    file_ids.into_iter().map(FileId::to_string).collect()
}

pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn labels_text(labels: &Labels) -> sqlx::Result<String> {
    json::labels_text(labels).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn time(row: &PgRow, column: usize) -> sqlx::Result<Option<Timestamp>> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_unix_us))
}

fn parsed<T, E>(
    row: &PgRow,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> sqlx::Result<T>
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    parse(row.try_get(column)?).map_err(|error| damaged(column, error))
}

fn damaged(column: usize, error: impl Into<Box<dyn Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_string(), source: error.into() }
}
