//! TLS: which certificate a client is shown, and which hosts that certificate speaks for.
//!
//! The SNI of the handshake chooses the certificate. A client without SNI, with an address for SNI, or with a name no certificate
//! covers gets an alert and no connection: there is no default certificate, as there is no default tenant. TLS 1.2 and 1.3, ALPN
//! `h2` and `http/1.1`, no 0-RTT (a replayed request would be run twice), no client certificates.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::server::TlsStream;
use tracing::warn;
use webpki::{EndEntityCert, KeyUsage};

/// The certificates of one listener. They can be replaced while it serves; open connections keep the one they were shown.
#[derive(Debug)]
pub struct CertificateStore {
    current: ArcSwap<Snapshot>,
}

impl CertificateStore {
    /// A store of these certificates. When two cover the same name, the first is shown and a warning logged.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] when the TLS library cannot be set up.
    pub fn new(certificates: impl IntoIterator<Item = Certificate>) -> Result<Self, Error> {
        Ok(Self {
            current: ArcSwap::from_pointee(Snapshot::new(certificates)?),
        })
    }

    /// A store of certificates read from pairs of PEM files: the chain, then its key. Reads files, so it blocks.
    ///
    /// # Errors
    ///
    /// One per file that cannot be used, so that all can be repaired in one go.
    pub fn load<P: AsRef<Path>>(files: impl IntoIterator<Item = (P, P)>) -> Result<Self, Vec<Error>> {
        let mut certificates = Vec::new();
        let mut errors = Vec::new();
        for (chain, key) in files {
            match Certificate::load(chain.as_ref(), key.as_ref()) {
                Ok(certificate) => certificates.push(certificate),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Self::new(certificates).map_err(|error| vec![error])
        } else {
            Err(errors)
        }
    }

    /// Shows these certificates to every client that connects from now on. Sessions of the old ones are not resumed.
    ///
    /// # Errors
    ///
    /// As [`CertificateStore::new`]; the old certificates then stay.
    pub fn replace(&self, certificates: impl IntoIterator<Item = Certificate>) -> Result<(), Error> {
        self.current.store(Arc::new(Snapshot::new(certificates)?));
        Ok(())
    }

    /// Does the handshake. The caller sets the time limit; dropping the future drops `stream`.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, Arc<Session>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // One snapshot for the handshake and for the session: the certificate we note is the one the client saw, also when the
        // store is replaced in between.
        let snapshot = self.current.load_full();
        let stream = TlsAcceptor::from(Arc::clone(&snapshot.config)).accept(stream).await?;
        let sni = stream.get_ref().1.server_name();
        let session = sni.and_then(|sni| {
            Some(Session {
                certificate: Arc::clone(snapshot.names.find(sni)?),
                sni: sni.into(),
            })
        });
        // Without SNI the resolver has found nothing and rustls has sent its alert already.
        let session = session.ok_or_else(|| io::Error::other("handshake done without a certificate"))?;
        Ok((stream, Arc::new(session)))
    }
}

/// The TLS side of one connection: the name the client asked for, and the certificate it was shown.
#[derive(Clone, Debug)]
pub struct Session {
    certificate: Arc<Certificate>,
    sni: Box<str>,
}

impl Session {
    /// True when a request for `host` (lower case, no port, no final dot) may use this connection.
    ///
    /// A host other than the SNI is fine if the same certificate covers it: HTTP/2 clients share connections that way
    /// (RFC 9113 section 9.1.1). Otherwise the answer is 421 (RFC 9110 section 15.5.20).
    pub fn covers(&self, host: &str) -> bool {
        *self.sni == *host || self.certificate.covers(host)
    }

    /// The name the client asked for in the handshake, in lower case.
    pub fn sni(&self) -> &str {
        &self.sni
    }

    /// The certificate the client was shown.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// A certificate chain with its key.
#[derive(Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    leaf: CertificateDer<'static>,
    names: Vec<Box<str>>,
    path: PathBuf,
}

impl Certificate {
    /// Reads a chain (leaf first) and its key from PEM files. Reads files, so it blocks.
    ///
    /// A certificate that is out of date is used all the same, with a warning: a client that complains is better than none.
    ///
    /// # Errors
    ///
    /// Each names the file and what to do about it.
    pub fn load(chain_path: &Path, key_path: &Path) -> Result<Self, Error> {
        let chain = CertificateDer::pem_slice_iter(&read(chain_path)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| Error::Pem {
                path: chain_path.into(),
                source,
            })?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(Error::NoCertificate {
                path: chain_path.into(),
            });
        };
        let key = PrivateKeyDer::from_pem_slice(&read(key_path)?).map_err(|source| match source {
            pem::Error::NoItemsFound => Error::NoKey { path: key_path.into() },
            source => Error::Pem {
                path: key_path.into(),
                source,
            },
        })?;

        let parsed = EndEntityCert::try_from(&leaf).map_err(|source| Error::Malformed {
            path: chain_path.into(),
            source,
        })?;
        let names: Vec<Box<str>> = parsed
            .valid_dns_names()
            .map(|name| name.to_ascii_lowercase().into())
            .collect();
        if names.is_empty() {
            return Err(Error::NoNames {
                path: chain_path.into(),
            });
        }
        warn_if_out_of_date(&parsed, chain_path);

        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Error::KeyMismatch {
                key: key_path.into(),
                chain: chain_path.into(),
            },
            source => Error::Key {
                path: key_path.into(),
                source,
            },
        })?;
        Ok(Self {
            key: Arc::new(key),
            leaf,
            names,
            path: chain_path.into(),
        })
    }

    /// True when the certificate speaks for the DNS name `host` (RFC 9525 section 6.3: `*` is one whole label, the leftmost).
    pub fn covers(&self, host: &str) -> bool {
        let (Ok(name), Ok(leaf)) = (DnsName::try_from(host), EndEntityCert::try_from(&self.leaf)) else {
            return false;
        };
        leaf.verify_is_valid_for_subject_name(&ServerName::DnsName(name))
            .is_ok()
    }

    /// The DNS names in it, in lower case; a wildcard begins with `*.`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The leaf alone, for checks against its issuer.
    pub(super) fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }
}

/// One generation of certificates, with the TLS configuration that shows them. Each generation has its own session cache, so a
/// certificate that was replaced is not kept alive by resumption; rustls itself resumes only for the same SNI (RFC 6066 section 3).
#[derive(Debug)]
struct Snapshot {
    names: Arc<Names>,
    config: Arc<ServerConfig>,
}

impl Snapshot {
    fn new(certificates: impl IntoIterator<Item = Certificate>) -> Result<Self, Error> {
        let mut names = Names::default();
        for certificate in certificates {
            names.insert(Arc::new(certificate));
        }
        let names = Arc::new(names);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(Error::Protocol)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&names) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        Ok(Self {
            names,
            config: Arc::new(config),
        })
    }
}

/// Names to certificates: exact ones by the name, wildcards by what follows `*.`.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<Box<str>, Arc<Certificate>>,
    wildcard: HashMap<Box<str>, Arc<Certificate>>,
}

impl Names {
    fn insert(&mut self, certificate: Arc<Certificate>) {
        for name in certificate.names() {
            let slot = match name.strip_prefix("*.") {
                Some(parent) => self.wildcard.entry(parent.into()),
                None => self.exact.entry(name.into()),
            };
            match slot {
                Entry::Vacant(slot) => {
                    slot.insert(Arc::clone(&certificate));
                }
                Entry::Occupied(first) => warn!(
                    name,
                    shown = %first.get().path.display(),
                    ignored = %certificate.path.display(),
                    "two certificates cover the same name"
                ),
            }
        }
    }

    fn find(&self, sni: &str) -> Option<&Arc<Certificate>> {
        let parent = || sni.split_once('.').map(|(_, parent)| parent);
        self.exact
            .get(sni)
            .or_else(|| self.wildcard.get(parent()?))
            // The maps are an index; what a certificate covers is decided by webpki alone.
            .filter(|certificate| certificate.covers(sni))
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.find(hello.server_name()?)?.key))
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("{}: {source}; name a PEM file that this user may read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file begins a PEM section that does not end, or is not base64.
    #[error("{}: broken PEM: {source}; write the file again from its source", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{}: no CERTIFICATE section; put the certificate of the host first, its issuers after it", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There is no key in the file.
    #[error("{}: no PRIVATE KEY section; name the unencrypted PEM key that belongs to the certificate", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The first certificate is not X.509 version 3.
    #[error("{}: the first certificate is not usable: {source}; have it issued again as X.509 version 3", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: webpki::Error,
    },
    /// The certificate names no host. Clients have ignored the common name for years (RFC 9525 section 2).
    #[error("{}: no DNS name in subjectAltName; have it issued again with the hosts as DNS names", path.display())]
    NoNames {
        /// The file.
        path: PathBuf,
    },
    /// The key is of a kind that cannot be used.
    #[error("{}: key not usable: {source}; use an ECDSA P-256, RSA or Ed25519 key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The key belongs to another certificate.
    #[error("{}: this key is not the one of {}; name the two files of one pair, leaf certificate first", key.display(), chain.display())]
    KeyMismatch {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        chain: PathBuf,
    },
    /// The TLS library refused its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Protocol(rustls::Error),
}

/// The crypto library, named here and not process-wide: nothing another crate installs can change it.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read {
        path: path.into(),
        source,
    })
}

fn warn_if_out_of_date(leaf: &EndEntityCert<'_>, path: &Path) {
    // Path building looks at the dates before it looks for an issuer, and we offer no issuer: so the error of a good leaf is
    // `UnknownIssuer`, and only a date is worth a word.
    let now = UnixTime::now();
    let verdict = leaf.verify_for_usage(&[], &[], &[], now, KeyUsage::server_auth(), None, None);
    let days = |from: UnixTime, to: UnixTime| {
        Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())).as_secs() / (24 * 60 * 60)
    };
    match verdict.err() {
        Some(webpki::Error::CertExpired { not_after, .. }) => {
            warn!(path = %path.display(), days = days(not_after, now), "certificate has expired, clients will refuse it");
        }
        Some(webpki::Error::CertNotValidYet { not_before, .. }) => {
            warn!(path = %path.display(), days = days(now, not_before), "certificate is not valid yet, clients will refuse it");
        }
        _ => {}
    }
}

/// HTTP/2 in ALPN (RFC 9113 section 3.2).
pub(super) const ALPN_HTTP2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN (RFC 7301 section 6).
const ALPN_HTTP1: &[u8] = b"http/1.1";

#[cfg(test)]
mod tests {
    use std::fs;

    use http::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::Limits;
    use super::super::support::{Authority, Directory, Serving, get, http1_over, http2_over, soon, text};
    use super::*;

    async fn serving(certificates: impl IntoIterator<Item = Certificate>) -> Serving {
        Serving::start_tls(
            Limits::default(),
            Arc::new(CertificateStore::new(certificates).unwrap()),
        )
        .await
    }

    #[tokio::test]
    async fn alpn_picks_the_version() {
        let authority = Authority::new(&["a.localhost"]);
        let serving = serving([authority.certificate()]).await;
        let stream = serving
            .tls(&authority, "a.localhost", &["h2", "http/1.1"])
            .await
            .unwrap();
        let mut http2 = http2_over(stream).await;
        let response = soon(http2.send_request(get("/"))).await.unwrap();
        assert_eq!(text(response).await, (StatusCode::OK, "HTTP/2.0".to_owned()));
        for alpn in [&["http/1.1"][..], &[]] {
            let stream = serving.tls(&authority, "a.localhost", alpn).await.unwrap();
            let mut http1 = http1_over(stream).await;
            let response = soon(http1.send_request(get("/"))).await.unwrap();
            assert_eq!(text(response).await, (StatusCode::OK, "HTTP/1.1".to_owned()));
        }
        let error = serving.tls(&authority, "a.localhost", &["spdy/3"]).await.unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    }

    #[tokio::test]
    async fn http1_after_alpn_chose_http2_is_closed_without_an_answer() {
        let authority = Authority::new(&["a.localhost"]);
        let serving = serving([authority.certificate()]).await;
        let mut stream = serving.tls(&authority, "a.localhost", &["h2"]).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty());
        assert_eq!(serving.requests(), 0);
    }

    #[tokio::test]
    async fn unknown_missing_or_numeric_sni_gets_an_alert_and_no_request_arrives() {
        let authority = Authority::new(&["a.localhost", "*.todo.local"]);
        let serving = serving([authority.certificate()]).await;
        for sni in ["b.localhost", "todo.local", "a.b.todo.local", "127.0.0.1"] {
            let error = serving.tls(&authority, sni, &["h2"]).await.unwrap_err();
            assert!(error.to_string().contains("AccessDenied"), "{sni}: {error}");
        }
        assert_eq!(serving.requests(), 0);
        // The SNI is compared without regard to case.
        serving.tls(&authority, "A.LocalHost", &["h2"]).await.unwrap();
    }

    #[tokio::test]
    async fn session_covers_hosts_of_its_own_certificate_only() {
        let street = Authority::new(&["*.todo.local", "other.local"]);
        let alone = Authority::new(&["alone.todo.local"]);
        let serving = serving([street.certificate(), alone.certificate()]).await;
        let covers = async |authority: &Authority, sni: &str, host: &str| {
            let mut http2 = http2_over(serving.tls(authority, sni, &["h2"]).await.unwrap()).await;
            let response = soon(http2.send_request(get(&format!("/covers/{host}")))).await.unwrap();
            text(response).await.1 == "true"
        };
        assert!(covers(&street, "a.todo.local", "a.todo.local").await);
        assert!(
            covers(&street, "a.todo.local", "b.todo.local").await,
            "the same wildcard"
        );
        assert!(
            covers(&street, "a.todo.local", "other.local").await,
            "another name of the certificate"
        );
        assert!(!covers(&street, "a.todo.local", "a.b.todo.local").await);
        assert!(!covers(&street, "a.todo.local", "todo.local").await);
        assert!(!covers(&street, "a.todo.local", "127.0.0.1").await);
        // The exact name wins over the wildcard, and does not cover what the wildcard does.
        assert!(covers(&alone, "alone.todo.local", "alone.todo.local").await);
        assert!(
            !covers(&alone, "alone.todo.local", "a.todo.local").await,
            "another certificate"
        );
    }

    #[tokio::test]
    async fn replaced_certificate_is_shown_to_the_next_client() {
        let old = Authority::new(&["a.localhost"]);
        let new = Authority::new(&["a.localhost"]);
        let store = Arc::new(CertificateStore::new([old.certificate()]).unwrap());
        let serving = Serving::start_tls(Limits::default(), Arc::clone(&store)).await;
        let mut before = http1_over(serving.tls(&old, "a.localhost", &["http/1.1"]).await.unwrap()).await;
        store.replace([new.certificate()]).unwrap();
        serving.tls(&new, "a.localhost", &["http/1.1"]).await.unwrap();
        serving.tls(&old, "a.localhost", &["http/1.1"]).await.unwrap_err();
        // Who was connected stays so.
        let response = soon(before.send_request(get("/covers/a.localhost"))).await.unwrap();
        assert_eq!(text(response).await.1, "true");
    }

    #[test]
    fn first_of_two_certificates_for_a_name_is_shown() {
        let (first, second) = (
            Authority::new(&["a.localhost"]),
            Authority::new(&["a.localhost", "b.localhost"]),
        );
        let store = CertificateStore::new([first.certificate(), second.certificate()]).unwrap();
        let names = &store.current.load().names;
        assert_eq!(names.find("a.localhost").unwrap().path(), first.files.certificate);
        assert_eq!(names.find("b.localhost").unwrap().path(), second.files.certificate);
        assert!(names.find("c.localhost").is_none());
    }

    #[test]
    fn wildcard_needs_two_labels_after_it() {
        // webpki's rule: a demo has to list its hosts under `localhost` one by one.
        let authority = Authority::new(&["*.localhost", "a.b.localhost"]);
        let store = CertificateStore::new([authority.certificate()]).unwrap();
        assert!(store.current.load().names.find("a.localhost").is_none());
    }

    #[track_caller]
    fn check(chain: &Path, key: &Path, expected: &str) {
        let error = Certificate::load(chain, key).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn file_that_cannot_be_used_is_named_with_what_to_do() {
        let (a, b) = (Authority::new(&["a.localhost"]), Authority::new(&["b.localhost"]));
        let directory = Directory::new();
        let missing = directory.path().join("missing.pem");
        let broken = directory.path().join("broken.pem");
        fs::write(&broken, "-----BEGIN CERTIFICATE-----\nMII").unwrap();
        check(&missing, &a.files.key, "missing.pem: No such file");
        check(&a.files.certificate, &missing, "name a PEM file");
        check(&broken, &a.files.key, "broken.pem: broken PEM");
        check(&a.files.key, &a.files.key, "key.pem: no CERTIFICATE section");
        check(
            &a.files.certificate,
            &a.files.certificate,
            "cert.pem: no PRIVATE KEY section",
        );
        check(&a.files.ca, &a.files.key, "ca.pem: no DNS name in subjectAltName");
        check(&a.files.certificate, &b.files.key, "this key is not the one of");
        fs::write(
            &broken,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        check(&broken, &a.files.key, "the first certificate is not usable");
        fs::write(
            &broken,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        check(&a.files.certificate, &broken, "key not usable");
    }

    #[test]
    fn every_bad_file_is_reported_at_once() {
        let a = Authority::new(&["a.localhost"]);
        let missing = Path::new("/nonexistent/cert.pem");
        let good = (a.files.certificate.as_path(), a.files.key.as_path());
        let errors = CertificateStore::load([(missing, good.1), good, (good.0, missing)]).unwrap_err();
        assert_eq!(errors.len(), 2);
        CertificateStore::load([good]).unwrap();
    }

    #[test]
    fn expired_certificate_is_used_all_the_same() {
        let directory = Directory::new();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut old = rcgen::CertificateParams::new(["a.localhost".to_owned()]).unwrap();
        old.not_before = rcgen::date_time_ymd(2020, 1, 1);
        old.not_after = rcgen::date_time_ymd(2020, 2, 1);
        let (chain_path, key_path) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        fs::write(&chain_path, old.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&key_path, key.serialize_pem()).unwrap();
        assert!(Certificate::load(&chain_path, &key_path).unwrap().covers("a.localhost"));
    }
}
