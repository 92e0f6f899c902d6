//! The database's clock: leases then mean the same to every process that shares the database.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use crate::clock::{Clock, Timestamp};

/// A clock of this machine, set by the database's.
#[derive(Debug)]
pub(super) struct DatabaseClock {
    inner: Arc<dyn Clock>,
    ahead_us: AtomicI64,
}

/// What the database's clock said to a question, and when that was asked and answered by the clock here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) asked: Timestamp,
    pub(super) said: Timestamp,
    pub(super) answered: Timestamp,
}

impl DatabaseClock {
    /// Goes like `inner` until it is set.
    pub(super) fn new(inner: Arc<dyn Clock>) -> Self {
        Self { inner, ahead_us: AtomicI64::new(0) }
    }

    /// The clock that is set.
    pub(super) fn inner(&self) -> &dyn Clock {
        &*self.inner
    }

    /// Sets the clock where the reading contradicts it: a slow answer says little of the time, and does not
    /// move a clock that is right.
    pub(super) fn set(&self, reading: Reading) {
        let said = reading.said.unix_us();
        let least = said.saturating_sub(reading.answered.unix_us());
        let most = said.saturating_sub(reading.asked.unix_us());
        let ahead = self.ahead_us.load(Ordering::Relaxed);
        if ahead < least || ahead > most {
            let middle = least.saturating_add(most.saturating_sub(least) / 2);
            self.ahead_us.store(middle, Ordering::Relaxed);
        }
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        let ahead_us = self.ahead_us.load(Ordering::Relaxed);
        Timestamp::from_unix_us(self.inner.now().unix_us().saturating_add(ahead_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn reading(asked: i64, said: i64, answered: i64) -> Reading {
        let [asked, said, answered] = [asked, said, answered].map(Timestamp::from_unix_us);
        Reading { asked, said, answered }
    }

    #[test]
    fn it_goes_by_the_middle_of_a_question_and_stays_while_it_may_be_right() {
        let inner = Arc::new(ManualClock::at(Timestamp::from_unix_us(1_000)));
        let clock = DatabaseClock::new(inner);
        clock.set(reading(1_000, 5_000, 1_200));
        assert_eq!(clock.now().unix_us(), 1_000 + 3_900);
        clock.set(reading(1_000, 5_300, 9_000));
        assert_eq!(clock.now().unix_us(), 1_000 + 3_900);
        clock.set(reading(1_000, 900, 1_000));
        assert_eq!(clock.now().unix_us(), 900);
    }
}
