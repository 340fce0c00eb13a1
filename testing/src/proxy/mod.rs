//! A network that fails as a test asks for: a TCP proxy between the library under test and a server. Here is what tests say to it; the
//! thread that does it is in `relay`, one connection in `pair`, one direction of it in `lane`, what is said on it in `dialogue`.

mod answer;
mod dialogue;
mod lane;
mod mode;
mod pair;
mod relay;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

pub use self::answer::Answer;
use self::mode::Whom;
pub use self::mode::{Direction, Door, Flips, Mode};
use self::relay::{Deed, Order, Relay, Waker};
use crate::port::Port;

/// A TCP proxy on a port of 127.0.0.1 in front of any address. At first everything passes; what is said to it is in force when the
/// method returns, for connections that live and for those that come. One thread does it all and ends at drop.
///
/// The methods speak of all connections; [`Proxy::only`] of some.
pub struct Proxy {
    address: SocketAddr,
    orders: Sender<Order>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// The connections that have sent a byte string, or have not; from [`Proxy::only`] and [`Proxy::all_but`].
pub struct Scope<'p> {
    proxy: &'p Proxy,
    whom: Whom,
}

/// What has gone through a proxy so far; from [`Proxy::counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were let in.
    pub accepted: u64,
    /// Connections that live now.
    pub live: u64,
    /// Bytes delivered to servers.
    pub to_server: u64,
    /// Bytes delivered to clients.
    pub to_client: u64,
    /// Commands that were answered in the server's place.
    pub answered: u64,
}

impl Proxy {
    /// A proxy to this address, which need not be there yet: a connection whose server cannot be reached is reset. Panics if there is
    /// no such address, or no port is free.
    pub fn to(target: impl ToSocketAddrs) -> Proxy {
        let target = first(target);
        let port = Port::free();
        let address = port.address();
        let (orders, queue) = channel();
        let (waker, woken) = relay::waker();
        let relay = Relay::new(target, port, queue, woken);
        let thread = std::thread::Builder::new()
            .name("proxy".into())
            .spawn(move || relay.run())
            .expect("a thread for a proxy");
        Proxy {
            address,
            orders,
            waker,
            thread: Some(thread),
        }
    }

    /// Where clients connect to: `127.0.0.1:40123`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// New connections go to this address from now on, as when a name is given to another server. Panics if there is no such address.
    pub fn aim(&self, target: impl ToSocketAddrs) {
        self.order(Deed::Aim(first(target)));
    }

    /// What becomes of connections that are made from now on. Those that live are not concerned.
    pub fn door(&self, door: Door) {
        self.order(Deed::Door(door));
    }

    /// What becomes of the bytes of all connections, also of those that [`Proxy::only`] had set apart. Counts and ticks of the mode begin
    /// now, for each connection. How many live connections there are.
    pub fn set(&self, mode: Mode) -> usize {
        self.all().set(mode)
    }

    /// Answers commands in the server's place, on connections that live and on those that come. Of several answers that fit, the one that
    /// was given first and is not used up is taken. RESP 2 and 3, pipelines and subscriptions are understood; not `MONITOR`, `CLIENT
    /// REPLY` and TLS, behind which a connection is let through as it is.
    pub fn answer(&self, answer: Answer) {
        self.order(Deed::Answer(answer));
    }

    /// The server answers for itself again.
    pub fn answer_no_more(&self) {
        self.order(Deed::AnswerNoMore);
    }

    /// Everything passes, the door is open, the server answers for itself. What was held back is delivered.
    pub fn heal(&self) {
        self.order(Deed::Heal);
    }

    /// Ends all connections by RST, to both sides; what was on its way is lost. How many there were.
    pub fn reset(&self) -> usize {
        self.all().reset()
    }

    /// Closes all connections, to both sides; what was on its way in the proxy is lost. How many there were.
    pub fn drop_connections(&self) -> usize {
        self.all().drop_connections()
    }

    /// Ends one direction of all connections: the receiver sees the end, and may still send. How many there were.
    pub fn half_close(&self, direction: Direction) -> usize {
        self.all().half_close(direction)
    }

    /// The connections that have sent this byte string among their first 64 KiB, now or later: `only(b"SUBSCRIBE")`. The bytes with
    /// which a connection comes to be one of them are under its mode already.
    pub fn only(&self, pattern: &[u8]) -> Scope<'_> {
        self.scope(Whom::Only(pattern.to_vec()))
    }

    /// Those that have not sent it, or not yet.
    pub fn all_but(&self, pattern: &[u8]) -> Scope<'_> {
        self.scope(Whom::AllBut(pattern.to_vec()))
    }

    fn all(&self) -> Scope<'_> {
        self.scope(Whom::All)
    }

    fn scope(&self, whom: Whom) -> Scope<'_> {
        Scope { proxy: self, whom }
    }

    /// What has gone through it, up to this moment.
    pub fn counts(&self) -> Counts {
        self.give(Whom::All, Deed::Count).1
    }

    fn order(&self, deed: Deed) -> usize {
        self.give(Whom::All, deed).0
    }

    /// Has it done; to how many connections, and what had gone through then.
    fn give(&self, whom: Whom, deed: Deed) -> (usize, Counts) {
        let (done, answer) = channel();
        self.orders
            .send(Order { whom, deed, done })
            .expect("the proxy's thread, which has panicked");
        self.waker.wake();
        answer
            .recv()
            .expect("the proxy's thread, which has panicked")
    }
}

impl Scope<'_> {
    /// What becomes of the bytes of these connections, whatever [`Proxy::set`] said before; of several strings that a connection has
    /// sent, the one set last decides. How many live connections are concerned now.
    pub fn set(&self, mode: Mode) -> usize {
        self.order(Deed::Set(mode))
    }

    /// How many of them lead to this address, which may be a former one.
    pub fn to(&self, target: SocketAddr) -> usize {
        self.order(Deed::To(target))
    }

    /// Ends them by RST, to both sides. How many there were.
    pub fn reset(&self) -> usize {
        self.order(Deed::Reset)
    }

    /// Closes them, to both sides. How many there were.
    pub fn drop_connections(&self) -> usize {
        self.order(Deed::Drop)
    }

    /// Ends one direction of them. How many there were.
    pub fn half_close(&self, direction: Direction) -> usize {
        self.order(Deed::HalfClose(direction))
    }

    fn order(&self, deed: Deed) -> usize {
        self.proxy.give(self.whom.clone(), deed).0
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let (done, _) = channel();
        // A thread that has panicked takes no orders, and has ended.
        let _ = self.orders.send(Order {
            whom: Whom::All,
            deed: Deed::End,
            done,
        });
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn first(target: impl ToSocketAddrs) -> SocketAddr {
    target
        .to_socket_addrs()
        .expect("an address of TCP")
        .next()
        .expect("at least one address of that name")
}
