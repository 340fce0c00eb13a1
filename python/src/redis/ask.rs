//! What is asked of a server, and what it answers: without Python, so that the GIL is not held meanwhile, and the same however the caller
//! waits. A blocking caller asks in place; for asyncio there is an `Asking`.

#[cfg(unix)]
use super::mailbox::Question;
use crate::cell::GilCell;
use pyo3::prelude::*;
use quickcache::protocol::blocking::now;
#[cfg(unix)]
use quickcache::tier::redis::Soon;
use quickcache::tier::redis::{
    AtRedis, Era, Held, Hit, InPlace, Looked, Meeting, Out, Past, Released, Turn, Via,
};
use quickcache::tier::store::StoreKey;
use std::sync::Arc;
use std::time::Duration;

/// Where the processes of this machine meet about the server.
pub type Met = Option<&'static Meeting>;

/// A question about a key.
pub enum Job {
    /// What is there? With how long it may still live, if that is `true`.
    Look(bool),
    /// The same; if nothing is there, the right to store something.
    Turn(bool),
    /// The right to store a value that is no fill.
    Take,
    /// The right to replace what was found, and cannot be read.
    Replace(Era),
    Fill {
        held: Held,
        entry: Vec<u8>,
        life: Duration,
        /// Of a value that is no fill: the other machines are told.
        tell_all: Option<Met>,
    },
    Release(Held),
    /// The same, of a function that raised: what is there for it?
    GiveBack(Held),
    /// What is there, stale or not?
    LookPast,
    Clear(Met),
    ClearAll(Met),
    /// As `Clear`, for who is no function's: this machine is told, too.
    Delete(Met),
}

pub enum Answer {
    Found(Hit),
    Missing,
    Lead(Held),
    Wait,
    /// Whether what was held still was.
    Stood(bool),
    /// What became of a lease that was given back, and what lay there.
    Released(Released),
    /// What there is, stale or not.
    Past(Option<Past>),
    Cleared,
}

impl Job {
    pub async fn run(self, at: &AtRedis, key: &StoreKey, via: &impl Via) -> Result<Answer, Out> {
        Ok(match self {
            Job::Look(life) => match at.look(via, key, life).await? {
                Looked::Found(hit) => Answer::Found(hit),
                Looked::Missing(_) => Answer::Missing,
            },
            Job::Turn(life) => match at.look(via, key, life).await? {
                Looked::Found(hit) => Answer::Found(hit),
                Looked::Missing(era) => match at.claim(via, key, &era).await? {
                    Turn::Found(hit) => Answer::Found(hit),
                    Turn::Lead(held) => Answer::Lead(held),
                    Turn::Wait => Answer::Wait,
                },
            },
            Job::Take => {
                let (Looked::Found(Hit { era, .. }) | Looked::Missing(era)) =
                    at.look(via, key, false).await?;
                taken(at.take(via, key, &era).await?)
            }
            Job::Replace(era) => taken(at.take(via, key, &era).await?),
            Job::Fill {
                held,
                entry,
                life,
                tell_all,
            } => Answer::Stood(held.fill(via, &entry, life, tell_all).await?),
            Job::Release(held) => Answer::Stood(held.release(via).await?),
            Job::GiveBack(held) => Answer::Released(held.release_for_past(via).await?),
            Job::LookPast => Answer::Past(at.look_past(via, key).await?),
            Job::Clear(met) => {
                at.clear(via, met, key).await?;
                Answer::Cleared
            }
            Job::ClearAll(met) => {
                at.clear_all(via, met).await?;
                Answer::Cleared
            }
            Job::Delete(met) => {
                at.delete(via, met, key).await?;
                Answer::Cleared
            }
        })
    }

    /// Asks, and waits for the answer; other threads run meanwhile.
    pub fn ask(self, py: Python, at: &AtRedis, key: &StoreKey) -> Result<Answer, Out> {
        py.detach(|| now(self.run(at, key, &InPlace)))
    }
}

fn taken(held: Option<Held>) -> Answer {
    held.map_or(Answer::Wait, Answer::Lead)
}

/// A question of an asynchronous call, which waits for the answer as `quickcache.aio` says: by a `Mailbox`, or in another thread. Whoever asked
/// it may be gone when the answer comes: then a right that was given is given back.
#[pyclass(module = "quickcache._native", frozen)]
pub struct Asking {
    at: Arc<AtRedis>,
    key: StoreKey,
    job: GilCell<Option<Job>>,
    answer: GilCell<Option<Result<Answer, Out>>>,
    /// Under which a mailbox has it.
    pub(super) number: GilCell<u64>,
}

impl Asking {
    pub fn new(at: Arc<AtRedis>, key: StoreKey, job: Job) -> Asking {
        Asking {
            at,
            key,
            job: GilCell::new(Some(job)),
            answer: GilCell::new(None),
            number: GilCell::new(0),
        }
    }

    /// What it is, as a future, if nobody has it yet.
    #[cfg(unix)]
    pub(super) fn question(&self, py: Python) -> Option<Question> {
        let job = self.job.with(py, Option::take)?;
        let (at, key) = (self.at.clone(), self.key);
        Some(Box::pin(async move { job.run(&at, &key, &Soon).await }))
    }

    pub(super) fn set_answer(&self, py: Python, answer: Result<Answer, Out>) {
        self.answer.with(py, |place| *place = Some(answer));
    }

    pub fn answer(&self, py: Python) -> Result<Answer, Out> {
        self.answer.with(py, Option::take).unwrap_or(Err(Out::Away))
    }
}

#[pymethods]
impl Asking {
    /// Asks, and waits for the answer.
    fn run(&self, py: Python) {
        if let Some(job) = self.job.with(py, Option::take) {
            let answer = job.ask(py, &self.at, &self.key);
            self.set_answer(py, answer);
        }
    }
}
