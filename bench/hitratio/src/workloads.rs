//! Requests to replay: made from fixed seeds, or read from the traces that the PyPI package `libcachesim` 0.3.5 ships.

use std::path::Path;

use quickcache::tier::memory::mix;

pub struct Workload {
    pub name: &'static str,
    pub what: &'static str,
    /// The bound of two points does not apply: nobody keeps a loop that is larger than the cache by recency.
    pub exempt: bool,
    pub keys: Vec<u64>,
}

pub const REQUESTS: usize = 1_000_000;

/// splitmix64, by Sebastiano Vigna.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks with probability falling as `rank^-skew`.
pub struct Zipf {
    up_to: Vec<f64>,
}

impl Zipf {
    pub fn new(keys: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=keys)
            .map(|rank| {
                sum += (rank as f64).powf(-skew);
                sum
            })
            .collect();
        up_to.iter_mut().for_each(|p| *p /= sum);
        Self { up_to }
    }

    pub fn draw(&self, random: &mut Random) -> u64 {
        let x = random.unit();
        self.up_to.partition_point(|&p| p < x) as u64
    }
}

/// All workloads; the traces only if they are in `traces` (see `docs/memory-tier.md`).
pub fn all(traces: &Path) -> Vec<Workload> {
    let zipf = Zipf::new(100_000, 0.9);
    let mut random = Random(1);
    let plain = (0..REQUESTS).map(|_| zipf.draw(&mut random)).collect();

    let mut fresh = 1 << 32;
    let mut scans = Vec::with_capacity(REQUESTS);
    while scans.len() < REQUESTS {
        scans.extend((0..20_000).map(|_| zipf.draw(&mut random)));
        scans.extend(fresh..fresh + 10_000);
        fresh += 10_000;
    }
    scans.truncate(REQUESTS);

    let inner = Zipf::new(5_000, 0.6);
    let moving = (0..REQUESTS as u64).map(|i| {
        // The hot 5,000 of 100,000 keys move on by one every ten requests.
        if random.below(10) == 0 {
            random.below(100_000)
        } else {
            (i / 10 + inner.draw(&mut random)) % 100_000
        }
    });
    let moving = moving.collect();

    let mut all = vec![
        Workload {
            name: "Zipf 0.9",
            what: "100,000 keys",
            exempt: false,
            keys: plain,
        },
        Workload {
            name: "Zipf with scans",
            what: "a third of the requests are for keys seen once",
            exempt: false,
            keys: scans,
        },
        Workload {
            name: "moving hot set",
            what: "9 of 10 requests to 5,000 keys, which move",
            exempt: false,
            keys: moving,
        },
        Workload {
            name: "loop",
            what: "8,000 keys round and round",
            exempt: true,
            keys: (0..REQUESTS as u64).map(|i| i % 8_000).collect(),
        },
    ];
    let twitter = traces.join("twitter_cluster52.csv");
    if let Ok(text) = std::fs::read_to_string(twitter) {
        let keys = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split(',').nth(1)?.trim().parse().ok())
            .collect();
        all.push(Workload {
            name: "Twitter cluster 52",
            what: "1,000,000 requests, 143,542 keys",
            exempt: false,
            keys,
        });
    }
    if let Ok(text) = std::fs::read_to_string(traces.join("cloudPhysicsIO.txt")) {
        let keys = text
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect();
        all.push(Workload {
            name: "CloudPhysics block I/O",
            what: "113,871 requests, 48,974 keys",
            exempt: false,
            keys,
        });
    }
    for workload in &mut all {
        // No cache shall profit from keys that count upwards.
        workload
            .keys
            .iter_mut()
            .for_each(|key| *key = mix(*key, 0x5EED));
    }
    all
}
