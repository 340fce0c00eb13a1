//! Async functions: on any runtime, cancelled or not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use quickcache::{Memory, QuickCache, quickcache};
use tokio::sync::Notify;

static LOADS: AtomicUsize = AtomicUsize::new(0);

#[quickcache(vary_on = [id], skip_arg = force)]
async fn load(id: u64, name: &str, force: bool) -> Result<String, String> {
    LOADS.fetch_add(1, Ordering::SeqCst);
    tokio::task::yield_now().await;
    if name.is_empty() {
        return Err("no name".to_owned());
    }
    Ok(format!("{name}{id}{force}"))
}

#[tokio::test]
async fn an_async_function_and_its_companions() {
    assert_eq!(load(1, "a", false).await, Ok("a1false".to_owned()));
    assert_eq!(load(1, "b", false).await, Ok("a1false".to_owned()));
    assert_eq!(LOADS.swap(0, Ordering::SeqCst), 1);
    assert_eq!(load::get_cached_value(1).await, Some("a1false".to_owned()));
    assert!(load::clear(1).await.is_applied());
    assert_eq!(load::get_cached_value(1).await, None);
    assert!(load(1, "", false).await.is_err());
    load::set_cached_value(1).to("set".to_owned()).await;
    assert_eq!(load(1, "c", false).await, Ok("set".to_owned()));
    assert_eq!(load(1, "d", true).await, Ok("d1true".to_owned()));
    assert_eq!(load::refresh(1, "e", false).await, Ok("e1false".to_owned()));
    assert_eq!(
        load::uncached(1, "f", false).await,
        Ok("f1false".to_owned())
    );
    assert_eq!(load(1, "g", false).await, Ok("e1false".to_owned()));
    assert_eq!(load::explain(1).await.tier.as_deref(), Some("memory"));
    assert!(load::stats().executions >= 3);
    assert!(load::clear_all().await.is_applied());
    assert_eq!(load::get_cached_value(1).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_future_is_send() {
    #[quickcache(vary_on = [id])]
    async fn load(id: u64, name: &str, force: bool) -> Result<String, String> {
        tokio::task::yield_now().await;
        Ok(format!("{name}{id}{force}"))
    }
    let task = tokio::spawn(async { load(77, "x", false).await });
    assert_eq!(task.await.unwrap(), Ok("x77false".to_owned()));
    tokio::spawn(async { load::clear(77).await.is_applied() })
        .await
        .unwrap();
    tokio::spawn(async { load::refresh(77, "y", false).await })
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn p7_many_tasks_on_a_cold_key_run_the_function_once() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    #[quickcache(vary_on = [n])]
    async fn cold(n: u64) -> u64 {
        RUNS.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        n
    }
    let tasks: Vec<_> = (0..50).map(|_| tokio::spawn(cold(3))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 3);
    }
    assert_eq!(RUNS.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn p11_a_cancelled_leader_leaves_the_flight_to_a_follower() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    #[quickcache(vary_on = [])]
    async fn guarded(started: Arc<Notify>, go_on: Arc<Notify>) -> usize {
        let run = RUNS.fetch_add(1, Ordering::SeqCst);
        started.notify_one();
        go_on.notified().await;
        run
    }
    let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let leader = tokio::spawn(guarded(started.clone(), go_on.clone()));
    started.notified().await;
    let follower = tokio::spawn(guarded(started.clone(), go_on.clone()));
    tokio::task::yield_now().await;
    leader.abort();
    started.notified().await;
    go_on.notify_one();
    assert_eq!(follower.await.unwrap(), 1);
    assert_eq!(RUNS.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn p11_followers_get_a_copy_of_an_error_that_can_be_copied() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    #[quickcache(vary_on = [])]
    async fn failing() -> Result<u64, String> {
        RUNS.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        Err("failed".to_owned())
    }
    let (one, two) = tokio::join!(failing(), failing());
    assert_eq!(
        (one, two),
        (Err("failed".to_owned()), Err("failed".to_owned()))
    );
    assert_eq!(RUNS.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_local_future_that_is_not_send_is_cached_too() {
    #[quickcache(vary_on = [*n])]
    async fn local(n: std::rc::Rc<u64>) -> u64 {
        tokio::task::yield_now().await;
        *n
    }
    assert_eq!(local(std::rc::Rc::new(3)).await, 3);
    assert_eq!(local::get_cached_value(std::rc::Rc::new(3)).await, Some(3));
}

#[test]
fn p11_a_follower_does_not_wait_for_ever_on_a_runtime_without_timers() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static CACHE: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::builder(Memory::new()).patience("50ms").build());
    #[quickcache(cache = CACHE, vary_on = [])]
    async fn stuck_at_first() -> usize {
        let run = RUNS.fetch_add(1, Ordering::SeqCst);
        if run == 0 {
            std::future::pending::<()>().await;
        }
        run
    }
    let (done, waited) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let leader = tokio::spawn(stuck_at_first());
            while RUNS.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            let followed = stuck_at_first().await;
            done.send((followed, stuck_at_first::get_cached_value().await))
                .unwrap();
            leader.abort();
        });
    });
    let outcome = waited.recv_timeout(Duration::from_secs(20));
    assert_eq!(
        outcome,
        Ok((1, None)),
        "it runs by itself, and stores nothing"
    );
}
