//! Files and what they belong to.

use std::{sync::Arc, time::Duration};

use files::{
    clock::Clock,
    file::{
        FileSpec,
        id::FileId,
        reference::{REFERENCES_OF_FILE_MAX, Reference, ReferenceKind, References},
    },
    metadata::{Association, Deletion, Detached, Grace, MetadataError},
};

use super::{Backend, GRACE, Result, spec, user};

pub(super) fn thread(id: &str) -> Reference {
    Reference::parse("reference", Some(ReferenceKind::Thread), id).expect("a reference")
}

fn run(id: &str) -> Reference {
    Reference::parse("reference", Some(ReferenceKind::Run), id).expect("a reference")
}

fn grace() -> Arc<Grace> {
    Arc::new(Grace { default: GRACE, ..Grace::default() })
}

fn tie(reference: Reference, file_ids: &[FileId]) -> Association {
    Association { owner: Some(user("u")), reference, file_ids: file_ids.to_vec() }
}

fn of(references: &[Reference]) -> References {
    references.iter().cloned().collect()
}

impl Backend {
    async fn references(&self, id: &FileId) -> Result<References> {
        let found = self.repository.find(id).await?;
        Ok(found.map(|record| record.file.references.clone()).unwrap_or_default())
    }

    async fn is_visible(&self, id: &FileId) -> Result<bool> {
        let found = self.repository.find(id).await?;
        Ok(found.is_some_and(|record| record.is_visible(self.clock.now())))
    }
}

pub(super) async fn references_at_upload_read_back(backend: Backend) -> Result {
    let references = of(&[thread("t:1"), run("ünïcode \"quoted\"")]);
    let said = FileSpec {
        references: references.clone(),
        delete_when_unreferenced: true,
        ..spec("u", None)
    };
    let record = backend.file(said).await?;
    assert_eq!(record.file.references, references);
    assert!(record.file.delete_when_unreferenced);
    assert_eq!(backend.references(&record.file.id).await?, references);
    Ok(())
}

pub(super) async fn attached_files_show_their_references(backend: Backend) -> Result {
    let (one, two) = (backend.file(spec("u", None)).await?, backend.file(spec("u", None)).await?);
    backend.repository.find(&one.file.id).await?;
    backend.clock.advance(Duration::from_secs(1));
    backend.repository.attach(tie(thread("a"), &[one.file.id, two.file.id])).await?;
    let tied = backend.repository.find(&one.file.id).await?.expect("there");
    assert_eq!(tied.file.references, of(&[thread("a")]));
    assert_ne!(tied.file.etag(), one.file.etag());
    assert_eq!(tied.file.update_time, backend.clock.now());
    // Once more changes nothing, not even the etag; named twice, a file is tied once.
    backend.repository.attach(tie(thread("a"), &[one.file.id])).await?;
    let again = backend.repository.find(&one.file.id).await?.expect("there");
    assert_eq!(again.file.etag(), tied.file.etag());
    backend.repository.attach(tie(run("r"), &[two.file.id, two.file.id])).await?;
    assert_eq!(backend.references(&two.file.id).await?, of(&[thread("a"), run("r")]));
    Ok(())
}

pub(super) async fn attaching_is_all_or_none(backend: Backend) -> Result {
    let mine = backend.file(spec("u", None)).await?.file.id;
    let other = backend.file(spec("other", None)).await?.file.id;
    let pending = backend.begin(spec("u", None)).await?.file_id;
    let deleted = backend.file(spec("u", None)).await?.file.id;
    let deletion = Deletion { grace: GRACE, ..Deletion::default() };
    backend.repository.delete(&deleted, deletion).await?;
    for missing in [other, pending, deleted, FileId::random()?] {
        for calls in [tie(thread("a"), &[mine, missing]), tie(thread("a"), &[missing, mine])] {
            let refused = backend.repository.attach(calls.clone()).await;
            assert!(matches!(refused, Err(MetadataError::Missing(id)) if id == missing));
            let refused = backend.repository.detach(calls, grace()).await;
            assert!(matches!(refused, Err(MetadataError::Missing(id)) if id == missing));
        }
    }
    assert_eq!(backend.references(&mine).await?, References::new());
    // A caller who is trusted for every user may name everybody's.
    let all = Association { owner: None, ..tie(thread("a"), &[mine, other]) };
    backend.repository.attach(all).await?;
    assert_eq!(backend.references(&other).await?, of(&[thread("a")]));
    Ok(())
}

pub(super) async fn a_file_has_a_thousand_references_at_most(backend: Backend) -> Result {
    let references = (0..REFERENCES_OF_FILE_MAX).map(|n| thread(&n.to_string())).collect();
    let full = backend.file(FileSpec { references, ..spec("u", None) }).await?.file.id;
    let other = backend.file(spec("u", None)).await?.file.id;
    let refused = backend.repository.attach(tie(thread("one more"), &[other, full])).await;
    assert!(matches!(refused, Err(MetadataError::ReferencesFull(id)) if id == full));
    assert_eq!(backend.references(&other).await?, References::new());
    // One that it has already is no more.
    backend.repository.attach(tie(thread("7"), &[full])).await?;
    Ok(())
}

pub(super) async fn a_referenced_file_is_deleted_by_force_alone(backend: Backend) -> Result {
    let id = backend.file(spec("u", None)).await?.file.id;
    backend.repository.attach(tie(thread("a"), &[id])).await?;
    let refused = backend.repository.delete(&id, Deletion::default()).await;
    assert!(matches!(refused, Err(MetadataError::Referenced)));
    let soft = Deletion { grace: GRACE, ..Deletion::default() };
    let refused = backend.repository.delete(&id, soft.clone()).await;
    assert!(matches!(refused, Err(MetadataError::Referenced)));
    assert!(backend.is_visible(&id).await?);
    let forced = backend.repository.delete(&id, Deletion { force: true, ..soft }).await?;
    assert!(forced.is_some() && !backend.is_visible(&id).await?);
    // What it belonged to, it belongs to again.
    backend.repository.undelete(&id).await?;
    assert_eq!(backend.references(&id).await?, of(&[thread("a")]));
    Ok(())
}

pub(super) async fn a_file_goes_with_its_last_reference_if_it_lives_for_them(
    backend: Backend,
) -> Result {
    let lives = FileSpec { delete_when_unreferenced: true, ..spec("u", None) };
    let bound = backend.file(lives.clone()).await?.file.id;
    let twice = backend.file(lives.clone()).await?.file.id;
    let untied = backend.file(lives).await?.file.id;
    let free = backend.file(spec("u", None)).await?.file.id;
    backend.repository.attach(tie(thread("a"), &[bound, twice, free])).await?;
    backend.repository.attach(tie(run("r"), &[twice])).await?;
    let all = [bound, twice, untied, free];
    let detached = backend.repository.detach(tie(thread("a"), &all), grace()).await?;
    let sorted = |mut ids: Vec<FileId>| {
        ids.sort_unstable();
        ids
    };
    assert_eq!(sorted(detached.detached), sorted(vec![bound, twice, free]));
    assert_eq!(detached.deleted, [bound]);
    let now = backend.clock.now();
    let gone = backend.repository.find(&bound).await?.expect("soft-deleted");
    assert_eq!(gone.file.delete_time, Some(now));
    assert_eq!(gone.file.purge_time, Some(now.plus(GRACE)));
    for id in [twice, untied, free] {
        assert!(backend.is_visible(&id).await?);
    }
    let nothing = backend.repository.detach(tie(thread("a"), &[free]), grace()).await?;
    assert_eq!(nothing, Detached::default());
    Ok(())
}

pub(super) async fn the_grace_of_an_unneeded_file_is_its_purposes(backend: Backend) -> Result {
    let references = of(&[thread("a")]);
    let lives = FileSpec { delete_when_unreferenced: true, references, ..spec("u", None) };
    let id = backend.file(lives).await?.file.id;
    let by_purpose = [("assistants".to_owned(), Duration::ZERO)].into();
    let none = Arc::new(Grace { default: GRACE, by_purpose });
    let detached = backend.repository.detach(tie(thread("a"), &[id]), none).await?;
    assert_eq!(detached.deleted, [id]);
    assert!(!backend.is_found(&id).await?);
    assert_eq!(backend.orphans().await?, [id]);
    Ok(())
}

pub(super) async fn a_deleted_reference_leaves_every_file(backend: Backend) -> Result {
    let lives = FileSpec { delete_when_unreferenced: true, ..spec("u", None) };
    let bound = backend.file(lives).await?.file.id;
    let mine = backend.file(spec("u", None)).await?.file.id;
    let other = backend.file(spec("other", None)).await?.file.id;
    let references = of(&[thread("a")]);
    let pending =
        backend.begin(FileSpec { references: references.clone(), ..spec("u", None) }).await?;
    let deleted = backend.file(FileSpec { references, ..spec("u", None) }).await?.file.id;
    let everybody = Association { owner: None, ..tie(thread("a"), &[bound, mine, other]) };
    backend.repository.attach(everybody).await?;
    backend.repository.attach(tie(thread("b"), &[mine])).await?;
    let deletion = Deletion { grace: GRACE, force: true, etag: None };
    backend.repository.delete(&deleted, deletion).await?;

    let gone = async |owner: Option<&str>, limit| {
        let owner = owner.map(user);
        backend.repository.delete_reference(owner.as_ref(), &thread("a"), grace(), limit).await
    };
    let mut untied = Detached::default();
    loop {
        let batch = gone(Some("u"), 1).await?;
        assert!(batch.detached.len() <= 1);
        if batch.untied().next().is_none() {
            break;
        }
        untied.detached.extend(batch.detached);
        untied.deleted.extend(batch.deleted);
    }
    untied.detached.sort_unstable();
    let mut expected = vec![bound, mine];
    expected.sort_unstable();
    assert_eq!((untied.detached, untied.deleted), (expected, vec![bound]));
    assert_eq!(backend.references(&mine).await?, of(&[thread("b")]));
    assert_eq!(backend.references(&other).await?, of(&[thread("a")]));
    assert_eq!(backend.references(&deleted).await?, References::new());
    assert_eq!(backend.publish(&pending).await?.file.references, References::new());
    let other_batch = gone(None, 10).await?;
    assert_eq!((other_batch.detached, other_batch.hidden), (vec![other], vec![]));
    assert_eq!(gone(None, 10).await?, Detached::default());
    Ok(())
}

pub(super) async fn a_reference_deleted_while_files_are_published_leaves_none_behind(
    backend: Backend,
) -> Result {
    let backend = Arc::new(backend);
    let references = of(&[thread("a")]);
    let lives = FileSpec { delete_when_unreferenced: true, references, ..spec("u", None) };
    let uploads = (0..40).map(|_| {
        let (backend, said) = (Arc::clone(&backend), lives.clone());
        tokio::spawn(async move { backend.file(said).await })
    });
    let uploads: Vec<_> = uploads.collect();
    let gone = async || backend.repository.delete_reference(None, &thread("a"), grace(), 5).await;
    for _ in 0..20 {
        gone().await?;
    }
    let mut published = Vec::new();
    for upload in uploads {
        published.push(upload.await??);
    }
    while gone().await?.untied().next().is_some() {}
    for record in published {
        // One that had lost it before it was published says so, and its caller deletes it.
        let told = record.file.references.is_empty();
        assert_eq!(backend.is_visible(&record.file.id).await?, told, "{record:?}");
    }
    Ok(())
}
