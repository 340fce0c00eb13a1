//! A Redis as an ordinary cache: values that are set under a key by whoever has it, and that no function computes.

use std::time::{Duration, Instant};

use super::at::{AtRedis, Hit, Looked, Via};
use super::journal::Record;
use super::link::Out;
use super::meeting::Meeting;
use super::message::Message;
use super::node::Node;
use super::record::HEAD;
use super::scripts;
use super::server::Server;
use crate::tier::store::StoreKey;

/// No machine's: all that listen are told, this one too.
const NOBODY: [u8; 8] = [0; 8];

/// How often a value is set anew that another server came between.
const TRIES: u32 = 3;

impl AtRedis {
    /// Stores an entry in place of what is there. With `tell`, every machine is told, as of a value that its memory may have.
    ///
    /// # Errors
    /// If it may not have been stored.
    pub async fn put(
        &self,
        via: &impl Via,
        key: &StoreKey,
        entry: &[u8],
        life: Duration,
        tell: bool,
    ) -> Result<(), Out> {
        for _ in 0..TRIES {
            let (Looked::Found(Hit { era, .. }) | Looked::Missing(era)) =
                self.look(via, key, false).await?;
            if let Some(held) = self.take(via, key, &era).await? {
                // If it is refused, what has come between is younger.
                held.fill(via, entry, life, tell.then_some(None)).await?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Clears a key on every machine, this one too.
    ///
    /// # Errors
    /// If it may not have come to pass: then that is written down.
    pub async fn delete(
        &self,
        via: &impl Via,
        meeting: Option<&'static Meeting>,
        key: &StoreKey,
    ) -> Result<(), Out> {
        let message = Message::Key(key.bytes()).bytes(&NOBODY);
        let cleared = self.clear_at(via, key, &message).await;
        self.write_down(meeting, cleared, Record::Key(*key.bytes()))
    }

    /// Stores an entry in place of one that was found. `false`: that has been changed since.
    ///
    /// # Errors
    /// If it may not have been stored.
    pub async fn swap(
        &self,
        via: &impl Via,
        key: &StoreKey,
        found: &Hit,
        entry: &[u8],
        life: Duration,
        tell: bool,
    ) -> Result<bool, Out> {
        let before = found.kept.record();
        // It is not kept beyond its life, whatever was.
        let after = [b"V", &before[1..HEAD], entry].concat();
        let message = match tell {
            true => Message::Key(key.bytes()).bytes(&NOBODY),
            false => Vec::new(),
        };
        let (name, bucket) = (self.key_there(key), self.bucket(key));
        let channel = self.server().names.channel(bucket);
        let request = scripts::swap(&name, (before, &after), life, &channel, &message);
        let server = self.server();
        let there = (bucket, server.node(bucket));
        let answer = server
            .ask_there(via, there, request, found.era.fence)
            .await?;
        Ok(answer.is_some_and(|answer| scripts::yes(&answer.replies) == Some(true)))
    }
}

impl Server {
    /// Clears everything under the namespace, of every function and machine.
    ///
    /// # Errors
    /// If some of it may be left: then that is written down.
    pub fn empty(&'static self, meeting: Option<&Meeting>) -> Result<(), Out> {
        let mut ask = |node: &'static Node, requests: &[_]| {
            let end = Instant::now() + self.budget();
            Ok(node.ask_all(&[], requests, end)?.outcomes)
        };
        let message = Message::Everything.bytes(&NOBODY);
        let cleared = self.clear_everything(&message, &mut ask);
        if cleared.is_err() {
            match meeting {
                Some(meeting) => meeting.write_down(Record::Everything),
                None => self.owe(),
            }
        }
        cleared
    }
}
