//! Two processes on one store. This program starts itself twice and tells each copy, a line at a time, what to do; each
//! answers with a number.
//!
//! Shown is that the two execute once for each person and not twice, that a clear in one is seen by the next read in the
//! other, and that one which is killed leaves a store that its successor finds warm.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;

use crate::blog::{self, DatabaseError, Person, get_all_posts};

/// The word on the command line that makes a process one of the two.
pub const OBEY: &str = "--obey";

const WRITES: usize = 1000;

/// Does what the lines of the standard input say, until it ends.
pub fn obey(people: &[Person]) -> Result<bool, Box<dyn Error>> {
    for line in std::io::stdin().lines() {
        println!("{}", answer(&line?, people)?);
    }
    Ok(true)
}

fn answer(line: &str, people: &[Person]) -> Result<i64, Box<dyn Error>> {
    let (word, index) = line.split_once(' ').unwrap_or((line, "0"));
    let person = &people[index.parse::<usize>()?];
    Ok(match word {
        "read" => newest(person)?,
        "write" => {
            let post = blog::write_post(person, "A new post")?;
            let _ = get_all_posts::clear(person);
            post
        }
        "read-all" => {
            for person in people {
                newest(person)?;
            }
            0
        }
        "executions" => blog::EXECUTIONS.load(Ordering::Relaxed).try_into()?,
        _ => return Err(format!("what is {line:?}?").into()),
    })
}

/// The id of a person's newest post, 0 without one.
fn newest(person: &Person) -> Result<i64, DatabaseError> {
    Ok(get_all_posts(person, false)?
        .last()
        .map_or(0, |post| post.id))
}

/// A process that obeys. It is killed when it is dropped.
struct Process {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(database: &Path, store: &Path) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(database)
            .arg("--store")
            .arg(store)
            .arg(OBEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        Ok(Process {
            child,
            orders: orders.ok_or("no pipe to the process")?,
            answers: BufReader::new(answers.ok_or("no pipe from the process")?),
        })
    }

    fn say(&mut self, line: &str) -> std::io::Result<()> {
        writeln!(self.orders, "{line}")
    }

    fn hear(&mut self) -> Result<i64, Box<dyn Error>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("one of the two processes ended".into());
        }
        Ok(line.trim().parse()?)
    }

    fn ask(&mut self, line: &str) -> Result<i64, Box<dyn Error>> {
        self.say(line)?;
        self.hear()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither can fail but for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shows the pair; false if it did not do what one store promises.
pub fn run(database: &Path, store: &Path, people: usize) -> Result<bool, Box<dyn Error>> {
    let mut one = Process::start(database, store)?;
    let mut two = Process::start(database, store)?;

    one.say("read-all")?;
    two.say("read-all")?; // at the same time, in the same order
    one.hear()?;
    two.hear()?;
    let executions = one.ask("executions")? + two.ask("executions")?;
    println!("two processes on one store");
    println!("  both read the posts of          {people} people: {executions} executions");

    let mut stale = 0;
    for round in 0..WRITES {
        let (read, write) = (
            format!("read {}", round % people),
            format!("write {}", round % people),
        );
        one.ask(&read)?; // now both have it in memory
        two.ask(&read)?;
        let post = if round % 2 == 0 { &mut one } else { &mut two }.ask(&write)?;
        stale += u64::from(one.ask(&read)? < post) + u64::from(two.ask(&read)? < post);
    }
    println!(
        "  written and cleared in one      {WRITES} posts; the {} next reads, stale: {stale}",
        2 * WRITES
    );

    two.say("read-all")?;
    two.say("write 0")?;
    drop(two); // by SIGKILL, in the midst of it
    one.ask("read-all")?;
    let mut next = Process::start(database, store)?;
    next.ask("read-all")?;
    let again = next.ask("executions")?;
    println!("  one is killed, another started  it reads {people} people: {again} executions");
    Ok(executions == people as i64 && stale == 0 && again == 0)
}
