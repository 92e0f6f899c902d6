//! A few sessions for everybody: one that has died is replaced by whoever needs it next.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use smb2::types::SessionId;
use tokio::{sync::Mutex, time::timeout};

use super::{SmbOptions, error::SmbError, session::Session};

/// How often what may be repeated is tried, each time with a live session.
const ATTEMPTS: usize = 3;

/// Sessions to one share.
pub(super) struct Pool {
    options: SmbOptions,
    places: Vec<Mutex<Place>>,
    next: AtomicUsize,
}

#[derive(Default)]
struct Place {
    session: Option<Arc<Session>>,
    /// The server may still hold what this one left open.
    previous: Option<SessionId>,
}

impl Pool {
    /// No sessions yet; they are made when they are needed.
    pub(super) fn new(options: SmbOptions) -> Self {
        let places = (0..options.connections_max.max(1)).map(|_| Mutex::default());
        Self { places: places.collect(), options, next: AtomicUsize::new(0) }
    }

    pub(super) const fn options(&self) -> &SmbOptions {
        &self.options
    }

    /// A live session, within the time that the options give.
    pub(super) async fn session(&self) -> Result<Arc<Session>, SmbError> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.places.len();
        let Some(place) = self.places.get(at) else {
            return Err(SmbError::Settings("there are no connections"));
        };
        let found = timeout(self.options.timeout, self.fill(place)).await;
        found.unwrap_or(Err(SmbError::Late))
    }

    /// Replaces the sessions that have died, so that the server closes what they left open. Those that cannot be
    /// replaced yet are left to whoever needs them.
    pub(super) async fn replace_dead(&self) {
        for place in &self.places {
            if place.lock().await.session.is_some() {
                let _ = timeout(self.options.timeout, self.fill(place)).await;
            }
        }
    }

    async fn fill(&self, place: &Mutex<Place>) -> Result<Arc<Session>, SmbError> {
        let mut place = place.lock().await;
        if let Some(session) = &place.session {
            if session.is_alive() {
                return Ok(Arc::clone(session));
            }
            place.previous = Some(session.id());
            place.session = None;
        }
        let session = Arc::new(Session::open(&self.options, place.previous).await?);
        place.previous = None;
        place.session = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Does what may be repeated; a session that dies over it is replaced.
    pub(super) async fn repeat<T, Doing>(
        &self,
        ask: impl Fn(Arc<Session>) -> Doing + Send + Sync,
    ) -> Result<T, SmbError>
    where
        Doing: Future<Output = Result<T, SmbError>> + Send,
    {
        let mut attempt = 1;
        loop {
            match ask(self.session().await?).await {
                Err(error) if error.is_lost() && attempt < ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }
}
