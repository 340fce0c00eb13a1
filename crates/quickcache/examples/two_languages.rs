//! Functions that share their values with Python: `cargo run --example two_languages -- FOLDER`, then words on the standard input, such
//! as `call int 1` or `clear int 1`; `python/tests/claims/test_store_rust.py` has the same functions. With the feature `redis`, and the URL
//! of a server and a namespace behind the folder, they share it by that server, sealed with the secrets that follow; then the folder is that of
//! a machine.
//! Each answer is a line: the value, and how often this process ran a function so far.
//!
//! Both sides give a function one `name` and `version`, values of the types that both know (docs/entry.md), and the same folder.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, BufRead};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use quickcache::{Memory, QuickCache, Store, TieredCache, quickcache};
use serde::{Deserialize, Serialize};

static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder");
    let memory = Memory::new().timeout("1m").into();
    #[cfg(feature = "redis")]
    if let (Some(url), Some(namespace)) = (arguments.next(), arguments.next()) {
        let redis = quickcache::Redis::new(&url)
            .namespace(&namespace)
            .budget("5s")
            .folder(folder)
            .timeout("5m");
        let secrets: Vec<String> = arguments.collect();
        let secrets: Vec<&[u8]> = secrets.iter().map(String::as_bytes).collect();
        let redis = match secrets.as_slice() {
            [] => redis,
            secrets => redis.secrets(secrets),
        };
        return QuickCache::new(TieredCache::new([memory, redis.into()]));
    }
    let store = Store::at(folder).max_bytes(8 << 20).timeout("5m");
    QuickCache::new(TieredCache::new([memory, store.into()]))
});

static RAN: AtomicU32 = AtomicU32::new(0);

/// As the crate `serde_bytes` has it.
#[derive(Clone, Debug)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Post {
    title: String,
    tags: Vec<String>,
    votes: Option<i64>,
}

/// A function of one type of value, and what the program does with it.
macro_rules! shared {
    ($($word:ident: $name:literal -> $type:ty = $value:expr;)*) => {
        $(
            #[quickcache(cache = CACHE, name = $name, version = 1, vary_on = [key])]
            fn $word(key: i64) -> $type {
                RAN.fetch_add(1, Ordering::Relaxed);
                let _ = key;
                $value
            }
        )*

        fn call(word: &str, key: i64) -> Box<dyn Debug> {
            match word {
                $(stringify!($word) => Box::new($word(key)),)*
                _ => panic!("there is no function {word}"),
            }
        }

        fn clear(word: &str, key: i64) -> Box<dyn Debug> {
            match word {
                $(stringify!($word) => Box::new($word::clear(key)),)*
                _ => panic!("there is no function {word}"),
            }
        }
    };
}

shared! {
    none: "shared-none" -> () = ();
    boolean: "shared-bool" -> bool = true;
    int: "shared-int" -> i64 = -5;
    float: "shared-float" -> f64 = 1.5;
    text: "shared-str" -> String = "é☃".into();
    bytes: "shared-bytes" -> Bytes = Bytes(vec![0, 255]);
    list: "shared-list" -> Vec<i64> = vec![1, 2, 3];
    dict: "shared-dict" -> BTreeMap<String, i64> = [("a".into(), 1), ("b".into(), 2)].into();
    nested: "shared-nested" -> Vec<BTreeMap<String, Vec<f64>>> = vec![[("x".into(), vec![0.5, 2.0])].into()];
    present: "shared-present" -> Option<i64> = Some(7);
    absent: "shared-absent" -> Option<i64> = None;
    post: "shared-post" -> Post = Post { title: "One".into(), tags: vec!["a".into()], votes: None };
}

fn main() {
    for line in io::stdin().lock().lines() {
        let line = line.expect("text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [what, word, key] = words[..] else {
            panic!("call or clear, a function and a number, not {line}");
        };
        let key = key.parse().expect("a number");
        let answer = match what {
            "call" => call(word, key),
            "clear" => clear(word, key),
            _ => panic!("call or clear, not {what}"),
        };
        println!("{answer:?} ran {}", RAN.load(Ordering::Relaxed));
    }
}
