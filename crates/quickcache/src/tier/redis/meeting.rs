//! Where the processes of a machine meet about a Redis: the words in the table of generations, and the journal beside it.

use std::ptr;

use super::common::Common;
use super::journal::{self, Journal, Left, Record};
use super::link::{Out, Outcome, Request};
use super::message::Message;
use super::record::first;
use super::scripts;
use super::server::Server;
use crate::tier::store::{Opened, Shared, lock};

/// A Redis at the open table of a machine.
pub struct Meeting {
    shared: &'static Shared,
    opened: &'static Opened,
    common: Common,
    journal: Option<&'static Journal>,
}

impl Meeting {
    pub fn common(&self) -> Common {
        self.common
    }

    pub(super) fn opened(&self) -> &'static Opened {
        self.opened
    }

    /// Whether a clear of this key, or of its function, is written down and not applied yet. Asked after the key's stamp was read: then no
    /// process of this machine reads the key from Redis.
    #[must_use]
    pub fn is_pending(&self, key: &[u8; 32], function: &[u8; 32]) -> bool {
        // Without a journal it is not known which are.
        self.journal
            .is_none_or(|journal| journal.holds(key, function))
    }

    /// Whether anything may be.
    pub(super) fn is_quiet(&self) -> bool {
        self.journal.is_some_and(Journal::is_quiet)
    }

    /// Writes down a clear that the server may not have got.
    pub(super) fn write_down(&self, record: Record) {
        match self.journal.map(|journal| journal.append(record)) {
            Some(Ok(())) => {}
            Some(Err(error)) => log::warn!(
                target: "quickcache",
                "a clear cannot be written down in {}: {error}; until the Redis is back it is not read at all on this machine, and then \
                 everything is cleared there",
                self.shared.path().display()
            ),
            None => journal::lose(self.common.journal()),
        }
    }

    /// Has everything applied that is pending. `ask` sends requests and awaits their replies.
    pub(super) fn replay(
        &self,
        server: &Server,
        mut ask: impl FnMut(&[Request]) -> Result<Vec<Outcome>, Out>,
    ) -> Result<(), Out> {
        let Some(journal) = self.journal else {
            return Ok(());
        };
        let replayed = journal.replay(|records| {
            let mut requests = Vec::new();
            for record in records {
                match record {
                    Record::Everything => {
                        server.clear_everything(&self.opened.origin(), &mut ask)?
                    }
                    Record::Key(key) => {
                        let message = Message::Key(key).bytes(&self.opened.origin());
                        requests.push(server.clearing(&server.key(first(key)), &message));
                    }
                    Record::Function(hash) => {
                        // Its name is not written down: other machines clear what they have of all functions.
                        let message = Message::Everything.bytes(&self.opened.origin());
                        requests
                            .push(server.clearing(&server.key_of_function(first(hash)), &message));
                    }
                }
            }
            for outcome in ask(&requests)? {
                outcome?;
            }
            Ok::<(), Out>(())
        })?;
        match replayed.left {
            Left::Nothing if replayed.records > 0 => {
                log::info!(target: "quickcache", "{server:?}: {} pending clears were applied", replayed.records);
            }
            Left::Nothing | Left::Elsewhere | Left::More => {}
            Left::Unknown(error) => {
                log::warn!(target: "quickcache", "what is pending in {} cannot be told: {error}", self.shared.path().display());
            }
        }
        Ok(())
    }
}

impl Server {
    /// Where this machine's processes meet about it, at the table as it is open now. `None`: there is none.
    pub fn meeting(&'static self, shared: &'static Shared) -> Option<&'static Meeting> {
        let opened = shared.seen().or_else(|| shared.open())?;
        let met = lock(&self.meetings)
            .iter()
            .find(|meeting| ptr::eq(meeting.opened, opened))
            .copied();
        match met {
            Some(meeting) => Some(meeting),
            None => self.meet(shared, opened),
        }
    }

    #[cold]
    fn meet(
        &'static self,
        shared: &'static Shared,
        opened: &'static Opened,
    ) -> Option<&'static Meeting> {
        let common = self.common(opened)?;
        let name = format!("{:016x}", self.id());
        let journal = Journal::open(shared.path(), &name, common.journal());
        if let Err(error) = &journal {
            log::warn!(target: "quickcache", "clears that cannot be told to {self:?} cannot be written down: {error}");
        }
        let journal = journal.ok();
        let before = self.known_meetings();
        let before = before
            .iter()
            .find(|meeting| ptr::eq(meeting.shared, shared));
        if let (Some(before), Some(journal)) = (before, journal)
            && let Some(old) = before.journal
        {
            // The table was replaced, and perhaps its folder. (Not under the lock: a fork takes those of journals first.)
            let _lost_in_memory = journal.succeed(old);
        }
        let mut meetings = lock(&self.meetings);
        // Another thread may have been quicker.
        if let Some(meeting) = meetings
            .iter()
            .find(|meeting| ptr::eq(meeting.opened, opened))
        {
            return Some(meeting);
        }
        let meeting: &'static Meeting = Box::leak(Box::new(Meeting {
            shared,
            opened,
            common,
            journal,
        }));
        meetings.retain(|meeting| !ptr::eq(meeting.shared, shared));
        meetings.push(meeting);
        Some(meeting)
    }

    /// Where this process meets others about it.
    pub(super) fn known_meetings(&self) -> Vec<&'static Meeting> {
        lock(&self.meetings).clone()
    }

    /// Takes away what every function's own key holds, so that nothing that is stored counts any more.
    pub(super) fn clear_everything(
        &self,
        origin: &[u8; 8],
        ask: &mut impl FnMut(&[Request]) -> Result<Vec<Outcome>, Out>,
    ) -> Result<(), Out> {
        let message = Message::Everything.bytes(origin);
        let mut cursor = b"0".to_vec();
        loop {
            let scan = Request::new(scripts::scan(&cursor, &self.options.namespace), None);
            let found = ask(&[scan])?.pop().unwrap_or(Ok(None))?;
            let found = found.and_then(|answer| scripts::scanned(answer.replies));
            let (next, keys) =
                found.ok_or_else(|| Out::Refused("an unexpected reply".to_owned()))?;
            let clearing = |key: &Vec<u8>| self.clearing(key, &message);
            let requests: Vec<Request> = keys.iter().map(clearing).collect();
            for outcome in ask(&requests)? {
                outcome?;
            }
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// The request that clears a key.
    fn clearing(&self, key: &[u8], message: &[u8]) -> Request {
        Request::new(scripts::clear(key, &self.channel(), message), None)
    }
}
