//! One direction of a connection: what has come in, and when it goes out.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::mode::{Direction, Mode};

/// Nothing more is read while so many bytes wait, so that a sender sees a network that is slow.
const FULL: usize = 4 << 20;

pub struct Lane {
    direction: Direction,
    chunks: VecDeque<Chunk>,
    waiting: usize,
    /// When the sender ended; the end goes out behind what waits.
    ended: Option<Instant>,
    /// The end has gone out.
    pub closed: bool,
    /// The receiver takes no more at the moment.
    pub blocked: bool,
    /// Bytes in and out since the mode began.
    received: u64,
    delivered: u64,
    tick: Option<Instant>,
}

struct Chunk {
    at: Instant,
    bytes: Vec<u8>,
    gone: usize,
}

/// What a delivery has led to.
pub enum Delivered {
    Bytes(u64),
    /// So many, and they were the last of [`Mode::Cut`].
    Cut(u64),
}

impl Lane {
    pub fn new(direction: Direction) -> Lane {
        Lane {
            direction,
            chunks: VecDeque::new(),
            waiting: 0,
            ended: None,
            closed: false,
            blocked: false,
            received: 0,
            delivered: 0,
            tick: None,
        }
    }

    /// Another mode begins, with its counts.
    pub fn begin(&mut self) {
        self.received = 0;
        self.delivered = 0;
        self.tick = None;
    }

    /// Whether the sender is to be read.
    pub fn reads(&self, mode: &Mode) -> bool {
        self.ended.is_none() && self.waiting < FULL && !mode.holds(self.direction)
    }

    pub fn push(&mut self, mut bytes: Vec<u8>, mode: &Mode) {
        if bytes.is_empty() {
            return;
        }
        mode.corrupt(self.direction, self.received, &mut bytes);
        self.received += bytes.len() as u64;
        self.waiting += bytes.len();
        self.chunks.push_back(Chunk {
            at: Instant::now(),
            bytes,
            gone: 0,
        });
    }

    /// The sender has ended, or is not listened to any more.
    pub fn end(&mut self) {
        self.ended.get_or_insert_with(Instant::now);
    }

    /// Writes what is due.
    pub fn deliver(&mut self, to: &TcpStream, mode: &Mode) -> io::Result<Delivered> {
        let now = Instant::now();
        let mut total = 0;
        while !self.blocked && self.due(mode).is_some_and(|due| due <= now) {
            let Some(chunk) = self.chunks.front_mut() else {
                self.closed = true;
                to.shutdown(Shutdown::Write)?;
                break;
            };
            let mut rest = &chunk.bytes[chunk.gone..];
            if let Some((bytes, every)) = mode.drip(self.direction) {
                rest = &rest[..bytes.clamp(1, rest.len())];
                self.tick = Some(now + every);
            }
            if let Some(after) = mode.cut(self.direction) {
                let left = after.saturating_sub(self.delivered) as usize;
                rest = &rest[..left.min(rest.len())];
                if rest.is_empty() {
                    return Ok(Delivered::Cut(total));
                }
            }
            let count = match (&*to).write(rest) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                other => other?,
            };
            chunk.gone += count;
            if chunk.gone == chunk.bytes.len() {
                self.chunks.pop_front();
            }
            self.waiting -= count;
            self.delivered += count as u64;
            total += count as u64;
            if mode.cut(self.direction) == Some(self.delivered) {
                return Ok(Delivered::Cut(total));
            }
        }
        Ok(Delivered::Bytes(total))
    }

    /// When there is something to deliver; none while there is not.
    pub fn due(&self, mode: &Mode) -> Option<Instant> {
        if self.closed || self.blocked || mode.holds(self.direction) {
            return None;
        }
        let at = match self.chunks.front() {
            Some(chunk) => chunk.at,
            None => self.ended?,
        };
        let delay: Duration = mode.delay(self.direction);
        Some((at + delay).max(self.tick.unwrap_or(at)))
    }
}
