//! Hit ratio, time and memory of the memory tier's table, beside its peers: who is measured (`caches`, and the store's
//! `ring`), on what (`workloads`), and how it is drawn (`plot`).

pub mod caches;
pub mod plot;
pub mod ring;
pub mod workloads;
