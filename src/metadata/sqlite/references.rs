//! Tying files to references and untying them.

use rusqlite::{Connection, params};

use super::{Job, changes, find, find_visible, rows, statements};
use crate::{
    clock::Timestamp,
    file::{
        id::FileId,
        reference::{REFERENCES_OF_FILE_MAX, Reference},
        user::UserId,
    },
    metadata::{Association, Detached, FileRecord, Grace, MetadataError, record::mark_deleted},
};

/// A reference that is gone, and of whom.
pub(super) struct Gone<'a> {
    pub(super) owner: Option<&'a UserId>,
    pub(super) reference: &'a Reference,
    /// Most files to untie at once.
    pub(super) limit: usize,
}

pub(super) fn attach(
    connection: &Connection,
    association: &Association,
    now: Timestamp,
) -> Job<()> {
    let reference = &association.reference;
    let mut untied = Vec::new();
    for file_id in &association.file_ids {
        let record = match member(connection, association, file_id, now)? {
            Ok(record) => record,
            Err(missing) => return Ok(Err(missing)),
        };
        if record.file.references.contains(reference) {
            continue;
        }
        if record.file.references.len() >= REFERENCES_OF_FILE_MAX {
            return Ok(Err(MetadataError::ReferencesFull(*file_id)));
        }
        untied.push(record);
    }
    for record in untied {
        let file_id = record.file.id.to_string();
        let tied = connection.prepare_cached(statements::ATTACH)?.execute(params![
            file_id,
            reference.kind().number(),
            reference.id(),
            record.file.user_id.as_str(),
            record.file.create_time.unix_us()
        ])?;
        // Named twice, a file is tied once.
        if tied == 1 {
            touch(connection, &file_id, now)?;
        }
    }
    Ok(Ok(()))
}

/// A visible file of an association's owner.
fn member(
    connection: &Connection,
    association: &Association,
    file_id: &FileId,
    now: Timestamp,
) -> Job<FileRecord> {
    let owner = association.owner.as_ref();
    let found = find_visible(connection, file_id, now)?
        .filter(|record| owner.is_none_or(|owner| *owner == record.file.user_id));
    Ok(found.ok_or(MetadataError::Missing(*file_id)))
}

pub(super) fn detach(
    connection: &Connection,
    association: &Association,
    grace: &Grace,
    now: Timestamp,
) -> Job<Detached> {
    for file_id in &association.file_ids {
        if let Err(missing) = member(connection, association, file_id, now)? {
            return Ok(Err(missing));
        }
    }
    let mut detached = Detached::default();
    for file_id in &association.file_ids {
        untie(connection, file_id, &association.reference, (grace, now), &mut detached)?;
    }
    Ok(Ok(detached))
}

pub(super) fn delete(
    connection: &Connection,
    gone: &Gone<'_>,
    grace: &Grace,
    now: Timestamp,
) -> Job<Detached> {
    let (kind, id) = (gone.reference.kind().number(), gone.reference.id());
    let limit = gone.limit as i64;
    let read = |row: &rusqlite::Row<'_>| rows::file_id(row, 0);
    let tied: Vec<FileId> = match gone.owner.map(UserId::as_str) {
        None => connection
            .prepare_cached(statements::TIED)?
            .query_map(params![kind, id, limit], read)?
            .collect::<rusqlite::Result<_>>()?,
        Some(owner) => connection
            .prepare_cached(statements::TIED_OF_USER)?
            .query_map(params![kind, id, limit, owner], read)?
            .collect::<rusqlite::Result<_>>()?,
    };
    let mut detached = Detached::default();
    for file_id in tied {
        untie(connection, &file_id, gone.reference, (grace, now), &mut detached)?;
    }
    Ok(Ok(detached))
}

/// Unties one file, and deletes it where it is visible and that was what it lived for.
fn untie(
    connection: &Connection,
    file_id: &FileId,
    reference: &Reference,
    (grace, now): (&Grace, Timestamp),
    detached: &mut Detached,
) -> rusqlite::Result<()> {
    let id = file_id.to_string();
    let untied = connection.prepare_cached(statements::DETACH)?.execute(params![
        id,
        reference.kind().number(),
        reference.id()
    ])?;
    if untied == 0 {
        return Ok(());
    }
    let Some(mut record) = find_visible(connection, file_id, now)? else {
        let deleted = find(connection, file_id)?.is_some_and(|it| it.file.delete_time.is_some());
        if deleted {
            touch(connection, &id, now)?;
        }
        detached.hidden.push(*file_id);
        return Ok(());
    };
    touch(connection, &id, now)?;
    detached.detached.push(*file_id);
    if record.is_unneeded() {
        let grace = grace.of(&record.file.purpose);
        mark_deleted(&mut record.file, grace, now);
        changes::remove(connection, &record.file, grace.is_zero())?;
        detached.deleted.push(*file_id);
    }
    Ok(())
}

fn touch(connection: &Connection, file_id: &str, now: Timestamp) -> rusqlite::Result<()> {
    connection.prepare_cached(statements::TOUCH)?.execute(params![file_id, now.unix_us()])?;
    Ok(())
}
