//! The URL of a server. What is wrong with one is said without repeating it: it may hold a password.

use redis::{ConnectionAddr, IntoConnectionInfo};

use super::options::Address;

#[derive(Clone)]
pub(super) struct Url {
    pub(super) address: Address,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
}

const EXAMPLE: &str = "for example redis://user:password@localhost:6379/0, rediss://.. for TLS, redis+unix:///path?db=0 for a socket";

impl Url {
    /// What is wrong with it, if it is none.
    pub(super) fn read(url: &str) -> Result<Url, String> {
        Url::parse(url).map_err(|why| format!("not the URL of a server: {why}; {EXAMPLE}"))
    }

    fn parse(url: &str) -> Result<Url, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        // The `redis` crate is built without its own TLS, and knows no URL of that.
        let (plain, tls) = match scheme {
            "redis" | "valkey" => ("redis", false),
            "rediss" | "valkeys" => ("redis", true),
            "redis+unix" | "valkey+unix" | "unix" => ("unix", false),
            _ => return Err("it begins with no scheme of a Redis".to_owned()),
        };
        if rest.contains('#') {
            return Err("nothing may follow a `#`; in a password it is written `%23`".to_owned());
        }
        if plain == "redis" && !has_sound_port(rest) {
            return Err(
                "its port is no number up to 65535 (in a password `/`, `?`, `@` and `:` are written `%2F`, `%3F`, `%40` and `%3A`)"
                    .to_owned(),
            );
        }
        has_sound_query(plain, rest)?;
        let info = format!("{plain}://{rest}").into_connection_info();
        // Its name for any such error says nothing to a user.
        let info = info.map_err(|error| error.to_string().replace(" - InvalidClientConfig", ""))?;
        let redis = info.redis_settings();
        if redis.db() < 0 {
            return Err("the number of its database is below 0".to_owned());
        }
        Ok(Url {
            address: match info.addr() {
                ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
                ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
                _ => return Err("a kind of address that is not known here".to_owned()),
            },
            tls,
            user: redis.username().map(str::to_owned),
            password: redis.password().map(str::to_owned),
            database: redis.db(),
        })
    }
}

/// Whether what follows a `?` is known: the `redis` crate passes over all else, and the database of a URL as other libraries have it
/// (`redis://host?db=1`) would be 0.
fn has_sound_query(plain: &str, rest: &str) -> Result<(), String> {
    let Some((_, query)) = rest.split_once('?') else {
        return Ok(());
    };
    if plain == "redis" {
        return Err(
            "nothing may follow a `?`: the database is written `/1`, user and password before the host (there `?` is `%3F`), all else \
             is an option"
                .to_owned(),
        );
    }
    let is_known = |pair: &str| matches!(pair.split_once('='), Some(("db" | "user" | "pass", _)));
    match query.split('&').all(is_known) {
        true => Ok(()),
        false => {
            Err("what may follow the `?` of a socket is `db=`, `user=` and `pass=`".to_owned())
        }
    }
}

/// Whether what follows the host is a port, or nothing.
fn has_sound_port(rest: &str) -> bool {
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let after = host.rsplit(']').next().unwrap_or_default();
    match after.split_once(':') {
        Some((_, port)) => port.is_empty() || port.parse::<u16>().is_ok(),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_with_all_its_parts() {
        let url = Url::read("rediss://me:a%40b@[::1]:7000/3").unwrap();
        assert_eq!(url.address, Address::Tcp("::1".to_owned(), 7000));
        assert_eq!((url.tls, url.database), (true, 3));
        assert_eq!(
            (url.user.as_deref(), url.password.as_deref()),
            (Some("me"), Some("a@b"))
        );
        let url = Url::read("valkey+unix:///tmp/it?db=2&user=me&pass=word").unwrap();
        assert_eq!(url.address, Address::Unix("/tmp/it".into()));
        assert_eq!((url.tls, url.database), (false, 2));
        assert_eq!(
            (url.user.as_deref(), url.password.as_deref()),
            (Some("me"), Some("word"))
        );
        for plain in [
            "redis://localhost",
            "valkey://localhost:6379/",
            "valkeys://localhost:/0",
        ] {
            let url = Url::read(plain).unwrap();
            assert_eq!(url.address, Address::Tcp("localhost".to_owned(), 6379));
            assert_eq!((url.user, url.password, url.database), (None, None, 0));
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        for (url, says) in [
            ("http://me:sesame@host:1/0", "no scheme"),
            ("me:sesame@host:6379", "no scheme"),
            ("", "no scheme"),
            ("redis://me:sesame@host:65536/0", "port"),
            ("redis://me:sesame@host:x/0", "port"),
            ("redis://me:12/sesame@host:6379/0", "atabase"),
            ("redis://:sesame/4@host:6379/0", "port"),
            ("redis://me:sesame#4@host:6379/0", "%23"),
            ("redis://me:sesame@host/sesame", "atabase"),
            ("redis://me:sesame@host/-1", "database"),
            ("redis://me:sesame@/0", ""),
            ("rediss://me:sesame@host#insecure", "#"),
            ("redis+unix://sesame", ""),
            ("redis://localhost:6379?db=1", "`/1`"),
            (
                "redis://localhost:6379/0?password=sesame",
                "before the host",
            ),
            ("rediss://localhost:6379/0?ssl_cert_reqs=none", "option"),
            ("redis+unix:///tmp/it?db=1&password=sesame", "`pass=`"),
            ("redis+unix:///tmp/it?sesame", "`pass=`"),
        ] {
            let Err(why) = Url::read(url) else {
                panic!("{url} is one");
            };
            assert!(
                why.contains(says) && !why.contains("sesame"),
                "{url}: {why}"
            );
        }
    }
}
