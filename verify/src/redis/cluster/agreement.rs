//! Whether the nodes agree on who has what; and who lets nobody in until they do.

use std::collections::BTreeMap;
use std::time::Instant;

use quickcache_testing::Door;

use super::{AGREED, Cluster, LOOK, USERS};

impl Cluster {
    /// Until everything works: all nodes agree, know where the others are, and have what they are to have.
    pub(super) fn wait(&self) {
        self.settle();
        let end = Instant::now() + AGREED;
        while !(self.all_agree() && self.all_are_in_step()) {
            assert!(Instant::now() < end, "{}", self.views());
            std::thread::sleep(LOOK);
        }
    }

    /// That it replicates well.
    pub(super) fn is_in_step(&self, node: usize) -> bool {
        let info = self.tell(node, &["INFO", "replication"]);
        info.is_some_and(|info| !info.text().contains("master_link_status:down"))
    }

    fn all_are_in_step(&self) -> bool {
        self.running().all(|node| self.is_in_step(node))
    }

    /// What the nodes that run say, when they should agree and do not.
    pub(super) fn views(&self) -> String {
        let view = |node| self.tell(node, &["CLUSTER", "NODES"]);
        let views = self.running().filter_map(view).map(|view| view.text());
        let views: Vec<String> = views.collect();
        format!("nodes do not come to agree:\n{}", views.join("\n"))
    }

    /// Whether all nodes that run agree on who has what, and take none that runs for gone.
    fn all_agree(&self) -> bool {
        let mut agreed: Option<BTreeMap<String, String>> = None;
        for node in self.running() {
            let Some(view) = self.tell(node, &["CLUSTER", "NODES"]) else {
                return false;
            };
            let mut owners = BTreeMap::new();
            for line in view.text().lines() {
                let words: Vec<&str> = line.split(' ').collect();
                let [id, address, flags, _, _, _, _, _, slots @ ..] = &words[..] else {
                    return false;
                };
                let place = self.ids.iter().position(|own| own == id);
                let is_there = place.is_some_and(|place| {
                    let front = format!("{}@", self.fronts[place].address());
                    self.runs(place) && address.starts_with(&front)
                });
                let is_gone = flags.contains("fail") || flags.contains("handshake");
                let runs = place.is_some_and(|place| self.runs(place));
                if runs && (is_gone || !is_there) {
                    return false;
                }
                if flags.contains("master") {
                    let slots = slots.iter().filter(|slots| !slots.starts_with('['));
                    let slots: Vec<&str> = slots.copied().collect();
                    owners.insert((*id).to_owned(), slots.join(" "));
                }
            }
            owners.retain(|_, slots| !slots.is_empty());
            if *agreed.get_or_insert_with(|| owners.clone()) != owners {
                return false;
            }
        }
        true
    }

    /// Lets no machine in. (Replicas stay.)
    pub(super) fn shut(&mut self, node: usize) {
        self.fronts[node].door(Door::Closed);
        self.fronts[node].only(USERS.as_bytes()).reset();
        self.shut[node] = true;
    }

    /// Whether another node may yet take its place.
    fn is_being_replaced(&self, node: usize) -> bool {
        self.promotions[node].is_some_and(|(by, until)| {
            Instant::now() < until && self.runs(by) && !self.is_primary(by)
        })
    }

    /// Who was shut is let in when nobody can be led astray any more.
    pub(super) fn open_some(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let may = |node: &usize| self.shut[*node] && !self.is_being_replaced(*node);
        let ready: Vec<usize> = self.running().filter(may).collect();
        if ready.is_empty() {
            return;
        }
        self.settle();
        if self.all_agree() {
            for node in ready {
                self.shut[node] = false;
                self.fronts[node].door(Door::Open);
            }
        }
    }
}
