//! Tying files to references and untying them.

use std::{collections::BTreeMap, sync::Arc};

use sqlx::PgConnection;

use super::{
    changes, find_all,
    rows::{read_ids, texts},
    statements,
    transaction::{Attempt, Job},
};
use crate::{
    clock::Timestamp,
    file::{
        id::FileId,
        reference::{REFERENCES_OF_FILE_MAX, Reference},
        user::UserId,
    },
    metadata::{
        Association, Detached, FileRecord, Grace, MetadataError, Result, record::mark_deleted,
    },
};

type Records = BTreeMap<FileId, FileRecord>;

/// A reference that is to be taken from files, and when.
pub(super) struct Untying {
    pub(super) reference: Reference,
    pub(super) grace: Arc<Grace>,
    pub(super) now: Timestamp,
}

/// A reference that is gone, and of whom.
pub(super) struct Gone {
    pub(super) untying: Untying,
    pub(super) owner: Option<UserId>,
    /// Most files to untie at once.
    pub(super) limit: usize,
}

pub(super) async fn attach(
    attempt: Attempt<'_, Result<()>>,
    (association, now): &(Association, Timestamp),
) -> Job<()> {
    let connection = attempt.connection;
    let reference = &association.reference;
    lock(connection, &association.file_ids, statements::LOCK_FILES).await?;
    let records = find_records(connection, &association.file_ids).await?;
    let mut untied = Vec::new();
    for file_id in &association.file_ids {
        let record = match member(association, &records, file_id, *now) {
            Ok(record) => record,
            Err(missing) => return Ok(Err(missing)),
        };
        if record.file.references.contains(reference) {
            continue;
        }
        if record.file.references.len() >= REFERENCES_OF_FILE_MAX {
            return Ok(Err(MetadataError::ReferencesFull(*file_id)));
        }
        untied.push(*file_id);
    }
    if !untied.is_empty() {
        sqlx::query(statements::ATTACH)
            .bind(texts(&untied))
            .bind(reference.kind().number())
            .bind(reference.id())
            .bind(now.unix_us())
            .execute(connection)
            .await?;
    }
    Ok(Ok(()))
}

/// A visible file of an association's owner.
fn member<'a>(
    association: &Association,
    records: &'a Records,
    file_id: &FileId,
    now: Timestamp,
) -> Result<&'a FileRecord> {
    let owner = association.owner.as_ref();
    records
        .get(file_id)
        .filter(|record| record.is_visible(now))
        .filter(|record| owner.is_none_or(|owner| *owner == record.file.user_id))
        .ok_or(MetadataError::Missing(*file_id))
}

pub(super) async fn detach(
    attempt: Attempt<'_, Result<Detached>>,
    (association, untying): &(Association, Untying),
) -> Job<Detached> {
    let connection = attempt.connection;
    lock(connection, &association.file_ids, statements::LOCK_WITH_OWNERS).await?;
    if let Some(settled) = settled(connection, untying, attempt.doubted).await? {
        return Ok(Ok(settled));
    }
    let records = find_records(connection, &association.file_ids).await?;
    for file_id in &association.file_ids {
        if let Err(missing) = member(association, &records, file_id, untying.now) {
            return Ok(Err(missing));
        }
    }
    Ok(Ok(untie(connection, &association.file_ids, records, untying).await?))
}

pub(super) async fn delete(attempt: Attempt<'_, Result<Detached>>, gone: &Gone) -> Job<Detached> {
    let connection = attempt.connection;
    let doubted = attempt.doubted.and_then(|doubted| doubted.as_ref().ok());
    let mut tied = tied(connection, gone).await?;
    tied.extend(doubted.into_iter().flat_map(Detached::untied));
    // Unfinished ones with the others: their publication then waits, and finds the reference gone.
    lock(connection, &tied, statements::LOCK_WITH_OWNERS).await?;
    if let Some(settled) = settled(connection, &gone.untying, attempt.doubted).await? {
        return Ok(Ok(settled));
    }
    let mut records = find_records(connection, &tied).await?;
    records.retain(|_, record| record.is_visible(gone.untying.now));
    let (seen, hidden): (Vec<FileId>, Vec<FileId>) =
        tied.into_iter().partition(|file_id| records.contains_key(file_id));
    let detached = untie(connection, &seen, records, &gone.untying).await?;
    untie_hidden(connection, &hidden, &gone.untying).await?;
    // Those where another call was faster are among them: there may be more behind.
    let others = seen.into_iter().filter(|file_id| !detached.detached.contains(file_id));
    let hidden = hidden.into_iter().chain(others).collect();
    Ok(Ok(Detached { hidden, ..detached }))
}

/// Files tied to the reference, in whatever state.
async fn tied(connection: &mut PgConnection, gone: &Gone) -> sqlx::Result<Vec<FileId>> {
    let reference = &gone.untying.reference;
    let statement = match gone.owner {
        None => statements::TIED,
        Some(_) => statements::TIED_OF_USER,
    };
    let mut query = sqlx::query(statement)
        .bind(reference.kind().number())
        .bind(reference.id())
        .bind(i64::try_from(gone.limit).unwrap_or(i64::MAX));
    if let Some(owner) = &gone.owner {
        query = query.bind(owner.as_str());
    }
    read_ids(&query.fetch_all(connection).await?)
}

async fn untie_hidden(
    connection: &mut PgConnection,
    hidden: &[FileId],
    untying: &Untying,
) -> sqlx::Result<()> {
    sqlx::query(statements::UNTIE_HIDDEN)
        .bind(texts(hidden))
        .bind(untying.reference.kind().number())
        .bind(untying.reference.id())
        .bind(untying.now.unix_us())
        .execute(connection)
        .await?;
    Ok(())
}

/// What an earlier run has untied, where none of it is tied any more.
async fn settled(
    connection: &mut PgConnection,
    untying: &Untying,
    doubted: Option<&Result<Detached>>,
) -> sqlx::Result<Option<Detached>> {
    let Some(Ok(doubted)) = doubted else {
        return Ok(None);
    };
    let tied: bool = sqlx::query_scalar(statements::ANY_TIED)
        .bind(texts(doubted.untied()))
        .bind(untying.reference.kind().number())
        .bind(untying.reference.id())
        .fetch_one(connection)
        .await?;
    let any = doubted.untied().next().is_some();
    Ok((!tied && any).then(|| doubted.clone()))
}

/// Unties locked, visible files, and deletes those for which it was what they lived for.
async fn untie(
    connection: &mut PgConnection,
    file_ids: &[FileId],
    mut records: Records,
    untying: &Untying,
) -> sqlx::Result<Detached> {
    let Untying { reference, grace, now } = untying;
    let mut detached = Detached::default();
    let mut unneeded = Vec::new();
    for file_id in file_ids {
        let Some(record) = records.get_mut(file_id) else { continue };
        if !record.file.references.remove(reference) {
            continue;
        }
        detached.detached.push(*file_id);
        if record.is_unneeded() {
            let grace = grace.of(&record.file.purpose);
            mark_deleted(&mut record.file, grace, *now);
            unneeded.push(record.file.clone());
            detached.deleted.push(*file_id);
        }
    }
    if !detached.detached.is_empty() {
        sqlx::query(statements::DETACH)
            .bind(texts(&detached.detached))
            .bind(reference.kind().number())
            .bind(reference.id())
            .bind(now.unix_us())
            .execute(&mut *connection)
            .await?;
    }
    changes::remove(connection, &unneeded, *now).await?;
    Ok(detached)
}

async fn find_records(connection: &mut PgConnection, file_ids: &[FileId]) -> sqlx::Result<Records> {
    let records = find_all(connection, file_ids).await?;
    Ok(records.into_iter().map(|record| (record.file.id, record)).collect())
}

async fn lock(
    connection: &mut PgConnection,
    file_ids: &[FileId],
    lock: &'static str,
) -> sqlx::Result<()> {
    sqlx::query(lock).bind(texts(file_ids)).execute(connection).await?;
    Ok(())
}
