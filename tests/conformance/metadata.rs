//! The promises of a database.

mod lifecycle;
mod listing;
mod quotas;
mod references;
mod resume;
mod upkeep;
mod uploads;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use files::{
    blob::BlobKey,
    clock::{Clock, ManualClock, Timestamp},
    file::{
        Content, FileSpec, id::FileId, labels::Labels, media_type::MediaType, name::FileName,
        purpose::Purpose, reference::References, usage::Quota, user::UserId,
    },
    metadata::{
        Deletion, FileFilter, FileRecord, Intended, Intent, ListPosition, ListQuery, MetadataError,
        Upkeep, UploadTicket,
        cached::{CacheLimits, CachedRepository, Changes},
        memory::MemoryRepository,
        postgres::PostgresRepository,
        sqlite::SqliteRepository,
    },
};
use tempfile::TempDir;
use uuid::Uuid;

use lifecycle::*;
use listing::*;
use quotas::*;
use references::*;
use resume::*;
use upkeep::*;
use uploads::*;

type Result<T = ()> = anyhow::Result<T>;

const LEASE: Duration = Duration::from_secs(60);
const CLAIM: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(1000);

/// A database under test, and what must live as long as it.
struct Backend {
    repository: Arc<dyn Upkeep>,
    clock: Arc<ManualClock>,
    _directory: Option<TempDir>,
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_unix_s(1_711_657_200)))
}

async fn memory() -> Result<Backend> {
    let clock = clock();
    Ok(Backend {
        repository: Arc::new(MemoryRepository::new(Arc::clone(&clock) as Arc<dyn Clock>)),
        clock,
        _directory: None,
    })
}

async fn sqlite() -> Result<Backend> {
    let (clock, directory) = (clock(), tempfile::tempdir()?);
    let path = directory.path().join("metadata.db");
    let repository = SqliteRepository::open(&path, Arc::clone(&clock) as Arc<dyn Clock>)?;
    Ok(Backend { repository: Arc::new(repository), clock, _directory: Some(directory) })
}

async fn cached_sqlite() -> Result<Backend> {
    let inner = sqlite().await?;
    let directory = inner._directory.as_ref().expect("a directory");
    let changes = Changes::shared(&directory.path().join("changes"))?;
    cached(inner, changes)
}

async fn postgres() -> Result<Backend> {
    let (clock, server) = (clock(), crate::postgres_server::shared());
    let options = server.options(&server.database().await);
    let times = Arc::clone(&clock) as Arc<dyn Clock>;
    let repository = PostgresRepository::open(options, times).await?;
    Ok(Backend { repository: Arc::new(repository), clock, _directory: None })
}

async fn cached_postgres() -> Result<Backend> {
    cached(postgres().await?, Changes::in_memory())
}

fn cached(inner: Backend, changes: Changes) -> Result<Backend> {
    let clock = Arc::clone(&inner.clock) as Arc<dyn Clock>;
    let limits = CacheLimits { records_max: 100, age_max: Duration::from_secs(3600) };
    let cached = CachedRepository::new(Arc::clone(&inner.repository), changes, clock, limits);
    Ok(Backend { repository: Arc::new(cached), ..inner })
}

macro_rules! conforms {
    ($backend:ident) => {
        promises! { $backend:
            a_file_is_found_once_it_is_published,
            everything_said_and_measured_reads_back,
            a_retry_of_a_finished_upload_finds_its_file,
            the_same_upload_id_with_another_start_is_a_conflict,
            a_newer_call_takes_an_unfinished_upload_over,
            the_same_upload_id_of_two_users_are_two_uploads,
            an_abandoned_upload_can_be_started_anew,
            a_published_upload_cannot_be_abandoned,
            concurrent_calls_with_one_upload_id_make_one_file,
            listing_is_newest_first_and_pages_join_without_gaps,
            listing_shows_one_users_visible_files_alone,
            an_expired_file_is_not_visible,
            an_expired_file_is_claimed,
            an_expired_file_frees_its_upload_id,
            revoking_raises_epoch_and_etag,
            a_purged_file_is_gone_at_once,
            deleting_heeds_the_etag,
            a_lease_that_ended_is_claimed_and_cannot_be_published,
            a_renewed_lease_is_not_claimed,
            what_is_claimed_stays_until_it_is_forgotten,
            a_live_file_cannot_be_forgotten,
            an_update_changes_what_it_names_and_the_etag,
            an_update_heeds_the_etag_and_what_is_visible,
            a_soft_deleted_file_can_be_undeleted_in_time,
            after_its_purge_time_a_file_is_gone,
            a_soft_deleted_file_can_be_purged,
            a_soft_deleted_file_expires_all_the_same,
            an_upload_id_is_free_after_a_deletion,
            quarantine_is_noted_and_lifted,
            every_filter_selects_alone_and_combined,
            filters_follow_every_change,
            pages_neither_repeat_nor_skip_while_files_come_and_go,
            references_at_upload_read_back,
            attached_files_show_their_references,
            attaching_is_all_or_none,
            a_file_has_a_thousand_references_at_most,
            a_referenced_file_is_deleted_by_force_alone,
            a_file_goes_with_its_last_reference_if_it_lives_for_them,
            the_grace_of_an_unneeded_file_is_its_purposes,
            a_deleted_reference_leaves_every_file,
            a_reference_deleted_while_files_are_published_leaves_none_behind,
            usage_counts_what_is_kept,
            an_expired_file_is_not_counted,
            what_is_promised_is_set_aside,
            an_upload_without_a_length_sets_aside_as_it_goes,
            files_are_counted_while_they_are_under_way,
            a_retry_needs_no_second_place,
            concurrent_uploads_cannot_pass_a_quota_together,
            orphans_are_listed_untouched,
            every_record_names_its_blob,
            a_walk_meets_every_file_once,
            what_was_verified_longest_ago_is_next,
            the_database_keeps_its_id,
            concurrent_claims_share_the_work,
            changes_racing_with_lookups_are_seen_afterwards,
            a_saved_upload_changes_hands,
            an_offset_beyond_what_is_durable_changes_nothing,
            what_is_durable_never_shrinks,
            a_saved_upload_lives_as_long_as_it_is_kept,
            a_sealed_upload_tells_its_content,
            an_upload_is_told_of_until_it_is_deleted,
            a_cancelled_upload_is_nobodys,
            concurrent_resumptions_leave_one_holder,
        }
    };
}

conforms!(memory);
conforms!(sqlite);
conforms!(postgres);
conforms!(cached_sqlite);
conforms!(cached_postgres);

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

pub fn spec(user_name: &str, upload_id: Option<Uuid>) -> FileSpec {
    let label = ("köy".to_owned(), "\"value\"".to_owned());
    FileSpec {
        user_id: user(user_name),
        purpose: Purpose::stored("assistants".to_owned()),
        name: FileName::parse("filename", "näme.txt").expect("a name"),
        media_type: MediaType::parse("text/plain").expect("a type"),
        size_bytes: None,
        ttl: None,
        labels: Labels::parse(BTreeMap::from([label])).expect("labels"),
        references: References::new(),
        delete_when_unreferenced: false,
        upload_id,
    }
}

fn content() -> Content {
    Content { size_bytes: u64::from(u32::MAX) + 7, sha256: [7; 32] }
}

impl Backend {
    async fn intend(&self, spec: FileSpec) -> Result<Intended> {
        self.intend_within(spec, Quota::default()).await
    }

    async fn intend_within(&self, spec: FileSpec, quota: Quota) -> Result<Intended> {
        let (file_id, blob_key) = (FileId::random()?, BlobKey::random()?);
        let intent = Intent { file_id, blob_key, spec, lease: LEASE, quota, offset: 0 };
        Ok(self.repository.intend(intent).await?)
    }

    async fn begin(&self, spec: FileSpec) -> Result<UploadTicket> {
        match self.intend(spec).await? {
            Intended::Begun(ticket) => Ok(ticket),
            other => anyhow::bail!("there before: {other:?}"),
        }
    }

    async fn publish(&self, ticket: &UploadTicket) -> Result<FileRecord> {
        Ok(self.repository.publish(ticket, content()).await?)
    }

    async fn file(&self, spec: FileSpec) -> Result<FileRecord> {
        let ticket = self.begin(spec).await?;
        self.publish(&ticket).await
    }

    async fn is_found(&self, id: &FileId) -> Result<bool> {
        Ok(self.repository.find(id).await?.is_some())
    }

    async fn list(
        &self,
        owner: &str,
        after: Option<ListPosition>,
        limit: usize,
    ) -> Result<Vec<FileId>> {
        let user_id = user(owner);
        let (filter, show_deleted) = (FileFilter::default(), false);
        let query = ListQuery { user_id, filter, show_deleted, after, limit };
        let page = self.repository.list(&query).await?;
        Ok(page.iter().map(|record| record.file.id).collect())
    }

    async fn orphans(&self) -> Result<Vec<FileId>> {
        let claimed = self.repository.claim_orphans(10, CLAIM).await?;
        Ok(claimed.iter().map(|orphan| orphan.file_id).collect())
    }
}

/// A deletion for good.
fn purge() -> Deletion {
    Deletion::default()
}

fn is_taken_over<T>(outcome: std::result::Result<T, MetadataError>) -> bool {
    matches!(outcome, Err(MetadataError::UploadTakenOver))
}
