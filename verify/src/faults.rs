//! What is done to the workers: they are killed and started again, stopped for a while, and now and then all of them end as by a
//! start of the machine.

use std::io;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::history::{Choices, Count, Event, History};
use crate::mutant::Mutant;
use crate::worker::Orders;

/// The workers, and who of them is stopped until when.
pub struct Workers {
    orders: Orders,
    history: History,
    children: Vec<Child>,
    stopped: Vec<Option<Instant>>,
    choices: Choices,
    next: Instant,
    /// The files as they were a while ago, for the mutant whose machine has them so when it starts.
    earlier: Option<[Vec<u8>; 2]>,
}

impl Workers {
    pub fn start(orders: &Orders, history: History) -> io::Result<Workers> {
        let children = (0..orders.workers)
            .map(|number| start(orders, number))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Workers {
            orders: orders.clone(),
            history,
            stopped: vec![None; children.len()],
            children,
            choices: Choices::of(orders.seed, &[u64::MAX]),
            next: Instant::now() + Duration::from_millis(200),
            earlier: None,
        })
    }

    /// One fault, if it is time for one; and who has been stopped for long enough goes on. A worker that has ended by itself is an error.
    pub fn disturb(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for number in 0..self.children.len() {
            if let Some(status) = self.children[number].try_wait()? {
                return Err(io::Error::other(format!(
                    "worker {number} ended by itself: {status}"
                )));
            }
            if self.stopped[number].is_some_and(|until| until <= now) {
                self.go_on(number)?;
            }
        }
        if now < self.next {
            return Ok(());
        }
        self.next = now + self.choices.micros(120_000);
        let number = self.choices.below(self.children.len() as u64) as usize;
        let reboots = if self.orders.mutant == Some(Mutant::Reboot) {
            10
        } else {
            1
        };
        match self.choices.below(100) {
            0..60 => self.kill(number)?,
            choice if choice < 100 - reboots => self.stop(number)?,
            _ => self.restart_all()?,
        }
        Ok(())
    }

    fn kill(&mut self, number: usize) -> io::Result<()> {
        self.end(number)?;
        self.history.faults().note(Event::Kill, number, 0);
        self.history.faults().add(Count::Kill, 1);
        self.children[number] = start(&self.orders, number)?;
        Ok(())
    }

    fn end(&mut self, number: usize) -> io::Result<()> {
        self.stopped[number] = None;
        self.children[number].kill()?;
        self.children[number].wait()?;
        Ok(())
    }

    fn stop(&mut self, number: usize) -> io::Result<()> {
        if self.stopped[number].is_none() {
            kill_process(pid(&self.children[number]), Signal::STOP)?;
            self.history.faults().note(Event::Stop, number, 0);
            self.history.faults().add(Count::Stop, 1);
            self.stopped[number] = Some(Instant::now() + self.choices.micros(250_000));
        }
        Ok(())
    }

    fn go_on(&mut self, number: usize) -> io::Result<()> {
        self.stopped[number] = None;
        self.history.faults().note(Event::Continue, number, 0);
        kill_process(pid(&self.children[number]), Signal::CONT)?;
        Ok(())
    }

    /// Everybody is killed, and the table is one of an earlier start of the machine.
    fn restart_all(&mut self) -> io::Result<()> {
        for number in 0..self.children.len() {
            self.end(number)?;
        }
        self.history.faults().note(Event::Restart, 0, 0);
        self.history.faults().add(Count::Restart, 1);
        let store = self.orders.folder.join("store");
        let files = ["generations", "values-1"].map(|name| store.join(name));
        if self.orders.mutant == Some(Mutant::Reboot) {
            let [table, values] = &files;
            let now = [std::fs::read(table)?, std::fs::read(values)?];
            if let Some(earlier) = self.earlier.replace(now) {
                std::fs::write(table, &earlier[0])?;
                std::fs::write(values, &earlier[1])?;
            }
        } else {
            of_another_boot(&files[0])?;
        }
        for number in 0..self.children.len() {
            self.children[number] = start(&self.orders, number)?;
        }
        Ok(())
    }

    /// Lets them come to their end. Whether all did, well.
    pub fn finish(mut self) -> io::Result<bool> {
        self.history.end();
        for number in 0..self.children.len() {
            if self.stopped[number].is_some() {
                self.go_on(number)?;
            }
        }
        let end = Instant::now() + Duration::from_secs(30);
        for child in &mut self.children {
            while child.try_wait()?.is_none() {
                if Instant::now() > end {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            if !child.wait()?.success() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn start(orders: &Orders, number: usize) -> io::Result<Child> {
    let mut worker = Command::new(std::env::current_exe()?);
    worker.arg("--worker").arg(number.to_string());
    worker.arg("--folder").arg(&orders.folder);
    for (name, value) in [
        ("--workers", orders.workers as u64),
        ("--threads", orders.threads as u64),
        ("--keys", orders.keys as u64),
        ("--seed", orders.seed),
    ] {
        worker.arg(name).arg(value.to_string());
    }
    if let Some(mutant) = orders.mutant {
        worker.arg("--mutant").arg(mutant.name());
    }
    worker.spawn()
}

/// Gives the head of a table another boot id, and the check that belongs to it. A table that is not there yet is left so.
fn of_another_boot(table: &std::path::Path) -> io::Result<()> {
    let table = match std::fs::File::options().read(true).write(true).open(table) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut head = [0; 88];
    table.read_exact_at(&mut head, 0)?;
    head[16] ^= 1;
    let check = twox_hash::XxHash3_64::oneshot(&head[..80]);
    head[80..].copy_from_slice(&check.to_le_bytes());
    table.write_all_at(&head, 0)
}
