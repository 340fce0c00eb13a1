//! What a user of the crate's types relies on beside their methods: they can be printed, moved to threads, and tell no secret.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use quickcache::key::Value;
use quickcache::{
    AsyncCache, Builder, Cache, Cleared, Error, Explanation, FakeClock, Memory, MessagePack, Miss,
    QuickCache, Setting, SettingAsync, Stats, Tier, TieredCache, Timeout, quickcache,
};

#[derive(Default)]
struct Dict(Mutex<HashMap<String, Vec<u8>>>);

impl Cache for Dict {
    type Error = Infallible;
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
    fn set(&self, key: &str, value: &[u8], _: Duration) -> Result<(), Infallible> {
        self.0
            .lock()
            .unwrap()
            .insert(key.to_owned(), value.to_owned());
        Ok(())
    }
    fn delete(&self, key: &str) -> Result<(), Infallible> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

impl AsyncCache for Dict {
    type Error = Infallible;
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Cache::get(self, key)
    }
    async fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Infallible> {
        Cache::set(self, key, value, timeout)
    }
    async fn delete(&self, key: &str) -> Result<(), Infallible> {
        Cache::delete(self, key)
    }
}

#[test]
fn public_types_are_printed_cloned_and_sent() {
    fn whole<T: Debug + Clone + Send + Sync + 'static>() {}
    fn sent<T: Debug + Send>() {}
    whole::<(QuickCache, Builder, Memory, TieredCache, Tier, Timeout)>();
    whole::<(Cleared, Error, Stats, Explanation, Miss, FakeClock)>();
    whole::<(MessagePack, Value<'static>)>();
    sent::<(Setting<u64>, SettingAsync<u64>)>();
}

#[test]
fn a_secret_is_not_printed() {
    let cache = QuickCache::builder(Memory::new()).secret(b"open sesame");
    let bytes = format!("{:?}", b"open sesame".as_slice());
    for printed in [
        format!("{cache:?}"),
        format!("{:?}", cache.clone().build()),
        format!("{:#?}", cache.build()),
    ] {
        let flat: String = printed.split_whitespace().collect();
        let bytes: String = bytes.split_whitespace().collect();
        assert!(
            !printed.contains("sesame") && !flat.contains(&bytes),
            "{printed}"
        );
        assert!(printed.contains("[secret]"), "{printed}");
    }
}

#[tokio::test]
async fn a_cache_of_ones_own_may_be_shared_with_who_made_it() {
    static DICT: LazyLock<Arc<Dict>> = LazyLock::new(Arc::default);
    static BLOCKING: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::new(Tier::cache(DICT.clone())));
    static ASYNC: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::new(Tier::async_cache(DICT.clone())));
    #[quickcache(cache = BLOCKING, vary_on = [n])]
    fn blocking(n: u64) -> u64 {
        n
    }
    #[quickcache(cache = ASYNC, vary_on = [n])]
    async fn asynchronous(n: u64) -> u64 {
        n
    }
    assert_eq!((blocking(1), asynchronous(1).await), (1, 1));
    assert_eq!(DICT.0.lock().unwrap().len(), 2);
    for explained in [blocking::explain(1), asynchronous::explain(1).await] {
        assert_eq!(
            explained.tier.as_deref(),
            Some("Dict"),
            "called by its type"
        );
    }
    assert!(blocking::clear(1).is_applied() && asynchronous::clear(1).await.is_applied());
    assert!(DICT.0.lock().unwrap().is_empty());
}

#[test]
fn an_entry_shows_its_key() {
    struct Repo;
    #[quickcache]
    impl Repo {
        #[quickcache(vary_on = [id])]
        fn row(&self, id: u64) -> u64 {
            id
        }
        #[quickcache(vary_on = [id])]
        async fn later(&self, id: u64) -> u64 {
            id
        }
    }
    let (row, later) = (Repo.row_entry(1), Repo.later_entry(1));
    assert!(format!("{row:?}").contains(&row.key()));
    assert!(format!("{later:?}").contains(&later.key()));
    assert_eq!(Repo.row(2), 2);
    drop(Repo.later(2));
}
