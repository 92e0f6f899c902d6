//! Uploads cut at any byte of their connections, and around their end, whether or not it is acknowledged, and gone
//! on with on a replica chosen at random: what is acknowledged is whole and there once, and nothing else is left.

mod gate;
mod plan;
mod site;
mod upload;
mod wire;

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use files::proto::{
    DownloadFileRequest, ListFilesRequest, download_file_response::Message as Download,
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use plan::{Cuts, Random, Way};
use site::{Kind, Replica, Site};
use upload::{Ended, Upload};

type Result<T = ()> = anyhow::Result<T>;

/// Uploads under way at once.
const AT_ONCE: u64 = 8;

/// Lets a server open no more files for a while, as if its disk were gone.
async fn starve(address: SocketAddr, time: Duration) {
    let Some(server) = process_at(address) else { return };
    let usual = getrlimit(Resource::Nofile);
    let none = Rlimit { current: Some(0), maximum: usual.maximum };
    // A server that somebody kills meanwhile starves no more.
    let _ = prlimit(Some(server), Resource::Nofile, none);
    sleep(time).await;
    let _ = prlimit(Some(server), Resource::Nofile, usual);
}

/// The process that was told to serve at this address.
fn process_at(address: SocketAddr) -> Option<Pid> {
    let address = address.to_string();
    fs::read_dir("/proc").expect("processes").flatten().find_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        line.split('\0').any(|argument| argument == address).then_some(pid)
    })
}

/// There is a file exactly where one may be, and it is whole; how many there are.
async fn files_of(ended: &Ended, replica: &Replica) -> Result<usize> {
    let Ended { user_id, content, file, in_doubt, .. } = ended;
    let mut client = replica.client().await;
    let request = ListFilesRequest { user_id: user_id.clone(), ..Default::default() };
    let listed = client.list_files(request).await?.into_inner().files;
    match file {
        Some(file) => {
            assert!(listed.len() == 1 && listed[0].id == file.id, "{user_id}: {listed:?}")
        }
        None => assert!(listed.len() <= usize::from(*in_doubt), "{user_id}: {listed:?}"),
    }
    for file in &listed {
        assert_eq!(file.sha256[..], Sha256::digest(content)[..], "{user_id}");
        let request = DownloadFileRequest { file_id: file.id.clone(), ..Default::default() };
        let mut messages = client.download_file(request).await?.into_inner();
        let mut received = Vec::new();
        while let Some(message) = messages.message().await? {
            if let Some(Download::Data(data)) = message.message {
                received.extend_from_slice(&data);
            }
        }
        assert!(received == content[..], "{user_id}: not its content");
    }
    Ok(listed.len())
}

/// Cuts uploads until there were so many cuts.
async fn cut_uploads(site: &Site, seed: u64, cuts_wanted: u64) -> Vec<Ended> {
    let (next, cuts_made) = (AtomicU64::new(0), AtomicU64::new(0));
    let lanes = (0..AT_ONCE).map(|_| async {
        let mut all = Vec::new();
        while cuts_made.load(Ordering::SeqCst) < cuts_wanted {
            let number = next.fetch_add(1, Ordering::SeqCst);
            let cuts_max = 1 + number % 8;
            let ended = Upload::new(site, seed, number).run(cuts_max as usize).await;
            let cuts = ended.cuts.values().map(|(before, after)| before + after).sum();
            cuts_made.fetch_add(cuts, Ordering::SeqCst);
            all.push(ended);
        }
        all
    });
    futures_util::future::join_all(lanes).await.into_iter().flatten().collect()
}

async fn cut(kind: Kind, cuts_wanted: u64) -> Result {
    let seed = std::env::var("FILES_TEST_SEED").map_or(Ok(1), |seed| seed.parse())?;
    let site = Site::start(kind).await?;
    let uploads = cut_uploads(&site, seed, cuts_wanted).await;
    // What is still at an upload that nobody waits for ends here.
    for replica in &site.replicas {
        replica.kill().await;
    }
    let (mut files, mut cuts, mut random) = (0, Cuts::new(), Random(seed));
    for ended in &uploads {
        let at = random.below(site.replicas.len() as u64) as usize;
        files += files_of(ended, &site.replicas[at]).await?;
        for (way, (before, after)) in &ended.cuts {
            let sum = cuts.entry(*way).or_default();
            *sum = (sum.0 + before, sum.1 + after);
        }
    }
    assert_eq!(cuts.len(), Way::count(kind), "{cuts:?}");
    let made: u64 = cuts.values().map(|(before, after)| before + after).sum();
    let acknowledged = uploads.iter().filter(|ended| ended.file.is_some()).count();
    eprintln!("{kind:?}, seed {seed}: {made} cuts of {} uploads: {cuts:?}", uploads.len());
    eprintln!("{kind:?}: {files} files, {acknowledged} of them acknowledged");
    assert!(made >= cuts_wanted && acknowledged > uploads.len() / 2, "{made} {acknowledged}");
    assert_eq!(site.leftovers(files).await?, (0, 0, 0), "rows, blobs and what is unfinished");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_to_a_disk_survive_1_200_cuts_at_any_byte() -> Result {
    cut(Kind::DiskAndSqlite, 1200).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_to_a_bucket_survive_300_cuts_at_any_byte() -> Result {
    cut(Kind::BucketAndPostgres, 300).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_to_a_share_survive_500_cuts_at_any_byte() -> Result {
    cut(Kind::ShareAndPostgres, 500).await
}
