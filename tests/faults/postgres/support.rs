//! What the tests say and make.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use files::{
    blob::BlobKey,
    clock::{Clock, ManualClock, Timestamp},
    file::{
        Content, FileSpec,
        id::FileId,
        labels::Labels,
        media_type::MediaType,
        name::FileName,
        purpose::Purpose,
        reference::{Reference, ReferenceKind, References},
        usage::Quota,
        user::UserId,
    },
    metadata::{
        FileRecord, FileRepository, Intended, Intent, UploadTicket,
        postgres::{PostgresOptions, PostgresRepository},
    },
};
use uuid::Uuid;

pub(crate) type Outcome<T = ()> = anyhow::Result<T>;

pub(crate) const LEASE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_unix_s(1_711_657_200)))
}

pub(crate) async fn open(
    options: PostgresOptions,
    clock: &Arc<ManualClock>,
) -> Outcome<Arc<PostgresRepository>> {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    Ok(Arc::new(PostgresRepository::open(options, clock).await?))
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

pub(crate) fn thread(id: &str) -> Reference {
    Reference::parse("reference", Some(ReferenceKind::Thread), id).expect("a reference")
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Labels::parse(pairs.collect::<BTreeMap<_, _>>()).expect("labels")
}

pub(crate) fn spec(owner: &str) -> FileSpec {
    FileSpec {
        user_id: user(owner),
        purpose: Purpose::stored("assistants".to_owned()),
        name: FileName::parse("filename", "NÄme \"1\".txt").expect("a name"),
        media_type: MediaType::parse("text/plain").expect("a type"),
        size_bytes: None,
        ttl: None,
        labels: labels(&[("köy", "\"value\\ ☃"), ("empty", "")]),
        references: References::new(),
        delete_when_unreferenced: false,
        upload_id: None,
    }
}

pub(crate) fn intent(spec: FileSpec) -> Intent {
    Intent {
        file_id: FileId::random().expect("randomness"),
        blob_key: BlobKey::random().expect("randomness"),
        spec,
        lease: LEASE,
        quota: Quota::default(),
        offset: 0,
    }
}

pub(crate) fn upload_id(n: u128) -> Option<Uuid> {
    Some(Uuid::from_u128(n))
}

pub(crate) fn content() -> Content {
    Content { size_bytes: u64::from(u32::MAX) + 7, sha256: [7; 32] }
}

pub(crate) async fn begin(
    repository: &dyn FileRepository,
    spec: FileSpec,
) -> Outcome<UploadTicket> {
    match repository.intend(intent(spec)).await? {
        Intended::Begun(ticket) => Ok(ticket),
        other => anyhow::bail!("there before: {other:?}"),
    }
}

pub(crate) async fn file(repository: &dyn FileRepository, spec: FileSpec) -> Outcome<FileRecord> {
    let ticket = begin(repository, spec).await?;
    Ok(repository.publish(&ticket, content()).await?)
}
