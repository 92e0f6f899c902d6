//! Random sequences of all metadata calls, against the in-memory model and against a database: every answer
//! must be the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use files::{
    blob::BlobKey,
    clock::{Clock, ManualClock, Timestamp},
    file::{
        Content, FileSpec,
        id::FileId,
        labels::Labels,
        media_type::MediaType,
        name::{FileName, folded},
        purpose::Purpose,
        reference::{Reference, ReferenceKind},
        usage::Quota,
        user::UserId,
    },
    metadata::{
        Association, Deletion, FileFilter, FileRecord, FileUpdate, Grace, Intended, Intent,
        ListPosition, ListQuery, MediaTypePattern, MetadataError, Progress, Upkeep, UploadTicket,
        memory::MemoryRepository, postgres::PostgresRepository, sqlite::SqliteRepository,
    },
};
use proptest::{prelude::*, test_runner::Config};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::metadata::clock;

type Result<T = ()> = anyhow::Result<T>;

/// One call. Files and uploads are named by number, modulo how many there are.
#[derive(Clone, Debug)]
enum Call {
    Advance(u64),
    Intend { user: u8, upload_id: Option<u8>, shape: u8, size: Option<u8>, quota: u8, offset: u8 },
    Save(usize, u8),
    Seal(usize, u8),
    Cancel { user: u8, upload_id: u8 },
    FindUpload { user: u8, upload_id: u8 },
    Reserve(usize, u16, u8),
    Renew(usize),
    Publish(usize, u8),
    Abandon(usize),
    Update { file: usize, shape: u8, etag: u8 },
    Delete { file: usize, force: bool, grace: u8, etag: u8 },
    Undelete(usize),
    Attach { files: Vec<usize>, reference: u8, owner: Option<u8> },
    Detach { files: Vec<usize>, reference: u8, owner: Option<u8> },
    DeleteReference { reference: u8, owner: Option<u8>, limit: usize },
    List { user: u8, filter: u8, show_deleted: bool, limit: usize },
    Usage(u8),
    ClaimAndForget(bool),
    Quarantine(usize, bool),
    Verify(u64),
    Walk,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let file = || 0..64_usize;
    let some_files = || prop::collection::vec(0..64_usize, 1..4);
    let owner = || prop::option::of(0..2_u8);
    let call = prop_oneof![
        2 => (0..2000_u64).prop_map(Call::Advance),
        6 => (0..2_u8, prop::option::of(0..3_u8), 0..8_u8, prop::option::of(0..40_u8), 0..4_u8, 0..12_u8)
            .prop_map(|(user, upload_id, shape, size, quota, offset)| Call::Intend {
                user, upload_id, shape, size, quota, offset: offset.saturating_sub(7) * 4,
            }),
        3 => (file(), 1..20_u8).prop_map(|(n, size)| Call::Save(n, size)),
        1 => (file(), 0..40_u8).prop_map(|(n, size)| Call::Seal(n, size)),
        1 => (0..2_u8, 0..3_u8).prop_map(|(user, upload_id)| Call::Cancel { user, upload_id }),
        2 => (0..2_u8, 0..3_u8).prop_map(|(user, upload_id)| Call::FindUpload { user, upload_id }),
        1 => (file(), any::<u16>(), 0..4_u8).prop_map(|(n, bytes, quota)| Call::Reserve(n, bytes, quota)),
        1 => file().prop_map(Call::Renew),
        6 => (file(), 0..40_u8).prop_map(|(n, size)| Call::Publish(n, size)),
        1 => file().prop_map(Call::Abandon),
        2 => (file(), any::<u8>(), 0..3_u8)
            .prop_map(|(file, shape, etag)| Call::Update { file, shape, etag }),
        3 => (file(), any::<bool>(), 0..3_u8, 0..3_u8)
            .prop_map(|(file, force, grace, etag)| Call::Delete { file, force, grace, etag }),
        2 => file().prop_map(Call::Undelete),
        2 => (some_files(), 0..4_u8, owner())
            .prop_map(|(files, reference, owner)| Call::Attach { files, reference, owner }),
        2 => (some_files(), 0..4_u8, owner())
            .prop_map(|(files, reference, owner)| Call::Detach { files, reference, owner }),
        1 => (0..4_u8, owner(), 1..4_usize)
            .prop_map(|(reference, owner, limit)| Call::DeleteReference { reference, owner, limit }),
        4 => (0..2_u8, any::<u8>(), any::<bool>(), 1..9_usize)
            .prop_map(|(user, filter, show_deleted, limit)| Call::List {
                user, filter, show_deleted, limit,
            }),
        2 => (0..2_u8).prop_map(Call::Usage),
        1 => any::<bool>().prop_map(Call::ClaimAndForget),
        1 => (file(), any::<bool>()).prop_map(|(n, damaged)| Call::Quarantine(n, damaged)),
        1 => (0..2000_u64).prop_map(Call::Verify),
        1 => Just(Call::Walk),
    ];
    prop::collection::vec(call, 1..120)
}

fn user(n: u8) -> UserId {
    UserId::parse(["anna", "bert"][usize::from(n) % 2]).expect("a user id")
}

fn reference(n: u8) -> Reference {
    let kind = ReferenceKind::ALL[usize::from(n) % 2];
    Reference::parse("reference", Some(kind), ["a", "b"][usize::from(n / 2) % 2]).expect("valid")
}

fn name(n: u8) -> FileName {
    let names = ["Über.txt", "plain.txt", "100%_done.txt", "plot.png"];
    FileName::parse("filename", names[usize::from(n) % 4]).expect("a name")
}

fn labels(n: u8) -> Labels {
    let pairs = [("k", "v"), ("k", "w"), ("l", "v")];
    let chosen = pairs.iter().enumerate().filter(|(at, _)| n >> at & 1 == 1);
    let map: BTreeMap<_, _> =
        chosen.map(|(_, (key, value))| ((*key).to_owned(), (*value).to_owned())).collect();
    Labels::parse(map).expect("labels")
}

fn quota(n: u8) -> Quota {
    let limits = [(None, None), (Some(3), None), (None, Some(60)), (Some(5), Some(100))];
    let (file_count_max, stored_bytes_max) = limits[usize::from(n) % 4];
    Quota { file_count_max, stored_bytes_max }
}

fn filter(n: u8, middle: Timestamp) -> FileFilter {
    let bit = |at: u8| n >> at & 1 == 1;
    let plain = FileFilter::default();
    FileFilter {
        purposes: if bit(0) { vec!["batch".to_owned()] } else { vec![] },
        media_types: match n >> 1 & 3 {
            1 => vec![MediaTypePattern::TopLevel("image".to_owned())],
            2 => vec![MediaTypePattern::Exact("text/plain".to_owned())],
            _ => vec![],
        },
        name_contains: bit(3).then(|| folded("ü")),
        reference: bit(4).then(|| reference(0)),
        labels: if bit(5) { labels(1).as_map().clone() } else { BTreeMap::new() },
        sha256: bit(6).then_some([3; 32]),
        create_time_from: bit(7).then_some(middle),
        ..plain
    }
}

fn upload_uuid(n: u8) -> Uuid {
    Uuid::from_u128(u128::from(n) + 1)
}

fn spec(user_id: UserId, upload_id: Option<u8>, shape: u8, size: Option<u8>) -> FileSpec {
    let bit = |at: u8| shape >> at & 1 == 1;
    FileSpec {
        user_id,
        purpose: Purpose::stored(if bit(0) { "batch" } else { "vision" }.to_owned()),
        name: name(shape),
        media_type: MediaType::parse(if bit(1) { "image/png" } else { "text/plain" })
            .expect("a type"),
        size_bytes: size.map(u64::from),
        ttl: bit(2).then_some(Duration::from_secs(1500)),
        labels: labels(shape >> 3),
        references: (0..4).filter(|n| bit(4 + n)).map(reference).collect(),
        delete_when_unreferenced: bit(3),
        upload_id: upload_id.map(upload_uuid),
    }
}

/// The same calls to both, and what they are about.
struct Pair {
    model: MemoryRepository,
    database: Arc<dyn Upkeep>,
    clock: Arc<ManualClock>,
    start: Timestamp,
    ids: Vec<FileId>,
    tickets: Vec<UploadTicket>,
    grace: Arc<Grace>,
}

/// An answer as it can be compared: errors by what they say.
fn told<T: std::fmt::Debug>(answer: std::result::Result<T, MetadataError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error @ (MetadataError::Unavailable(_) | MetadataError::Damaged(_))) => {
            panic!("the database failed: {error:?}")
        }
        Err(error) => format!("{error:?}"),
    }
}

/// Asks both the same and compares the answers.
macro_rules! same {
    ($pair:expr, $ask:expr) => {{
        let ask = $ask;
        let from_model = ask(&$pair.model as &dyn Upkeep).await;
        let from_database = ask($pair.database.as_ref()).await;
        assert_eq!(from_database, from_model);
        from_model
    }};
}

impl Pair {
    fn new(database: Arc<dyn Upkeep>, clock: Arc<ManualClock>) -> Self {
        let by_purpose = [("batch".to_owned(), Duration::ZERO)].into();
        Self {
            model: MemoryRepository::new(Arc::clone(&clock) as Arc<dyn Clock>),
            database,
            start: clock.now(),
            clock,
            ids: Vec::new(),
            tickets: Vec::new(),
            grace: Arc::new(Grace { default: Duration::from_secs(1000), by_purpose }),
        }
    }

    fn file(&self, n: usize) -> FileId {
        let none = FileId::parse("file_0000000000000000000000").expect("an id");
        self.ids.get(n % self.ids.len().max(1)).copied().unwrap_or(none)
    }

    fn ticket(&self, n: usize) -> Option<UploadTicket> {
        self.tickets.get(n % self.tickets.len().max(1)).copied()
    }

    async fn etag(&self, file: &FileId, n: u8) -> Result<Option<String>> {
        let found = files::metadata::FileRepository::find(&self.model, file).await?;
        Ok(match n {
            0 => None,
            1 => found.map(|record| record.file.etag()),
            _ => Some("stale".to_owned()),
        })
    }

    async fn make(&mut self, call: &Call) -> Result {
        match call.clone() {
            Call::Advance(seconds) => self.clock.advance(Duration::from_secs(seconds)),
            Call::Intend { user: n, upload_id, shape, size, quota: q, offset } => {
                let intent = Intent {
                    file_id: FileId::random()?,
                    blob_key: BlobKey::random()?,
                    spec: spec(user(n), upload_id, shape, size),
                    lease: Duration::from_secs(500),
                    quota: quota(q),
                    offset: offset.into(),
                };
                let told = same!(self, async |it: &dyn Upkeep| {
                    match it.intend(intent.clone()).await {
                        Ok(Intended::Begun(ticket)) => Ok((ticket, None)),
                        Ok(Intended::Resumed(it)) => {
                            Ok((it.ticket, Some((it.progress, it.sealed))))
                        }
                        Ok(Intended::Finished(record)) => Err(format!("{record:?}")),
                        Err(error) => Err(told::<()>(Err(error))),
                    }
                });
                if let Ok((ticket, _)) = told {
                    self.tickets.push(ticket);
                    self.ids.push(ticket.file_id);
                }
            }
            Call::Reserve(n, bytes, q) => {
                if let Some(ticket) = self.ticket(n) {
                    let (bytes, q) = (u64::from(bytes), quota(q));
                    same!(self, async |it: &dyn Upkeep| told(it.reserve(&ticket, bytes, q).await));
                }
            }
            Call::Renew(n) => {
                if let Some(ticket) = self.ticket(n) {
                    let lease = Duration::from_secs(500);
                    same!(self, async |it: &dyn Upkeep| told(it.renew(&ticket, lease).await));
                }
            }
            Call::Publish(n, size) => {
                if let Some(ticket) = self.ticket(n) {
                    let content = Content { size_bytes: size.into(), sha256: [size % 5; 32] };
                    same!(self, async |it: &dyn Upkeep| told(it.publish(&ticket, content).await));
                }
            }
            Call::Abandon(n) => {
                if let Some(ticket) = self.ticket(n) {
                    same!(self, async |it: &dyn Upkeep| told(it.abandon(&ticket).await));
                }
            }
            change => self.go_on(change).await?,
        }
        Ok(())
    }

    async fn go_on(&mut self, call: Call) -> Result {
        match call {
            Call::Save(n, size) => {
                if let Some(ticket) = self.ticket(n) {
                    let lease = Duration::from_secs(900);
                    let saved =
                        Progress { persisted_size_bytes: size.into(), state: size.to_string() };
                    same!(self, async |it: &dyn Upkeep| {
                        told(it.save(&ticket, saved.clone(), lease).await)
                    });
                }
            }
            Call::Seal(n, size) => {
                if let Some(ticket) = self.ticket(n) {
                    let content = Content { size_bytes: size.into(), sha256: [size % 5; 32] };
                    same!(self, async |it: &dyn Upkeep| told(it.seal(&ticket, content).await));
                    same!(self, async |it: &dyn Upkeep| told(it.holds(&ticket).await));
                }
            }
            Call::Cancel { user: n, upload_id } => {
                let (owner, id) = (user(n), upload_uuid(upload_id));
                same!(self, async |it: &dyn Upkeep| told(it.cancel(&owner, &id).await));
            }
            Call::FindUpload { user: n, upload_id } => {
                let (owner, id) = (user(n), upload_uuid(upload_id));
                same!(self, async |it: &dyn Upkeep| told(it.find_upload(&owner, &id).await));
            }
            change => self.change(change).await?,
        }
        Ok(())
    }

    async fn change(&mut self, call: Call) -> Result {
        match call {
            Call::Update { file, shape, etag } => {
                let id = self.file(file);
                let bit = |at: u8| shape >> at & 1 == 1;
                let later = self.clock.now().plus(Duration::from_secs(700));
                let update = FileUpdate {
                    etag: self.etag(&id, etag).await?,
                    name: bit(0).then(|| name(shape)),
                    labels: bit(1).then(|| labels(shape >> 4)),
                    expire_time: bit(2).then_some(bit(3).then_some(later)),
                    delete_when_unreferenced: bit(4).then_some(bit(5)),
                    end_links: bit(6),
                };
                same!(self, async |it: &dyn Upkeep| told(it.update(&id, update.clone()).await));
            }
            Call::Delete { file, force, grace, etag } => {
                let id = self.file(file);
                let grace = Duration::from_secs([0, 500, 1000][usize::from(grace) % 3]);
                let deletion = Deletion { etag: self.etag(&id, etag).await?, force, grace };
                same!(self, async |it: &dyn Upkeep| told(it.delete(&id, deletion.clone()).await));
            }
            Call::Undelete(file) => {
                let id = self.file(file);
                same!(self, async |it: &dyn Upkeep| told(it.undelete(&id).await));
            }
            Call::Attach { files, reference: r, owner } => {
                let tie = self.association(&files, r, owner);
                same!(self, async |it: &dyn Upkeep| told(it.attach(tie.clone()).await));
            }
            Call::Detach { files, reference: r, owner } => {
                let (tie, grace) = (self.association(&files, r, owner), &self.grace);
                same!(self, async |it: &dyn Upkeep| {
                    told(it.detach(tie.clone(), Arc::clone(grace)).await)
                });
            }
            Call::DeleteReference { reference: r, owner, limit } => {
                let (owner, gone, grace) = (owner.map(user), reference(r), &self.grace);
                // Which of them come first is each one's own affair: until none is left.
                same!(self, async |it: &dyn Upkeep| {
                    let (mut detached, mut deleted) = (Vec::new(), Vec::new());
                    loop {
                        let grace = Arc::clone(grace);
                        let batch = it.delete_reference(owner.as_ref(), &gone, grace, limit).await;
                        let batch = batch.expect("no failure");
                        assert!(batch.detached.len() <= limit);
                        if batch.untied().next().is_none() {
                            detached.sort_unstable();
                            deleted.sort_unstable();
                            return (detached, deleted);
                        }
                        detached.extend(batch.detached);
                        deleted.extend(batch.deleted);
                    }
                });
            }
            look => self.look(look).await?,
        }
        Ok(())
    }

    async fn look(&mut self, call: Call) -> Result {
        let now = self.clock.now();
        match call {
            Call::List { user: n, filter: f, show_deleted, limit } => {
                let middle = Timestamp::from_unix_us(
                    self.start.unix_us() + (now.unix_us() - self.start.unix_us()) / 2,
                );
                let first = ListQuery {
                    user_id: user(n),
                    filter: filter(f, middle),
                    show_deleted,
                    after: None,
                    limit,
                };
                same!(self, async |it: &dyn Upkeep| all_pages(it, first.clone()).await);
            }
            Call::Usage(n) => {
                let user_id = user(n);
                same!(self, async |it: &dyn Upkeep| told(it.usage(&user_id).await));
            }
            Call::ClaimAndForget(forget) => {
                same!(self, async |it: &dyn Upkeep| {
                    let lease = Duration::from_secs(300);
                    let mut claimed = it.claim_orphans(1000, lease).await.expect("no failure");
                    claimed.sort_by_key(|orphan| orphan.file_id);
                    for orphan in claimed.iter().filter(|_| forget) {
                        it.forget(&orphan.file_id).await.expect("no failure");
                    }
                    claimed
                });
            }
            Call::Quarantine(file, damaged) => {
                let id = self.file(file);
                same!(self, async |it: &dyn Upkeep| told(it.quarantine(&id, damaged).await));
            }
            Call::Verify(seconds) => {
                let before = now.minus(Duration::from_secs(seconds));
                same!(self, async |it: &dyn Upkeep| {
                    let mut due = it
                        .claim_unverified(before, Duration::from_secs(100), 1000)
                        .await
                        .expect("no failure");
                    due = living(due, now);
                    for record in due.iter().step_by(2) {
                        it.note_verified(&record.file.id).await.expect("no failure");
                    }
                    due
                });
            }
            Call::Walk => {
                same!(self, async |it: &dyn Upkeep| {
                    living(it.walk(None, 1000).await.expect("no failure"), now)
                });
            }
            _ => {}
        }
        self.compare_files().await
    }

    /// Every file reads back alike, and the counters agree with the records.
    async fn compare_files(&self) -> Result {
        let now = self.clock.now();
        for id in &self.ids {
            same!(self, async |it: &dyn Upkeep| {
                let found = it.find(id).await.expect("no failure");
                living(found.iter().map(|it| FileRecord::clone(it)).collect(), now)
            });
        }
        assert_eq!(self.database.check_usage(false).await?, []);
        Ok(())
    }

    fn association(&self, files: &[usize], r: u8, owner: Option<u8>) -> Association {
        let file_ids = files.iter().map(|n| self.file(*n)).collect();
        Association { owner: owner.map(user), reference: reference(r), file_ids }
    }
}

/// Those that somebody can still see: when the others go is each database's own affair.
fn living(mut records: Vec<FileRecord>, now: Timestamp) -> Vec<FileRecord> {
    records.retain(|record| record.is_visible(now) || record.is_recoverable(now));
    records.sort_by_key(|record| record.file.id);
    records
}

async fn all_pages(repository: &dyn Upkeep, first: ListQuery) -> Vec<FileRecord> {
    let (mut query, mut all) = (first, Vec::new());
    loop {
        let page = repository.list(&query).await.expect("no failure");
        assert!(page.len() <= query.limit);
        let Some(last) = page.last() else {
            return all;
        };
        query.after = Some(ListPosition::from(&last.file));
        all.extend(page);
    }
}

async fn play(mut pair: Pair, calls: &[Call]) -> Result {
    for call in calls {
        pair.make(call).await?;
    }
    pair.compare_files().await
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn sqlite_answers_every_sequence_of_calls_as_the_model_does() {
    let runtime = runtime();
    let config = Config { failure_persistence: None, ..Config::with_cases(200) };
    proptest!(config, |(calls in calls())| {
        runtime.block_on(async {
            let (directory, clock) = (tempfile::tempdir()?, clock());
            let path = directory.path().join("metadata.db");
            let times = Arc::clone(&clock) as Arc<dyn Clock>;
            let database = Arc::new(SqliteRepository::open(&path, times)?);
            play(Pair::new(database, clock), &calls).await
        }).expect("no failure");
    });
}

#[test]
fn postgres_answers_every_sequence_of_calls_as_the_model_does() {
    let (runtime, server) = (runtime(), crate::postgres_server::shared());
    let config = Config { failure_persistence: None, ..Config::with_cases(60) };
    proptest!(config, |(calls in calls())| {
        runtime.block_on(async {
            let clock = clock();
            let options = server.options(&server.database().await);
            let times = Arc::clone(&clock) as Arc<dyn Clock>;
            let database = Arc::new(PostgresRepository::open(options, times).await?);
            play(Pair::new(database, clock), &calls).await
        }).expect("no failure");
    });
}
