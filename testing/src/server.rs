//! A real server for one test.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::certificates::Certificates;
use crate::connection::Connection;
use crate::error::Result;
use crate::folder::Folder;
use crate::port::Port;
use crate::process::Process;
use crate::resp::Reply;

/// How long a server may take to start, or to find its primary.
const START: Duration = Duration::from_secs(15);

/// The user that [`Server::command`] is; tests have `default` and whom they name for themselves.
const CONTROL: &str = "control";

/// A redis-server (or valkey-server) that this test has for itself: on a port of 127.0.0.1 and a Unix socket, in a temporary folder,
/// storing nothing but by [`Server::save`]. It is killed at drop, and on Linux when the test's process ends in any other way.
///
/// Which program is started: the one that `QUICKCACHE_TEST_SERVER` names, else `redis-server`, else `valkey-server`.
pub struct Server {
    process: Process,
    port: Port,
    bus: Option<Port>,
    folder: Folder,
    password: Option<String>,
    tls: Option<[String; 3]>,
    sentinel: bool,
}

/// What a server is to be; from [`Server::builder`].
#[derive(Default)]
pub struct Builder {
    lines: Vec<String>,
    password: Option<String>,
    tls: Option<[String; 3]>,
    replica: bool,
    cluster: bool,
    sentinel: bool,
}

impl Server {
    /// A server as it is without any settings. Panics, with the server's log, if it does not start.
    pub fn start() -> Server {
        Server::builder().start()
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where clients find it: `redis://127.0.0.1:40123/0`, with the password if it has one, `rediss://` if it speaks TLS.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() {
            "rediss"
        } else {
            "redis"
        };
        let password = match &self.password {
            Some(word) => format!(":{word}@"),
            None => String::new(),
        };
        format!("{scheme}://{password}{}/0", self.address())
    }

    /// `127.0.0.1:40123`.
    pub fn address(&self) -> String {
        self.port.address().to_string()
    }

    /// The same, parsed.
    pub fn at(&self) -> SocketAddr {
        self.port.address()
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The port by which the nodes of a cluster speak to each other.
    pub(crate) fn bus(&self) -> u16 {
        self.bus.as_ref().expect("a node of a cluster").number()
    }

    /// The path of its Unix socket; it never speaks TLS.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Of the process that runs now; another one after [`Server::restart`].
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its folder: `log`, `server.conf`, `dump.rdb` after a save, `ca.pem` with TLS.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The certificate of its authority as a file, for clients that want one. Panics without TLS.
    pub fn authority(&self) -> PathBuf {
        assert!(self.tls.is_some(), "a server without TLS has none");
        self.folder.path().join("ca.pem")
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// One command and its reply, on a connection for it alone: over the Unix socket, by a user who may do everything, so that it works
    /// whatever the test has set. Errors are the server's, or that it does not answer within 5 s (while it is stopped).
    pub fn command<W: AsRef<[u8]>>(&self, words: &[W]) -> Result<Reply> {
        self.connect()?.command(words)
    }

    /// A connection that stays, of the same kind: for transactions, subscriptions, pipelines.
    pub fn connect(&self) -> Result<Connection> {
        let mut connection = Connection::unix(&self.socket())?;
        connection.command(&["AUTH", CONTROL, CONTROL])?;
        Ok(connection)
    }

    /// One line of INFO: `info("run_id")`. Panics if there is none of that name.
    pub fn info(&self, field: &str) -> String {
        let ask = || self.command(&["INFO", "everything"]);
        // Sentinels end all connections to a server when they change its role.
        let info = ask().or_else(|_| ask()).expect("INFO of a server").text();
        info.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("no {field} in INFO:\n{info}"))
            .to_string()
    }

    /// Whether it answers.
    pub fn runs(&self) -> bool {
        self.command(&["PING"]).is_ok()
    }

    /// SIGKILL: what it has not saved is lost, its port refuses connections and stays ours.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP: connections are made and commands are taken in by the system, and nothing is answered.
    pub fn stop(&self) {
        self.process.stop();
    }

    /// SIGCONT: what has come in since [`Server::stop`] is executed and answered.
    pub fn cont(&self) {
        self.process.cont();
    }

    /// SAVE: what is in it now is there again after a restart.
    pub fn save(&self) {
        self.command(&["SAVE"]).expect("SAVE");
    }

    /// SHUTDOWN NOSAVE, and waits until it is gone: clients see their connections closed.
    pub fn shutdown(&mut self) {
        // There is no answer to it but the end of the connection.
        let _ = self.command(&["SHUTDOWN", "NOSAVE"]);
        assert!(
            self.process.wait(START),
            "a server that was shut down still runs; its log:\n{}",
            self.log()
        );
    }

    /// Kills it if it runs and starts it again: same port, same folder, so with what [`Server::save`] (or the append-only file) has
    /// kept, under another run_id.
    pub fn restart(&mut self) {
        self.kill();
        self.process = spawn(self.folder.path(), self.sentinel);
        self.wait(false);
    }

    /// Waits until it answers, and has all that its primary has if it is to be in step.
    fn wait(&mut self, in_step: bool) {
        let end = Instant::now() + START;
        loop {
            let address = self.address();
            if let Some(status) = self.process.ended() {
                let log = self.log();
                panic!("a server on {address} ended: {status}; its log:\n{log}");
            }
            let trouble = match self.command(&["PING"]) {
                Ok(_) if !in_step || self.info("master_link_status") == "up" => return,
                Ok(_) => "its primary does not answer".to_string(),
                Err(error) => error.to_string(),
            };
            if Instant::now() > end {
                let log = self.log();
                panic!("a server on {address}: {trouble} within {START:?}; its log:\n{log}");
            }
            sleep(Duration::from_millis(3));
        }
    }
}

impl Builder {
    /// Clients must authenticate by this word (`requirepass`); it is in [`Server::url`].
    pub fn password(mut self, word: &str) -> Builder {
        self.password = Some(word.to_string());
        self.config(&["requirepass", word])
    }

    /// A user, as a line of an ACL file: `reader on >word ~app:* &* -@all +get`.
    pub fn acl(mut self, user: &str) -> Builder {
        self.lines.push(format!("user {user}"));
        self
    }

    /// It speaks TLS, and nothing else, on its port. Clients need no certificate.
    pub fn tls(mut self, certificates: &Certificates) -> Builder {
        self.tls = Some([
            certificates.authority().to_string(),
            certificates.certificate().to_string(),
            certificates.key().to_string(),
        ]);
        self
    }

    /// A bound of its memory, and what it does at the bound: `maxmemory("2mb", "allkeys-lru")`. An empty server takes about 1 MB.
    pub fn maxmemory(self, bytes: &str, policy: &str) -> Builder {
        self.config(&["maxmemory", bytes])
            .config(&["maxmemory-policy", policy])
    }

    /// Every write is handed to a file before it is answered, so that [`Server::kill`] and [`Server::restart`] lose nothing.
    pub fn appendonly(self) -> Builder {
        self.config(&["appendonly", "yes"])
    }

    /// A line of the server's own configuration, by its words: `config(&["maxclients", "10"])`. Goes before what is set here.
    pub fn config(mut self, words: &[&str]) -> Builder {
        self.lines.push(line(words));
        self
    }

    /// A replica of that server; it speaks TLS if the primary does. It has started when it has all that the primary has.
    pub fn replica_of(mut self, primary: &Server) -> Builder {
        self.replica = true;
        let port = primary.port().to_string();
        self = self.config(&["replicaof", "127.0.0.1", &port]);
        if primary.tls.is_some() {
            self.tls = self.tls.or_else(|| primary.tls.clone());
            self = self.config(&["tls-replication", "yes"]);
        }
        self
    }

    /// A node of a cluster, that knows no other yet.
    pub(crate) fn cluster(mut self) -> Builder {
        self.cluster = true;
        self.config(&["cluster-enabled", "yes"])
    }

    /// A sentinel, that watches nothing yet.
    pub(crate) fn sentinel(mut self) -> Builder {
        self.sentinel = true;
        self
    }

    /// Starts it and waits until it answers. Panics, with the server's log, if it does not; with the command that installs one if there
    /// is no server on this machine.
    pub fn start(self) -> Server {
        let folder = Folder::new();
        let port = Port::free();
        let bus = self.cluster.then(Port::free);
        self.write(folder.path(), &port, bus.as_ref());
        let mut server = Server {
            process: spawn(folder.path(), self.sentinel),
            port,
            bus,
            folder,
            password: self.password,
            tls: self.tls,
            sentinel: self.sentinel,
        };
        server.wait(self.replica);
        server
    }

    fn write(&self, folder: &Path, port: &Port, bus: Option<&Port>) {
        let at = |name: &str| {
            let path = folder.join(name);
            path.to_str()
                .expect("a folder for temporary files whose path is UTF-8")
                .to_string()
        };
        let number = port.number().to_string();
        let listens = if self.tls.is_some() { "0" } else { &number };
        let control = format!("user {CONTROL} on >{CONTROL} ~* &* +@all");
        let mut lines = vec![
            line(&["bind", "127.0.0.1"]),
            line(&["port", listens]),
            line(&["dir", &at("")]),
            line(&["logfile", &at("log")]),
            line(&["unixsocket", &at("socket")]),
            line(&["unixsocketperm", "700"]),
            control,
        ];
        if !self.sentinel {
            lines.push(line(&["save", ""]));
            // Any of them may come to be a replica.
            lines.push(line(&["masteruser", CONTROL]));
            lines.push(line(&["masterauth", CONTROL]));
            // A primary waits 5 s for more replicas otherwise.
            lines.push(line(&["repl-diskless-sync-delay", "0"]));
        }
        if let Some(bus) = bus {
            lines.push(line(&["cluster-port", &bus.number().to_string()]));
        }
        if let Some(pem) = &self.tls {
            lines.push(line(&["tls-port", &number]));
            lines.push(line(&["tls-auth-clients", "no"]));
            let files = [
                ("tls-ca-cert-file", "ca.pem"),
                ("tls-cert-file", "server.pem"),
                ("tls-key-file", "key.pem"),
            ];
            for ((setting, name), text) in files.iter().zip(pem) {
                fs::write(at(name), text).expect("a file in a temporary folder");
                lines.push(line(&[setting, &at(name)]));
            }
        }
        lines.extend_from_slice(&self.lines);
        let path = folder.join("server.conf");
        fs::write(path, lines.join("\n") + "\n").expect("a file in a temporary folder");
    }
}

/// A line of the configuration: every word in quotes, so that it may be any.
fn line(words: &[&str]) -> String {
    let quoted = |word: &&str| {
        let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{}\"", escaped.replace('\n', "\\n"))
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn spawn(folder: &Path, sentinel: bool) -> Process {
    let chosen = std::env::var_os("QUICKCACHE_TEST_SERVER");
    let programs = match &chosen {
        Some(program) => vec![program.clone()],
        None => ["redis-server", "valkey-server"].map(Into::into).to_vec(),
    };
    for program in &programs {
        // What it says before it has read where its log is.
        let out = fs::File::create(folder.join("log")).expect("a file in a temporary folder");
        let mut command = Command::new(program);
        command.arg("server.conf").current_dir(folder);
        command.args(sentinel.then_some("--sentinel"));
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command.stdout(out);
        match Process::start(command) {
            Ok(process) => return process,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("{} does not start: {error}", program.display()),
        }
    }
    panic!("there is no {programs:?} here. Install one first: sudo apt-get install redis-server");
}
