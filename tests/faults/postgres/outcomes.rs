//! Lost connections, lost answers and restarts.

use std::{sync::Arc, time::Duration};

use files::{
    clock::ManualClock,
    file::{FileSpec, name::FileName, usage::Quota},
    metadata::{
        Association, Deletion, FileRepository, FileUpdate, Grace, Intended, MetadataError, Upkeep,
        postgres::{PostgresOptions, PostgresRepository},
    },
};
use futures_util::future::join_all;

use super::{
    proxy::{Fault, Proxy},
    support::{
        HOUR, LEASE, Outcome, begin, clock, content, file, intent, open, spec, thread, upload_id,
        user,
    },
};
use crate::postgres_server::{self as server, Server};

/// A repository behind a proxy, and the same database without one.
struct Scene {
    proxy: Proxy,
    repository: Arc<PostgresRepository>,
    plain: Arc<PostgresRepository>,
    clock: Arc<ManualClock>,
}

async fn scene_on(server: &Server) -> Outcome<Scene> {
    let (clock, database) = (clock(), server.database().await);
    let proxy = Proxy::start(server.port()).await;
    let options = PostgresOptions {
        operation_timeout: Duration::from_secs(8),
        ..server::options(proxy.port, &database)
    };
    let repository = open(options, &clock).await?;
    let plain = open(server.options(&database), &clock).await?;
    Ok(Scene { proxy, repository, plain, clock })
}

/// Runs a call whose COMMIT meets each fault in turn: each time it must answer as if nothing had happened.
macro_rules! settled {
    ($name:ident, |$scene:ident, $file:ident| $call:block) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> Outcome {
            let $scene = scene_on(server::shared()).await?;
            for (n, fault) in [Fault::LoseAnswer, Fault::LoseCommit, Fault::LeaveAlone]
                .into_iter()
                .cycle()
                .take(9)
                .enumerate()
            {
                let $file = file(&*$scene.plain, spec("u")).await?.file;
                $scene.clock.advance(Duration::from_millis(1));
                $scene.proxy.arm(fault);
                let hits = $scene.proxy.hits();
                let done: Outcome = async { $call }.await;
                done.map_err(|error| error.context(format!("{fault:?}, round {n}")))?;
                assert_eq!($scene.proxy.hits(), hits + 1, "{fault:?}, round {n}");
            }
            assert_eq!($scene.plain.check_usage(false).await?, []);
            Ok(())
        }
    };
}

settled!(an_intent_in_doubt_is_settled, |scene, earlier| {
    let _ = earlier;
    let spec = FileSpec { references: [thread("t")].into(), ..spec("u") };
    let intent = intent(spec);
    let Intended::Begun(ticket) = scene.repository.intend(intent.clone()).await? else {
        anyhow::bail!("finished")
    };
    assert_eq!(ticket.file_id, intent.file_id);
    scene.plain.publish(&ticket, content()).await?;
    Ok(())
});

settled!(an_intent_with_a_key_and_a_quota_in_doubt_is_settled, |scene, earlier| {
    let id = u128::from_be_bytes(*b"an upload id----") ^ (earlier.create_time.unix_us() as u128);
    let spec = FileSpec { upload_id: upload_id(id), size_bytes: Some(5), ..spec("q") };
    let quota = Quota { file_count_max: None, stored_bytes_max: Some(1_000_000_000_000) };
    let intent = files::metadata::Intent { quota, ..intent(spec) };
    let Intended::Begun(ticket) = scene.repository.intend(intent.clone()).await? else {
        anyhow::bail!("finished")
    };
    assert_eq!((ticket.file_id, ticket.reserved_bytes), (intent.file_id, 5));
    scene.plain.publish(&ticket, content()).await?;
    Ok(())
});

settled!(a_publication_in_doubt_is_settled, |scene, earlier| {
    let _ = earlier;
    let spec = FileSpec { references: [thread("t")].into(), ..spec("u") };
    let ticket = begin(&*scene.plain, spec).await?;
    let record = scene.repository.publish(&ticket, content()).await?;
    assert_eq!(scene.plain.find(&ticket.file_id).await?.as_deref(), Some(&record));
    assert_eq!(record.file.references, [thread("t")].into());
    let again = scene.plain.publish(&ticket, content()).await;
    assert!(matches!(again, Err(MetadataError::UploadTakenOver)));
    Ok(())
});

settled!(a_deletion_in_doubt_is_settled, |scene, file| {
    let deletion = Deletion { grace: HOUR, etag: Some(file.etag()), ..Deletion::default() };
    let deleted = scene.repository.delete(&file.id, deletion).await?.expect("a record");
    assert_eq!(scene.plain.find(&file.id).await?.as_deref(), Some(&deleted));
    assert_eq!(deleted.file.revision, 2);
    Ok(())
});

settled!(a_deletion_for_good_in_doubt_is_settled, |scene, file| {
    let deletion = Deletion { etag: Some(file.etag()), ..Deletion::default() };
    let deleted = scene.repository.delete(&file.id, deletion).await?.expect("a record");
    assert_eq!(deleted.file.id, file.id);
    assert_eq!(scene.plain.find(&file.id).await?, None);
    Ok(())
});

settled!(an_undeletion_in_doubt_is_settled, |scene, file| {
    let deletion = Deletion { grace: HOUR, ..Deletion::default() };
    scene.plain.delete(&file.id, deletion).await?;
    let back = scene.repository.undelete(&file.id).await?.expect("a record");
    assert_eq!(scene.plain.find(&file.id).await?.as_deref(), Some(&back));
    assert_eq!(back.file.revision, 3);
    Ok(())
});

settled!(an_update_in_doubt_is_settled, |scene, file| {
    let update = FileUpdate {
        etag: Some(file.etag()),
        name: Some(FileName::parse("filename", "new.txt")?),
        labels: Some(super::support::labels(&[("k", "v")])),
        end_links: true,
        ..FileUpdate::default()
    };
    let updated = scene.repository.update(&file.id, update).await?.expect("a record");
    assert_eq!(scene.plain.find(&file.id).await?.as_deref(), Some(&updated));
    assert_eq!((updated.file.revision, updated.file.link_epoch), (2, 1));
    Ok(())
});

settled!(giving_up_in_doubt_is_settled, |scene, earlier| {
    let _ = earlier;
    let ticket = begin(&*scene.plain, spec("u")).await?;
    assert!(scene.repository.abandon(&ticket).await?);
    assert!(!scene.plain.abandon(&ticket).await?);
    Ok(())
});

settled!(a_reservation_in_doubt_is_settled, |scene, earlier| {
    let _ = earlier;
    let quota = Quota { file_count_max: None, stored_bytes_max: Some(1_000_000_000_000) };
    let ticket = begin(&*scene.plain, spec("r")).await?;
    assert_eq!(scene.repository.reserve(&ticket, 100, quota).await?, 100);
    scene.plain.abandon(&ticket).await?;
    Ok(())
});

settled!(tying_and_untying_in_doubt_are_settled, |scene, file| {
    let association = Association { owner: None, reference: thread("t"), file_ids: vec![file.id] };
    let armed = scene.repository.attach(association.clone()).await;
    armed?;
    let found = scene.plain.find(&file.id).await?.expect("a record");
    assert_eq!((found.file.revision, found.file.references.len()), (2, 1));
    Ok(())
});

settled!(untying_in_doubt_says_what_it_did, |scene, file| {
    let association = Association { owner: None, reference: thread("t"), file_ids: vec![file.id] };
    scene.plain.attach(association.clone()).await?;
    let own = FileUpdate { delete_when_unreferenced: Some(true), ..FileUpdate::default() };
    scene.plain.update(&file.id, own).await?;
    let grace = Arc::new(Grace { default: HOUR, ..Grace::default() });
    let detached = scene.repository.detach(association, grace).await?;
    assert_eq!((detached.detached, detached.deleted), (vec![file.id], vec![file.id]));
    Ok(())
});

settled!(a_deleted_reference_in_doubt_says_what_it_did, |scene, file| {
    let association = Association { owner: None, reference: thread("t"), file_ids: vec![file.id] };
    scene.plain.attach(association).await?;
    let grace = Arc::new(Grace { default: HOUR, ..Grace::default() });
    let gone = scene.repository.delete_reference(None, &thread("t"), grace, 10).await?;
    assert_eq!((gone.detached, gone.deleted), (vec![file.id], vec![]));
    Ok(())
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_group_in_doubt_is_settled() -> Outcome {
    let scene = scene_on(server::shared()).await?;
    for fault in [Fault::LoseAnswer, Fault::LoseCommit, Fault::LeaveAlone] {
        let mut tickets = Vec::new();
        for _ in 0..20 {
            tickets.push(begin(&*scene.plain, spec("u")).await?);
        }
        scene.clock.advance(Duration::from_millis(1));
        scene.proxy.arm(fault);
        let publishing = tickets.iter().map(|ticket| scene.repository.publish(ticket, content()));
        for published in join_all(publishing).await {
            assert!(scene.plain.find(&published?.file.id).await?.is_some());
        }
    }
    Ok(())
}

/// The first COMMIT waits for a standby that is not there, while the operation is run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_still_goes_on_is_waited_for() -> Outcome {
    let server = Arc::new(Server::start());
    let scene = scene_on(&server).await?;
    let ticket = begin(&*scene.plain, spec("u")).await?;
    let fresh = intent(FileSpec { upload_id: upload_id(5), ..spec("v") });
    let changed = file(&*scene.plain, spec("w")).await?.file;
    server.execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'ghost'").await;
    server.control("reload");
    server
        .until("SELECT (current_setting('synchronous_standby_names') = 'ghost')::int::int8")
        .await;
    for round in 0..3 {
        scene.clock.advance(Duration::from_millis(1));
        scene.proxy.arm(Fault::LeaveAlone);
        let release = async {
            // The first COMMIT waits for the standby, and the second run for the first one's locks.
            server
                .until(
                    "SELECT (count(*) FILTER (WHERE wait_event = 'SyncRep') > 0 \
                     AND count(*) FILTER (WHERE wait_event_type = 'Lock') > 0)::int::int8 \
                 FROM pg_stat_activity",
                )
                .await;
            // This connection must not wait for the standby, too.
            let free = "SET synchronous_commit = local; \
                ALTER SYSTEM SET synchronous_standby_names = ''";
            for statement in free.split(';').skip(1) {
                server.execute("postgres", statement).await;
            }
            server.control("reload");
        };
        match round {
            0 => {
                let (published, ()) =
                    tokio::join!(scene.repository.publish(&ticket, content()), release);
                assert_eq!(published?.file.id, ticket.file_id);
            }
            1 => {
                let (intended, ()) = tokio::join!(scene.repository.intend(fresh.clone()), release);
                assert!(
                    matches!(intended?, Intended::Begun(begun) if begun.file_id == fresh.file_id)
                );
            }
            _ => {
                let update =
                    FileUpdate { etag: Some(changed.etag()), ..FileUpdate::ending_links() };
                let (updated, ()) =
                    tokio::join!(scene.repository.update(&changed.id, update), release);
                assert_eq!(updated?.expect("a record").file.revision, 2);
            }
        }
        server.execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'ghost'").await;
        server.control("reload");
        server
            .until("SELECT (current_setting('synchronous_standby_names') = 'ghost')::int::int8")
            .await;
    }
    server.execute("postgres", "ALTER SYSTEM RESET synchronous_standby_names").await;
    server.control("reload");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_is_unavailable() -> Outcome {
    let server = server::shared();
    let (clock, database) = (clock(), server.database().await);
    let proxy = Proxy::start(server.port()).await;
    let options = PostgresOptions {
        operation_timeout: Duration::from_secs(1),
        ..server::options(proxy.port, &database)
    };
    let repository = open(options, &clock).await?;
    let record = file(&*repository, spec("u")).await?;
    proxy.arm(Fault::Swallow);
    let before = std::time::Instant::now();
    let id = record.file.id;
    let found = repository.find(&id).await.map(drop);
    let begun = repository.intend(intent(spec("u"))).await.map(drop);
    let changed = repository.update(&id, FileUpdate::ending_links()).await.map(drop);
    let checked = repository.check().await;
    for outcome in [found, begun, changed, checked] {
        assert!(matches!(outcome, Err(MetadataError::Unavailable(_))), "{outcome:?}");
    }
    let waited = before.elapsed();
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    proxy.arm(Fault::None);
    repository.find(&id).await?;
    file(&*repository, spec("u")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_needs_no_reopening() -> Outcome {
    let server = Arc::new(Server::start());
    let database = server.database().await;
    let repository = open(server.options(&database), &clock()).await?;
    for command in ["restart -m fast", "restart -m immediate"] {
        let before = file(&*repository, spec("u")).await?;
        let restarted = Arc::clone(&server);
        let restart = tokio::task::spawn_blocking(move || restarted.control(command));
        let writing = join_all((0..20).map(|n| {
            let repository = Arc::clone(&repository);
            async move {
                tokio::time::sleep(Duration::from_millis(n * 40)).await;
                file(&*repository, spec("u")).await
            }
        }));
        let (written, restart) = tokio::join!(writing, restart);
        restart?;
        let mut refused = 0;
        for written in written {
            match written {
                Ok(record) => assert!(repository.find(&record.file.id).await?.is_some()),
                Err(_) => refused += 1,
            }
        }
        eprintln!("{command}: {refused} of 20 refused");
        assert!(repository.find(&before.file.id).await?.is_some());
        file(&*repository, spec("u")).await?;
        repository.check().await?;
        assert_eq!(repository.check_usage(false).await?, []);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_that_were_ended_are_replaced() -> Outcome {
    let server = server::shared();
    let database = server.database().await;
    let repository = open(server.options(&database), &clock()).await?;
    let owner = user("u");
    for _ in 0..3 {
        join_all((0..8).map(|_| repository.usage(&owner))).await;
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' \
             AND application_name = 'files'"
        );
        server.execute("postgres", &end).await;
        for done in join_all((0..8).map(|_| repository.usage(&owner))).await {
            done?;
        }
        let ticket = begin(&*repository, spec("u")).await?;
        repository.renew(&ticket, LEASE).await?;
        repository.publish(&ticket, content()).await?;
    }
    Ok(())
}
