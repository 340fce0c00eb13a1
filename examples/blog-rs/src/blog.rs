//! The blog: people and their posts in the SQLite database that the Django site made, and the one cached function.
//!
//! Each thread has its own connection. Every query is counted, so that the demo can say what the cache saved.

use std::cell::OnceCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use quickcache::{Memory, QuickCache, Store, TieredCache, quickcache};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

pub static QUERIES: AtomicU64 = AtomicU64::new(0);
pub static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

static DATABASE: OnceLock<PathBuf> = OnceLock::new();
static STORE: OnceLock<PathBuf> = OnceLock::new();

thread_local! {
    static CONNECTION: OnceCell<Connection> = const { OnceCell::new() };
}

#[derive(Clone, Debug)]
pub struct Person {
    pub id: i64,
    pub name: String,
}

/// Some of a post's columns, as a page would show them. Serde takes them to the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(
    dead_code,
    reason = "a page would print them; the load only looks at the id"
)]
pub struct Post {
    pub id: i64,
    pub title: String,
    pub released: Option<String>,
    pub us_gross: Option<i64>,
    pub imdb_rating: Option<f64>,
}

/// What SQLite said, in a form that every waiter of a flight can be given.
#[derive(Clone, Debug)]
pub struct DatabaseError(Arc<str>);

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database: {}", self.0)
    }
}

impl std::error::Error for DatabaseError {}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string().into())
    }
}

static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
    let memory = Memory::new().timeout("10s");
    QuickCache::new(match STORE.get() {
        None => memory.into(),
        Some(folder) => TieredCache::new([memory.into(), Store::at(folder).timeout("5m").into()]),
    })
});

/// All posts of a person, oldest first.
#[quickcache(cache = CACHE, vary_on = [person.id], skip_arg = force)] // <- the cache is this line
#[allow(unused_variables, reason = "only skip_arg reads `force`")]
pub fn get_all_posts(person: &Person, force: bool) -> Result<Arc<[Post]>, DatabaseError> {
    EXECUTIONS.fetch_add(1, Ordering::Relaxed);
    with_connection(|connection| {
        let mut statement = connection.prepare_cached(
            "SELECT id, title, released, us_gross, imdb_rating FROM posts_post WHERE person_id = ? ORDER BY id",
        )?;
        let rows = statement.query_map([person.id], |row| {
            Ok(Post {
                id: row.get(0)?,
                title: row.get(1)?,
                released: row.get(2)?,
                us_gross: row.get(3)?,
                imdb_rating: row.get(4)?,
            })
        })?;
        rows.collect()
    })
}

/// A person writes a new post; gives its id. The caller clears.
pub fn write_post(person: &Person, title: &str) -> Result<i64, DatabaseError> {
    with_connection(|connection| {
        connection
            .prepare_cached("INSERT INTO posts_post (person_id, title) VALUES (?, ?)")?
            .insert(rusqlite::params![person.id, title])
    })
}

/// Everyone who wrote something, those with the most posts first.
pub fn people() -> Result<Vec<Person>, DatabaseError> {
    with_connection(|connection| {
        let mut statement = connection.prepare(
            "SELECT person.id, person.name FROM posts_person AS person JOIN posts_post AS post ON post.person_id = person.id
             GROUP BY person.id ORDER BY count(*) DESC, person.id",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Person {
                id: row.get(0)?,
                name: row.get(1)?,
            })
        })?;
        rows.collect()
    })
}

/// Names the database for every thread; to be called once, first.
pub fn use_database(path: PathBuf) {
    DATABASE.get_or_init(|| path);
}

/// Names the folder of the store that this process shares with others; to be called before the first read, if at all.
pub fn use_store(folder: PathBuf) {
    STORE.get_or_init(|| folder);
}

fn with_connection<T>(
    query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, DatabaseError> {
    QUERIES.fetch_add(1, Ordering::Relaxed);
    CONNECTION.with(|cell| {
        if cell.get().is_none() {
            cell.set(open()?)
                .expect("this thread's connection was opened while it was being opened");
        }
        Ok(query(cell.get().expect("just opened"))?)
    })
}

fn open() -> Result<Connection, DatabaseError> {
    let path = DATABASE
        .get()
        .ok_or_else(|| DatabaseError("no database was named".into()))?;
    let connection =
        Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(Duration::from_secs(20))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}
