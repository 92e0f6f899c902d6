//! Beginning uploads, many in one transaction: decided one after the other, as if each were alone.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{
    batch,
    rows::{file_id, labels_text, micros, read_ids, read_upload, read_usage, texts, unsigned},
    statements,
    transaction::Attempt,
    uploads::purge_over,
};
use crate::{
    clock::Timestamp,
    file::{Sha256Digest, id::FileId, name, usage::Usage, user::UserId},
    metadata::{
        FileRecord, Intended, Intent, MetadataError, Progress, Result, Resumption, UploadTicket,
        known::KnownUpload,
        listing::top_level_of,
        record::{first_reservation, resumed_reservation},
    },
};

/// An upload that is to begin.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) intent: Intent,
    /// The digest of its start.
    pub(super) start: Sha256Digest,
    pub(super) now: Timestamp,
}

/// What an earlier upload means for a new one.
enum Verdict<'a> {
    /// There is none.
    New,
    /// It was the same, and is finished.
    Finished(&'a FileRecord),
    /// It had another start.
    Conflict,
    /// It is the same, and something of it is durable.
    Unfinished(&'a KnownUpload, &'a Progress),
    /// The data begins beyond what is durable of it.
    Beyond(u64),
    /// It gives way, and this is free again.
    Displaced(FileId, Usage),
}

type UploadKey = (UserId, Uuid);

impl Beginning {
    fn upload_key(&self) -> Option<UploadKey> {
        let spec = &self.intent.spec;
        spec.upload_id.map(|upload_id| (spec.user_id.clone(), upload_id))
    }

    /// Whether what else its owner does matters.
    fn needs_owner(&self) -> bool {
        self.intent.spec.upload_id.is_some() || !self.intent.quota.is_unlimited()
    }

    fn judge<'a>(&self, earlier: &'a BTreeMap<UploadKey, KnownUpload>) -> Verdict<'a> {
        let offset = self.intent.offset;
        let Some(earlier) = self.upload_key().and_then(|key| earlier.get(&key)) else {
            return if offset > 0 { Verdict::Beyond(0) } else { Verdict::New };
        };
        match &earlier.record {
            // An expired file is none: its upload_id is free again.
            Some(record) if !record.is_visible(self.now) && offset == 0 => {
                let stored_bytes = record.file.content.size_bytes;
                Verdict::Displaced(earlier.file_id, Usage { file_count: 1, stored_bytes })
            }
            Some(record) if !record.is_visible(self.now) => Verdict::Beyond(0),
            _ if earlier.start != self.start => Verdict::Conflict,
            Some(record) => Verdict::Finished(record),
            None if offset > earlier.persisted_size_bytes() => {
                Verdict::Beyond(earlier.persisted_size_bytes())
            }
            None => match &earlier.progress {
                Some(progress) => Verdict::Unfinished(earlier, progress),
                None => {
                    let stored_bytes = earlier.reserved_bytes;
                    Verdict::Displaced(earlier.file_id, Usage { file_count: 1, stored_bytes })
                }
            },
        }
    }
}

impl batch::Job for Beginning {
    type Answer = Intended;
    type Key = UploadKey;

    fn key(&self) -> Option<UploadKey> {
        self.upload_key()
    }

    fn run_all<'c>(
        attempt: Attempt<'c, Vec<Result<Intended>>>,
        jobs: &'c [Self],
    ) -> BoxFuture<'c, sqlx::Result<Vec<Result<Intended>>>> {
        Box::pin(begin(attempt, jobs))
    }
}

async fn begin(
    attempt: Attempt<'_, Vec<Result<Intended>>>,
    jobs: &[Beginning],
) -> sqlx::Result<Vec<Result<Intended>>> {
    let connection = attempt.connection;
    let mut held = BTreeMap::new();
    // All of them or none: one order of locks for every group.
    if attempt.doubted.is_some() || jobs.iter().any(Beginning::needs_owner) {
        held = lock_owners(connection, jobs).await?;
    }
    let settled = match attempt.doubted {
        Some(doubted) => settle(connection, jobs, doubted).await?,
        None => BTreeMap::new(),
    };
    let open: Vec<&Beginning> =
        jobs.iter().filter(|job| !settled.contains_key(&job.intent.file_id)).collect();
    let earlier = find_earlier(connection, &open).await?;
    displace(connection, &open, &earlier).await?;
    let taken = take_over(connection, &open, &earlier).await?;
    let mut answers = Vec::with_capacity(jobs.len());
    let mut begun = Vec::new();
    for job in jobs {
        if let Some(ticket) = settled.get(&job.intent.file_id) {
            answers.push(Ok(Intended::Begun(*ticket)));
            continue;
        }
        let verdict = job.judge(&earlier);
        let answer = decide(connection, job, verdict, (&taken, &mut held)).await?;
        if let Ok(Intended::Begun(ticket)) = &answer {
            begun.push((job, *ticket));
        }
        answers.push(answer);
    }
    insert(connection, &begun).await?;
    insert_references(connection, &begun).await?;
    Ok(answers)
}

async fn lock_owners(
    connection: &mut PgConnection,
    jobs: &[Beginning],
) -> sqlx::Result<BTreeMap<UserId, Usage>> {
    let owners: BTreeSet<&str> = jobs.iter().map(|job| job.intent.spec.user_id.as_str()).collect();
    let owners: Vec<&str> = owners.into_iter().collect();
    let rows = sqlx::query(statements::LOCK_OWNERS).bind(owners).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((UserId::stored(row.try_get(0)?), read_usage(row, 1)?))).collect()
}

/// The tickets of those that were begun after all by a transaction whose end was not heard of.
async fn settle(
    connection: &mut PgConnection,
    jobs: &[Beginning],
    doubted: &[Result<Intended>],
) -> sqlx::Result<BTreeMap<FileId, UploadTicket>> {
    let ids = texts(jobs.iter().map(|job| &job.intent.file_id));
    let rows = sqlx::query(statements::EXISTING).bind(ids).fetch_all(connection).await?;
    let existing = read_ids(&rows)?;
    let tickets = doubted.iter().filter_map(|answer| match answer {
        Ok(Intended::Begun(ticket)) => Some((ticket.file_id, *ticket)),
        _ => None,
    });
    Ok(tickets.filter(|(file_id, _)| existing.contains(file_id)).collect())
}

/// Live uploads. The owners' locks keep them as they are.
async fn find_earlier(
    connection: &mut PgConnection,
    jobs: &[&Beginning],
) -> sqlx::Result<BTreeMap<UploadKey, KnownUpload>> {
    let keys: Vec<UploadKey> = jobs.iter().filter_map(|job| job.upload_key()).collect();
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (owners, ids): (Vec<&str>, Vec<&[u8]>) =
        keys.iter().map(|(owner, id)| (owner.as_str(), id.as_bytes().as_slice())).unzip();
    let rows = sqlx::query(statements::lock_uploads())
        .bind(owners)
        .bind(ids)
        .fetch_all(connection)
        .await?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let upload_id = Uuid::from_bytes(row.try_get(21)?);
        found.insert((UserId::stored(row.try_get(1)?), upload_id), read_upload(row)?);
    }
    Ok(found)
}

/// Ends what gives way to a new upload.
async fn displace(
    connection: &mut PgConnection,
    jobs: &[&Beginning],
    earlier: &BTreeMap<UploadKey, KnownUpload>,
) -> sqlx::Result<()> {
    let displaced: Vec<FileId> = jobs
        .iter()
        .filter_map(|job| match job.judge(earlier) {
            Verdict::Displaced(file_id, _) => Some(file_id),
            _ => None,
        })
        .collect();
    if !displaced.is_empty() {
        sqlx::query(statements::DISPLACE).bind(texts(&displaced)).execute(connection).await?;
    }
    Ok(())
}

/// An upload as it was when it changed hands.
struct Taken {
    fence: u64,
    reserved_bytes: u64,
}

/// Gives unfinished uploads of which something is durable to those who go on with them.
async fn take_over(
    connection: &mut PgConnection,
    jobs: &[&Beginning],
    earlier: &BTreeMap<UploadKey, KnownUpload>,
) -> sqlx::Result<BTreeMap<FileId, Taken>> {
    let (mut ids, mut leases) = (vec![], vec![]);
    for job in jobs {
        if let Verdict::Unfinished(earlier, _) = job.judge(earlier) {
            ids.push(earlier.file_id.to_string());
            leases.push(job.now.plus(job.intent.lease).unix_us());
        }
    }
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let taken = sqlx::query(statements::TAKE_OVER).bind(ids).bind(leases);
    let rows = taken.fetch_all(connection).await?;
    let read = |row| {
        let taken = Taken { fence: unsigned(row, 1)?, reserved_bytes: unsigned(row, 2)? };
        Ok((file_id(row, 0)?, taken))
    };
    rows.iter().map(read).collect()
}

/// Grants an upload its first reservation, and counts it among what its owner holds. Where that is too much,
/// files that nobody will see again are left out first.
async fn decide(
    connection: &mut PgConnection,
    job: &Beginning,
    verdict: Verdict<'_>,
    (taken, held): (&BTreeMap<FileId, Taken>, &mut BTreeMap<UserId, Usage>),
) -> sqlx::Result<Result<Intended>> {
    let intent = &job.intent;
    let held = held.entry(intent.spec.user_id.clone()).or_default();
    match verdict {
        Verdict::New => {}
        Verdict::Conflict => return Ok(Err(MetadataError::UploadConflict)),
        Verdict::Finished(record) => return Ok(Ok(Intended::Finished(Box::new(record.clone())))),
        Verdict::Beyond(persisted_size_bytes) => {
            return Ok(Err(MetadataError::OffsetMismatch { persisted_size_bytes }));
        }
        Verdict::Unfinished(earlier, progress) => {
            let resumption = taken.get(&earlier.file_id).map(|taken| Resumption {
                ticket: UploadTicket {
                    file_id: earlier.file_id,
                    blob_key: earlier.blob_key,
                    fence: taken.fence,
                    reserved_bytes: resumed_reservation(intent.quota, taken.reserved_bytes),
                },
                progress: progress.clone(),
                sealed: earlier.sealed,
            });
            let resumed = resumption.map(|it| Intended::Resumed(Box::new(it)));
            return Ok(resumed.ok_or(MetadataError::UploadTakenOver));
        }
        Verdict::Displaced(_, freed) => *held = without(*held, freed),
    }
    let mut granted = first_reservation(intent, *held);
    if granted.is_err() {
        let freed = purge_over(connection, &intent.spec.user_id, job.now).await?;
        *held = without(*held, freed);
        granted = first_reservation(intent, *held);
    }
    let reserved_bytes = match granted {
        Ok(reserved_bytes) => reserved_bytes,
        Err(refused) => return Ok(Err(refused)),
    };
    let (file_id, blob_key) = (intent.file_id, intent.blob_key);
    let ticket = UploadTicket { file_id, blob_key, fence: 1, reserved_bytes };
    held.file_count += 1;
    let set_aside = ticket.set_aside(intent.spec.size_bytes).unsigned_abs();
    held.stored_bytes = held.stored_bytes.saturating_add(set_aside);
    Ok(Ok(Intended::Begun(ticket)))
}

/// What is held when `freed` is no longer.
pub(super) const fn without(held: Usage, freed: Usage) -> Usage {
    Usage {
        file_count: held.file_count.saturating_sub(freed.file_count),
        stored_bytes: held.stored_bytes.saturating_sub(freed.stored_bytes),
    }
}

async fn insert(
    connection: &mut PgConnection,
    begun: &[(&Beginning, UploadTicket)],
) -> sqlx::Result<()> {
    if begun.is_empty() {
        return Ok(());
    }
    let numbers = |number: &dyn Fn(&Beginning) -> Option<i64>| -> Vec<Option<i64>> {
        begun.iter().map(|(job, _)| number(job)).collect()
    };
    let words = |text: &dyn Fn(&Beginning) -> String| -> Vec<String> {
        begun.iter().map(|(job, _)| text(job)).collect()
    };
    let labels = begun.iter().map(|(job, _)| labels_text(&job.intent.spec.labels));
    let ids: Vec<Option<Uuid>> = begun.iter().map(|(job, _)| job.intent.spec.upload_id).collect();
    sqlx::query(statements::INSERT)
        .bind(words(&|job| job.intent.file_id.to_string()))
        .bind(words(&|job| job.intent.spec.user_id.as_str().to_owned()))
        .bind(words(&|job| job.intent.spec.purpose.as_str().to_owned()))
        .bind(words(&|job| job.intent.spec.name.as_str().to_owned()))
        .bind(words(&|job| name::folded(job.intent.spec.name.as_str())))
        .bind(words(&|job| job.intent.spec.media_type.as_str().to_owned()))
        .bind(words(&|job| top_level_of(job.intent.spec.media_type.as_str()).to_owned()))
        .bind(labels.collect::<sqlx::Result<Vec<String>>>()?)
        .bind(
            begun.iter().map(|(_, ticket)| ticket.blob_key.as_bytes().to_vec()).collect::<Vec<_>>(),
        )
        .bind(numbers(&|job| Some(job.now.unix_us())))
        .bind(numbers(&|job| job.intent.spec.ttl.map(micros)))
        .bind(ids.iter().map(|id| id.map(|id| id.as_bytes().to_vec())).collect::<Vec<_>>())
        .bind(begun.iter().map(|(job, _)| job.start.to_vec()).collect::<Vec<_>>())
        .bind(numbers(&|job| Some(job.now.plus(job.intent.lease).unix_us())))
        .bind(numbers(&|job| Some(i64::from(job.intent.spec.delete_when_unreferenced))))
        .bind(set_aside(begun))
        .execute(connection)
        .await?;
    Ok(())
}

fn set_aside(begun: &[(&Beginning, UploadTicket)]) -> Vec<i64> {
    begun.iter().map(|(job, ticket)| ticket.set_aside(job.intent.spec.size_bytes)).collect()
}

async fn insert_references(
    connection: &mut PgConnection,
    begun: &[(&Beginning, UploadTicket)],
) -> sqlx::Result<()> {
    let (mut ids, mut kinds, mut references, mut owners) = (vec![], vec![], vec![], vec![]);
    for (job, ticket) in begun {
        for reference in &job.intent.spec.references {
            ids.push(ticket.file_id.to_string());
            kinds.push(reference.kind().number());
            references.push(reference.id());
            owners.push(job.intent.spec.user_id.as_str());
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(statements::INSERT_REFERENCES)
        .bind(ids)
        .bind(kinds)
        .bind(references)
        .bind(owners)
        .execute(connection)
        .await?;
    Ok(())
}
