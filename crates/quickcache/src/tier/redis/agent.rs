//! The thread of a node that does what no call may wait for: it connects, finds out when the node is back, or which one has taken its place, has
//! pending clears applied before anybody reads, and keeps leases alive.

use std::sync::PoisonError;
use std::time::{Duration, Instant};
use std::{mem, ptr, thread};

use super::commands::Commands;
use super::link::{self, Link, Out, Outcome, Request};
use super::meeting::Meeting;
use super::message::Message;
use super::node::{Lease, Node, State};
use super::options::Address;
use super::record::Fence;
use super::scripts::{self, Released};
use super::server::Server;
use super::slots::View;
use super::wire::Broken;
use crate::clock;
use crate::tier::store::lock;

/// The longest that connecting may take, TLS and all.
const CONNECT: Duration = Duration::from_secs(1);

/// A lease that is not renewed ends after this: its holder died, or was stopped.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// How often a live agent looks whether another process has written down a clear.
const LOOK: Duration = Duration::from_millis(200);

/// What there is to do.
enum Task {
    Connect,
    Renew(Vec<Lease>),
    GiveBack(Vec<Lease>),
    /// Whether another process has written down a clear.
    Look,
    /// What it says of its cluster.
    View,
    /// Nothing; but perhaps it is in use now.
    Rest,
    /// Nothing, and it has not been in use for a while.
    Unused,
    /// Nor is it still, and nobody has anything of it. Another agent is begun if that changes.
    End,
}

/// Has the agent look what there is to do; there is one from now on.
pub(super) fn rouse(node: &'static Node, state: &mut State) {
    if !state.agent {
        let thread = thread::Builder::new().name("quickcache-redis".to_owned());
        // Without a thread nothing is connected, and the node is out of reach; the next call tries again.
        state.agent = thread.spawn(move || run(node)).is_ok();
    }
    node.server.start_listeners();
    node.tasks.notify_all();
}

/// However it ends (a logger may panic), the next call has another one begun.
struct Running(&'static Node);

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.0.state).agent = false;
    }
}

fn run(node: &'static Node) {
    let running = Running(node);
    let mut unused = false;
    loop {
        let task = next(node, unused);
        unused = matches!(task, Task::Unused);
        match task {
            Task::Connect => connect(node),
            Task::Renew(leases) => leases.iter().for_each(|lease| renew(node, lease)),
            Task::GiveBack(leases) => leases.into_iter().for_each(|lease| give_back(node, lease)),
            Task::Look => look(node),
            Task::View => look_around(node),
            Task::Rest | Task::Unused => {}
            Task::End => {
                // There may be another one by now.
                mem::forget(running);
                // Who gave it something meanwhile found this one.
                if node.server.is_in_use(node) {
                    rouse(node, &mut lock(&node.state));
                }
                return;
            }
        }
    }
}

fn next(node: &'static Node, unused: bool) -> Task {
    let server = node.server;
    let in_use = server.is_in_use(node);
    let mut state = lock(&node.state);
    if !in_use && unused && state.is_left() {
        state.agent = false;
        let idle = state.take_idle();
        drop(state);
        drop(idle);
        return Task::End;
    }
    let look = Instant::now() + LOOK;
    loop {
        let now = Instant::now();
        let due = match &state.away {
            // Nobody asks it.
            Some(_) if !in_use => look,
            Some(away) if away.next <= now => return Task::Connect,
            Some(away) => away.next,
            None => {
                if mem::take(&mut state.looks) {
                    return Task::Look;
                }
                if mem::take(&mut state.asks_for_view) {
                    return Task::View;
                }
                let may = state.live < server.options.connections;
                if state.wanted > state.idle.len() && may {
                    return Task::Connect;
                }
                let due = |leases: &[Lease]| leases.iter().map(|lease| lease.due).min();
                let back = due(&state.abandoned);
                if back.is_some_and(|back| back <= now) {
                    let due = state.abandoned.extract_if(.., |lease| lease.due <= now);
                    return Task::GiveBack(due.collect());
                }
                let renew = due(&state.leases);
                if renew.is_some_and(|renew| renew <= now) {
                    return Task::Renew(due_leases(&mut state, now));
                }
                back.unwrap_or(look).min(renew.unwrap_or(look))
            }
        };
        if look <= now {
            return Task::Look;
        }
        let waited = node
            .tasks
            .wait_timeout(state, due.min(look).saturating_duration_since(now));
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if !in_use {
            return match look <= Instant::now() {
                true => Task::Unused,
                false => Task::Rest,
            };
        }
    }
}

/// Those to renew now, which are due again later.
fn due_leases(state: &mut State, now: Instant) -> Vec<Lease> {
    let due = state.leases.iter_mut().filter(|lease| lease.due <= now);
    due.map(|lease| {
        lease.due = now + LEASE / 3;
        lease.clone()
    })
    .collect()
}

/// As `Node::ask_all`; but nobody connects for the agent, if it does not do so itself.
fn ask(node: &'static Node, requests: &[Request]) -> Result<Vec<Outcome>, Out> {
    loop {
        let end = node.server.end();
        let (idle, may_connect) = {
            let mut state = lock(&node.state);
            if state.away.is_some() {
                return Err(Out::Away);
            }
            let may_connect = state.live < node.server.options.connections;
            (state.idle.pop(), may_connect)
        };
        let link = match idle {
            Some(link) => link,
            None if may_connect => {
                connect(node);
                continue;
            }
            None => node.take(end)?,
        };
        if let Some(link) = node.verified(link, end)? {
            return Ok(node.exchange(link, &[], requests, end)?.outcomes);
        }
    }
}

fn ask_one(node: &'static Node, commands: Commands, of: Option<Fence>) -> Outcome {
    let outcomes = ask(node, &[Request::new(commands, of)]);
    let outcome = outcomes.and_then(|mut outcomes| outcomes.pop().unwrap_or(Ok(None)));
    match outcome {
        // What was had here is lost.
        Err(Out::Moved(_)) => Ok(None),
        outcome => outcome,
    }
}

fn renew(node: &'static Node, lease: &Lease) {
    let request = scripts::renew(&lease.key, &lease.era, lease.token, LEASE);
    let kept = ask_one(node, request, Some(lease.era.fence));
    let kept = kept.map(|answer| answer.and_then(|answer| scripts::yes(&answer.replies)));
    if matches!(kept, Ok(Some(false) | None)) {
        // It was cleared, or is another's: nothing to keep.
        node.let_go(lease.token);
    }
}

fn give_back(node: &'static Node, lease: Lease) {
    let message = Message::Wake.bytes(&[0; 8]);
    let channel = node.server.names.channel(lease.bucket);
    let request = scripts::release(&lease.key, &lease.era, lease.token, &channel, &message);
    // If it does not come to pass the lease ends by itself.
    let given = ask_one(node, request, Some(lease.era.fence));
    let given = given.map(|answer| answer.and_then(|answer| scripts::released(answer.replies)));
    if let Ok(Some(Released::Lost)) = given
        && !lease.again
    {
        // Whoever claimed it went away before the answer; the claim may come after this. It is sent within one budget, or never.
        let due = Instant::now() + 2 * node.server.budget();
        let again = true;
        lock(&node.state).abandoned.push(Lease {
            due,
            again,
            ..lease
        });
    }
}

/// What another process of the machine could not tell the server is told by whoever reaches it. In a cluster so is what this one could not:
/// what belongs to nodes that are out of reach stays written down.
fn look(node: &'static Node) {
    let server = node.server;
    if node.is_away() || !server.is_in_use(node) {
        return;
    }
    if server.options.cluster && server.is_seen_long_ago() {
        look_around(node);
    }
    server.open_journals();
    if server.may_replay_now() {
        let replayed = replay(server, |of, requests| match ptr::eq(of, node) {
            true => ask(node, requests),
            false => Ok(of.ask_all(&[], requests, server.end())?.outcomes),
        });
        if let Err(error) = replayed {
            server.replay_later();
            log::debug!(target: "quickcache", "{node:?}: pending clears: {error}");
        }
    }
    // Another process may have been killed that could not reach it.
    let is_out = |meeting: &&Meeting| meeting.common().is_out();
    if server.known_meetings().iter().any(is_out)
        && ask(node, &[Request::new(Commands::one([b"PING"]), None)]).is_ok()
    {
        server.note_reached(node);
    }
}

/// Has everything applied that is pending.
fn replay(
    server: &'static Server,
    mut ask: impl FnMut(&'static Node, &[Request]) -> Result<Vec<Outcome>, Out>,
) -> Result<(), Out> {
    for meeting in server.known_meetings() {
        if !meeting.is_quiet() {
            meeting.replay(server, &mut ask)?;
        }
    }
    if server.owes() {
        // Before, so that one that comes meanwhile is not forgotten.
        server.paid();
        let message = Message::Everything.bytes(&[0; 8]);
        server
            .clear_everything(&message, &mut ask)
            .inspect_err(|_| server.owe())?;
    }
    Ok(())
}

fn connect(node: &'static Node) {
    let server = node.server;
    let began = clock::boot();
    let end = Instant::now() + CONNECT;
    let connected = server.reach(node.address.as_ref(), end);
    let connected =
        connected.and_then(|(wire, address)| Link::begin(wire, &address, &server.options, end));
    let connected = connected.and_then(|(mut link, view)| {
        if let Some(view) = view {
            server.see(&view);
            // What is pending is of other nodes too, and is applied by way of all of them, as soon as this one can be asked. Until then nobody
            // reads it.
            server.replay_soon();
            lock(&node.state).looks = true;
            return Ok(link);
        }
        // Before anybody reads what is there, however much it is.
        let ask = |_: &'static Node, requests: &[Request]| {
            let end = Instant::now() + CONNECT;
            Ok(link.ask(&[], requests, end)?.outcomes)
        };
        match replay(server, ask) {
            Ok(()) => Ok(link),
            // What is pending is not read, and is tried again; the server is there.
            Err(Out::Refused(why)) => {
                log::debug!(target: "quickcache", "{server:?}: pending clears: {why}");
                Ok(link)
            }
            Err(error) => Err(Broken(format!("pending clears: {error}"))),
        }
    });
    match connected {
        Ok(link) => {
            server.learn(link.agreed, link.tells);
            // Before anything is asked of it: what memory and store have is not proven.
            server.note_reached(node);
            node.found(link);
        }
        Err(Broken(why)) => {
            // Before calls know of it: what they compute then is kept.
            server.note_lost(began);
            let mut state = lock(&node.state);
            let lost = node.lose_for_longer(&mut state, &why);
            drop(state);
            drop(lost);
            if server.options.cluster {
                look_around(node);
            }
        }
    }
}

/// Finds out who has what: from this node if it can be reached, else from the first of the others that can.
fn look_around(node: &'static Node) {
    let server = node.server;
    let Some(own) = &node.address else { return };
    if !node.is_away()
        && let Ok(Some(answer)) = ask_one(node, link::view(), None)
        && let Some(view) = link::viewed(&answer.replies, own, &server.options)
    {
        return server.see(&view);
    }
    for address in server.places() {
        if address != *own
            && let Ok(view) = view_of(server, &address)
        {
            return server.see(&view);
        }
    }
}

/// What the first node says of its cluster that can be asked.
pub(super) fn ask_around(server: &Server) -> Result<View, Broken> {
    let mut last = Broken("there is no node".to_owned());
    for address in server.places() {
        match view_of(server, &address) {
            Ok(view) => return Ok(view),
            Err(broken) => last = broken,
        }
    }
    Err(last)
}

fn view_of(server: &Server, address: &Address) -> Result<View, Broken> {
    let (end, options) = (Instant::now() + CONNECT, &server.options);
    let (mut wire, address) = server.reach(Some(address), end)?;
    link::enter(&mut wire, options, end)?;
    link::read_view(&mut wire, &address, options, end)
}
