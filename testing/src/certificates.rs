//! Certificates of a server, from an authority that only this test knows.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// An authority and the certificate it gave to a server, made anew for each test: nothing secret is kept in the repository.
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

    /// For a server of these names and addresses, for example of others than the test connects to: a client must refuse it.
    pub fn for_names(names: &[&str]) -> Certificates {
        let authority_key = KeyPair::generate().expect("a key pair of an authority");
        let mut authority = params(&[], "an authority of tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let own = authority
            .self_signed(&authority_key)
            .expect("a certificate of an authority, signed by itself");
        let key = KeyPair::generate().expect("a key pair of a server");
        let mut server = params(names, "a server of tests");
        server.use_authority_key_identifier_extension = true;
        let signed = server
            .signed_by(&key, &Issuer::new(authority, authority_key))
            .expect("a certificate of a server, signed by its authority");
        Certificates {
            authority: own.pem(),
            certificate: signed.pem(),
            key: key.serialize_pem(),
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

    /// The server's private key (PEM).
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Default for Certificates {
    fn default() -> Certificates {
        Certificates::new()
    }
}

fn params(names: &[&str], subject: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).expect("names that a certificate can have");
    params.distinguished_name.push(DnType::CommonName, subject);
    params
}
