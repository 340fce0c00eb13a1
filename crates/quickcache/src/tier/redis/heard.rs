//! Which nodes of a cluster are listened to, and which of its buckets each of them had when that began. Who listens writes it into a file beside the
//! table, for the processes of the machine that do not listen themselves; the table's word about it (`common`) is made of a hash of that, so that
//! an old file, or a half of one, is none.
//!
//! ```text
//! heard-ID   for each node, in order, 16 bytes  its fence
//!                                     32        a bit for each bucket
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use super::common::Common;
use super::record::Fence;
use super::server::Server;
use super::slots::{BUCKETS, Bucket};
use crate::tier::store::{Opened, lock};

const NODE: usize = 16 + BUCKETS / 8;

/// The longest file that is read: of more nodes than there are buckets.
const LONGEST: u64 = (NODE * BUCKETS) as u64;

/// The file, or what is to be in it.
#[derive(Default)]
pub(super) struct Heard(Vec<u8>);

impl Heard {
    pub(super) fn new(mut nodes: Vec<(Fence, Vec<Bucket>)>) -> Heard {
        nodes.sort();
        let mut bytes = Vec::with_capacity(nodes.len() * NODE);
        for (fence, buckets) in nodes {
            let mut bits = [0; BUCKETS / 8];
            for Bucket(bucket) in buckets {
                bits[usize::from(bucket / 8)] |= 1 << (bucket % 8);
            }
            bytes.extend(fence);
            bytes.extend(bits);
        }
        Heard(bytes)
    }

    /// Stands for it where a server alone has its fence.
    pub(super) fn hash(&self) -> Fence {
        let hash = blake3::hash(&self.0);
        *hash.as_bytes().first_chunk().expect("32 bytes")
    }

    fn has(&self, fence: &Fence) -> bool {
        self.0
            .chunks_exact(NODE)
            .any(|node| node.starts_with(fence))
    }

    fn read(mut file: &File) -> io::Result<Heard> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(LONGEST).read_to_end(&mut bytes)?;
        Ok(Heard(bytes))
    }

    fn write(&self, mut file: &File) -> io::Result<()> {
        file.rewind()?;
        file.write_all(&self.0)?;
        file.set_len(self.0.len() as u64)
    }
}

impl Server {
    fn file_of_heard(&self, opened: &Opened) -> io::Result<File> {
        opened.seat(&format!("heard-{:016x}", self.id()))
    }

    /// For whoever does not listen.
    pub(super) fn tell_heard(&self, opened: &Opened, heard: &Heard) {
        let told = self
            .file_of_heard(opened)
            .and_then(|file| heard.write(&file));
        if let Err(error) = told {
            log::debug!(target: "quickcache", "{self:?}: that it is listened to cannot be told: {error}");
        }
    }

    /// Whether the clears of the node that has this fence are listened to on the machine of this table.
    pub(super) fn hears(&self, opened: &Opened, common: Common, fence: &Fence) -> bool {
        let mut known = lock(&self.heard);
        let (heard, hash) = &mut *known;
        if !common.listens_to(hash) {
            let Ok(read) = self
                .file_of_heard(opened)
                .and_then(|file| Heard::read(&file))
            else {
                return false;
            };
            *hash = read.hash();
            *heard = read;
        }
        heard.has(fence) && common.listens_to(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_has_its_nodes_and_a_hash_of_its_own() {
        let nodes = vec![
            ([2; 16], vec![Bucket(0), Bucket(255)]),
            ([1; 16], vec![Bucket(7)]),
        ];
        let heard = Heard::new(nodes.clone());
        assert!(heard.has(&[1; 16]) && heard.has(&[2; 16]) && !heard.has(&[3; 16]));
        let reversed = nodes.iter().rev().cloned().collect();
        assert_eq!(Heard::new(reversed).hash(), heard.hash());
        let mut moved = nodes;
        moved[0].1.push(Bucket(8));
        assert_ne!(Heard::new(moved).hash(), heard.hash());
        assert!(!Heard::default().has(&[0; 16]));
    }
}
