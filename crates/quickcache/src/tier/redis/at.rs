//! A function at a Redis, and one call of it there: what both fronts do with a Redis, whatever they make of values. The steps are written
//! once, as futures: a blocking caller's futures are ready whenever they are asked.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::agent::LEASE;
use super::commands::Commands;
use super::common::Common;
use super::held::{Held, Past};
use super::journal::Record;
use super::link::{Out, Outcome, unexpected};
use super::look::{self, Look};
use super::meeting::Meeting;
use super::message::Message;
use super::node::Node;
use super::record::{Era, Fence, Kept, Token, first};
use super::scripts::{self, Claimed};
use super::server::Server;
use super::slots::Bucket;
use crate::tier::store::{Shared, StoreKey, sleep};
use futures_timer::Delay;

/// How a caller waits.
pub trait Via: Sync {
    /// Sends a request, which may be meant for one life of a server only, and awaits the replies.
    fn ask(
        &self,
        node: &'static Node,
        commands: Commands,
        of: Option<Fence>,
    ) -> impl Future<Output = Outcome> + Send;

    /// Looks what is under a key.
    fn look(&self, node: &'static Node, look: Look) -> impl Future<Output = look::Outcome> + Send;

    /// Waits until the bell is rung that said `seen`, or so long.
    fn rest(&self, bell: Option<Bell>, most: Duration) -> impl Future<Output = ()> + Send;
}

/// By which those are woken who wait for a lease to end.
#[derive(Clone, Copy)]
pub struct Bell {
    common: Common,
    seen: u64,
}

impl Bell {
    /// Waits for it.
    pub fn wait(self, most: Duration) {
        sleep(self.common.bell(), self.seen, most);
    }

    /// Whether it has rung.
    #[must_use]
    pub fn has_rung(self) -> bool {
        self.common.bell().load(Ordering::Acquire) != self.seen
    }
}

/// A thread that may wait.
pub struct InPlace;

impl Via for InPlace {
    fn ask(
        &self,
        node: &'static Node,
        commands: Commands,
        of: Option<Fence>,
    ) -> impl Future<Output = Outcome> + Send {
        std::future::ready(node.ask(commands, of))
    }

    fn look(&self, node: &'static Node, look: Look) -> impl Future<Output = look::Outcome> + Send {
        std::future::ready(node.look(look))
    }

    fn rest(&self, bell: Option<Bell>, most: Duration) -> impl Future<Output = ()> + Send {
        match bell {
            Some(bell) => bell.wait(most),
            None => std::thread::sleep(most),
        }
        std::future::ready(())
    }
}

/// A task, which other threads do the waiting for.
pub struct Soon;

impl Via for Soon {
    fn ask(
        &self,
        node: &'static Node,
        commands: Commands,
        of: Option<Fence>,
    ) -> impl Future<Output = Outcome> + Send {
        node.ask_soon(commands, of)
    }

    fn look(&self, node: &'static Node, look: Look) -> impl Future<Output = look::Outcome> + Send {
        node.look_soon(look)
    }

    async fn rest(&self, bell: Option<Bell>, most: Duration) {
        // A task cannot sleep on a futex: it looks at the bell every few milliseconds.
        const LOOK: Duration = Duration::from_millis(5);
        let mut left = most;
        while !left.is_zero() && !bell.is_some_and(Bell::has_rung) {
            let nap = left.min(LOOK);
            Delay::new(nap).await;
            left -= nap;
        }
    }
}

/// A function at a Redis.
pub struct AtRedis {
    server: &'static Server,
    /// What names it in the table.
    name: Box<[u8]>,
    hash: [u8; 32],
}

/// What was found under a key.
pub enum Looked {
    /// An entry.
    Found(Hit),
    /// Nothing that counts, in this era.
    Missing(Era),
}

/// An entry, not looked into.
pub struct Hit {
    pub(super) kept: Kept,
    /// What is left of its life, if that was asked.
    pub left: Option<Duration>,
    /// The era it counts in.
    pub era: Era,
}

impl Hit {
    /// Its bytes.
    #[must_use]
    pub fn entry(&self) -> &[u8] {
        self.kept.entry()
    }
}

/// What a call is to do next.
pub enum Turn {
    /// There is a value.
    Found(Hit),
    /// Run the function, and store under this.
    Lead(Held),
    /// Another call runs it: wait, then look again.
    Wait,
}

impl AtRedis {
    /// A function by its name: functions of one name share what they store.
    #[must_use]
    pub fn new(server: &'static Server, name: &[u8]) -> Self {
        let hash = blake3::hash(name).into();
        AtRedis {
            server,
            name: name.into(),
            hash,
        }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &'static Server {
        self.server
    }

    /// Has clears listened for, on the machine of this table.
    pub fn listen(&self, shared: &'static Shared) {
        self.server.listen(shared);
    }

    /// Where the machine's processes meet about the server.
    pub fn meeting(&self, shared: &'static Shared) -> Option<&'static Meeting> {
        self.server.meeting(shared)
    }

    /// Whether a clear of this key is written down, and not applied yet: asked after the key's stamp was read, and then Redis is not.
    /// If so it is seen to from now on.
    #[must_use]
    pub fn is_pending(&self, meeting: Option<&Meeting>, key: &StoreKey) -> bool {
        let of_machine = |meeting: &Meeting| meeting.is_pending(key.bytes(), &self.hash);
        let is_pending = meeting.is_some_and(of_machine) || self.server.owes();
        if is_pending {
            // Who does not ask the server has nobody else see to it.
            self.server.node(self.bucket(key)).has_agent();
        }
        is_pending
    }

    pub(super) fn key_there(&self, key: &StoreKey) -> Vec<u8> {
        self.server.names.value(first(key.bytes()))
    }

    /// Where in a cluster the key lies.
    pub(super) fn bucket(&self, key: &StoreKey) -> Bucket {
        self.server.names.bucket(first(key.bytes()))
    }

    /// The function's own key, beside those of a bucket.
    fn own_key(&self, bucket: Bucket) -> Vec<u8> {
        self.server.names.function(first(&self.hash), bucket)
    }

    /// Looks what there is. With `life`, how long it may still live, which a faster tier wants to know. What is stale is not there.
    ///
    /// # Errors
    /// If the server is out of reach, or refuses.
    pub async fn look(&self, via: &impl Via, key: &StoreKey, life: bool) -> Result<Looked, Out> {
        let mut life = life;
        loop {
            let (held, left, era) = self.ask_for(via, key, life).await?;
            let Some(kept) = held.and_then(|held| Kept::of(held, &era)) else {
                return Ok(Looked::Missing(era));
            };
            let left = match left {
                left if kept.past.is_zero() => left,
                Some(left) if left <= kept.past => return Ok(Looked::Missing(era)),
                Some(left) => Some(left - kept.past),
                // That it is still there does not say that it is not stale.
                None => {
                    life = true;
                    continue;
                }
            };
            return Ok(Looked::Found(Hit { kept, left, era }));
        }
    }

    /// Looks what there is for a call whose function has failed: stale or not.
    ///
    /// # Errors
    /// If the server is out of reach, or refuses.
    pub async fn look_past(&self, via: &impl Via, key: &StoreKey) -> Result<Option<Past>, Out> {
        let (held, left, era) = self.ask_for(via, key, true).await?;
        let both = held.zip(left);
        Ok(both.and_then(|(held, left)| Past::of(held, &era, left)))
    }

    /// What is under a key, what is left of its life if that is asked, and the era.
    async fn ask_for(
        &self,
        via: &impl Via,
        key: &StoreKey,
        life: bool,
    ) -> Result<(Option<Vec<u8>>, Option<Duration>, Era), Out> {
        let look = Look {
            key: *first(key.bytes()),
            function: *first(&self.hash),
            life,
        };
        let looked = self.server.look(via, look).await?;
        let function = match looked.function {
            Some(function) => function,
            None => self.begin_function(via, self.bucket(key)).await?,
        };
        let era = Era {
            fence: looked.fence,
            function,
        };
        Ok((looked.held, looked.left, era))
    }

    async fn begin_function(&self, via: &impl Via, bucket: Bucket) -> Result<[u8; 16], Out> {
        let request = scripts::function(&self.own_key(bucket), Token::new());
        let answer = self.server.ask(via, bucket, &request).await?;
        let answer = answer.ok_or_else(unexpected)?;
        scripts::token(&answer.replies).ok_or_else(unexpected)
    }

    /// Claims the right to store under a key where nothing was found, or looks who has it.
    ///
    /// # Errors
    /// If the server is out of reach, or refuses.
    pub async fn claim(&self, via: &impl Via, key: &StoreKey, era: &Era) -> Result<Turn, Out> {
        let mut held = self.hold(key, *era);
        let request = scripts::claim_lease(&held.key, era, held.token, LEASE);
        let Some(answer) = held.ask(via, request).await? else {
            held.let_go();
            return Ok(Turn::Wait); // another server meanwhile: look again
        };
        let claimed = scripts::claimed(answer.replies).ok_or_else(unexpected)?;
        if claimed == Claimed::Leased {
            return Ok(Turn::Lead(held));
        }
        held.let_go();
        match claimed {
            Claimed::Leased | Claimed::Waits => Ok(Turn::Wait),
            Claimed::Held(record, left) => match Kept::of(record, era) {
                Some(kept) => Ok(Turn::Found(Hit {
                    left: Some(left.saturating_sub(kept.past)),
                    kept,
                    era: *era,
                })),
                // What cannot be read is replaced.
                None => Ok(match self.take(via, key, era).await? {
                    Some(held) => Turn::Lead(held),
                    None => Turn::Wait,
                }),
            },
        }
    }

    /// Takes a key over, to store what is no fill, or to replace what cannot be read.
    ///
    /// # Errors
    /// If the server is out of reach, or refuses.
    pub async fn take(
        &self,
        via: &impl Via,
        key: &StoreKey,
        era: &Era,
    ) -> Result<Option<Held>, Out> {
        let mut held = self.hold(key, *era);
        let request = scripts::take(&held.key, era, held.token, LEASE);
        if held.ask(via, request).await?.is_none() {
            held.let_go();
            return Ok(None);
        }
        Ok(Some(held))
    }

    /// A right that is about to be asked for: if nobody awaits the answer it is given back.
    fn hold(&self, key: &StoreKey, era: Era) -> Held {
        let bucket = self.bucket(key);
        let there = (bucket, self.server.node(bucket));
        Held::new(there, self.own_key(bucket), self.key_there(key), *key, era)
    }

    /// Clears a key on every machine. If that may not have come to pass it is written down, and in force on this machine.
    ///
    /// # Errors
    /// If it may not have come to pass.
    pub async fn clear(
        &self,
        via: &impl Via,
        meeting: Option<&'static Meeting>,
        key: &StoreKey,
    ) -> Result<(), Out> {
        let message = Message::Key(key.bytes()).bytes(&origin(meeting));
        let cleared = self.clear_at(via, key, &message).await;
        self.write_down(meeting, cleared, Record::Key(*key.bytes()))
    }

    /// Clears every key of the function on every machine.
    ///
    /// # Errors
    /// If it may not have come to pass.
    pub async fn clear_all(
        &self,
        via: &impl Via,
        meeting: Option<&'static Meeting>,
    ) -> Result<(), Out> {
        let message = Message::Function(&self.name).bytes(&origin(meeting));
        let cleared = self
            .server
            .clear_function(via, first(&self.hash), &message)
            .await;
        self.write_down(meeting, cleared, Record::Function(self.hash))
    }

    pub(super) fn write_down(
        &self,
        meeting: Option<&Meeting>,
        cleared: Result<(), Out>,
        record: Record,
    ) -> Result<(), Out> {
        if cleared.is_err() {
            match meeting {
                Some(meeting) => meeting.write_down(record),
                None => self.server.owe(),
            }
        }
        cleared
    }

    pub(super) async fn clear_at(
        &self,
        via: &impl Via,
        key: &StoreKey,
        message: &[u8],
    ) -> Result<(), Out> {
        let (bucket, name) = (self.bucket(key), self.key_there(key));
        self.server.clear_at(via, bucket, &name, message).await
    }

    /// What rings when a lease ends, as it stands.
    #[must_use]
    pub fn bell(meeting: &Meeting) -> Bell {
        let common = meeting.common();
        Bell {
            common,
            seen: common.bell().load(Ordering::Acquire),
        }
    }
}

/// What tells this machine's messages from those of others.
pub(super) fn origin(meeting: Option<&Meeting>) -> [u8; 8] {
    meeting.map_or([0; 8], |meeting| meeting.opened().origin())
}
