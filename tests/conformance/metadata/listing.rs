//! Listings: their order, their pages and their filters.

use std::{collections::BTreeMap, time::Duration};

use files::{
    clock::Clock,
    file::{
        Content, FileSpec,
        id::FileId,
        labels::Labels,
        media_type::MediaType,
        name::{FileName, folded},
        purpose::Purpose,
    },
    metadata::{
        Deletion, FileFilter, FileRecord, FileUpdate, ListPosition, ListQuery, MediaTypePattern,
    },
};

use super::{Backend, GRACE, Result, purge, references::thread, spec, user};

pub(super) async fn listing_is_newest_first_and_pages_join_without_gaps(
    backend: Backend,
) -> Result {
    let mut files = Vec::new();
    for n in 0..25 {
        // Some in the same microsecond: then the id decides.
        if n % 3 == 0 {
            backend.clock.advance(Duration::from_micros(1));
        }
        files.push(backend.file(spec("u", None)).await?.file);
    }
    files.sort_by_key(|file| std::cmp::Reverse((file.create_time, file.id)));
    let expected: Vec<FileId> = files.iter().map(|file| file.id).collect();
    assert_eq!(backend.list("u", None, 100).await?, expected);
    let mut joined = Vec::new();
    let mut after = None;
    loop {
        let page = backend.list("u", after, 4).await?;
        let Some(last) = page.last() else { break };
        after = files.iter().find(|file| file.id == *last).map(ListPosition::from);
        joined.extend(page);
    }
    assert_eq!(joined, expected);
    Ok(())
}

pub(super) async fn listing_shows_one_users_visible_files_alone(backend: Backend) -> Result {
    let mine = backend.file(spec("me", None)).await?;
    backend.file(spec("other", None)).await?;
    backend.begin(spec("me", None)).await?;
    let gone = backend.file(spec("me", None)).await?;
    backend.repository.delete(&gone.file.id, purge()).await?;
    assert_eq!(backend.list("me", None, 10).await?, [mine.file.id]);
    Ok(())
}

const PURPOSES: [&str; 3] = ["assistants", "batch", "vision"];
const TYPES: [&str; 4] = ["image/png", "image/gif", "text/plain", "application/json"];
const NAMES: [&str; 3] = ["Report Ä.txt", "notes.txt", "plot_final.txt"];

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Sixty files in which every condition holds for some, and two for some together.
async fn varied(backend: &Backend) -> Result<Vec<FileRecord>> {
    let mut records = Vec::new();
    for n in 0..60_usize {
        if n % 4 == 0 {
            backend.clock.advance(Duration::from_secs(1));
        }
        let pairs = [("team", ["red", "blue"][n % 2]), ("n", ["0", "1", "2"][n % 3])];
        let said = FileSpec {
            purpose: Purpose::stored(PURPOSES[n % 3].to_owned()),
            media_type: MediaType::parse(TYPES[n / 3 % 4]).expect("a type"),
            name: FileName::parse("filename", NAMES[n / 2 % 3]).expect("a name"),
            labels: Labels::parse(labels(&pairs[..n % 3])).expect("labels"),
            references: (0..n % 3).map(|at| thread(&format!("t{at}"))).collect(),
            ttl: (n % 20 == 19).then_some(Duration::from_secs(1)),
            ..spec(if n % 10 == 9 { "other" } else { "u" }, None)
        };
        let ticket = backend.begin(said).await?;
        let content = Content { size_bytes: n as u64, sha256: [(n % 5) as u8; 32] };
        records.push(backend.repository.publish(&ticket, content).await?);
    }
    for record in records.iter().step_by(7) {
        let deletion = Deletion { grace: GRACE, force: true, etag: None };
        backend.repository.delete(&record.file.id, deletion).await?;
    }
    backend.clock.advance(Duration::from_secs(1));
    let mut found = Vec::new();
    for record in &records {
        found.extend(backend.repository.find(&record.file.id).await?);
    }
    found.sort_by_key(|record| std::cmp::Reverse((record.file.create_time, record.file.id)));
    Ok(found.iter().map(|record| FileRecord::clone(record)).collect())
}

type Condition = fn(&FileRecord) -> bool;

/// What each condition means, said once more and plainly.
fn conditions() -> Vec<(FileFilter, Condition)> {
    let exact = |text: &str| MediaTypePattern::Exact(text.to_owned());
    let top_level = |text: &str| MediaTypePattern::TopLevel(text.to_owned());
    let none = FileFilter::default;
    let purposes = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    vec![
        (none(), |_| true),
        (FileFilter { purposes: purposes(&["batch"]), ..none() }, |it| {
            it.file.purpose.as_str() == "batch"
        }),
        (FileFilter { purposes: purposes(&["batch", "vision"]), ..none() }, |it| {
            it.file.purpose.as_str() != "assistants"
        }),
        (FileFilter { media_types: vec![exact("image/png")], ..none() }, |it| {
            it.file.media_type.as_str() == "image/png"
        }),
        (
            FileFilter { media_types: vec![top_level("image"), exact("text/plain")], ..none() },
            |it| it.file.media_type.as_str() != "application/json",
        ),
        (FileFilter { name_contains: Some(folded("REPORT ä")), ..none() }, |it| {
            it.file.name.as_str() == "Report Ä.txt"
        }),
        (FileFilter { name_contains: Some("_".to_owned()), ..none() }, |it| {
            it.file.name.as_str() == "plot_final.txt"
        }),
        (FileFilter { name_contains: Some("%".to_owned()), ..none() }, |_| false),
        (FileFilter { reference: Some(thread("t1")), ..none() }, |it| {
            it.file.references.contains(&thread("t1"))
        }),
        (FileFilter { sha256: Some([3; 32]), ..none() }, |it| it.file.content.sha256 == [3; 32]),
        (FileFilter { labels: labels(&[("team", "red")]), ..none() }, |it| {
            it.file.labels.as_map().get("team").is_some_and(|team| team == "red")
        }),
        (FileFilter { labels: labels(&[("team", "blue"), ("n", "2")]), ..none() }, |it| {
            let labels = it.file.labels.as_map();
            labels.get("team").is_some_and(|it| it == "blue") && labels.contains_key("n")
        }),
    ]
}

/// Two filters as one: both must hold.
fn both(one: &FileFilter, other: &FileFilter) -> Option<FileFilter> {
    fn list<T: Clone>(one: &[T], other: &[T]) -> Option<Vec<T>> {
        let apart = one.is_empty() || other.is_empty();
        apart.then(|| one.iter().chain(other).cloned().collect())
    }
    fn option<T: Clone>(one: &Option<T>, other: &Option<T>) -> Option<Option<T>> {
        let apart = one.is_none() || other.is_none();
        apart.then(|| one.clone().or(other.clone()))
    }
    let mut labels = one.labels.clone();
    labels.extend(other.labels.clone());
    Some(FileFilter {
        purposes: list(&one.purposes, &other.purposes)?,
        media_types: list(&one.media_types, &other.media_types)?,
        name_contains: option(&one.name_contains, &other.name_contains)?,
        reference: option(&one.reference, &other.reference)?,
        sha256: option(&one.sha256, &other.sha256)?,
        labels: list(&Vec::from_iter(&one.labels), &Vec::from_iter(&other.labels))
            .map(|_| labels)?,
        create_time_from: one.create_time_from.or(other.create_time_from),
        create_time_to: one.create_time_to.or(other.create_time_to),
    })
}

impl Backend {
    /// All pages of a listing, of three files each.
    async fn paged(&self, filter: &FileFilter, show_deleted: bool) -> Result<Vec<FileId>> {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let filter = filter.clone();
            let query = ListQuery { user_id: user("u"), filter, show_deleted, after, limit: 3 };
            let page = self.repository.list(&query).await?;
            let Some(last) = page.last() else {
                return Ok(ids);
            };
            after = Some(ListPosition::from(&last.file));
            ids.extend(page.iter().map(|record| record.file.id));
        }
    }
}

pub(super) async fn every_filter_selects_alone_and_combined(backend: Backend) -> Result {
    let records = varied(&backend).await?;
    let now = backend.clock.now();
    let middle = records[records.len() / 2].file.create_time;
    let all = conditions();
    for (one, holds) in &all {
        for (other, holds_too) in &all {
            let Some(filter) = both(one, other) else { continue };
            for (from, to) in [(None, None), (Some(middle), None), (None, Some(middle))] {
                let filter =
                    FileFilter { create_time_from: from, create_time_to: to, ..filter.clone() };
                for show_deleted in [false, true] {
                    let expected: Vec<FileId> = records
                        .iter()
                        .filter(|it| it.file.user_id == user("u") && holds(it) && holds_too(it))
                        .filter(|it| it.is_visible(now) || (show_deleted && it.is_recoverable(now)))
                        .filter(|it| from.is_none_or(|from| it.file.create_time >= from))
                        .filter(|it| to.is_none_or(|to| it.file.create_time < to))
                        .map(|it| it.file.id)
                        .collect();
                    let found = backend.paged(&filter, show_deleted).await?;
                    assert_eq!(found, expected, "{filter:?} {show_deleted}");
                }
            }
        }
    }
    Ok(())
}

pub(super) async fn filters_follow_every_change(backend: Backend) -> Result {
    let id = backend.file(spec("u", None)).await?.file.id;
    let by = |pairs: &[(&str, &str)]| FileFilter { labels: labels(pairs), ..FileFilter::default() };
    let named =
        |part: &str| FileFilter { name_contains: Some(part.to_owned()), ..FileFilter::default() };
    let (old, new) = (by(&[("köy", "\"value\"")]), by(&[("k", "v")]));
    assert_eq!(backend.paged(&old, false).await?, [id]);
    let update = FileUpdate {
        labels: Some(Labels::parse(labels(&[("k", "v")])).expect("labels")),
        name: Some(FileName::parse("filename", "renamed.txt").expect("a name")),
        ..FileUpdate::default()
    };
    backend.repository.update(&id, update).await?;
    assert_eq!(backend.paged(&old, false).await?, []);
    assert_eq!(backend.paged(&new, false).await?, [id]);
    assert_eq!(backend.paged(&named("näme"), false).await?, []);
    assert_eq!(backend.paged(&named("renamed"), false).await?, [id]);
    let soft = Deletion { grace: GRACE, ..Deletion::default() };
    backend.repository.delete(&id, soft).await?;
    assert_eq!(backend.paged(&new, false).await?, []);
    assert_eq!(backend.paged(&new, true).await?, [id]);
    backend.repository.undelete(&id).await?;
    assert_eq!(backend.paged(&new, false).await?, [id]);
    backend.repository.delete(&id, purge()).await?;
    assert_eq!(backend.paged(&new, true).await?, []);
    Ok(())
}

pub(super) async fn pages_neither_repeat_nor_skip_while_files_come_and_go(
    backend: Backend,
) -> Result {
    let mut stay = Vec::new();
    for n in 0..30 {
        backend.clock.advance(Duration::from_micros(n % 2));
        stay.push(backend.file(spec("u", None)).await?.file.id);
    }
    let goes: Vec<FileId> = stay.iter().copied().step_by(5).collect();
    let (mut met, mut after, mut gone) = (Vec::new(), None, goes.iter());
    loop {
        let query = ListQuery {
            user_id: user("u"),
            filter: FileFilter::default(),
            show_deleted: false,
            after,
            limit: 4,
        };
        let page = backend.repository.list(&query).await?;
        let Some(last) = page.last() else { break };
        after = Some(ListPosition::from(&last.file));
        met.extend(page.iter().map(|record| record.file.id));
        backend.clock.advance(Duration::from_micros(1));
        backend.file(spec("u", None)).await?;
        if let Some(id) = gone.next() {
            backend.repository.delete(id, purge()).await?;
        }
    }
    let once: std::collections::BTreeSet<_> = met.iter().collect();
    assert_eq!(once.len(), met.len());
    let missed: Vec<_> =
        stay.iter().filter(|id| !goes.contains(id) && !once.contains(id)).collect();
    assert!(missed.is_empty(), "{missed:?}");
    Ok(())
}
