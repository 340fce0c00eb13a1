//! Slots that move from one node to another, step by step as an operator's program does it.

use quickcache_testing::Reply;

use super::{Cluster, End};
use crate::history::Choices;
use crate::redis::ground::up_to;

/// A slot on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    slot: u16,
    from: usize,
    to: usize,
}

impl Cluster {
    /// The slot of some value begins to move to another node.
    pub(super) fn begin_move(&mut self, choices: &mut Choices) -> Option<usize> {
        let primaries = self.primaries();
        let from = self.some_primary(choices)?;
        let others: Vec<usize> = primaries.into_iter().filter(|to| *to != from).collect();
        let count = others.len() as u64;
        let to = *others.get(choices.below(count.max(1)) as usize)?;
        let keys = self.tell(from, &["KEYS", "*{*"])?;
        let keys: Vec<String> = keys.items().iter().map(Reply::text).collect();
        let key = keys.get(choices.below(keys.len().max(1) as u64) as usize)?;
        let slot = self.tell(from, &["CLUSTER", "KEYSLOT", key])?.int() as u16;
        let moved = Move { slot, from, to };
        if self
            .later
            .any(|end| matches!(end, End::Arrive(other) if other.slot == slot))
        {
            return None;
        }
        let number = slot.to_string();
        let ids = [from, to].map(|node| self.ids[node].clone());
        self.tell(to, &["CLUSTER", "SETSLOT", &number, "IMPORTING", &ids[0]])?;
        self.tell(from, &["CLUSTER", "SETSLOT", &number, "MIGRATING", &ids[1]])?;
        self.later.add(up_to(choices, 400), End::Arrive(moved));
        Some(from)
    }

    /// It arrives, if both nodes are still what they were.
    pub(super) fn arrive(&mut self, moved: Move) {
        let both = [moved.from, moved.to];
        let stand = |node: &usize| self.runs(*node) && !self.shut[*node] && self.is_primary(*node);
        if !both.iter().all(stand) || self.hand_over(moved).is_none() {
            self.settle();
        }
    }

    fn hand_over(&self, moved: Move) -> Option<()> {
        let number = moved.slot.to_string();
        let port = self.nodes.node(moved.to).port().to_string();
        loop {
            let keys = self.tell(moved.from, &["CLUSTER", "GETKEYSINSLOT", &number, "100"])?;
            if keys.items().is_empty() {
                break;
            }
            let keys: Vec<String> = keys.items().iter().map(Reply::text).collect();
            let mut words = ["MIGRATE", "127.0.0.1", &port, "", "0", "1000", "REPLACE"].to_vec();
            words.push("KEYS");
            words.extend(keys.iter().map(String::as_str));
            self.tell(moved.from, &words)?;
        }
        let owner = &self.ids[moved.to];
        // The new owner first, as everybody does it; the former one has nothing left by then that could be read.
        self.tell(moved.to, &["CLUSTER", "SETSLOT", &number, "NODE", owner])?;
        self.tell(moved.from, &["CLUSTER", "SETSLOT", &number, "NODE", owner])?;
        Some(())
    }

    /// Slots whose way was broken off stay where they are: a node that expects one takes no notice of who else has it.
    pub(super) fn settle(&self) {
        for node in self.running() {
            let Some(view) = self.tell(node, &["CLUSTER", "NODES"]) else {
                continue;
            };
            let view = view.text();
            let own = view.lines().find(|line| line.contains("myself"));
            let open = own.into_iter().flat_map(|line| line.split('[').skip(1));
            for slot in open.filter_map(|open| open.split('-').next()) {
                let is_on_its_way = |moved: &End| match moved {
                    End::Arrive(moved) => moved.slot.to_string() == slot,
                    _ => false,
                };
                if !self.later.any(is_on_its_way) {
                    self.tell(node, &["CLUSTER", "SETSLOT", slot, "STABLE"]);
                }
            }
        }
    }
}
