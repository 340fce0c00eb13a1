//! The thread of a server that does what no call may wait for: it connects, finds out when the server is back, has pending clears applied
//! before anybody reads, and keeps leases alive.

use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use super::commands::Commands;
use super::link::{Link, Out, Outcome, Request};
use super::meeting::Meeting;
use super::message::Message;
use super::record::Fence;
use super::scripts::{self, Released};
use super::server::{Away, Lease, Server, State};
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
}

/// Has the agent look what there is to do; there is one from now on.
pub(super) fn rouse(server: &'static Server, state: &mut State) {
    if !state.agent {
        let thread = thread::Builder::new().name("quickcache-redis".to_owned());
        // Without a thread nothing is connected, and the server is out of reach; the next call tries again.
        state.agent = thread.spawn(move || run(server)).is_ok();
    }
    server.start_listeners(state);
    server.tasks.notify_all();
}

/// However it ends (a logger may panic), the next call has another one begun.
struct Running(&'static Server);

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.0.state).agent = false;
    }
}

fn run(server: &'static Server) {
    let _running = Running(server);
    loop {
        match next(server) {
            Task::Connect => connect(server),
            Task::Renew(leases) => leases.iter().for_each(|lease| renew(server, lease)),
            Task::GiveBack(leases) => leases
                .into_iter()
                .for_each(|lease| give_back(server, lease)),
            Task::Look => look(server),
        }
    }
}

fn next(server: &'static Server) -> Task {
    let mut state = lock(&server.state);
    let look = Instant::now() + LOOK;
    loop {
        let now = Instant::now();
        let due = match &state.away {
            Some(away) if away.next <= now => return Task::Connect,
            Some(away) => away.next,
            None => {
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
        let waited = server
            .tasks
            .wait_timeout(state, due.min(look).saturating_duration_since(now));
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
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

/// As `Server::ask_all`; but nobody connects for the agent, if it does not do so itself.
fn ask(server: &'static Server, requests: &[Request]) -> Result<Vec<Outcome>, Out> {
    loop {
        let end = server.end();
        let (idle, may_connect) = {
            let mut state = lock(&server.state);
            if state.away.is_some() {
                return Err(Out::Away);
            }
            let may_connect = state.live < server.options.connections;
            (state.idle.pop(), may_connect)
        };
        let link = match idle {
            Some(link) => link,
            None if may_connect => {
                connect(server);
                continue;
            }
            None => server.take(end)?,
        };
        if let Some(link) = server.verified(link, end)? {
            return Ok(server.exchange(link, &[], requests, end)?.outcomes);
        }
    }
}

fn ask_one(server: &'static Server, commands: Commands, of: Fence) -> Outcome {
    let outcomes = ask(server, &[Request::new(commands, Some(of))]);
    outcomes.and_then(|mut outcomes| outcomes.pop().unwrap_or(Ok(None)))
}

fn renew(server: &'static Server, lease: &Lease) {
    let request = scripts::renew(&lease.key, &lease.era, lease.token, LEASE);
    let kept = ask_one(server, request, lease.era.fence);
    let kept = kept.map(|answer| answer.and_then(|answer| scripts::yes(&answer.replies)));
    if matches!(kept, Ok(Some(false) | None)) {
        // It was cleared, or is another's: nothing to keep.
        server.let_go(lease.token);
    }
}

fn give_back(server: &'static Server, lease: Lease) {
    let channel = server.channel();
    let message = Message::Wake.bytes(&[0; 8]);
    let request = scripts::release(&lease.key, &lease.era, lease.token, &channel, &message);
    // If it does not come to pass the lease ends by itself.
    let given = ask_one(server, request, lease.era.fence);
    let given = given.map(|answer| answer.and_then(|answer| scripts::released(answer.replies)));
    if let Ok(Some(Released::Lost)) = given
        && !lease.again
    {
        // Whoever claimed it went away before the answer; the claim may come after this. It is sent within one budget, or never.
        let due = Instant::now() + 2 * server.budget();
        let again = true;
        lock(&server.state).abandoned.push(Lease {
            due,
            again,
            ..lease
        });
    }
}

/// What another process of the machine could not tell the server is told by whoever reaches it.
fn look(server: &'static Server) {
    if server.is_away() {
        return;
    }
    if let Err(error) = replay(server, |requests| ask(server, requests)) {
        log::debug!(target: "quickcache", "{server:?}: pending clears: {error}");
    }
    // Another process may have been killed that could not reach it.
    let is_out = |meeting: &&Meeting| meeting.common().is_out();
    if server.known_meetings().iter().any(is_out)
        && ask(server, &[Request::new(Commands::one([b"PING"]), None)]).is_ok()
    {
        server.note_reached();
    }
}

/// Has everything applied that is pending.
fn replay(
    server: &'static Server,
    mut ask: impl FnMut(&[Request]) -> Result<Vec<Outcome>, Out>,
) -> Result<(), Out> {
    for meeting in server.known_meetings() {
        if !meeting.is_quiet() {
            meeting.replay(server, &mut ask)?;
        }
    }
    if server.owes() {
        // Before, so that one that comes meanwhile is not forgotten.
        server.paid();
        server
            .clear_everything(&[0; 8], &mut ask)
            .inspect_err(|_| server.owe())?;
    }
    Ok(())
}

fn connect(server: &'static Server) {
    let began = clock::boot();
    let end = Instant::now() + CONNECT;
    let connected = Link::connect(&server.options, end).and_then(|mut link| {
        let end = Instant::now() + CONNECT;
        // Before anybody reads what is there.
        match replay(server, |requests| {
            Ok(link.ask(&[], requests, end)?.outcomes)
        }) {
            Ok(()) => Ok(link),
            Err(error) => Err(Broken(format!("pending clears: {error}"))),
        }
    });
    match connected {
        Ok(link) => {
            server.learn(link.agreed, link.tells);
            // Before anything is asked of it: what memory and store have is not proven.
            server.note_reached();
            server.found(link);
        }
        Err(Broken(why)) => {
            // Before calls know of it: what they compute then is kept.
            server.note_lost(began);
            let mut state = lock(&server.state);
            let lost = server.lose(&mut state, &why);
            if let Some(away) = &mut state.away {
                Away::again(away);
            }
            drop(state);
            drop(lost);
        }
    }
}
