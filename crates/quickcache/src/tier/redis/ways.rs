//! The ways to a node. In a cluster each says an address of itself and perhaps a host name (`slots::View` has them, the one first by which the node is
//! known here), and one of the two may be of use to other nodes only.

use std::time::Instant;

use super::link::Link;
use super::options::Address;
use super::server::Server;
use super::wire::{Broken, Wire};
use crate::tier::store::lock;

impl Server {
    /// Connects to the node at an address, or by what else it is called; or to the server, or to the one that the sentinels name. By which address.
    pub(super) fn reach(
        &self,
        node: Option<&Address>,
        end: Instant,
    ) -> Result<(Wire, Address), Broken> {
        let ways = match node {
            Some(address) => self.ways(address),
            None => vec![Link::address(&self.options, end)?],
        };
        let mut why = None;
        for (at, way) in ways.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let end = Instant::now() + left / (ways.len() - at) as u32;
            match Wire::connect(way, &self.options, end) {
                Ok(wire) => {
                    if at > 0 {
                        let leads = &mut lock(&self.routes.map).leads;
                        leads.retain(|other| !ways.contains(other));
                        leads.push(way.clone());
                    }
                    return Ok((wire, way.clone()));
                }
                Err(broken) => why = why.or(Some(broken)),
            }
        }
        Err(why.unwrap_or_else(|| Broken("it has no address".to_owned())))
    }

    /// This address, and what else the node there is called, and no other one; in the order in which they are tried.
    fn ways(&self, address: &Address) -> Vec<Address> {
        let mut ways = vec![address.clone()];
        let map = lock(&self.routes.map);
        if let Some(place) = map.places.iter().find(|place| place.contains(address)) {
            let is_its_own = |way: &&Address| {
                let others = map.places.iter().filter(|place| place.contains(way));
                *way != address && others.count() == 1
            };
            ways.extend(place.iter().filter(is_its_own).cloned());
        }
        ways.sort_by_key(|way| !map.leads.contains(way));
        ways
    }
}
