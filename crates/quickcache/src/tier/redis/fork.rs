//! A fork: connections and threads are the parent's. The child closes its copies of the sockets, without a word on them, and begins anew.

use std::sync::Once;

use super::server::all;
use super::{seat, socket};
use crate::fork::{Hand, Held, at_fork};
use crate::tier::store::lock;

/// Called before there is a first server.
pub(super) fn expect() {
    static ONCE: Once = Once::new();
    // SAFETY: the handlers are functions of this library; it leaks its servers.
    ONCE.call_once(|| unsafe { at_fork(Some(before), Some(in_parent), Some(in_child)) });
}

/// What is held from `before` on, the guard of `all` among it.
static HAND: Hand = Hand::new();

unsafe extern "C" fn before() {
    let all = all();
    let mut held: Vec<Box<dyn Held>> = Vec::new();
    for server in all.iter() {
        let nodes = lock(&server.routes.nodes);
        held.push(Box::new(lock(&server.routes.map)));
        for node in nodes.iter() {
            held.push(Box::new(lock(&node.state)));
            held.push(Box::new(node.lanes.hold()));
        }
        held.push(Box::new(nodes));
        held.push(Box::new(lock(&server.routes.replays)));
        held.push(Box::new(lock(&server.listens)));
        held.push(Box::new(lock(&server.meetings)));
        held.push(Box::new(lock(&server.heard)));
    }
    held.push(Box::new(seat::hold()));
    held.push(Box::new(socket::hold()));
    held.push(Box::new(all));
    // SAFETY: the last is the guard of `all`.
    unsafe { HAND.take_up(held) };
}

unsafe extern "C" fn in_parent() {
    // SAFETY: `before` was called.
    unsafe { HAND.let_go() };
}

unsafe extern "C" fn in_child() {
    // SAFETY: as above.
    unsafe { HAND.let_go() };
    let servers: Vec<_> = all().iter().copied().collect();
    servers.into_iter().for_each(|server| server.forget());
    seat::forget();
    socket::forget();
}
