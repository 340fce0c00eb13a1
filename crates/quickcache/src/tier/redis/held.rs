//! The right to store under a key, from the claim to the end; and what lies there meanwhile for calls whose function fails.

use std::time::{Duration, Instant};

use super::agent::LEASE;
use super::at::{Via, origin};
use super::commands::Commands;
use super::link::{Out, Outcome, unexpected};
use super::meeting::Meeting;
use super::message::Message;
use super::node::{Lease, Node};
use super::record::{self, Era, Kept, Token};
use super::scripts;
use super::slots::Bucket;
use crate::clock;
use crate::tier::store::StoreKey;

/// An entry, not looked into, that may be past its deadline.
pub struct Past {
    kept: Kept,
    /// How long ago its deadline came.
    pub since: Duration,
    /// What is left of its life.
    pub left: Duration,
}

impl Past {
    /// Of a record, by what is left of the life of its key.
    pub(super) fn of(held: Vec<u8>, era: &Era, left: Duration) -> Option<Past> {
        let kept = Kept::of(held, era)?;
        Some(Past {
            since: kept.past.saturating_sub(left),
            kept,
            left,
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn entry(&self) -> &[u8] {
        self.kept.entry()
    }
}

/// What became of a lease that was given back.
pub enum Released {
    /// It had been lost: the key, or the function, was cleared, or another took it over.
    Lost,
    /// It stood; and this lies under the key, for calls whose function fails.
    Stood(Option<Past>),
}

/// The right to store under a key. Dropped, it is given back, soon.
pub struct Held {
    /// Who gave it, and where in a cluster that was.
    node: &'static Node,
    bucket: Bucket,
    function: Vec<u8>,
    pub(super) key: Vec<u8>,
    of: StoreKey,
    era: Era,
    pub(super) token: Token,
    /// How long what is stored is kept beyond its life.
    past: Duration,
    kept: bool,
    /// Whose it is: the child of a fork may have a copy.
    process: u32,
}

impl Held {
    /// One that is about to be asked for; it is kept alive from now on.
    pub(super) fn new(
        (bucket, node): (Bucket, &'static Node),
        function: Vec<u8>,
        key: Vec<u8>,
        of: StoreKey,
        era: Era,
    ) -> Held {
        let token = Token::new();
        node.keep_alive(Lease {
            key: key.clone(),
            bucket,
            era,
            token,
            due: Instant::now() + LEASE / 3,
            again: false,
        });
        Held {
            node,
            bucket,
            function,
            key,
            of,
            era,
            token,
            past: Duration::ZERO,
            kept: true,
            process: std::process::id(),
        }
    }

    /// Of what.
    #[must_use]
    pub fn of(&self) -> &StoreKey {
        &self.of
    }

    /// The era it was had in.
    #[must_use]
    pub fn era(&self) -> &Era {
        &self.era
    }

    /// What is stored is kept so long beyond its life, for calls whose function fails; 31 years at most.
    #[must_use]
    pub fn beyond(mut self, past: Duration) -> Self {
        self.past = past.min(Duration::from_millis(record::LONGEST_PAST));
        self
    }

    /// Stores an entry for so long. `false`: it, or its function, has been cleared since, or the lease was lost. With `tell_all` every
    /// other machine is told, for what it takes the place of.
    ///
    /// # Errors
    /// If it may not have been stored.
    pub async fn fill(
        mut self,
        via: &impl Via,
        entry: &[u8],
        life: Duration,
        tell_all: Option<Option<&'static Meeting>>,
    ) -> Result<bool, Out> {
        if !self.is_ours() {
            return Ok(false);
        }
        self.let_go();
        let record = record::value(&self.era, entry, clock::millis(self.past));
        let channel = self.node.server.names.channel(self.bucket);
        let message = match tell_all {
            Some(meeting) => Message::Key(self.of.bytes()).bytes(&origin(meeting)),
            None => Message::Wake.bytes(&[0; 8]),
        };
        let fill = scripts::Fill {
            key: &self.key,
            function: &self.function,
            era: &self.era,
            token: self.token,
            record: &record,
            life: life.saturating_add(self.past),
            channel: &channel,
            message: &message,
            tell_all: tell_all.is_some(),
        };
        let era = self.era;
        let request = scripts::fill(&fill);
        match self.ask(via, request).await? {
            Some(answer) => scripts::filled(answer.replies, &era).ok_or_else(unexpected),
            None => Ok(false),
        }
    }

    /// Gives it back now: whether it was still there.
    ///
    /// # Errors
    /// If that is not known.
    pub async fn release(self, via: &impl Via) -> Result<bool, Out> {
        let released = self.release_for_past(via).await?;
        Ok(matches!(released, Released::Stood(_)))
    }

    /// As `release`, by a call whose function has failed: if the lease stood, what is there was not cleared meanwhile.
    ///
    /// # Errors
    /// As `release`.
    pub async fn release_for_past(mut self, via: &impl Via) -> Result<Released, Out> {
        if !self.is_ours() {
            return Ok(Released::Lost);
        }
        self.let_go();
        let era = self.era;
        let channel = self.node.server.names.channel(self.bucket);
        let message = Message::Wake.bytes(&[0; 8]);
        let keys = (&self.key[..], &self.function[..]);
        let request = scripts::release_for_past(keys, &era, self.token, &channel, &message);
        match self.ask(via, request).await? {
            Some(answer) => {
                let released = scripts::released_for_past(answer.replies, &era);
                let released = released.ok_or_else(unexpected)?;
                Ok(match released {
                    scripts::Released::Lost => Released::Lost,
                    scripts::Released::Stood => Released::Stood(None),
                    scripts::Released::Over(left, held) => {
                        Released::Stood(Past::of(held, &era, left))
                    }
                })
            }
            None => Ok(Released::Lost),
        }
    }

    /// Asks who gave it; nothing, if that is another one now, or has not the bucket any more.
    pub(super) async fn ask(&self, via: &impl Via, commands: Commands) -> Outcome {
        let there = (self.bucket, self.node);
        let of = self.era.fence;
        self.node.server.ask_there(via, there, commands, of).await
    }

    /// Not so in the child of a fork.
    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    pub(super) fn let_go(&mut self) {
        if std::mem::take(&mut self.kept) {
            let _lease = self.node.let_go(self.token);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.kept {
            self.node.abandon(self.token);
        }
    }
}
