//! Certificates of a server, from an authority that only this test knows.

use std::fs;
use std::net::IpAddr;
use std::process::Command;

use crate::folder::Folder;

/// An authority and the certificate it gave to a server, which a client can show too, made anew for each test by the program `openssl`: nothing secret is kept in the
/// repository.
pub struct Certificates {
    authority: String,
    certificate: String,
    key: String,
}

impl Certificates {
    /// For a server of this machine: `localhost` and 127.0.0.1.
    pub fn new() -> Certificates {
        Certificates::for_names(&["localhost", "127.0.0.1"])
    }

    /// For a server of these names and addresses, for example of others than the test connects to: a client must refuse it. Panics
    /// without openssl.
    pub fn for_names(names: &[&str]) -> Certificates {
        let folder = Folder::new();
        let names: Vec<String> = names
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(address) => format!("IP:{address}"),
                Err(_) => format!("DNS:{name}"),
            })
            .collect();
        // All of it is said here, as what is left out is said otherwise by the machine's own configuration.
        let configuration = format!(
            "[req]\nprompt = no\ndistinguished_name = name\n\
             [name]\nCN = quickcache's tests\n\
             [authority]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\n\
             subjectKeyIdentifier = hash\n\
             [server]\nbasicConstraints = CA:FALSE\nextendedKeyUsage = serverAuth,clientAuth\n\
             authorityKeyIdentifier = keyid\nsubjectAltName = {}\n",
            names.join(",")
        );
        fs::write(folder.path().join("configuration"), configuration)
            .expect("a file in a temporary folder");
        let openssl = |line: &str| run(&folder, line);
        openssl("ecparam -name prime256v1 -genkey -noout -out authority.key");
        openssl("ecparam -name prime256v1 -genkey -noout -out server.sec1");
        openssl("pkcs8 -topk8 -nocrypt -in server.sec1 -out server.key");
        openssl(
            "req -new -x509 -config configuration -extensions authority -key authority.key -days 2 -out ca.pem",
        );
        openssl("req -new -config configuration -key server.key -out server.request");
        openssl(
            "x509 -req -in server.request -extfile configuration -extensions server -CA ca.pem -CAkey authority.key \
             -set_serial 1 -days 2 -out server.pem",
        );
        let read = |name: &str| {
            fs::read_to_string(folder.path().join(name)).expect("a file that openssl has written")
        };
        Certificates {
            authority: read("ca.pem"),
            certificate: read("server.pem"),
            key: read("server.key"),
        }
    }

    /// The authority's certificate (PEM): what clients trust.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The server's certificate (PEM).
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The server's private key (PEM, PKCS #8).
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Default for Certificates {
    fn default() -> Certificates {
        Certificates::new()
    }
}

fn run(folder: &Folder, line: &str) {
    let done = Command::new("openssl")
        .args(line.split_whitespace())
        .current_dir(folder.path())
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "openssl does not start ({error}). Install it first: sudo apt-get install openssl"
            )
        });
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "openssl {line}: {said}");
}
