//! Methods: inherent, generic, of traits, async, without a receiver; and the entries that their siblings hand out.

use std::cell::Cell;
use std::fmt::Debug;

use quickcache::quickcache;

thread_local! {
    /// Of this thread, which is the test's own: two tests may call one method.
    static RUNS: Cell<[usize; 12]> = const { Cell::new([0; 12]) };
}

fn run(test: usize) {
    let mut runs = RUNS.get();
    runs[test] += 1;
    RUNS.set(runs);
}

fn ran(test: usize) -> usize {
    let mut runs = RUNS.get();
    let ran = std::mem::take(&mut runs[test]);
    RUNS.set(runs);
    ran
}

struct Repo {
    name: String,
}

fn repo(name: &str) -> Repo {
    Repo {
        name: name.to_owned(),
    }
}

#[quickcache]
impl Repo {
    /// A row.
    #[quickcache(vary_on = [self.name, key])]
    pub fn get(&self, key: &str) -> String {
        run(0);
        format!("{}/{key}", self.name)
    }

    #[quickcache(vary_on = [self.name, key], skip_arg = force)]
    fn find(
        &self,
        key: &str,
        force: bool,
        extra: &mut Vec<u64>,
    ) -> Result<String, std::num::ParseIntError> {
        run(1);
        extra.push(1);
        let number: u64 = key.parse()?;
        Ok(format!("{number}{force}"))
    }

    #[quickcache(vary_on = [n])]
    fn new_name(n: u64) -> String {
        run(2);
        n.to_string()
    }

    #[quickcache(vary_on = [self.name], entry = total)]
    fn count(&mut self, by: usize) -> usize {
        run(3);
        self.name.len() + by
    }

    fn plain(&self) -> &str {
        &self.name
    }
}

#[test]
fn a_method_is_cached_by_what_it_varies_on() {
    let (a, b) = (repo("a"), repo("b"));
    assert_eq!(
        (a.get("x"), a.get("x"), b.get("x")),
        ("a/x".into(), "a/x".into(), "b/x".into())
    );
    assert_eq!(ran(0), 2);
    assert_eq!(repo("a").get("x"), "a/x");
    assert_eq!(ran(0), 0);
    assert_eq!(a.plain(), "a");
}

#[test]
fn an_entry_clears_reads_sets_and_explains() {
    let repo = repo("entry");
    assert_eq!(repo.get_entry("x").get_cached_value(), None);
    repo.get("x");
    assert_eq!(
        repo.get_entry("x").get_cached_value(),
        Some("entry/x".to_owned())
    );
    assert!(repo.get_entry("x").clear().is_applied());
    assert_eq!(repo.get_entry("x").get_cached_value(), None);
    repo.get_entry("x").set_cached_value().to("mine".to_owned());
    assert_eq!(repo.get("x"), "mine");
    assert_eq!(repo.get_entry("x").uncached(), "entry/x");
    assert_eq!(repo.get("x"), "mine");
    assert_eq!(repo.get_entry("x").refresh(), "entry/x");
    assert_eq!(repo.get("x"), "entry/x");
    let explained = repo.get_entry("x").explain();
    assert_eq!(
        explained.parts[0],
        ("self.name".to_owned(), "\"entry\"".to_owned())
    );
    assert!(
        explained.function.ends_with("Repo::get"),
        "{}",
        explained.function
    );
    assert_eq!(explained.key, repo.get_entry("x").key());
    assert!(repo.get_entry("x").stats().executions >= 2);
}

#[test]
fn an_entry_takes_the_arguments_that_the_key_mentions_and_refresh_the_others() {
    let repo = repo("find");
    let mut extra = Vec::new();
    assert_eq!(repo.find("5", false, &mut extra), Ok("5false".to_owned()));
    assert_eq!(repo.find("5", false, &mut extra), Ok("5false".to_owned()));
    assert_eq!(ran(1), 1);
    assert_eq!(
        repo.find_entry("5").get_cached_value(),
        Some("5false".to_owned())
    );
    assert_eq!(
        repo.find_entry("5").refresh(true, &mut extra),
        Ok("5true".to_owned())
    );
    assert_eq!(repo.find("5", false, &mut extra), Ok("5true".to_owned()));
    assert!(repo.find_entry("x").refresh(true, &mut extra).is_err());
    assert_eq!(extra.len(), 3);
}

#[test]
fn a_function_without_a_receiver_has_a_sibling_too() {
    assert_eq!(
        (Repo::new_name(1), Repo::new_name(1)),
        ("1".to_owned(), "1".to_owned())
    );
    assert_eq!(ran(2), 1);
    Repo::new_name_entry(1).clear();
    Repo::new_name(1);
    assert_eq!(ran(2), 1);
}

#[test]
fn the_sibling_goes_by_the_name_it_was_given() {
    let mut repo = repo("count");
    assert_eq!((repo.count(1), repo.count(2)), (6, 6));
    assert_eq!(repo.total().refresh(3), 8);
    assert_eq!(ran(3), 2);
}

trait Source<T> {
    type Item: Debug;
    const SIZE: usize;
    fn fetch(&self, of: T) -> Self::Item;
}

struct Shelf<'a, P: Clone> {
    label: &'a str,
    _kind: P,
}

#[quickcache]
impl<'a, P, T> Source<T> for Shelf<'a, P>
where
    P: Clone,
    T: Into<u64> + Copy,
{
    type Item = (u64, usize);
    const SIZE: usize = 7;

    #[quickcache(vary_on = [self.label, of.into()])]
    fn fetch(&self, of: T) -> Self::Item {
        run(4);
        let item: Self::Item = (of.into(), <Self as Source<T>>::SIZE);
        (item.0, Self::SIZE)
    }
}

#[test]
fn a_generic_trait_impl_is_cached_per_type() {
    let label = String::from("label");
    let shelf = Shelf {
        label: &label,
        _kind: 'x',
    };
    assert_eq!((shelf.fetch(1_u8), shelf.fetch(1_u8)), ((1, 7), (1, 7)));
    assert_eq!(ran(4), 1);
    let other = Shelf {
        label: &label,
        _kind: 1_u8,
    };
    assert_eq!(other.fetch(1_u8), (1, 7));
    assert_eq!(shelf.fetch(1_u32), (1, 7));
    assert_eq!(
        ran(4),
        2,
        "another type of self, and another parameter of the trait"
    );
    shelf.fetch_entry(1_u8).clear();
    other.fetch(1_u8);
    assert_eq!(ran(4), 0, "the entry of another type stays");
    shelf.fetch(1_u8);
    assert_eq!(ran(4), 1);
}

struct Client;

#[quickcache]
impl Client {
    #[quickcache(vary_on = [path])]
    async fn load(&self, path: &str, times: u64) -> Result<String, std::num::ParseIntError> {
        run(5);
        tokio::task::yield_now().await;
        let _: u64 = "1".parse()?;
        Ok(format!("{path}{times}"))
    }
}

#[tokio::test]
async fn an_async_method_has_an_async_entry() {
    let client = Client;
    assert_eq!(client.load("p", 1).await, Ok("p1".to_owned()));
    assert_eq!(client.load("p", 2).await, Ok("p1".to_owned()));
    assert_eq!(ran(5), 1);
    assert_eq!(
        client.load_entry("p").get_cached_value().await,
        Some("p1".to_owned())
    );
    assert_eq!(client.load_entry("p").refresh(3).await, Ok("p3".to_owned()));
    assert!(client.load_entry("p").clear().await.is_applied());
    assert_eq!(client.load_entry("p").get_cached_value().await, None);
    client
        .load_entry("p")
        .set_cached_value()
        .to("set".to_owned())
        .await;
    assert_eq!(client.load("p", 1).await, Ok("set".to_owned()));
    tokio::spawn(async { Client.load_entry("p").clear().await.is_applied() })
        .await
        .unwrap();
    let refresh = tokio::spawn(async { Client.load_entry("p").refresh(7).await });
    assert_eq!(refresh.await.unwrap(), Ok("p7".to_owned()));
    let uncached = tokio::spawn(Client.load_entry("p").uncached(8));
    assert_eq!(uncached.await.unwrap(), Ok("p8".to_owned()));
}

#[tokio::test]
async fn an_async_method_whose_future_stays_on_its_thread_has_an_entry_too() {
    use std::rc::Rc;
    struct Local;
    #[quickcache]
    impl Local {
        #[quickcache(vary_on = [*n])]
        async fn sum(&self, n: Rc<u64>, by: Rc<u64>) -> u64 {
            tokio::task::yield_now().await;
            *n + *by
        }
    }
    assert_eq!(Local.sum(Rc::new(1), Rc::new(1)).await, 2);
    let entry = Local.sum_entry(Rc::new(1));
    assert_eq!(entry.refresh(Rc::new(5)).await, 6);
    assert_eq!(Local.sum(Rc::new(1), Rc::new(1)).await, 6);
}
