//! In a crate with strict lints the attribute adds no warning and hides none: it compiles, that is the test.

#![deny(
    warnings,
    unused,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_lifetimes,
    single_use_lifetimes,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::pedantic,
    clippy::nursery
)]
#![forbid(unsafe_code)]

use quickcache::quickcache;

/// Of the cache's arguments the code uses neither.
#[quickcache(vary_on = [id], skip_arg = force)]
#[must_use]
pub fn answer(id: u64, force: bool) -> u64 {
    #[expect(unused_variables)]
    let seen_by_the_compiler = 1;
    #[expect(clippy::redundant_clone)]
    let seen_by_clippy = id.to_string().clone();
    drop(seen_by_clippy);
    42
}

/// Asynchronous, and fallible.
///
/// # Errors
/// Never.
#[quickcache(vary_on = [name])]
pub async fn load(name: &str, mut tries: u64) -> Result<String, std::fmt::Error> {
    #![expect(unused_variables)]
    let seen_in_a_future = 1;
    tries += 1;
    Box::pin(std::future::ready(tries)).await;
    Ok(name.to_owned())
}

/// Of many arguments: a lint of the signature, which is written twice.
#[quickcache(vary_on = [a])]
#[expect(clippy::too_many_arguments)]
#[must_use]
pub fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u8 {
    drop(a.to_string());
    a | b | c | d | e | f | g | h
}

/// A repository.
#[derive(Debug)]
pub struct Repo<T> {
    /// Its name.
    pub name: T,
}

#[quickcache]
impl<T: AsRef<str>> Repo<T> {
    /// A row.
    #[quickcache(vary_on = [self.name.as_ref(), id])]
    #[must_use]
    pub fn row(&self, id: u64, r#type: &str) -> usize {
        #[expect(unused_variables)]
        let seen_in_a_method = 1;
        r#type.len()
    }
}

#[test]
fn a_strict_crate_compiles() {
    assert_eq!(answer(1, false), 42);
    let repo = Repo { name: "a" };
    assert_eq!((repo.row(1, "bc"), repo.row(1, "b")), (2, 2));
    assert!(repo.row_entry(1).clear().is_applied());
    assert_eq!(many(1, 2, 4, 0, 0, 0, 0, 0), 7);
    drop(load("x", 1));
}
