//! Uploads cut at random bytes in every way there is, and gone on with on a replica chosen at random: what is
//! acknowledged is whole and there once, and nothing else is left.

mod gate;
mod site;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use files::proto::{
    CancelUploadRequest, DownloadFileRequest, File, GetUploadRequest, ListFilesRequest,
    UploadFileRequest, UploadFinish, UploadStart, download_file_response::Message as Download,
    files_service_client::FilesServiceClient, upload_file_request::Message,
};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt;
use uuid::Uuid;

use gate::Break;
use site::{Kind, Site};

type Result<T = ()> = anyhow::Result<T>;
type Client = FilesServiceClient<Channel>;

const CHUNK_BYTES: usize = 64 * 1024;
/// Uploads under way at once.
const AT_ONCE: usize = 8;
/// Attempts after the last cut until an upload must have ended.
const ATTEMPTS_MAX: usize = 200;

/// The ways to cut an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Reset,
    HalfClose,
    Deadline,
    ClientGone,
    ServerKilled,
    StoreGone,
}

/// What is done with an upload in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Finished,
    Left,
    Cancelled,
}

/// A generator (splitmix64) that is the same for every run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most.max(1)
    }
}

/// One upload that is cut again and again.
struct Upload<'s> {
    site: &'s Site,
    random: Random,
    start: UploadStart,
    content: Bytes,
    persisted: u64,
    cuts: BTreeMap<Way, u64>,
}

impl<'s> Upload<'s> {
    fn new(site: &'s Site, number: u64) -> Self {
        let mut random = Random(number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let most = match site.kind {
            Kind::DiskAndSqlite => 1_500_000,
            Kind::BucketAndPostgres => 14_000_000,
            Kind::ShareAndPostgres => 1_000_000,
        };
        let size = 1 + random.below(most);
        let content: Bytes =
            (0..size).map(|at| ((at * 31 + at / 251 + number) % 253) as u8).collect();
        let start = UploadStart {
            upload_id: Uuid::new_v4().to_string(),
            user_id: format!("user-{number}"),
            purpose: "user_data".to_owned(),
            filename: "a.txt".to_owned(),
            size_bytes: (number % 2 == 1).then_some(size as i64),
            ..UploadStart::default()
        };
        Self { site, random, start, content, persisted: 0, cuts: BTreeMap::new() }
    }

    /// Cuts it so many times, and then does with it what is to be done; the file that it has become.
    async fn run(mut self, cuts: u64, fate: Fate) -> Result<(Option<File>, BTreeMap<Way, u64>)> {
        let mut attempts = 0;
        loop {
            let done: u64 = self.cuts.values().sum();
            if done >= cuts && fate != Fate::Finished {
                if fate == Fate::Cancelled {
                    self.cancel().await;
                }
                return Ok((None, self.cuts));
            }
            if let Some(file) = self.look().await {
                return Ok((Some(file), self.cuts));
            }
            let cut = (done < cuts).then(|| self.way(fate));
            match self.attempt(cut).await {
                Ok(file) => return Ok((Some(file), self.cuts)),
                Err(status) => self.assert_is_of_a_cut(&status),
            }
            if let Some(way) = cut {
                *self.cuts.entry(way).or_default() += 1;
            }
            attempts += 1;
            assert!(attempts < ATTEMPTS_MAX, "{}: it never ends", self.start.user_id);
        }
    }

    fn way(&mut self, fate: Fate) -> Way {
        let local = self.site.kind == Kind::DiskAndSqlite;
        // What is never to be finished never says that it is.
        let least = if fate == Fate::Finished { 0 } else { 48 };
        match least + self.random.below(100 - least) {
            0..24 => Way::Reset,
            24..48 => Way::HalfClose,
            48..70 => Way::Deadline,
            70..95 => Way::ClientGone,
            95..97 => Way::ServerKilled,
            _ if local => Way::ServerKilled,
            _ => Way::StoreGone,
        }
    }

    fn replica(&mut self) -> usize {
        self.random.below(self.site.replicas.len() as u64) as usize
    }

    /// How far the upload has come, as any replica says: never less than before.
    async fn look(&mut self) -> Option<File> {
        for _ in 0..ATTEMPTS_MAX {
            let at = self.replica();
            let mut client = self.site.replicas[at].client().await;
            let UploadStart { upload_id, user_id, .. } = self.start.clone();
            match client.get_upload(GetUploadRequest { upload_id, user_id }).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let persisted = answer.persisted_size_bytes.unsigned_abs();
                    assert!(persisted >= self.persisted, "{}: it shrank", self.start.user_id);
                    self.persisted = persisted;
                    return answer.file;
                }
                Err(status) if status.code() == Code::NotFound => {
                    let told = self.site.complaints();
                    assert_eq!(self.persisted, 0, "{}: it is gone: {told}", self.start.user_id);
                    return None;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("{}: nobody knows how far it has come", self.start.user_id);
    }

    /// Sends from somewhere up to what is durable, and is cut, or finishes.
    async fn attempt(&mut self, cut: Option<Way>) -> std::result::Result<File, Status> {
        let offset = match self.random.below(4) {
            0 => 0,
            1 => self.random.below(self.persisted + 1),
            _ => self.persisted,
        } as usize;
        let left = (self.content.len() - offset) as u64;
        let stop = offset + self.random.below(left + 1) as usize;
        let (at, replica) = (self.replica(), self.site.replicas.as_slice());
        let address = match cut {
            // What a connection needs beside the content is a few hundred bytes.
            Some(Way::Reset) => {
                gate::breaking(replica[at].address, 400 + left / 2, Break::Reset).await
            }
            Some(Way::HalfClose) => {
                gate::breaking(replica[at].address, 400 + left / 3, Break::HalfClose).await
            }
            _ => replica[at].address,
        };
        let broken = |_| Status::unavailable("nobody is there");
        let mut client = site::connect(address).await.map_err(broken)?;
        let (reached, arrived) = gate::signal();
        let stops = match cut {
            None | Some(Way::Reset | Way::HalfClose) => None,
            Some(_) => Some((stop, reached)),
        };
        let messages = self.messages(offset, stops);
        let mut request = Request::new(messages);
        if cut == Some(Way::Deadline) {
            request.set_timeout(Duration::from_millis(1 + self.random.below(40)));
        }
        let call = client.upload_file(request);
        let answer = match cut {
            Some(way @ (Way::ClientGone | Way::ServerKilled | Way::StoreGone)) => {
                let disturbance = self.disturb(way, at, arrived);
                tokio::pin!(disturbance);
                tokio::select! {
                    answer = call => {
                        // What is killed is started again in any case.
                        disturbance.await;
                        answer
                    }
                    () = &mut disturbance => Err(Status::cancelled("cut")),
                }
            }
            _ => call.await,
        };
        Ok(answer?.into_inner().file.expect("a file"))
    }

    /// What happens when the messages have come to their stop.
    async fn disturb(&self, way: Way, at: usize, arrived: oneshot::Receiver<()>) {
        let _ = arrived.await;
        if way == Way::ClientGone {
            return;
        }
        // One at a time: what is gone for all would leave nobody to go on with.
        self.site.turn.take().await;
        match way {
            Way::StoreGone => {
                let gates = &self.site.gates;
                gates[self.content.len() % gates.len()].shut().await;
            }
            _ => self.site.replicas[at].kill().await,
        }
        self.site.turn.end();
    }

    /// Start, the content from `offset` on, and finish; or up to where it stops, and then silence.
    fn messages(
        &mut self,
        offset: usize,
        stops: Option<(usize, oneshot::Sender<()>)>,
    ) -> impl futures_util::Stream<Item = UploadFileRequest> + Send + 'static {
        let start = UploadStart { offset: offset as i64, ..self.start.clone() };
        let (end, reached) = match stops {
            Some((stop, reached)) => (stop, Some(reached)),
            None => (self.content.len(), None),
        };
        let content = self.content.clone();
        let sha256 = match self.random.below(2) {
            0 => Bytes::new(),
            _ => Bytes::copy_from_slice(&Sha256::digest(&content)),
        };
        let data = (offset..end)
            .step_by(CHUNK_BYTES)
            .map(move |at| Message::Data(content.slice(at..end.min(at + CHUNK_BYTES))));
        let finish = reached.is_none().then_some(Message::Finish(UploadFinish { sha256 }));
        let all = std::iter::once(Message::Start(start)).chain(data).chain(finish);
        let sent = stream::iter(all.map(|message| UploadFileRequest { message: Some(message) }));
        let silence = stream::once(async move {
            if let Some(reached) = reached {
                let _ = reached.send(());
                std::future::pending::<()>().await;
            }
            None
        });
        sent.chain(silence.filter_map(std::future::ready))
    }

    async fn cancel(&mut self) {
        let at = self.replica();
        for _ in 0..ATTEMPTS_MAX {
            let mut client = self.site.replicas[at].client().await;
            let UploadStart { upload_id, user_id, .. } = self.start.clone();
            match client.cancel_upload(CancelUploadRequest { upload_id, user_id }).await {
                Ok(_) => return,
                Err(status) if status.code() == Code::NotFound => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("{}: it cannot be cancelled", self.start.user_id);
    }

    /// Refusals are none of a cut's consequences.
    fn assert_is_of_a_cut(&self, status: &Status) {
        let Some(info) = status.get_details_error_info() else { return };
        let expected =
            ["UPLOAD_INCOMPLETE", "UPLOAD_TAKEN_OVER", "STORAGE_UNAVAILABLE", "SHUTTING_DOWN"];
        let user = &self.start.user_id;
        let told = self.site.complaints();
        assert!(expected.contains(&info.reason.as_str()), "{user}: {status:?}\n{told}");
    }
}

async fn content_of(client: &mut Client, file_id: String) -> Result<Vec<u8>> {
    let request = DownloadFileRequest { file_id, ..Default::default() };
    let mut messages = client.download_file(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(message) = messages.message().await? {
        if let Some(Download::Data(data)) = message.message {
            content.extend_from_slice(&data);
        }
    }
    Ok(content)
}

const fn fate(number: u64) -> Fate {
    match number % 12 {
        5 => Fate::Left,
        11 => Fate::Cancelled,
        _ => Fate::Finished,
    }
}

/// Cuts uploads until there were so many cuts, and looks at what there is then.
async fn cut(kind: Kind, cuts_wanted: u64) -> Result {
    let site = Site::start(kind).await?;
    let (next, cuts_made) = (AtomicU64::new(0), AtomicU64::new(0));
    let lanes = (0..AT_ONCE).map(|_| async {
        let (mut ended, mut ways) = (Vec::new(), BTreeMap::<Way, u64>::new());
        while cuts_made.load(Ordering::SeqCst) < cuts_wanted {
            let number = next.fetch_add(1, Ordering::SeqCst);
            let upload = Upload::new(&site, number);
            let (user, content) = (upload.start.user_id.clone(), upload.content.clone());
            let (file, cuts) = upload.run(1 + number % 6, fate(number)).await?;
            cuts_made.fetch_add(cuts.values().sum(), Ordering::SeqCst);
            cuts.into_iter().for_each(|(way, count)| *ways.entry(way).or_default() += count);
            ended.push((user, content, file));
        }
        anyhow::Ok((ended, ways))
    });
    let lanes = futures_util::future::try_join_all(lanes).await?;
    let mut ways = BTreeMap::<Way, u64>::new();
    let mut client = site.replicas[0].client().await;
    let mut files = 0;
    for (ended, cuts) in lanes {
        cuts.into_iter().for_each(|(way, count)| *ways.entry(way).or_default() += count);
        for (user_id, content, file) in ended {
            let request = ListFilesRequest { user_id: user_id.clone(), ..Default::default() };
            let listed = client.list_files(request).await?.into_inner().files;
            assert_eq!(listed.len(), usize::from(file.is_some()), "{user_id}");
            let Some(file) = file else { continue };
            assert_eq!(file.sha256[..], Sha256::digest(&content)[..], "{user_id}");
            assert!(content_of(&mut client, file.id).await? == content, "{user_id}");
            files += 1;
        }
    }
    eprintln!("{kind:?}: {files} files of {} uploads, cut so: {ways:?}", next.into_inner());
    assert!(ways.values().sum::<u64>() >= cuts_wanted && files > 20, "{ways:?}");
    assert_eq!(site.leftovers(files).await?, (0, 0, 0), "rows, blobs and what is unfinished");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_to_a_disk_survive_1_200_cuts() -> Result {
    cut(Kind::DiskAndSqlite, 1200).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_to_a_bucket_survive_300_cuts() -> Result {
    cut(Kind::BucketAndPostgres, 300).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_to_a_share_survive_500_cuts() -> Result {
    cut(Kind::ShareAndPostgres, 500).await
}
