//! What `Redis` is made with, read from Python, with the errors that say what is wrong.

use crate::memory::options::{path, seconds, shown};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyString, PyTuple};
use quickcache::entry::Seal;
use quickcache::tier::redis::Way;
use std::path::PathBuf;
use std::time::Duration;

/// What was given, checked.
#[derive(Clone)]
pub struct Given {
    pub redis: quickcache::Redis,
    pub urls: Vec<String>,
    pub primary: Option<String>,
    pub secrets: Vec<Vec<u8>>,
    /// The other options, as they were given: for a copy.
    others: Vec<(&'static str, Kept)>,
}

#[derive(Clone, IntoPyObject)]
enum Kept {
    Text(String),
    Seconds(f64),
    Number(u64),
    Path(PathBuf),
    Paths(PathBuf, PathBuf),
    Flag(bool),
}

/// What `Redis` is called with.
pub type NewArgs<'py> = (Bound<'py, PyTuple>, Bound<'py, PyDict>);

const OPTIONS: &str = "url, timeout, namespace, budget, staleness, connections, folder, ca_file, client_cert, primary, sentinel_password, cluster, secret and serve_while_unreachable";

impl Given {
    pub fn of(url: Option<Bound<PyAny>>, options: Option<Bound<PyDict>>) -> PyResult<Given> {
        let urls = url.map_or_else(|| Ok(vec!["redis://localhost:6379/0".to_owned()]), urls)?;
        let (mut primary, mut secrets, mut others) = (None, Vec::new(), Vec::new());
        for (name, value) in options.iter().flat_map(|options| options.iter()) {
            let name = name.cast::<PyString>()?.to_str()?;
            match name {
                "primary" if value.is_none() => {}
                "primary" => primary = Some(text(name, &value)?),
                "cluster" => others.push(("cluster", Kept::Flag(flag(name, &value)?))),
                "secret" => secrets = secrets_of(&value)?,
                "folder" | "ca_file" | "client_cert" | "sentinel_password" if value.is_none() => {}
                "namespace" => others.push(("namespace", Kept::Text(namespace(&value)?))),
                "budget" => others.push(("budget", Kept::Seconds(span(name, &value, 0.001)?))),
                "serve_while_unreachable" => {
                    others.push(("serve_while_unreachable", Kept::Flag(flag(name, &value)?)))
                }
                "staleness" => {
                    others.push(("staleness", Kept::Seconds(span(name, &value, 0.02)?)));
                }
                "connections" => others.push(("connections", Kept::Number(connections(&value)?))),
                "folder" => others.push(("folder", Kept::Path(path(&value, "Redis: folder")?))),
                "ca_file" => others.push(("ca_file", Kept::Path(path(&value, "Redis: ca_file")?))),
                "client_cert" => others.push(("client_cert", certificate(&value)?)),
                "sentinel_password" => {
                    others.push(("sentinel_password", Kept::Text(text(name, &value)?)));
                }
                _ => {
                    return Err(PyTypeError::new_err(format!(
                        "Redis() got an unexpected keyword argument '{name}': its options are {OPTIONS}"
                    )));
                }
            }
        }
        let is_cluster = |option: &(&str, Kept)| matches!(option, ("cluster", Kept::Flag(true)));
        let way = match (&primary, others.iter().any(is_cluster)) {
            (Some(_), true) => {
                return Err(PyValueError::new_err(
                    "Redis: a cluster has no sentinels; leave out primary, or cluster",
                ));
            }
            (Some(primary), false) => Way::Sentinels(primary),
            (None, true) => Way::Cluster,
            (None, false) => Way::Server,
        };
        if matches!(way, Way::Server) && urls.len() > 1 {
            return Err(PyValueError::new_err(
                "Redis: several URLs are those of sentinels, or of nodes of a cluster; say which primary they know, as in primary='mymaster', or cluster=True",
            ));
        }
        let refs: Vec<&str> = urls.iter().map(String::as_str).collect();
        let mut redis = quickcache::Redis::try_of_urls(&refs, way)
            .map_err(|why| PyValueError::new_err(format!("Redis: url is {why}")))?;
        let of_tls = |(name, _): &&(&str, Kept)| matches!(*name, "ca_file" | "client_cert");
        if let (false, Some((name, _))) = (redis.has_tls(), others.iter().find(of_tls)) {
            return Err(PyValueError::new_err(format!(
                "Redis: {name} without TLS; a url of a server with TLS begins with rediss://"
            )));
        }
        let of_sentinels = |(name, _): &(&str, Kept)| *name == "sentinel_password";
        if primary.is_none() && others.iter().any(of_sentinels) {
            return Err(PyValueError::new_err(
                "Redis: sentinel_password without sentinels; say which primary they know, as in primary='mymaster'",
            ));
        }
        for (name, value) in &others {
            redis = match (*name, value.clone()) {
                ("namespace", Kept::Text(namespace)) => redis.namespace(&namespace),
                ("budget", Kept::Seconds(span)) => redis.budget(Duration::from_secs_f64(span)),
                ("staleness", Kept::Seconds(span)) => {
                    redis.staleness(Duration::from_secs_f64(span))
                }
                ("connections", Kept::Number(most)) => redis.connections(most as usize),
                ("folder", Kept::Path(folder)) => redis.folder(folder),
                ("ca_file", Kept::Path(file)) => redis.ca_file(file),
                ("client_cert", Kept::Paths(certificate, key)) => {
                    redis.client_cert(certificate, key)
                }
                ("sentinel_password", Kept::Text(password)) => redis.sentinel_password(&password),
                ("serve_while_unreachable", Kept::Flag(serve)) => {
                    redis.serve_while_unreachable(serve)
                }
                _ => redis,
            };
        }
        Ok(Given {
            redis,
            urls,
            primary,
            secrets,
            others,
        })
    }

    pub fn seal(&self) -> Seal {
        match self.secrets.is_empty() {
            true => Seal::keyed(b""),
            false => Seal::rotated(self.secrets.iter().map(Vec::as_slice)),
        }
    }

    pub fn new_args<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<NewArgs<'py>> {
        let options = PyDict::new(py);
        for (name, value) in &self.others {
            options.set_item(name, value.clone())?;
        }
        options.set_item("primary", self.primary.as_deref())?;
        if !self.secrets.is_empty() {
            let secrets = self.secrets.iter().map(|secret| PyBytes::new(py, secret));
            options.set_item("secret", PyTuple::new(py, secrets.collect::<Vec<_>>())?)?;
        }
        let urls = PyTuple::new(py, &self.urls)?;
        let timeout = timeout.into_pyobject(py)?;
        Ok((PyTuple::new(py, [urls.into_any(), timeout])?, options))
    }
}

fn urls(value: Bound<PyAny>) -> PyResult<Vec<String>> {
    let wrong = |it: &Bound<PyAny>| -> PyResult<PyErr> {
        Ok(PyTypeError::new_err(format!(
            "Redis: url must be text, or a list of it for sentinels or a cluster, not {}; write 'redis://localhost:6379/0'",
            it.get_type().name()?
        )))
    };
    let one = |it: &Bound<PyAny>| match it.cast::<PyString>() {
        Ok(url) => Ok(url.to_str()?.to_owned()),
        Err(_) => Err(wrong(it)?),
    };
    if value.is_instance_of::<PyString>() {
        return Ok(vec![one(&value)?]);
    }
    if value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyDict>() {
        return Err(wrong(&value)?);
    }
    match value.try_iter() {
        Ok(all) => all.map(|it| one(&it?)).collect(),
        Err(_) => Err(wrong(&value)?),
    }
}

fn flag(name: &str, value: &Bound<PyAny>) -> PyResult<bool> {
    match value.cast::<PyBool>() {
        Ok(flag) => Ok(flag.is_true()),
        Err(_) => Err(PyTypeError::new_err(format!(
            "Redis: {name} must be True or False, not {}",
            value.get_type().name()?
        ))),
    }
}

fn text(name: &str, value: &Bound<PyAny>) -> PyResult<String> {
    match value.cast::<PyString>() {
        Ok(text) if text.len()? > 0 => Ok(text.to_str()?.to_owned()),
        Ok(_) => Err(PyValueError::new_err(format!(
            "Redis: {name} cannot be empty; leave it out"
        ))),
        Err(_) => Err(PyTypeError::new_err(format!(
            "Redis: {name} must be text, not {}",
            value.get_type().name()?
        ))),
    }
}

/// The files of a certificate and of its key.
fn certificate(value: &Bound<PyAny>) -> PyResult<Kept> {
    let files = value.extract::<(Bound<PyAny>, Bound<PyAny>)>();
    match (files, value.is_instance_of::<PyString>()) {
        (Ok((certificate, key)), false) => Ok(Kept::Paths(
            path(&certificate, "Redis: client_cert")?,
            path(&key, "Redis: client_cert")?,
        )),
        _ => Err(PyTypeError::new_err(
            "Redis: client_cert must be two paths, of a certificate and of its private key: ('client.crt', 'client.key')",
        )),
    }
}

fn namespace(value: &Bound<PyAny>) -> PyResult<String> {
    let namespace = text("namespace", value)?;
    let sound = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if namespace.len() > 64 || !namespace.bytes().all(sound) {
        return Err(PyValueError::new_err(format!(
            "Redis: namespace must be 1 to 64 letters, digits, '-', '_' or '.', not {}",
            shown(value)
        )));
    }
    Ok(namespace)
}

fn span(name: &str, value: &Bound<PyAny>, least: f64) -> PyResult<f64> {
    let Some(span) = seconds(value)? else {
        return Err(PyTypeError::new_err(format!(
            "Redis: {name} must be a number of seconds or a timedelta, not {}",
            value.get_type().name()?
        )));
    };
    if !(least..=86400.0).contains(&span) {
        return Err(PyValueError::new_err(format!(
            "Redis: {name} must be from {least} seconds to a day, not {}",
            shown(value)
        )));
    }
    Ok(span)
}

fn connections(value: &Bound<PyAny>) -> PyResult<u64> {
    if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(format!(
            "Redis: connections must be an integer, not {}",
            value.get_type().name()?
        )));
    }
    match value.extract::<u64>() {
        Ok(most @ 1..=100_000) => Ok(most),
        _ => Err(PyValueError::new_err(format!(
            "Redis: connections must be 1 or more, not {}",
            shown(value)
        ))),
    }
}

fn secrets_of(value: &Bound<PyAny>) -> PyResult<Vec<Vec<u8>>> {
    let wrong = |it: &Bound<PyAny>| -> PyResult<PyErr> {
        let fix = match it.is_instance_of::<PyString>() {
            true => "; write b'...' or encode it",
            false => "",
        };
        Ok(PyTypeError::new_err(format!(
            "Redis: secret must be bytes, several of them, or None, not {}{fix}",
            it.get_type().name()?
        )))
    };
    let one = |it: &Bound<PyAny>| match it.cast::<PyBytes>() {
        Ok(secret) if !secret.as_bytes().is_empty() => Ok(secret.as_bytes().to_vec()),
        Ok(_) => Err(PyValueError::new_err(
            "Redis: secret cannot be empty: anybody would know it; leave it out, or give it 16 random bytes",
        )),
        Err(_) => Err(wrong(it)?),
    };
    if value.is_none() {
        return Ok(Vec::new());
    }
    if value.is_instance_of::<PyBytes>() {
        return Ok(vec![one(value)?]);
    }
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyDict>() {
        return Err(wrong(value)?);
    }
    match value.try_iter() {
        Ok(all) => match all.map(|it| one(&it?)).collect::<PyResult<Vec<_>>>()? {
            // Not None: who lists them wants values sealed.
            none if none.is_empty() => Err(PyValueError::new_err(
                "Redis: secret names none: nothing would be sealed; leave it out, or give it 16 random bytes",
            )),
            secrets => Ok(secrets),
        },
        Err(_) => Err(wrong(value)?),
    }
}
