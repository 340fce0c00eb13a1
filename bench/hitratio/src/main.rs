//! Prints the hit ratios of the memory tier's table and its peers.
//!
//!     cargo run --release                   the table, and ../../docs/hit-ratio.svg
//!     cargo run --release -- sweep          ours under other policies
//!     cargo run --release -- store          the ring of the machine's store, beside the memory tier and LRU
//!
//! `TRACES` names the folder of the real traces: `python3 tools/setup/source.py libcachesim 0.3.5` prints the parent of its `src/libCacheSim/data`.

use std::path::{Path, PathBuf};

use hitratio::caches::{ALL, Cache, Make, OURS, Ours, PEERS};
use hitratio::plot::{Panel, draw};
use hitratio::ring::Ring;
use hitratio::workloads;
use quickcache::tier::memory::Policy;

/// In the plot: everyone, but ours once only.
const DRAWN: [usize; 6] = [0, 2, 3, 4, 5, 6];
const CAPACITIES: [usize; 4] = [1_000, 2_500, 5_000, 20_000];

fn ratio(cache: &mut dyn Cache, keys: &[u64]) -> f64 {
    let hits = keys.iter().filter(|&&key| cache.request(key)).count();
    100.0 * hits as f64 / keys.len() as f64
}

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let traces = std::env::var_os("TRACES").map_or_else(|| folder.join("traces"), PathBuf::from);
    let workloads = workloads::all(&traces);
    if std::env::args().nth(1).as_deref() == Some("sweep") {
        return sweep(&workloads);
    }
    if std::env::args().nth(1).as_deref() == Some("store") {
        return store(&workloads);
    }
    println!(
        "{:24}{:>7}  {}",
        "workload",
        "entries",
        ALL.map(|(name, _)| format!("{name:>21}")).concat()
    );
    let (mut gaps, mut sums) = (vec![], [(0.0, 0); ALL.len()]);
    let mut panels = vec![];
    for workload in &workloads {
        let mut rows = vec![];
        for capacity in CAPACITIES {
            let row = ALL.map(|(_, make)| ratio(&mut *make(capacity), &workload.keys));
            let cells = row.map(|ratio| format!("{ratio:21.2}")).concat();
            let best = PEERS.map(|peer| row[peer]).into_iter().fold(0.0, f64::max);
            let gap = OURS.map(|ours| row[ours] - best);
            println!(
                "{:24}{capacity:>7}  {cells}   {:+.2} {:+.2}",
                workload.name, gap[0], gap[1]
            );
            if !workload.exempt {
                gaps.push(gap);
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(sum, ratio)| *sum = (sum.0 + ratio, sum.1 + 1));
            }
            rows.push(DRAWN.map(|cache| row[cache]).to_vec());
        }
        panels.push(Panel {
            title: workload.name.to_string(),
            rows,
        });
    }
    let svg = draw(&DRAWN.map(|cache| ALL[cache].0), &CAPACITIES, &panels);
    std::fs::write(folder.join("../../docs/hit-ratio.svg"), svg).expect("docs/ can be written");
    let mean = sums.map(|(sum, n)| sum / n as f64);
    println!(
        "{:24}{:>7}  {}",
        "mean but the loop",
        "",
        mean.map(|m| format!("{m:21.2}")).concat()
    );
    for (ours, name) in OURS.map(|i| ALL[i].0).iter().enumerate() {
        let worst = gaps.iter().map(|gap| gap[ours]).fold(f64::MAX, f64::min);
        let average = gaps.iter().map(|gap| gap[ours]).sum::<f64>() / gaps.len() as f64;
        println!(
            "{name}: to the best peer of each row, worst {worst:+.2}, mean {average:+.2} points"
        );
    }
}

fn store(workloads: &[workloads::Workload]) {
    println!("| workload | entries | the ring | memory tier | LRU |\n|---|--:|--:|--:|--:|");
    let (_, memory) = ALL[0];
    let (_, lru) = ALL[ALL.len() - 1];
    let ring: Make = |capacity| Box::new(Ring::new(capacity));
    let makes = [ring, memory, lru];
    let mut sums = [0.0; 3];
    for workload in workloads {
        for capacity in CAPACITIES {
            let row = makes.map(|make| ratio(&mut *make(capacity), &workload.keys));
            if !workload.exempt {
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(sum, ratio)| *sum += ratio);
            }
            let cells = row.map(|ratio| format!(" {ratio:.1} |")).concat();
            println!("| {} | {capacity} |{cells}", workload.name);
        }
    }
    let rows = workloads.iter().filter(|w| !w.exempt).count() * CAPACITIES.len();
    let cells = sums
        .map(|sum| format!(" {:.2} |", sum / rows as f64))
        .concat();
    println!("| mean but the loop | |{cells}");
}

fn sweep(workloads: &[workloads::Workload]) {
    let base = Policy::DEFAULT;
    let mut policies = vec![base];
    policies.extend([0.02, 0.05, 0.15, 0.2, 0.3].map(|small_share| Policy {
        small_share,
        ..base
    }));
    policies.extend([0.5, 2.0, 4.0].map(|ghost_share| Policy {
        ghost_share,
        ..base
    }));
    policies.extend([2].map(|promote| Policy { promote, ..base }));
    policies.extend([8, 16, 1 << 30].map(|patience| Policy { patience, ..base }));
    for policy in policies {
        let mut rows = vec![];
        for workload in workloads {
            for capacity in CAPACITIES {
                rows.push(ratio(&mut Ours::new(capacity, 1, policy), &workload.keys));
            }
        }
        println!(
            "{policy:?}\n   {}",
            rows.iter().map(|r| format!("{r:6.2}")).collect::<String>()
        );
    }
}
