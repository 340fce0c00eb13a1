//! One connection: a client's half, a server's half, and a lane each way.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, sockopt};

use super::Counts;
use super::dialogue::Dialogue;
use super::lane::{Delivered, Lane};
use super::mode::{Direction, Mode, Regime, Rule, Whom};
use crate::port::tcp_socket;

/// How much of what a client has sent is kept, to know which scopes it belongs to.
const HEAD: usize = 64 << 10;

pub struct Pair {
    client: TcpStream,
    server: TcpStream,
    pub leads_to: SocketAddr,
    /// The server's half is not connected yet.
    connecting: bool,
    to_server: Lane,
    to_client: Lane,
    head: Vec<u8>,
    dialogue: Dialogue,
    mode: Mode,
    /// The number of the rule that set the mode.
    rule: u64,
}

/// What is to become of a connection after a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Lives,
    Closed,
    Reset,
}

impl Pair {
    /// A client that was let in, and the beginning of a connection to its server. The client is reset if there is no way there.
    pub fn new(client: TcpStream, target: SocketAddr) -> io::Result<Pair> {
        let server = match connect(target) {
            Ok(server) => server,
            Err(error) => {
                reset(&client);
                return Err(error);
            }
        };
        client.set_nonblocking(true)?;
        client.set_nodelay(true)?;
        Ok(Pair {
            client,
            server,
            leads_to: target,
            connecting: true,
            to_server: Lane::new(Direction::ToServer),
            to_client: Lane::new(Direction::ToClient),
            head: Vec::new(),
            dialogue: Dialogue::default(),
            mode: Mode::Pass,
            rule: 0,
        })
    }

    pub fn is_one(&self, whom: &Whom) -> bool {
        match whom {
            Whom::All => true,
            Whom::Only(pattern) => self.has_sent(pattern),
            Whom::AllBut(pattern) => !self.has_sent(pattern),
        }
    }

    fn has_sent(&self, pattern: &[u8]) -> bool {
        pattern.is_empty() || self.head.windows(pattern.len()).any(|part| part == pattern)
    }

    /// Puts it under the rule that is for it.
    pub fn obey(&mut self, rules: &[Rule]) {
        match rules.iter().rfind(|rule| self.is_one(&rule.whom)) {
            Some(rule) if rule.number != self.rule => {
                self.rule = rule.number;
                self.mode = rule.mode.clone();
                self.to_server.begin();
                self.to_client.begin();
            }
            _ => {}
        }
    }

    pub fn half_close(&mut self, direction: Direction) {
        if direction.covers(Direction::ToServer) {
            self.to_server.end();
        }
        if direction.covers(Direction::ToClient) {
            self.to_client.end();
        }
    }

    /// Both halves, with what the thread waits for at them.
    pub fn waits(&self) -> [(&TcpStream, PollFlags); 2] {
        let flags = |reads: bool, writes: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, writes);
            flags
        };
        [
            (
                &self.client,
                flags(self.to_server.reads(&self.mode), self.to_client.blocked),
            ),
            (
                &self.server,
                flags(
                    !self.connecting && self.to_client.reads(&self.mode),
                    self.connecting || self.to_server.blocked,
                ),
            ),
        ]
    }

    /// When it has something to do though nothing happens.
    pub fn due(&self) -> Option<Instant> {
        let to_server = match self.connecting {
            true => None,
            false => self.to_server.due(&self.mode),
        };
        let to_client = self.to_client.due(&self.mode);
        [to_server, to_client].into_iter().flatten().min()
    }

    /// Takes in what has happened at both halves.
    pub fn read(
        &mut self,
        client: PollFlags,
        server: PollFlags,
        regime: &mut Regime,
    ) -> io::Result<()> {
        let broken = PollFlags::HUP | PollFlags::ERR;
        if self.connecting && server.intersects(PollFlags::OUT | broken) {
            if let Some(error) = self.server.take_error()? {
                return Err(error);
            }
            self.connecting = false;
        }
        if client.intersects(PollFlags::OUT | broken) {
            self.to_client.blocked = false;
        }
        if server.intersects(PollFlags::OUT | broken) {
            self.to_server.blocked = false;
        }
        let readable = PollFlags::IN | broken;
        if client.intersects(readable) && self.to_server.reads(&self.mode) {
            let arrived = read(&self.client)?;
            self.client_sent(arrived, regime);
        }
        if server.intersects(readable) && !self.connecting && self.to_client.reads(&self.mode) {
            let arrived = read(&self.server)?;
            self.server_sent(arrived);
        }
        Ok(())
    }

    fn client_sent(&mut self, arrived: Arrived, regime: &mut Regime) {
        match arrived {
            Arrived::Bytes(bytes) => {
                let room = HEAD - self.head.len();
                if room > 0 {
                    self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
                    self.obey(&regime.rules);
                }
                let bytes = self.dialogue.client_sent(&bytes, &mut regime.answers);
                self.to_server.push(bytes, &self.mode);
                let invented = self.dialogue.invented();
                self.to_client.push(invented, &self.mode);
            }
            Arrived::End => {
                let rest = self.dialogue.client_ended();
                self.to_server.push(rest, &self.mode);
                self.to_server.end();
            }
            Arrived::Nothing => {}
        }
        self.hang_up();
    }

    fn server_sent(&mut self, arrived: Arrived) {
        match arrived {
            Arrived::Bytes(bytes) => {
                let bytes = self.dialogue.server_sent(&bytes);
                self.to_client.push(bytes, &self.mode);
            }
            Arrived::End => {
                let rest = self.dialogue.server_ended();
                self.to_client.push(rest, &self.mode);
                self.to_client.end();
            }
            Arrived::Nothing => {}
        }
        self.hang_up();
    }

    /// Nothing goes to the client behind an answer that closes the connection.
    fn hang_up(&mut self) {
        if self.dialogue.closes {
            self.to_client.end();
        }
    }

    /// Delivers what is due.
    pub fn deliver(&mut self, counts: &mut Counts) -> Fate {
        let mut fate = Fate::Lives;
        let lanes = [
            (&mut self.to_server, &self.server, &mut counts.to_server),
            (&mut self.to_client, &self.client, &mut counts.to_client),
        ];
        for (number, (lane, to, counter)) in lanes.into_iter().enumerate() {
            if number == 0 && self.connecting {
                continue;
            }
            match lane.deliver(to, &self.mode) {
                Ok(Delivered::Bytes(count)) => *counter += count,
                Ok(Delivered::Cut(count)) => {
                    fate = Fate::Closed;
                    *counter += count
                }
                Err(_) => return Fate::Reset,
            };
        }
        counts.answered += std::mem::take(&mut self.dialogue.answered);
        if self.to_client.closed && (self.to_server.closed || self.dialogue.closes) {
            fate = Fate::Closed;
        }
        fate
    }

    /// Ends it by RST, to both sides.
    pub fn reset(self) {
        reset(&self.client);
        reset(&self.server);
    }
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let family = match target {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let server = TcpStream::from(tcp_socket(family)?);
    server.set_nonblocking(true)?;
    server.set_nodelay(true)?;
    match rustix::net::connect(&server, &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(server),
        Err(error) => Err(error.into()),
    }
}

/// The socket ends by RST when it is closed.
pub fn reset(stream: &TcpStream) {
    // Fails only for what is no socket; a connection that is closed already is none that has to be reset.
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

enum Arrived {
    Bytes(Vec<u8>),
    End,
    Nothing,
}

fn read(mut from: &TcpStream) -> io::Result<Arrived> {
    let mut part = [0; 64 << 10];
    match from.read(&mut part) {
        Ok(0) => Ok(Arrived::End),
        Ok(count) => Ok(Arrived::Bytes(part[..count].to_vec())),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(Arrived::Nothing)
        }
        Err(error) => Err(error),
    }
}
