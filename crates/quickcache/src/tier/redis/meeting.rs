//! Where the processes of a machine meet about a Redis: the words in the table of generations, and the journal beside it.

use std::{io, ptr};

use super::common::Common;
use super::journal::{self, Journal, Left, Record};
use super::link::{Out, Outcome, Request};
use super::message::Message;
use super::node::Node;
use super::record::{Fence, first};
use super::routes::Clear;
use super::server::Server;
use crate::tier::store::{Opened, Shared, lock};

/// A Redis at the open table of a machine.
pub struct Meeting {
    shared: &'static Shared,
    opened: &'static Opened,
    common: Common,
    journal: Option<&'static Journal>,
    server: &'static Server,
}

impl Meeting {
    pub fn common(&self) -> Common {
        self.common
    }

    /// Whether what the server says that has this fence may be kept, since its clears are listened to. Asked after the key's stamp was read.
    pub fn listens_to(&self, fence: &Fence) -> bool {
        match self.server.options.cluster {
            true => self.server.hears(self.opened, self.common, fence),
            false => self.common.listens_to(fence),
        }
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

    fn open_journal(&self) -> io::Result<&'static Journal> {
        let name = format!("{:016x}", self.server.id());
        Journal::open(self.shared.path(), &name, self.common.journal())
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

    /// Has everything applied that is pending, or as much as the nodes can be reached of it; then all stays pending. `ask` sends requests to a node
    /// and awaits their replies.
    pub(super) fn replay(
        &self,
        server: &'static Server,
        mut ask: impl FnMut(&'static Node, &[Request]) -> Result<Vec<Outcome>, Out>,
    ) -> Result<(), Out> {
        let Some(journal) = self.journal else {
            return Ok(());
        };
        let replayed = journal.replay(|records| self.apply(server, records, &mut ask))?;
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

    fn apply(
        &self,
        server: &'static Server,
        records: &[Record],
        ask: &mut impl FnMut(&'static Node, &[Request]) -> Result<Vec<Outcome>, Out>,
    ) -> Result<(), Out> {
        let origin = self.opened.origin();
        let everything = Message::Everything.bytes(&origin);
        let mut clears = Vec::new();
        for record in records {
            match record {
                Record::Everything => return server.clear_everything(&everything, ask),
                Record::Key(key) => {
                    let message = Message::Key(key).bytes(&origin);
                    let key = first(key);
                    clears.push(Clear {
                        bucket: server.names.bucket(key),
                        key: server.names.value(key),
                        message,
                    });
                }
                // Its name is not written down: other machines clear what they have of all functions.
                Record::Function(hash) => {
                    clears.extend(server.names.buckets().map(|bucket| Clear {
                        bucket,
                        key: server.names.function(first(hash), bucket),
                        message: everything.clone(),
                    }))
                }
            }
        }
        server.clear_each(clears, ask)
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
        let mut meeting = Meeting {
            shared,
            opened,
            common,
            journal: None,
            server: self,
        };
        let journal = meeting.open_journal();
        if let Err(error) = &journal {
            log::warn!(
                target: "quickcache",
                "clears that cannot be told to {self:?} cannot be written down: {error}; until they can it is not read"
            );
        }
        meeting.journal = journal.ok();
        let before = self.known_meetings();
        let before = before
            .iter()
            .find(|meeting| ptr::eq(meeting.shared, shared));
        if let (Some(before), Some(journal)) = (before, meeting.journal)
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
        let meeting: &'static Meeting = Box::leak(Box::new(meeting));
        meetings.retain(|meeting| !ptr::eq(meeting.shared, shared));
        meetings.push(meeting);
        Some(meeting)
    }

    /// Opens the journals that could not be opened: what kept a process from it (no file was left that it might open, a folder it might not
    /// read) may be over. What was cleared meanwhile the word of the journal tells.
    pub(super) fn open_journals(&self) {
        for meeting in self.known_meetings() {
            if meeting.journal.is_none()
                && let Ok(journal) = meeting.open_journal()
            {
                let journal = Some(journal);
                let with: &'static Meeting = Box::leak(Box::new(Meeting {
                    journal,
                    ..*meeting
                }));
                let mut meetings = lock(&self.meetings);
                for met in meetings.iter_mut().filter(|met| ptr::eq(**met, meeting)) {
                    *met = with;
                }
            }
        }
    }

    /// Where this process meets others about it.
    pub(super) fn known_meetings(&self) -> Vec<&'static Meeting> {
        lock(&self.meetings).clone()
    }
}
