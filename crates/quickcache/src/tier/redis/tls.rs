//! TLS: whom a client trusts, and who it says it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::socket::Socket;
use super::wire::{Broken, Until};

/// What a user says of it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Tls {
    /// Certificates of the authorities that may vouch for the server: PEM. Without it those of the system.
    pub(super) ca_file: Option<PathBuf>,
    /// Certificate and private key of this client.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

/// The server's certificate is looked at, and whether it is for this host.
pub(super) fn begin(
    host: &str,
    tls: &Tls,
    socket: &Socket,
    end: Instant,
) -> Result<ClientConnection, Broken> {
    let name = ServerName::try_from(host.to_owned()).map_err(broken)?;
    // Read each time: files may be replaced before they expire.
    let config = Arc::new(config(tls)?);
    let mut connection = ClientConnection::new(config, name).map_err(broken)?;
    let mut until = Until { socket, end };
    while connection.is_handshaking() {
        connection.complete_io(&mut until).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Broken("TLS: it does not answer in time".to_owned()),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Broken(
                "TLS: it ends the connection; does it speak TLS, or want a certificate of the client?".to_owned(),
            ),
            _ => broken(error),
        })?;
    }
    Ok(connection)
}

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(format!("TLS: {error}"))
}

fn of_file(path: &Path) -> impl Fn(rustls::pki_types::pem::Error) -> Broken {
    move |error| Broken(format!("TLS: {}: {error}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Broken> {
    let read = CertificateDer::pem_file_iter(path).map_err(of_file(path))?;
    let all: Vec<_> = read.collect::<Result<_, _>>().map_err(of_file(path))?;
    if all.is_empty() {
        return Err(Broken(format!(
            "TLS: {}: there is no certificate in it",
            path.display()
        )));
    }
    Ok(all)
}

fn config(tls: &Tls) -> Result<ClientConfig, Broken> {
    let mut roots = RootCertStore::empty();
    match &tls.ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(broken)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .with_root_certificates(roots);
    match &tls.client {
        None => Ok(config.with_no_client_auth()),
        Some((certificate, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(of_file(key))?;
            config
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(broken)
        }
    }
}
