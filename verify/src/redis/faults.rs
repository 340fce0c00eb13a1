//! What is done to workers, server and network, at random by the seed.

use std::collections::BTreeMap;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use quickcache_testing::{Answer, Direction, Door, Mode, Process, Proxy};

use super::ground::{FailOver, Ground, State, up_to};
use super::mutant::Mutant;
use super::worker::Orders;
use crate::history::{Choices, Count, Event, History};

/// The connection on which clears are heard.
pub const LISTENER: &[u8] = b"SUBSCRIBE";

macro_rules! faults {
    ($($fault:ident $weight:literal $name:literal,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        enum Fault { $($fault,)* }

        /// Each, how often it is chosen, and what it is called.
        const ALL: &[(Fault, u64, &str)] = &[$((Fault::$fault, $weight, $name),)*];
    };
}

faults! {
    Kill 14 "worker killed",
    Stop 12 "worker stopped",
    ServerStop 6 "server stopped",
    ServerKill 4 "server killed, restarted",
    Save 8 "state saved",
    FlushAll 3 "flushed",
    ScriptFlush 3 "scripts flushed",
    LittleMemory 3 "out of memory",
    Lag 4 "replica lags",
    FailOver 4 "replica promoted",
    Delay 6 "network slow",
    Hole 8 "network silent",
    Drip 3 "network dripping",
    Cut 4 "connections cut",
    Reset 4 "connections reset",
    HalfClose 4 "connections half closed",
    Door 4 "connections refused",
    ListenerDelay 3 "listener slow",
    ListenerHole 8 "listener deaf",
    ListenerReset 4 "listener reset",
    ListenerHalfClose 3 "listener half closed",
}

/// What a fault is called, by its number.
pub fn name(number: usize) -> &'static str {
    ALL.get(number).map_or("?", |(_, _, name)| name)
}

/// What ends a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    GoOn(usize),
    ServerGoesOn,
    ServerStarts,
    EnoughMemory,
    InStep,
    Rejoin,
    Heal(usize),
}

pub struct Faults {
    orders: Orders,
    history: History,
    pub ground: Ground,
    workers: Vec<Process>,
    choices: Choices,
    next: Instant,
    ends: Vec<(Instant, End)>,
    counts: BTreeMap<usize, u64>,
    /// Calls that have returned in each thread, and since when there was none more.
    went_on: Vec<(u64, Instant)>,
}

impl Faults {
    pub fn start(orders: &Orders, history: History) -> io::Result<Faults> {
        let mut faults = Faults {
            orders: orders.clone(),
            history,
            ground: Ground::new(orders.machines),
            workers: Vec::new(),
            choices: Choices::of(orders.seed, &[u64::MAX]),
            next: Instant::now() + Duration::from_millis(300),
            ends: Vec::new(),
            counts: BTreeMap::new(),
            went_on: vec![(0, Instant::now()); orders.workers * orders.threads],
        };
        for number in 0..orders.workers {
            let worker = faults.worker(number)?;
            faults.workers.push(worker);
        }
        Ok(faults)
    }

    fn worker(&self, number: usize) -> io::Result<Process> {
        let orders = &self.orders;
        let machine = number % orders.machines;
        let mut worker = Command::new(std::env::current_exe()?);
        worker.arg("--redis").arg("--folder").arg(&orders.folder);
        let address = self.ground.fronts[machine].address();
        worker.arg("--address").arg(address.to_string());
        for (name, value) in [
            ("--worker", number as u64),
            ("--workers", orders.workers as u64),
            ("--machines", orders.machines as u64),
            ("--threads", orders.threads as u64),
            ("--keys", orders.keys as u64),
            ("--seed", orders.seed),
        ] {
            worker.arg(name).arg(value.to_string());
        }
        if orders.pending {
            worker.arg("--pending");
        }
        if let Some(mutant) = orders.mutant {
            worker.arg("--mutant").arg(mutant.name());
        }
        Process::start(worker)
    }

    /// A fault, if it is time for one; and those end that have lasted long enough.
    pub fn disturb(&mut self) -> io::Result<()> {
        self.end_some(Instant::now())?;
        self.look_after()?;
        if Instant::now() < self.next {
            return Ok(());
        }
        let every = if self.orders.mutant.is_some() {
            60
        } else {
            200
        };
        self.next = Instant::now() + up_to(&mut self.choices, every);
        let (number, fault) = self.choose();
        let machine = self.choices.below(self.orders.machines as u64) as usize;
        if let Some(whom) = self.begin(fault, machine)? {
            *self.counts.entry(number).or_default() += 1;
            if !matches!(fault, Fault::Kill | Fault::Stop) {
                let faults = self.history.faults();
                faults.note(Event::Fault, number, whom as u64);
            }
        }
        Ok(())
    }

    fn choose(&mut self) -> (usize, Fault) {
        let only = self.orders.mutant.map_or(&[][..], found_by);
        let weight = |(fault, weight, _): &(Fault, u64, &str)| match only.contains(fault) {
            true => weight * 20,
            false => *weight,
        };
        let mut left = self.choices.below(ALL.iter().map(weight).sum());
        let at = ALL.iter().position(|fault| {
            let found = left < weight(fault);
            left = left.saturating_sub(weight(fault));
            found
        });
        let at = at.unwrap_or(0);
        (at, ALL[at].0)
    }

    /// Whom it befell; `None`: it could not be, as things are.
    fn begin(&mut self, fault: Fault, machine: usize) -> io::Result<Option<usize>> {
        let of_server = self.ground.state() == State::Runs;
        let choices = &mut self.choices;
        match fault {
            Fault::Kill => {
                let number = choices.below(self.workers.len() as u64) as usize;
                self.kill(number)?;
                return Ok(Some(number));
            }
            Fault::Stop => {
                let number = choices.below(self.workers.len() as u64) as usize;
                let most = if choices.below(8) == 0 { 2500 } else { 500 };
                let time = up_to(choices, most);
                return Ok(self.stop(number, time));
            }
            Fault::ServerStop if of_server => {
                let time = up_to(choices, 500);
                self.ground.stop();
                self.later(time, End::ServerGoesOn);
            }
            Fault::ServerKill if of_server => {
                let time = up_to(choices, 300);
                self.ground.kill();
                self.later(time, End::ServerStarts);
            }
            Fault::Save if of_server => self.ground.save(),
            Fault::FlushAll if of_server => self.ground.tell(&["FLUSHALL"]),
            Fault::ScriptFlush if of_server => self.ground.tell(&["SCRIPT", "FLUSH"]),
            Fault::LittleMemory if of_server => {
                let policies = ["noeviction", "allkeys-lru", "allkeys-random"];
                let policy = policies[choices.below(3) as usize];
                let time = up_to(choices, 800);
                self.ground.little_memory(policy);
                self.later(time, End::EnoughMemory);
            }
            Fault::Lag if of_server && self.ground.follows() => {
                let time = up_to(choices, 600);
                self.ground.lag(true);
                self.later(time, End::InStep);
            }
            Fault::FailOver if of_server => {
                let how = [FailOver::Kills, FailOver::Lives, FailOver::LeavesListeners]
                    [choices.below(3) as usize];
                let time = up_to(choices, 600);
                if !self.ground.fail_over(how) {
                    return Ok(None);
                }
                self.later(time, End::Rejoin);
            }
            Fault::ServerStop
            | Fault::ServerKill
            | Fault::Save
            | Fault::FlushAll
            | Fault::ScriptFlush
            | Fault::LittleMemory
            | Fault::Lag
            | Fault::FailOver => return Ok(None),
            _ => return Ok(self.of_network(fault, machine)),
        }
        Ok(Some(0))
    }

    /// To the network of one machine.
    fn of_network(&mut self, fault: Fault, machine: usize) -> Option<usize> {
        if self.ends.iter().any(|(_, end)| *end == End::Heal(machine)) {
            return None; // one at a time
        }
        let choices = &mut self.choices;
        let front = &self.ground.fronts[machine];
        let ways = [Direction::ToServer, Direction::ToClient, Direction::Both];
        let way = ways[choices.below(3) as usize];
        let one_way = ways[choices.below(2) as usize];
        let most = if choices.below(8) == 0 { 2500 } else { 700 };
        let time = up_to(choices, most);
        match fault {
            Fault::Delay => {
                front.set(Mode::Delay(way, up_to(choices, 60)));
            }
            Fault::Hole => {
                front.set(Mode::Blackhole(way));
            }
            Fault::Drip => {
                front.set(drip(way, choices));
            }
            Fault::Cut => {
                front.set(Mode::Cut(one_way, choices.below(3000)));
            }
            Fault::Reset => {
                front.reset();
                return Some(machine);
            }
            Fault::HalfClose => {
                front.half_close(one_way);
                return Some(machine);
            }
            Fault::Door => shut(front, choices),
            Fault::ListenerDelay => {
                let by = up_to(choices, 400);
                front.only(LISTENER).set(Mode::Delay(way, by));
            }
            Fault::ListenerHole => {
                front.only(LISTENER).set(Mode::Blackhole(way));
            }
            Fault::ListenerReset => {
                front.only(LISTENER).reset();
                return Some(machine);
            }
            Fault::ListenerHalfClose => {
                front.only(LISTENER).half_close(one_way);
                return Some(machine);
            }
            _ => return None,
        }
        self.later(time, End::Heal(machine));
        Some(machine)
    }

    fn later(&mut self, time: Duration, end: End) {
        self.ends.push((Instant::now() + time, end));
    }

    fn kill(&mut self, number: usize) -> io::Result<()> {
        self.ends.retain(|(_, end)| *end != End::GoOn(number));
        self.workers[number].kill();
        self.note(Event::Kill, Count::Kill, number);
        self.workers[number] = self.worker(number)?;
        Ok(())
    }

    fn stop(&mut self, number: usize, time: Duration) -> Option<usize> {
        if self.ends.iter().any(|(_, end)| *end == End::GoOn(number)) {
            return None;
        }
        self.pause_or_go_on(number);
        self.workers[number].stop();
        self.note(Event::Stop, Count::Stop, number);
        self.later(time, End::GoOn(number));
        Some(number)
    }

    fn pause_or_go_on(&self, number: usize) {
        use std::sync::atomic::Ordering::SeqCst;
        self.history.pauses(number).fetch_add(1, SeqCst);
    }

    fn note(&self, event: Event, count: Count, number: usize) {
        let faults = self.history.faults();
        faults.note(event, number, 0);
        faults.add(count, 1);
    }

    fn end_some(&mut self, until: Instant) -> io::Result<()> {
        let mut ended = Vec::new();
        self.ends.retain(|(at, end)| {
            let over = *at <= until;
            if over {
                ended.push(*end);
            }
            !over
        });
        for end in ended {
            match end {
                End::GoOn(number) => {
                    let faults = self.history.faults();
                    faults.note(Event::Continue, number, 0);
                    self.pause_or_go_on(number);
                    self.workers[number].cont();
                }
                End::ServerGoesOn => self.ground.go_on(),
                End::ServerStarts => self.ground.start_again(),
                End::EnoughMemory if self.ground.state() == State::Stopped => {
                    self.later(Duration::from_millis(50), End::EnoughMemory);
                }
                End::EnoughMemory => self.ground.enough_memory(),
                End::InStep => self.ground.lag(false),
                End::Rejoin => self.ground.rejoin(),
                End::Heal(machine) => self.ground.fronts[machine].heal(),
            }
        }
        Ok(())
    }

    /// A worker that has ended by itself is an error, and a thread in which for 20 seconds no call returned, though nobody stopped it.
    fn look_after(&mut self) -> io::Result<()> {
        for number in 0..self.workers.len() {
            if let Some(status) = self.workers[number].ended() {
                let what = format!("worker {number} ended by itself: {status}");
                return Err(io::Error::other(what));
            }
            let stopped = self.ends.iter().any(|(_, end)| *end == End::GoOn(number));
            for thread in 0..self.orders.threads {
                let reads = self.history.lane(number, thread).reads();
                let (before, since) = &mut self.went_on[number * self.orders.threads + thread];
                if reads != *before || stopped {
                    (*before, *since) = (reads, Instant::now());
                }
                if since.elapsed() > Duration::from_secs(20) {
                    let what =
                        format!("in worker {number}, thread {thread}, no call returned for 20 s");
                    return Err(io::Error::other(what));
                }
            }
        }
        Ok(())
    }

    /// Everything works again, and all workers go on.
    pub fn mend(&mut self) -> io::Result<()> {
        let far = Instant::now() + Duration::from_secs(3600);
        self.end_some(far)?;
        self.ground.mend();
        Ok(())
    }

    /// Lets the workers come to their end. Whether all did, well.
    pub fn finish(&mut self) -> io::Result<bool> {
        self.mend()?;
        self.history.end();
        let mut well = true;
        for worker in &mut self.workers {
            well &= worker.wait(Duration::from_secs(30))
                && worker.ended().is_some_and(|status| status.success());
        }
        Ok(well)
    }

    /// How often each fault was.
    pub fn counts(&self) -> String {
        let counts = self.counts.iter();
        let each: Vec<_> = counts
            .map(|(at, count)| format!("{} {count}", name(*at)))
            .collect();
        each.join(", ")
    }

    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

fn drip(direction: Direction, choices: &mut Choices) -> Mode {
    Mode::Drip {
        direction,
        bytes: 1 + choices.below(60) as usize,
        every: up_to(choices, 30),
    }
}

fn shut(front: &Proxy, choices: &mut Choices) {
    front.door(match choices.below(3) {
        0 => Door::Closed,
        1 => Door::Reset,
        _ => Door::Greet(Answer::MAXCLIENTS.to_vec()),
    });
    front.reset();
}

/// The faults without which a wrong protocol is not wrong: they come twenty times as often.
fn found_by(mutant: Mutant) -> &'static [Fault] {
    match mutant {
        Mutant::Fence => &[Fault::Save, Fault::ServerKill, Fault::FailOver],
        Mutant::Proof | Mutant::Gap => &[Fault::ListenerHole, Fault::ListenerReset],
        Mutant::Applied => &[Fault::Hole, Fault::Door],
        _ => &[],
    }
}
