//! The proxy's thread: it takes orders, lets connections in, and waits in one place for whatever happens next, so that it never hangs.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Counts;
use super::answer::Answer;
use super::mode::{Direction, Door, Mode, Regime, Rule, Whom};
use super::pair::{self, Fate, Pair};
use crate::port::Port;

/// Something to do; `done` is told to how many connections, and what had gone through then.
pub struct Order {
    pub whom: Whom,
    pub deed: Deed,
    pub done: Sender<(usize, Counts)>,
}

pub enum Deed {
    Count,
    /// Counts those that lead there.
    To(SocketAddr),
    Set(Mode),
    Door(Door),
    Aim(SocketAddr),
    Answer(Answer),
    AnswerNoMore,
    Heal,
    Reset,
    Drop,
    HalfClose(Direction),
    End,
}

/// Gets the thread out of its wait.
pub struct Waker(UnixStream);

impl Waker {
    pub fn wake(&self) {
        // Full is as good: the thread has not yet woken from an earlier one. Broken: it has ended.
        let _ = (&self.0).write(&[1]);
    }
}

pub fn waker() -> (Waker, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets, to wake a proxy's thread");
    for end in [&ours, &theirs] {
        end.set_nonblocking(true)
            .expect("a socket that does not block");
    }
    (Waker(ours), theirs)
}

pub struct Relay {
    target: SocketAddr,
    port: Port,
    /// None while the door is closed.
    listener: Option<TcpListener>,
    door: Door,
    regime: Regime,
    last_rule: u64,
    pairs: Vec<Pair>,
    orders: Receiver<Order>,
    woken: UnixStream,
    counts: Counts,
}

impl Relay {
    pub fn new(
        target: SocketAddr,
        port: Port,
        orders: Receiver<Order>,
        woken: UnixStream,
    ) -> Relay {
        let mut relay = Relay {
            target,
            listener: Some(listen(&port)),
            port,
            door: Door::Open,
            regime: Regime::default(),
            last_rule: 0,
            pairs: Vec::new(),
            orders,
            woken,
            counts: Counts::default(),
        };
        relay.set(Whom::All, Mode::Pass);
        relay
    }

    pub fn run(mut self) {
        loop {
            while let Ok(order) = self.orders.try_recv() {
                if matches!(order.deed, Deed::End) {
                    return;
                }
                // What happened before the order is under what was said before: connections first, then what they have sent.
                for _ in 0..2 {
                    self.wait(Some(Instant::now()));
                    self.deliver();
                }
                let count = self.obey(order.whom, order.deed);
                // Whoever gave the order may be gone.
                let _ = order.done.send((count, self.counts));
            }
            self.deliver();
            self.wait(self.pairs.iter().filter_map(Pair::due).min());
        }
    }

    fn obey(&mut self, whom: Whom, deed: Deed) -> usize {
        let concerned = |pair: &Pair| pair.is_one(&whom);
        let counts =
            |pair: &&Pair| concerned(pair) && !matches!(deed, Deed::To(at) if at != pair.leads_to);
        let count = self.pairs.iter().filter(counts).count();
        match deed {
            Deed::Set(mode) => self.set(whom, mode),
            Deed::Door(door) => self.open(door),
            Deed::Aim(target) => self.target = target,
            Deed::Answer(answer) => self.regime.answers.push(answer),
            Deed::AnswerNoMore => self.regime.answers.clear(),
            Deed::Heal => {
                self.regime.answers.clear();
                self.set(Whom::All, Mode::Pass);
                self.open(Door::Open);
            }
            Deed::Reset => self
                .pairs
                .extract_if(.., |pair| concerned(pair))
                .for_each(Pair::reset),
            Deed::Drop => self.pairs.retain(|pair| !concerned(pair)),
            Deed::HalfClose(direction) => self
                .pairs
                .iter_mut()
                .filter(|pair| concerned(pair))
                .for_each(|pair| pair.half_close(direction)),
            Deed::Count | Deed::To(_) | Deed::End => {}
        }
        self.count();
        count
    }

    fn set(&mut self, whom: Whom, mode: Mode) {
        match whom {
            Whom::All => self.regime.rules.clear(),
            _ => self.regime.rules.retain(|rule| rule.whom != whom),
        }
        self.last_rule += 1;
        self.regime.rules.push(Rule {
            number: self.last_rule,
            whom,
            mode,
        });
        for pair in &mut self.pairs {
            pair.obey(&self.regime.rules);
        }
    }

    fn open(&mut self, door: Door) {
        self.door = door;
        match self.door {
            Door::Closed => self.listener = None,
            _ if self.listener.is_none() => self.listener = Some(listen(&self.port)),
            _ => {}
        }
    }

    fn deliver(&mut self) {
        let mut fates = Vec::new();
        for pair in &mut self.pairs {
            fates.push(pair.deliver(&mut self.counts));
        }
        self.part(&fates);
    }

    /// Ends the connections whose fate it is.
    fn part(&mut self, fates: &[Fate]) {
        let mut kept = Vec::new();
        for (pair, fate) in std::mem::take(&mut self.pairs).into_iter().zip(fates) {
            match fate {
                Fate::Lives => kept.push(pair),
                Fate::Closed => drop(pair),
                Fate::Reset => pair.reset(),
            }
        }
        self.pairs = kept;
        self.count();
    }

    /// Sleeps until something happens or that moment comes, and takes in what has happened.
    fn wait(&mut self, until: Option<Instant>) {
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()) as _,
            }
        });
        let mut waits = vec![PollFd::new(&self.woken, PollFlags::IN)];
        if let Some(listener) = &self.listener {
            waits.push(PollFd::new(listener, PollFlags::IN));
        }
        let first = waits.len();
        let mut places = Vec::new();
        for pair in &self.pairs {
            places.push(pair.waits().map(|(stream, flags)| {
                // One that is waited for in vain would be told of its end again and again.
                (!flags.is_empty()).then(|| {
                    waits.push(PollFd::new(stream, flags));
                    waits.len() - 1
                })
            }));
        }
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("a proxy cannot wait for its connections: {error}"),
        }
        let happened: Vec<PollFlags> = waits.iter().map(PollFd::revents).collect();
        drop(waits);
        if !happened[0].is_empty() {
            // Whatever is in it: orders are looked for anyway.
            let _ = (&self.woken).read(&mut [0; 64]);
        }
        self.read(&places, &happened);
        if first > 1 && !happened[1].is_empty() {
            self.accept();
        }
    }

    fn read(&mut self, places: &[[Option<usize>; 2]], happened: &[PollFlags]) {
        let mut fates = Vec::new();
        for (pair, place) in self.pairs.iter_mut().zip(places) {
            let [client, server] =
                place.map(|place| place.map_or(PollFlags::empty(), |at| happened[at]));
            fates.push(match pair.read(client, server, &mut self.regime) {
                Ok(()) => Fate::Lives,
                Err(_) => Fate::Reset,
            });
        }
        self.part(&fates);
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        loop {
            match listener.accept() {
                Ok((mut client, _)) => {
                    match &self.door {
                        Door::Reset => {
                            pair::reset(&client);
                            continue;
                        }
                        Door::Greet(bytes) => {
                            // Who is gone before is not greeted.
                            let _ = client.write_all(bytes);
                            continue;
                        }
                        Door::Open | Door::Closed => {}
                    }
                    self.counts.accepted += 1;
                    if let Ok(mut pair) = Pair::new(client, self.target) {
                        pair.obey(&self.regime.rules);
                        self.pairs.push(pair);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // As when this process has too many files open: not at once again.
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(1));
                    break;
                }
            }
        }
        self.count();
    }

    fn count(&mut self) {
        self.counts.live = self.pairs.len() as u64;
    }
}

fn listen(port: &Port) -> TcpListener {
    let listener = TcpListener::bind(port.address()).expect("to listen on a port that is ours");
    listener
        .set_nonblocking(true)
        .expect("a listener that does not block");
    listener
}
