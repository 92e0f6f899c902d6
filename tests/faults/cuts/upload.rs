//! One upload that is cut again and again, until it has ended as it was to.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use files::proto::{
    CancelUploadRequest, File, GetUploadRequest, UploadFileRequest, UploadFileResponse,
    UploadFinish, UploadStart, files_service_client::FilesServiceClient,
    upload_file_request::Message,
};
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tonic::{Code, Request, Response, Status, transport::Channel};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{
    plan::{Cuts, Fate, Moment, Random, Way},
    site::{self, Kind, Replica, Site},
    starve,
    wire::{Break, Wire},
};

/// Attempts after which an upload must have ended.
const ATTEMPTS_MAX: usize = 200;
/// Longer than a server waits for anything but its client.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(50);
/// What was an upload's answer to a cut, and nothing else.
const REASONS: [&str; 4] =
    ["UPLOAD_INCOMPLETE", "UPLOAD_TAKEN_OVER", "STORAGE_UNAVAILABLE", "SHUTTING_DOWN"];

type Answer = std::result::Result<Response<UploadFileResponse>, Status>;
type Client = FilesServiceClient<Channel>;

/// How an upload has ended.
pub(super) struct Ended {
    pub(super) user_id: String,
    pub(super) content: Bytes,
    /// The file, where one was acknowledged.
    pub(super) file: Option<File>,
    /// Whether there may be a file, though none was acknowledged.
    pub(super) in_doubt: bool,
    pub(super) cuts: Cuts,
}

pub(super) struct Upload<'s> {
    site: &'s Site,
    random: Random,
    fate: Fate,
    start: UploadStart,
    content: Bytes,
    persisted: u64,
    /// Whether any attempt has said that it ends.
    may_be_finished: bool,
    cuts: Cuts,
}

impl<'s> Upload<'s> {
    pub(super) fn new(site: &'s Site, seed: u64, number: u64) -> Self {
        let mut random = Random(seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let most = match (site.kind, random.below(4)) {
            (_, 0) => 100_000,
            (Kind::DiskAndSqlite, _) => 2_000_000,
            (Kind::BucketAndPostgres, 1) => 14_000_000,
            (Kind::BucketAndPostgres, _) => 6_000_000,
            (Kind::ShareAndPostgres, _) => 1_500_000,
        };
        let size = 1 + random.below(most) as usize;
        let content = random.content(size);
        let fate = match number % 10 {
            3 => Fate::Left,
            7 => Fate::Cancelled,
            _ => Fate::Finished,
        };
        let start = UploadStart {
            upload_id: Uuid::new_v4().to_string(),
            user_id: format!("seed-{seed}-{number}"),
            purpose: "user_data".to_owned(),
            filename: "a.txt".to_owned(),
            size_bytes: (random.below(2) == 0).then_some(size as i64),
            ..UploadStart::default()
        };
        Self {
            site,
            random,
            fate,
            start,
            content,
            persisted: 0,
            may_be_finished: false,
            cuts: Cuts::new(),
        }
    }

    /// Cuts it up to so many times, and then does with it what is to be done.
    pub(super) async fn run(mut self, cuts_max: usize) -> Ended {
        let (mut attempts, user) = (0, self.start.user_id.clone());
        let file = loop {
            assert!(attempts < ATTEMPTS_MAX, "{user}: it never ends");
            let file = self.look().await;
            let is_cut_enough = attempts >= cuts_max;
            if file.is_some() || (is_cut_enough && self.fate != Fate::Finished) {
                break file;
            }
            let way = (!is_cut_enough).then(|| Way::draw(&mut self.random, self.site.kind));
            match within(&user, self.attempt(way)).await {
                Ok(answer) => break answer.into_inner().file,
                Err(status) => self.assert_is_of_a_cut(&status),
            }
            attempts += 1;
        };
        if self.fate == Fate::Cancelled && file.is_none() {
            self.cancel().await;
        }
        if let Some(file) = &file
            && self.random.below(3) == 0
        {
            self.assert_is_replayed(file).await;
        }
        let in_doubt = file.is_none() && self.may_be_finished;
        let Self { start, content, cuts, .. } = self;
        Ended { user_id: start.user_id, content, file, in_doubt, cuts }
    }

    fn replica(&mut self) -> &'s Replica {
        let at = self.random.below(self.site.replicas.len() as u64) as usize;
        &self.site.replicas[at]
    }

    /// How far the upload has come, as any replica says: never less than before.
    async fn look(&mut self) -> Option<File> {
        let user = self.start.user_id.clone();
        for _ in 0..ATTEMPTS_MAX {
            let mut client = self.replica().client().await;
            let UploadStart { upload_id, user_id, .. } = self.start.clone();
            let asked = client.get_upload(GetUploadRequest { upload_id, user_id });
            match within(&user, asked).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let persisted = answer.persisted_size_bytes.unsigned_abs();
                    let possible = self.persisted..=self.content.len() as u64;
                    let told = || self.site.complaints();
                    let is_possible = possible.contains(&persisted);
                    assert!(is_possible, "{user}: {persisted} of {possible:?}: {}", told());
                    self.persisted = persisted;
                    return answer.file;
                }
                Err(status) if status.code() == Code::NotFound => {
                    assert_eq!(self.persisted, 0, "{user}: it is gone: {}", self.site.complaints());
                    return None;
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("{user}: nobody knows how far it has come: {}", self.site.complaints());
    }

    /// Sends from somewhere up to what is durable: is cut, or finishes.
    async fn attempt(&mut self, way: Option<Way>) -> Answer {
        let (replica, offset) = (self.replica(), self.offset());
        let finishes = self.fate != Fate::Left && way != Some(Way::NeverFinished);
        self.may_be_finished |= finishes;
        let (sent, all_sent) = oneshot::channel();
        let messages = self.messages(offset, finishes.then_some(sent));
        let way = match way {
            Some(way) if way != Way::NeverFinished => way,
            _ => {
                let answer = connect(replica.address).await?.upload_file(messages).await;
                if way.is_some() {
                    self.note(Way::NeverFinished, true, &answer);
                }
                return answer;
            }
        };
        let left = (self.content.len() - offset) as u64;
        let moment = Moment::draw(&mut self.random, way, left, finishes);
        let mut request = Request::new(messages);
        if way == Way::Deadline {
            request.set_timeout(Duration::from_millis(2 + self.random.below(60)));
        }
        let Wire { address, held, order } = Wire::to(replica.address, moment.byte()).await;
        let mut client = connect(address).await?;
        let mut call = Box::pin(client.upload_file(request));
        let come = async {
            match moment {
                Moment::Byte(_) => held.await.is_ok(),
                Moment::AfterFinish(delay) => {
                    let is_sent = all_sent.await.is_ok();
                    if !delay.is_zero() {
                        sleep(delay).await;
                    }
                    is_sent
                }
            }
        };
        let ended = tokio::select! {
            biased;
            answer = &mut call => Some(answer),
            true = come => None,
        };
        let is_after = matches!(moment, Moment::AfterFinish(_));
        // A client that has gone by then has not read the answer.
        let is_lost = is_after && matches!(way, Way::Reset | Way::ClientGone);
        let is_cut = ended.is_none() || is_lost || way == Way::Deadline;
        let answer = match ended {
            Some(Ok(_)) if is_lost => Err(Status::cancelled("nobody has read the answer")),
            Some(answer) => answer,
            None => self.break_off(way, replica, order, call).await,
        };
        if is_cut {
            self.note(way, !is_after, &answer);
        }
        answer
    }

    /// Cuts a call whose moment has come; how it ends.
    async fn break_off(
        &mut self,
        way: Way,
        replica: &Replica,
        order: oneshot::Sender<Break>,
        call: impl Future<Output = Answer>,
    ) -> Answer {
        match way {
            Way::Reset | Way::HalfClose => {
                let how = if way == Way::Reset { Break::Reset } else { Break::HalfClose };
                // Nobody hears it where the connection has ended already.
                let _ = order.send(how);
                call.await
            }
            Way::Deadline | Way::NeverFinished => call.await,
            Way::ClientGone => Err(Status::cancelled("nobody waits for it")),
            Way::ServerKilled => {
                replica.kill().await;
                drop(order);
                call.await
            }
            Way::DatabaseGone | Way::StorageGone => {
                drop(order);
                let patience = Duration::from_millis(100 + self.random.below(1000));
                let gone = self.take_away(way, replica);
                let (answer, ()) = tokio::join!(timeout(patience, call), gone);
                answer.unwrap_or_else(|_| Err(Status::cancelled("nobody waits any longer")))
            }
        }
    }

    /// Counts a cut that has broken the upload off.
    fn note(&mut self, way: Way, is_before_finish: bool, answer: &Answer) {
        if answer.is_err() {
            let (before, after) = self.cuts.entry(way).or_default();
            *if is_before_finish { before } else { after } += 1;
        }
    }

    fn offset(&mut self) -> usize {
        let offset = match self.random.below(4) {
            0 => 0,
            1 => self.random.below(self.persisted + 1),
            _ => self.persisted,
        };
        offset as usize
    }

    /// Takes what the servers work on away for a while.
    async fn take_away(&mut self, way: Way, replica: &Replica) {
        let site = self.site;
        let times = 1 + self.random.below(4);
        // One at a time: who opens a gate again opens it for all.
        site.turn.take().await;
        match (way, site.gates.as_slice()) {
            (Way::DatabaseGone, [gate, ..]) | (_, [_, gate]) => {
                for _ in 0..times {
                    gate.shut().await;
                }
            }
            _ => starve(replica.address, Duration::from_millis(60 * times)).await,
        }
        site.turn.end();
    }

    /// Start, the content from `offset` on, and finish, if it is to be, of which `sent` is told.
    fn messages(
        &mut self,
        offset: usize,
        sent: Option<oneshot::Sender<()>>,
    ) -> impl Stream<Item = UploadFileRequest> + Send + 'static {
        let start = UploadStart { offset: offset as i64, ..self.start.clone() };
        let content = self.content.clone();
        let sha256 = match self.random.below(2) {
            0 => Bytes::new(),
            _ => Bytes::copy_from_slice(&Sha256::digest(&content)),
        };
        let (end, chunk_bytes) = (content.len(), 1 + self.random.below(128 * 1024) as usize);
        let chunk_bytes = chunk_bytes.max(end / 200);
        let data = (offset..end)
            .step_by(chunk_bytes)
            .map(move |at| Message::Data(content.slice(at..end.min(at + chunk_bytes))));
        let finish = sent.map(|sent| {
            stream::once(async move {
                // Whoever cuts at another moment does not wait for it.
                let _ = sent.send(());
                Message::Finish(UploadFinish { sha256 })
            })
        });
        let all = stream::iter(std::iter::once(Message::Start(start)).chain(data));
        let all = all.chain(stream::iter(finish).flatten());
        all.map(|message| UploadFileRequest { message: Some(message) })
    }

    async fn cancel(&mut self) {
        for _ in 0..ATTEMPTS_MAX {
            let mut client = self.replica().client().await;
            let UploadStart { upload_id, user_id, .. } = self.start.clone();
            let cancelled = client.cancel_upload(CancelUploadRequest { upload_id, user_id });
            match within(&self.start.user_id, cancelled).await {
                Ok(_) => return,
                Err(status) if status.code() == Code::NotFound => return,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("{}: it cannot be cancelled", self.start.user_id);
    }

    /// Whoever asks again is told of the same file.
    async fn assert_is_replayed(&mut self, file: &File) {
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(None).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let again = answer.file.expect("a file");
                    assert!(answer.replayed && again.id == file.id, "{}", self.start.user_id);
                    return;
                }
                Err(status) => self.assert_is_of_a_cut(&status),
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("{}: it is not told again", self.start.user_id);
    }

    /// Refusals are none of a cut's consequences, nor is what only a bug or damage explains.
    fn assert_is_of_a_cut(&self, status: &Status) {
        let is_expected = match status.get_details_error_info() {
            Some(info) => REASONS.contains(&info.reason.as_str()),
            // What the transport says where no answer has come.
            None => matches!(
                status.code(),
                Code::Unavailable
                    | Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Internal
                    | Code::Unknown
            ),
        };
        let (user, told) = (&self.start.user_id, || self.site.complaints());
        assert!(is_expected, "{user}: {status:?}\n{}", told());
    }
}

/// What a call has come to; that it never ends is none of a cut's consequences.
async fn within<T>(user_id: &str, call: impl Future<Output = T>) -> T {
    let answer = timeout(ANSWER_TIME_MAX, call).await;
    answer.unwrap_or_else(|_| panic!("{user_id}: a call never ends"))
}

async fn connect(address: SocketAddr) -> std::result::Result<Client, Status> {
    site::connect(address).await.map_err(|_| Status::unavailable("nobody is there"))
}
