//! What is done to workers, and to what they stand on, at random by the seed.

use std::collections::BTreeMap;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use quickcache_testing::Process;

use super::cluster::Cluster;
use super::ground::{Ground, Later, up_to};
use super::mutant::Mutant;
use super::pair::Pair;
use super::worker::Orders;
use crate::history::{Choices, Count, Event, History};

/// What is done to workers: how often each is chosen, and what it is called. What is done to the ground follows.
const OF_WORKERS: [(u64, &str); 2] = [(14, "worker killed"), (12, "worker stopped")];

pub struct Faults {
    orders: Orders,
    history: History,
    ground: Box<dyn Ground>,
    /// All there are.
    kinds: Vec<(u64, &'static str)>,
    workers: Vec<Process>,
    choices: Choices,
    next: Instant,
    /// Who goes on, and when.
    stopped: Later<usize>,
    counts: BTreeMap<usize, u64>,
    /// Calls that have returned in each thread, and since when there was none more.
    went_on: Vec<(u64, Instant)>,
}

impl Faults {
    pub fn start(orders: &Orders, history: History) -> io::Result<Faults> {
        let ground: Box<dyn Ground> = match orders.cluster {
            true => Box::new(Cluster::new(orders.machines)),
            false => Box::new(Pair::new(orders.machines)),
        };
        let mut faults = Faults {
            orders: orders.clone(),
            history,
            kinds: OF_WORKERS.into_iter().chain(ground.faults()).collect(),
            ground,
            workers: Vec::new(),
            choices: Choices::of(orders.seed, &[u64::MAX]),
            next: Instant::now() + Duration::from_millis(300),
            stopped: Later::new(),
            counts: BTreeMap::new(),
            went_on: vec![(0, Instant::now()); orders.workers * orders.threads],
        };
        for number in 0..orders.workers {
            let worker = faults.worker(number)?;
            faults.workers.push(worker);
        }
        Ok(faults)
    }

    /// What a fault is called, by its number.
    pub fn name(&self, number: usize) -> &'static str {
        self.kinds.get(number).map_or("?", |(_, name)| name)
    }

    fn worker(&self, number: usize) -> io::Result<Process> {
        let orders = &self.orders;
        let machine = number % orders.machines;
        let mut worker = Command::new(std::env::current_exe()?);
        let way = if orders.cluster {
            "--cluster"
        } else {
            "--redis"
        };
        worker.arg(way).arg("--folder").arg(&orders.folder);
        worker.arg("--address").arg(self.ground.address(machine));
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
        let now = Instant::now();
        for number in self.stopped.due(now) {
            self.go_on(number);
        }
        self.ground.go_on(now);
        self.look_after()?;
        if Instant::now() < self.next {
            return Ok(());
        }
        let every = match (self.orders.mutant, self.orders.cluster) {
            (Some(_), _) => 60,
            (None, false) => 200,
            // Any one of them keeps memory tiers off until it is over.
            (None, true) => 600,
        };
        self.next = Instant::now() + up_to(&mut self.choices, every);
        let number = self.choose();
        if let Some(whom) = self.begin(number)? {
            *self.counts.entry(number).or_default() += 1;
            if number >= OF_WORKERS.len() {
                let faults = self.history.faults();
                faults.note(Event::Fault, number, whom as u64);
            }
        }
        Ok(())
    }

    fn choose(&mut self) -> usize {
        let only = self.orders.mutant.map_or(&[][..], found_by);
        // On a cluster most of the others end what such a protocol does wrong.
        let more = if self.orders.cluster { 1000 } else { 20 };
        let weight = |(weight, name): &(u64, &'static str)| match only.contains(name) {
            true => weight * more,
            false => *weight,
        };
        let mut left = self.choices.below(self.kinds.iter().map(weight).sum());
        let at = self.kinds.iter().position(|fault| {
            let found = left < weight(fault);
            left = left.saturating_sub(weight(fault));
            found
        });
        at.unwrap_or(0)
    }

    /// Whom it befell; `None`: it could not be, as things are.
    fn begin(&mut self, fault: usize) -> io::Result<Option<usize>> {
        let choices = &mut self.choices;
        let Some(of_ground) = fault.checked_sub(OF_WORKERS.len()) else {
            let number = choices.below(self.workers.len() as u64) as usize;
            if fault == 0 {
                self.kill(number)?;
                return Ok(Some(number));
            }
            let most = if choices.below(8) == 0 { 2500 } else { 500 };
            let time = up_to(choices, most);
            return Ok(self.stop(number, time));
        };
        Ok(self.ground.begin(of_ground, choices))
    }

    fn kill(&mut self, number: usize) -> io::Result<()> {
        self.stopped.forget(&number);
        self.workers[number].kill();
        self.note(Event::Kill, Count::Kill, number);
        self.workers[number] = self.worker(number)?;
        Ok(())
    }

    fn stop(&mut self, number: usize, time: Duration) -> Option<usize> {
        if self.stopped.has(&number) {
            return None;
        }
        self.pause_or_go_on(number);
        self.workers[number].stop();
        self.note(Event::Stop, Count::Stop, number);
        self.stopped.add(time, number);
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

    fn go_on(&mut self, number: usize) {
        let faults = self.history.faults();
        faults.note(Event::Continue, number, 0);
        self.pause_or_go_on(number);
        self.workers[number].cont();
    }

    /// A worker that has ended by itself is an error, and a thread in which for 20 seconds no call returned, though nobody stopped it.
    fn look_after(&mut self) -> io::Result<()> {
        for number in 0..self.workers.len() {
            if let Some(status) = self.workers[number].ended() {
                let what = format!("worker {number} ended by itself: {status}");
                return Err(io::Error::other(what));
            }
            let stopped = self.stopped.has(&number);
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
    pub fn mend(&mut self) {
        for number in self.stopped.all() {
            self.go_on(number);
        }
        self.ground.mend();
    }

    /// Says how the ground is.
    pub fn tell(&self) {
        self.ground.tell();
    }

    /// Lets the workers come to their end. Whether all did, well.
    pub fn finish(&mut self) -> io::Result<bool> {
        self.mend();
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
            .map(|(at, count)| format!("{} {count}", self.name(*at)))
            .collect();
        each.join(", ")
    }

    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// The faults without which a wrong protocol is not wrong: they come more often.
fn found_by(mutant: Mutant) -> &'static [&'static str] {
    match mutant {
        Mutant::Fence => &[
            "state saved",
            "server killed, restarted",
            "replica promoted, primary killed",
            "replica promoted, primary left",
            "replica promoted, listeners left",
            "node killed, restarted",
            "replica promoted that lags",
        ],
        Mutant::Proof | Mutant::Gap => &["listener deaf", "listener reset"],
        Mutant::Applied => &["network silent", "connections refused"],
        Mutant::Former => &["replica promoted, listeners left"],
        Mutant::Slot => &["slot moved"],
        Mutant::Part => &["listeners deaf", "listeners reset"],
        _ => &[],
    }
}
