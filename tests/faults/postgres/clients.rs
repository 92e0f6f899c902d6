//! Many callers, in several processes, at one database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use files::{
    clock::Clock,
    file::{FileSpec, usage::Quota},
    metadata::{
        Association, Deletion, FileRepository, FileUpdate, Grace, Intended, Intent, MetadataError,
        Upkeep, postgres::PostgresRepository,
    },
};
use futures_util::{FutureExt, future::join_all};

use super::support::{
    HOUR, LEASE, Outcome, begin, clock, content, file, intent, open, spec, thread, upload_id, user,
};
use crate::postgres_server as server;

/// Two processes' worth of repositories on one new database.
async fn pair() -> Outcome<(String, [Arc<PostgresRepository>; 2])> {
    let (server, clock) = (server::shared(), clock());
    let database = server.database().await;
    let one = open(server.options(&database), &clock).await?;
    let other = open(server.options(&database), &clock).await?;
    Ok((database, [one, other]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_beginnings_with_one_upload_id_leave_one() -> Outcome {
    let (database, repositories) = pair().await?;
    for round in 0..5 {
        let spec = FileSpec { upload_id: upload_id(round), ..spec("u") };
        let calls = (0..40).map(|n| repositories[n % 2].intend(intent(spec.clone())));
        let mut tickets = Vec::new();
        for intended in join_all(calls).await {
            match intended? {
                Intended::Begun(ticket) => tickets.push(ticket),
                other => anyhow::bail!("nothing was published: {other:?}"),
            }
        }
        let publishing = tickets.iter().map(|ticket| repositories[0].publish(ticket, content()));
        let published = join_all(publishing).await;
        assert_eq!(published.iter().filter(|done| done.is_ok()).count(), 1);
    }
    let live = "SELECT count(*) FROM files WHERE state IN (0, 1)";
    assert_eq!(server::shared().number(&database, live).await, 5);
    assert_eq!(repositories[0].check_usage(false).await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_beginnings_never_pass_a_quota() -> Outcome {
    let (_, repositories) = pair().await?;
    let quota = Quota { file_count_max: Some(7), stored_bytes_max: Some(1000) };
    let beginning = |n: usize, owner: &str, size_bytes: u64| {
        let spec = FileSpec { size_bytes: Some(size_bytes), ..spec(owner) };
        repositories[n % 2].intend(Intent { quota, ..intent(spec) })
    };
    let calls = (0..60).map(|n| match n % 3 {
        0 => beginning(n, "many", 1),
        1 => beginning(n, "large", 300),
        _ => beginning(n, "other", 1000),
    });
    let begun = join_all(calls).await;
    let count = |of: usize| {
        begun.iter().enumerate().filter(|(n, done)| n % 3 == of && done.is_ok()).count()
    };
    assert_eq!((count(0), count(1), count(2)), (7, 3, 1));
    let refused = begun.iter().filter_map(|done| done.as_ref().err());
    for error in refused {
        assert!(matches!(error, MetadataError::QuotaExceeded { .. }), "{error:?}");
    }
    assert_eq!(repositories[0].check_usage(false).await?, []);
    Ok(())
}

#[tokio::test]
async fn a_job_that_fails_harms_no_other_of_its_group() -> Outcome {
    let (database, [repository, _]) = pair().await?;
    let first = begin(&*repository, spec("u")).await?;
    // A blob key that is taken already: the database refuses it, and the whole group with it.
    let mut intents: Vec<Intent> = (0..30).map(|n| intent(spec(&format!("u{n}")))).collect();
    intents[11].blob_key = first.blob_key;
    let begun = join_all(intents.into_iter().map(|intent| repository.intend(intent))).await;
    for (n, done) in begun.iter().enumerate() {
        match n {
            11 => assert!(matches!(done, Err(MetadataError::Unavailable(_))), "{done:?}"),
            _ => assert!(matches!(done, Ok(Intended::Begun(_))), "{done:?}"),
        }
    }
    let pending = "SELECT count(*) FROM files WHERE state = 0";
    assert_eq!(server::shared().number(&database, pending).await, 30);
    assert_eq!(repository.check_usage(false).await?, []);
    Ok(())
}

#[tokio::test]
async fn what_queues_up_shares_a_commit() -> Outcome {
    let (database, [repository, _]) = pair().await?;
    let commits = "SELECT (SELECT count(DISTINCT xmin::text) FROM files)";
    let intents = (0..200).map(|n| repository.intend(intent(spec(&format!("u{}", n % 9)))));
    let tickets: Vec<_> = join_all(intents).await.into_iter().collect::<Result<_, _>>()?;
    let begun = server::shared().number(&database, commits).await;
    assert!(begun <= 8, "{begun} transactions");
    let publishing = tickets.iter().map(|intended| match intended {
        Intended::Begun(ticket) => repository.publish(ticket, content()),
        other => panic!("nothing was published: {other:?}"),
    });
    for published in join_all(publishing).await {
        published?;
    }
    let published = server::shared().number(&database, commits).await;
    assert!(published <= 8, "{published} transactions");
    Ok(())
}

#[tokio::test]
async fn a_caller_that_stops_waiting_harms_nobody() -> Outcome {
    let (_, [repository, _]) = pair().await?;
    let gone = join_all((0..50).map(|_| repository.intend(intent(spec("gone")))));
    assert!(gone.now_or_never().is_none());
    file(&*repository, spec("u")).await?;
    assert_eq!(repository.check_usage(false).await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweepers_take_each_file_once() -> Outcome {
    let (_, repositories) = pair().await?;
    for _ in 0..60 {
        let ticket = begin(&*repositories[0], spec("u")).await?;
        repositories[0].abandon(&ticket).await?;
    }
    let claims = (0..12).map(|n| repositories[n % 2].claim_orphans(10, LEASE));
    let mut claimed = Vec::new();
    for orphans in join_all(claims).await {
        claimed.extend(orphans?.into_iter().map(|orphan| orphan.file_id));
    }
    while claimed.len() < 60 {
        let more = repositories[0].claim_orphans(10, LEASE).await?;
        assert!(!more.is_empty(), "{} of 60", claimed.len());
        claimed.extend(more.into_iter().map(|orphan| orphan.file_id));
    }
    let distinct: BTreeSet<_> = claimed.iter().collect();
    assert_eq!((distinct.len(), claimed.len()), (60, 60));
    Ok(())
}

/// Everything at once, on few users, ids and references, near a quota: nothing may fail but by refusal, no
/// two calls may wait for each other, and the counters must hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_agrees_in_the_end() -> Outcome {
    let (server, clock) = (server::shared(), clock());
    let database = server.database().await;
    let mut tasks = Vec::new();
    for worker in 0..12_u64 {
        let repository = open(server.options(&database), &clock).await?;
        let clock = Arc::clone(&clock);
        tasks.push(tokio::spawn(async move {
            for n in 0..40_u64 {
                clock.advance(Duration::from_secs(3));
                let turn = worker * 7 + n;
                let refused = work(&repository, turn).await.err();
                let failed = refused.filter(|error| {
                    use MetadataError::{Damaged, Full, Unavailable};
                    matches!(error, Damaged(_) | Full(_) | Unavailable(_))
                });
                if let Some(failed) = failed {
                    return Err(anyhow::Error::from(failed));
                }
            }
            Ok(repository)
        }));
    }
    let mut repository = None;
    for task in tasks {
        repository = Some(task.await??);
    }
    let repository = repository.expect("one of them");
    assert_eq!(repository.check_usage(false).await?, []);
    Ok(())
}

async fn work(repository: &PostgresRepository, turn: u64) -> Result<(), MetadataError> {
    let owner = ["a", "b", "c"][(turn % 3) as usize];
    let quota = Quota { file_count_max: Some(12), stored_bytes_max: None };
    let spec = FileSpec {
        upload_id: upload_id(u128::from(turn % 4)),
        ttl: (turn.is_multiple_of(2)).then_some(Duration::from_secs(60)),
        references: [thread("t")].into(),
        delete_when_unreferenced: true,
        ..spec(owner)
    };
    let begun = repository.intend(Intent { quota, ..intent(spec) }).await;
    match turn % 9 {
        0 => {
            for orphan in repository.claim_orphans(5, LEASE).await? {
                repository.forget(&orphan.file_id).await?;
            }
        }
        1 => {
            repository.delete_reference(None, &thread("t"), grace(), 3).await?;
        }
        2 => drop(repository.claim_unverified(clock().now().plus(HOUR), LEASE, 3).await?),
        _ => {}
    }
    let ticket = match begun? {
        Intended::Begun(ticket) => ticket,
        Intended::Resumed(resumption) => resumption.ticket,
        Intended::Finished(record) => {
            let forced = Deletion { force: true, grace: HOUR, ..Deletion::default() };
            repository.delete(&record.file.id, forced).await?;
            return repository.undelete(&record.file.id).await.map(drop);
        }
    };
    if turn.is_multiple_of(5) {
        return repository.abandon(&ticket).await.map(drop);
    }
    repository.reserve(&ticket, 10, quota).await?;
    let record = repository.publish(&ticket, content()).await?;
    let file_ids = vec![record.file.id];
    let association = Association { owner: None, reference: thread("x"), file_ids };
    repository.attach(association.clone()).await?;
    repository.update(&record.file.id, FileUpdate::ending_links()).await?;
    repository.detach(association, grace()).await?;
    let update =
        FileUpdate { labels: Some(super::support::labels(&[("k", "v")])), ..FileUpdate::default() };
    repository.update(&record.file.id, update).await?;
    if turn.is_multiple_of(4) {
        let deletion = Deletion { force: true, ..Deletion::default() };
        repository.delete(&record.file.id, deletion).await?;
    }
    Ok(())
}

fn grace() -> Arc<Grace> {
    Arc::new(Grace { default: Duration::from_secs(30), by_purpose: BTreeMap::new() })
}

#[tokio::test]
async fn wrong_counters_are_found_and_set_right() -> Outcome {
    let (database, [repository, _]) = pair().await?;
    for owner in ["a", "b", "c", "d"] {
        file(&*repository, spec(owner)).await?;
        begin(&*repository, spec(owner)).await?;
    }
    assert_eq!(repository.check_usage(true).await?, []);
    let wrong = "UPDATE usage SET stored_bytes = 3 WHERE user_id = 'b'; \
        DELETE FROM usage WHERE user_id = 'c'; \
        INSERT INTO usage (user_id, file_count) VALUES ('nobody', 1)";
    server::shared().execute(&database, wrong).await;
    let expected = ["b", "c", "nobody"].map(user);
    assert_eq!(repository.check_usage(false).await?, expected);
    assert_eq!(repository.check_usage(true).await?, expected);
    assert_eq!(repository.check_usage(true).await?, []);
    assert_eq!(repository.usage(&user("c")).await?.file_count, 1);
    assert_eq!(repository.totals().await?.file_count, 4);
    Ok(())
}
