//! Processes that do not outlive the test that started them, however it ends.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A process that is killed at drop; on Linux the system kills it too when this process ends without one.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn start(mut command: Command) -> io::Result<Process> {
        // Ctrl-C in a terminal is for the test: how its servers end is its own affair.
        command.process_group(0);
        #[cfg(target_os = "linux")]
        dies_with_us(&mut command);
        let (answer, answered) = channel();
        spawner()
            .send((command, answer))
            .map_err(|_| io::Error::other("the thread that starts processes has ended"))?;
        let child = answered
            .recv_timeout(Duration::from_secs(20))
            .map_err(|_| {
                io::Error::other(
                    "the thread that starts processes does not answer: is this the child of a fork?",
                )
            })??;
        Ok(Process { child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGSTOP: the process does nothing from now on, and its connections stay open.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        // The signal is on its way when kill() returns: wait until it has arrived.
        #[cfg(target_os = "linux")]
        for _ in 0..2000 {
            if self.state().is_none_or(|state| state == 'T') {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGCONT: a stopped process goes on.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits until the process is gone. Nothing happens if it is gone already.
    pub fn kill(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .unwrap_or_else(|_| Some(ExitStatus::from_raw(0)))
    }

    /// Waits until the process has ended by itself. Whether it has, within `patience`.
    pub fn wait(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while self.ended().is_none() {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a signal for a process that runs");
    }

    /// The letter of its state in /proc; none if it is gone.
    #[cfg(target_os = "linux")]
    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        // The program's name stands before it, in brackets, and may have any letters.
        stat[stat.rfind(')')? + 1..].trim_start().chars().next()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

type Order = (Command, Sender<io::Result<Child>>);

/// The thread that starts all processes and ends with this one. The system tells a process of its parent's death when the *thread*
/// that started it ends, which for a test's thread is long before others have done with a server that they share.
fn spawner() -> &'static Sender<Order> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (orders, queue) = channel::<Order>();
        std::thread::Builder::new()
            .name("starts processes".into())
            .spawn(move || {
                for (mut command, answer) in queue {
                    // Who does not wait any more has told why.
                    let _ = answer.send(command.spawn());
                }
            })
            .expect("a thread that starts processes");
        orders
    })
}

#[cfg(target_os = "linux")]
fn dies_with_us(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec the closure makes two system calls, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have been killed before it was asked for.
            match rustix::process::getppid() {
                Some(now) if now == parent => Ok(()),
                _ => Err(io::ErrorKind::Interrupted.into()),
            }
        });
    }
}
