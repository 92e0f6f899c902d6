//! A file server that fails: killed, full, gone, unwilling, or cut off between a request and its answer.

mod proxy;

use std::{
    collections::BTreeMap,
    error::Error as StdError,
    net::TcpListener,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use files::{
    blob::BlobKey,
    clock::SystemClock,
    storage::{
        ByteRange, Checkpoint, Storage, StorageError,
        smb::{SmbEncryption, SmbOptions, SmbStorage},
    },
};
use futures_util::{StreamExt, TryStreamExt};
use proxy::{Cut, FLUSH, Proxy, SET_INFO};
use tokio::time::{sleep, timeout};

use crate::samba_server::{self, PASSWORD, Server, Setup};

type Result<T = ()> = anyhow::Result<T>;

const KILLS: usize = 50;

/// Of one piece, of several, and of many.
const SIZES: [usize; 3] = [3_000, 300_000, 1_500_000];

async fn connect(options: SmbOptions) -> Result<Arc<SmbStorage>> {
    Ok(Arc::new(SmbStorage::connect(options, Arc::new(SystemClock)).await?))
}

/// Bytes that no other blob has in this order, and that no two places of it have.
fn content(key: &BlobKey, size: usize) -> Bytes {
    let mut content = Vec::with_capacity(size + 24);
    for place in (0_u64..).take(size.div_ceil(24)) {
        content.extend_from_slice(key.as_bytes());
        content.extend_from_slice(&place.to_le_bytes());
    }
    content.truncate(size);
    content.into()
}

async fn write(
    storage: &SmbStorage,
    key: &BlobKey,
    size: usize,
) -> std::result::Result<(), StorageError> {
    let content = content(key, size);
    let mut writer = storage.create(key).await?;
    for start in (0..size).step_by(256 * 1024) {
        let end = size.min(start + 256 * 1024);
        writer.write(vec![content.slice(start..end)]).await?;
    }
    writer.commit().await
}

async fn read(
    storage: &SmbStorage,
    key: &BlobKey,
    size: usize,
) -> std::result::Result<Vec<u8>, StorageError> {
    let opened = storage.open(key, ByteRange::whole(size as u64)).await?;
    let pieces: Vec<Bytes> = opened.into_stream(100_000).try_collect().await?;
    Ok(pieces.concat())
}

async fn listed(storage: &SmbStorage) -> Result<Vec<(BlobKey, usize)>> {
    let mut all: Vec<(BlobKey, usize)> = Vec::new();
    loop {
        let page = storage.list(all.last().map(|(key, _)| key)).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page.iter().map(|entry| (entry.key, entry.size_bytes as usize)));
    }
}

fn staged(server: &Server, directory: &str) -> usize {
    let staging = server.share().join(directory).join("blobs/staging");
    staging.read_dir().expect("a staging directory").count()
}

/// What an error says, with all its causes.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes: Vec<String> = anyhow::Chain::new(error).map(ToString::to_string).collect();
    causes.join(": ")
}

async fn refusal(options: SmbOptions) -> String {
    let most = options.timeout * 3;
    let refused = timeout(most, SmbStorage::connect(options, Arc::new(SystemClock))).await;
    let error = refused.expect("an answer in time").expect_err("a refusal");
    assert!(matches!(error, StorageError::Unavailable { .. }), "{error:?}");
    let said = chain(&error);
    assert!(!said.contains(PASSWORD) && !format!("{error:?}").contains(PASSWORD), "{said}");
    said
}

/// What the writers have been told, and how far they are.
#[derive(Default)]
struct Ledger {
    acknowledged: Mutex<BTreeMap<BlobKey, usize>>,
    refused: Mutex<Vec<BlobKey>>,
    steps: AtomicU64,
    is_over: AtomicBool,
}

async fn keep_writing(storage: Arc<SmbStorage>, ledger: Arc<Ledger>) -> Result {
    for size in SIZES.into_iter().cycle() {
        if ledger.is_over.load(Ordering::SeqCst) {
            break;
        }
        let key = BlobKey::random()?;
        let written = write(&storage, &key, size).await;
        ledger.steps.fetch_add(1, Ordering::SeqCst);
        match written {
            Ok(()) => drop(ledger.acknowledged.lock().expect("no panic").insert(key, size)),
            Err(StorageError::Unavailable { .. }) => {
                ledger.refused.lock().expect("no panic").push(key);
                // Not for as long as a server needs to start: only to leave it the processor.
                sleep(Duration::from_millis(5)).await;
            }
            Err(error) => anyhow::bail!("{}", chain(&error)),
        }
    }
    Ok(())
}

/// Reads what was acknowledged, over and over: whole or with an error, never anything else.
async fn keep_reading(storage: Arc<SmbStorage>, ledger: Arc<Ledger>) -> Result {
    while !ledger.is_over.load(Ordering::SeqCst) {
        let last =
            ledger.acknowledged.lock().expect("no panic").last_key_value().map(|(k, s)| (*k, *s));
        let Some((key, size)) = last else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        match read(&storage, &key, size).await {
            Ok(bytes) => assert!(bytes == content(&key, size), "{key} is damaged"),
            Err(StorageError::Unavailable { .. }) => sleep(Duration::from_millis(5)).await,
            Err(error) => anyhow::bail!("{}", chain(&error)),
        }
    }
    Ok(())
}

/// Kills the server after the writers have gone on by a few steps, each time by another number, and starts it.
async fn keep_killing(server: &Arc<Server>, ledger: &Ledger) -> Result {
    for kill in 0..KILLS {
        let goal = ledger.steps.load(Ordering::SeqCst) + 1 + (kill % 7) as u64;
        let gone_on = async {
            while ledger.steps.load(Ordering::SeqCst) < goal {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), gone_on).await?;
        let server = Arc::clone(server);
        tokio::task::spawn_blocking(move || {
            server.kill();
            server.restart();
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_fifty_times_loses_nothing_it_acknowledged() -> Result {
    let server = Arc::new(Server::start(&Setup::default()));
    let directory = server.directory();
    let storage = connect(server.options(&directory)).await?;
    let ledger = Arc::new(Ledger::default());
    let mut tasks: Vec<_> = (0..4)
        .map(|_| tokio::spawn(keep_writing(Arc::clone(&storage), Arc::clone(&ledger))))
        .collect();
    tasks.push(tokio::spawn(keep_reading(Arc::clone(&storage), Arc::clone(&ledger))));
    keep_killing(&server, &ledger).await?;
    ledger.is_over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await??;
    }
    let acknowledged = ledger.acknowledged.lock().expect("no panic").clone();
    let refused = ledger.refused.lock().expect("no panic").clone();
    assert!(!acknowledged.is_empty() && !refused.is_empty());
    for (key, size) in &acknowledged {
        assert!(read(&storage, key, *size).await? == content(key, *size), "{key} is damaged");
    }
    for key in &refused {
        storage.delete(key).await?;
    }
    assert_eq!(listed(&storage).await?, acknowledged.into_iter().collect::<Vec<_>>());
    assert_eq!(staged(&server, &directory), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_went_away_is_unavailable_and_comes_back_without_a_restart() -> Result {
    let server = Server::start(&Setup::default());
    let directory = server.directory();
    let storage = connect(server.options(&directory)).await?;
    let (read_before, cut_off) = (BlobKey::random()?, BlobKey::random()?);
    let size = 5_000_000;
    write(&storage, &read_before, size).await?;
    let mut writer = storage.create(&cut_off).await?;
    writer.write(vec![content(&cut_off, 100_000)]).await?;
    let opened = storage.open(&read_before, ByteRange::whole(size as u64)).await?;
    let mut reading = opened.into_stream(100_000);
    let mut bytes = reading.next().await.expect("a first piece")?.to_vec();

    tokio::task::block_in_place(|| server.kill());
    assert!(matches!(storage.check().await, Err(StorageError::Unavailable { .. })));
    let again = write(&storage, &BlobKey::random()?, 10).await;
    assert!(matches!(again, Err(StorageError::Unavailable { .. })), "{again:?}");
    tokio::task::block_in_place(|| server.restart());

    storage.check().await?;
    let rest: Vec<Bytes> = reading.try_collect().await?;
    bytes.extend(rest.concat());
    assert!(bytes == content(&read_before, size));
    let lost = writer.commit().await;
    assert!(matches!(lost, Err(StorageError::Unavailable { .. })), "{lost:?}");
    storage.delete(&cut_off).await?;
    assert_eq!(staged(&server, &directory), 0);
    assert_eq!(listed(&storage).await?, [(read_before, size)]);
    Ok(())
}

/// A storage behind a proxy that can look into what passes.
async fn behind_a_proxy() -> Result<(Server, Proxy, String, Arc<SmbStorage>)> {
    let server = Server::start(&Setup { global: "smb encrypt = off", ..Setup::default() });
    let proxy = Proxy::start(server.port()).await?;
    let directory = server.directory();
    let options = server.options(&directory);
    // One connection, so that nothing goes on over another one when it is cut.
    let options = SmbOptions { port: proxy.port, connections_max: 1, ..options };
    let storage = connect(options).await?;
    Ok((server, proxy, directory, storage))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_rename_is_settled_by_looking_at_both_names() -> Result {
    let (server, proxy, directory, storage) = behind_a_proxy().await?;
    for cut in [Cut::Answer(SET_INFO), Cut::Request(SET_INFO)] {
        let key = BlobKey::random()?;
        let mut writer = storage.create(&key).await?;
        writer.write(vec![content(&key, 300_000)]).await?;
        proxy.cut_once(cut);
        writer.commit().await?;
        assert!(proxy.has_cut());
        assert!(read(&storage, &key, 300_000).await? == content(&key, 300_000));
        assert_eq!(staged(&server, &directory), 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_writer_goes_on_with_is_that_one_s_alone() -> Result {
    let (server, proxy, directory, storage) = behind_a_proxy().await?;
    let other = connect(server.options(&directory)).await?;
    let size = 300_000;
    for is_committed in [true, false] {
        let key = BlobKey::random()?;
        let mut first = storage.create(&key).await?;
        first.write(vec![content(&key, size)]).await?;
        // The first writer loses its connection, and with it the file.
        proxy.cut_once(Cut::Request(SET_INFO));
        proxy.set_open(false);
        let ended = tokio::spawn(async move {
            if is_committed { first.commit().await } else { first.abort().await }
        });
        let at = Checkpoint { size_bytes: size as u64, notes: String::new() };
        let second = loop {
            match other.resume(&key, &at).await {
                Err(StorageError::Held(_)) => sleep(Duration::from_millis(1)).await,
                resumed => break resumed?,
            }
        };
        proxy.set_open(true);
        let ended = ended.await?;
        assert!(matches!(ended, Err(StorageError::Unavailable { .. })), "{ended:?}");
        second.commit().await?;
        assert!(read(&storage, &key, size).await? == content(&key, size));
        assert_eq!(staged(&server, &directory), 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_without_an_answer_is_no_commit() -> Result {
    let (server, proxy, directory, storage) = behind_a_proxy().await?;
    let key = BlobKey::random()?;
    let mut writer = storage.create(&key).await?;
    writer.write(vec![content(&key, 300_000)]).await?;
    proxy.cut_once(Cut::Answer(FLUSH));
    let committed = writer.commit().await;
    assert!(matches!(committed, Err(StorageError::Unavailable { .. })), "{committed:?}");
    assert!(proxy.has_cut());
    assert_eq!(listed(&storage).await?, []);
    storage.delete(&key).await?;
    assert_eq!(staged(&server, &directory), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_a_removal_is_asked_for_again() -> Result {
    let (_server, proxy, _, storage) = behind_a_proxy().await?;
    let key = BlobKey::random()?;
    write(&storage, &key, 1000).await?;
    // The first request that a deletion of both names sends is the one for the staging file.
    const CREATE: u16 = 0x0005;
    proxy.cut_once(Cut::Answer(CREATE));
    storage.delete(&key).await?;
    assert!(proxy.has_cut());
    assert_eq!(listed(&storage).await?, []);
    Ok(())
}

/// A mounted file system of its own size; unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(directory.path());
        anyhow::ensure!(mount.status()?.success(), "cannot mount: this test runs as root");
        Ok(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_full_until_something_is_deleted() -> Result {
    let disk = SmallDisk::mount()?;
    let server = Server::start(&Setup { path: Some(disk.path()), ..Setup::default() });
    let storage = connect(server.options("")).await?;
    let (first, second) = (BlobKey::random()?, BlobKey::random()?);
    write(&storage, &first, 8_000_000).await?;
    let full = write(&storage, &second, 8_000_000).await;
    assert!(matches!(full, Err(StorageError::Full { .. })), "{full:?}");
    storage.delete(&second).await?;
    assert_eq!(disk.path().join("blobs/staging").read_dir()?.count(), 0);
    assert!(read(&storage, &first, 8_000_000).await? == content(&first, 8_000_000));
    storage.delete(&first).await?;
    storage.check().await?;
    write(&storage, &second, 8_000_000).await?;
    assert!(read(&storage, &second, 8_000_000).await? == content(&second, 8_000_000));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_a_missing_share_are_said_and_no_password_is() -> Result {
    let server = samba_server::shared();
    let options = || server.options("refused");
    let wrong = format!("{PASSWORD}-not");
    let said = refusal(SmbOptions { password: wrong.into(), ..options() }).await;
    assert!(said.contains("refused the sign-in") && said.contains("LOGON_FAILURE"), "{said}");
    let said = refusal(SmbOptions { username: "nobody".into(), ..options() }).await;
    assert!(said.contains("refused the sign-in"), "{said}");
    let said = refusal(SmbOptions { share: "nowhere".into(), ..options() }).await;
    assert!(said.contains("refused the share nowhere"), "{said}");
    for guest in ["", "Guest"] {
        let said = refusal(SmbOptions { username: guest.into(), ..options() }).await;
        assert!(said.contains("no guest sessions"), "{said}");
    }
    assert!(!format!("{:?}", options()).contains(PASSWORD));
    let storage = connect(options()).await?;
    assert!(!format!("{storage:?}").contains(PASSWORD));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_cannot_be_written_is_refused() {
    let server = Server::start(&Setup { share: "read only = yes", ..Setup::default() });
    let said = refusal(server.options("")).await;
    assert!(said.contains("prepare the blob directory"), "{said}");
    for made in ["blobs/staging", "tests"] {
        std::fs::create_dir_all(server.share().join(made)).expect("a directory");
    }
    let said = refusal(server.options("tests")).await;
    assert!(said.contains("ACCESS_DENIED") || said.contains("WRITE_PROTECTED"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_or_keeps_silent_is_given_up_in_time() -> Result {
    let options = samba_server::shared().options("");
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let said = refusal(SmbOptions { port: nobody, ..options.clone() }).await;
    assert!(
        said.contains(&format!("could not reach the file server 127.0.0.1:{nobody}")),
        "{said}"
    );
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let port = silent.local_addr()?.port();
    let said = refusal(SmbOptions { port, timeout: Duration::from_secs(1), ..options }).await;
    assert!(said.contains("in time") || said.contains("could not reach"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encryption_that_is_required_is_there_or_nothing_is() -> Result {
    let required =
        |server: &Server| SmbOptions { encryption: SmbEncryption::Required, ..server.options("") };
    let key = BlobKey::random()?;
    let global = |global| Setup { global, ..Setup::default() };
    let share = |share| Setup { share, ..Setup::default() };
    let able = [
        global(""),
        global("server smb encrypt = required"),
        global("server smb3 encryption algorithms = AES-128-CCM"),
        global("server min protocol = SMB3_00\nserver max protocol = SMB3_00"),
        share("smb encrypt = required"),
    ];
    for setup in able {
        let server = Server::start(&setup);
        let storage = connect(required(&server)).await?;
        write(&storage, &key, 300_000).await?;
        assert!(read(&storage, &key, 300_000).await? == content(&key, 300_000));
    }
    let unable =
        ["server smb encrypt = off", "server smb3 encryption algorithms = AES-256-GCM"].map(global);
    for setup in unable {
        let server = Server::start(&setup);
        let said = refusal(required(&server)).await;
        assert!(said.contains("not encrypted although encryption is required"), "{said}");
        let storage = connect(server.options("")).await?;
        write(&storage, &key, 300_000).await?;
        assert!(read(&storage, &key, 300_000).await? == content(&key, 300_000));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_protocol_is_refused() {
    let old = "server min protocol = SMB2_02\nserver max protocol = SMB2_10";
    let server = Server::start(&Setup { global: old, ..Setup::default() });
    let said = refusal(server.options("")).await;
    assert!(said.contains("speaks no SMB 3"), "{said}");
}
