//! TLS to Postgres: asked for on an open socket, and as strict about the server's certificate as the cluster's url says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::digest::digest;
use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, alg_id};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;

use crate::config::{Authorities, Certificate, Encryption, Proof};

/// How a cluster's TCP connections are encrypted.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    required: bool,
}

impl Tls {
    /// Reads the files of certificates, so it blocks. What they hold then is used from then on.
    ///
    /// # Errors
    ///
    /// Each names the file and what to do about it.
    pub fn new(encryption: &Encryption) -> Result<Self, TlsError> {
        let provider = Arc::new(provider::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match &encryption.proof {
            Proof::None => Arc::new(Lenient {
                authorities: None,
                provider: Arc::clone(&provider),
            }),
            Proof::Authority(authorities) => Arc::new(Lenient {
                authorities: Some(load(authorities)?),
                provider: Arc::clone(&provider),
            }),
            Proof::AuthorityAndHost(authorities) => {
                let authorities = Arc::new(load(authorities)?);
                WebPkiServerVerifier::builder_with_provider(authorities, Arc::clone(&provider))
                    .build()
                    .map_err(|error| TlsError::Library(rustls::Error::General(error.to_string())))?
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Library)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &encryption.client {
            None => builder.with_no_client_auth(),
            Some(Certificate { cert, key }) => {
                let private = PrivateKeyDer::from_pem_file(key).map_err(|source| match source {
                    pem::Error::NoItemsFound => TlsError::NoKey { path: key.clone() },
                    source => TlsError::read(key, source),
                })?;
                builder
                    .with_client_auth_cert(certificates(cert)?, private)
                    .map_err(|source| TlsError::Key {
                        path: key.clone(),
                        source,
                    })?
            }
        };
        // Postgres keeps no sessions to resume.
        config.resumption = Resumption::disabled();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            required: encryption.required,
        })
    }

    /// Asks the server whether it speaks TLS (manual, 55.2.10). If it does, the handshake is next; if not, and that is
    /// no error, the server waits for the first message in plain text.
    ///
    /// # Errors
    ///
    /// Those of the socket, and a [`HandshakeError`] in an [`io::Error`].
    pub(super) async fn is_spoken(&self, stream: &mut TcpStream) -> io::Result<bool> {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).await?;
        // One byte and no more: what stands behind it is read as TLS or not at all, whoever has put it there
        // (CVE-2021-23222).
        match stream.read_u8().await? {
            b'S' => Ok(true),
            b'N' if !self.required => Ok(false),
            b'N' => Err(io::Error::other(HandshakeError::NotSpoken)),
            // An `E` as well, which begins an error message: nobody vouches for it (CVE-2024-10977).
            answer => Err(io::Error::other(HandshakeError::Answer(char::from(answer)))),
        }
    }

    /// Does the handshake with a server that expects it. The caller sets the time limit.
    ///
    /// # Errors
    ///
    /// A [`HandshakeError`] in an [`io::Error`].
    pub(super) async fn handshake(&self, stream: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::other(HandshakeError::Host(host.to_owned())))?;
        let handshake = self.connector.connect(name, stream).await;
        handshake.map_err(|error| io::Error::other(HandshakeError::of(error)))
    }
}

/// The `tls-server-end-point` of a connection (RFC 5929, section 4.1): the hash of the server's certificate by the
/// algorithm that its signature uses. `None` for signatures without a hash, such as Ed25519.
pub(super) fn server_end_point(stream: &TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let algorithm = hash_of_signature(certificate)?;
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

fn hash_of_signature(certificate: &[u8]) -> Option<&'static digest::Algorithm> {
    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature } (RFC 5280, section 4.1)
    let (parts, _) = der_value(certificate)?;
    let (_, after) = der_value(parts)?;
    let (algorithm, _) = der_value(after)?;
    let is_one_of = |algorithms: &[&[u8]]| algorithms.contains(&algorithm);
    if is_one_of(&[
        &alg_id::ECDSA_SHA256,
        &alg_id::RSA_PKCS1_SHA256,
        &alg_id::RSA_PSS_SHA256,
        MD5_WITH_RSA,
        SHA1_WITH_RSA,
        ECDSA_WITH_SHA1,
    ]) {
        Some(&digest::SHA256)
    } else if is_one_of(&[
        &alg_id::ECDSA_SHA384,
        &alg_id::RSA_PKCS1_SHA384,
        &alg_id::RSA_PSS_SHA384,
    ]) {
        Some(&digest::SHA384)
    } else if is_one_of(&[
        &alg_id::ECDSA_SHA512,
        &alg_id::RSA_PKCS1_SHA512,
        &alg_id::RSA_PSS_SHA512,
    ]) {
        Some(&digest::SHA512)
    } else {
        None
    }
}

/// What is inside the first value of `der`, and what follows it (X.690, section 8.1).
fn der_value(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_tag, length], rest) = der.split_first_chunk()?;
    if length < 0x80 {
        return rest.split_at_checked(usize::from(length));
    }
    let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    let length = length.iter().try_fold(0_usize, |length, &byte| {
        Some(length.checked_mul(256)? + usize::from(byte))
    })?;
    rest.split_at_checked(length)
}

/// Algorithms that are broken as signatures: for these the hash is SHA-256 (RFC 5929, section 4.1).
const MD5_WITH_RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04\x05\x00";
const SHA1_WITH_RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00";
const ECDSA_WITH_SHA1: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x04\x01";

/// Asks less of a certificate than the web does: that one of `authorities` has signed it, for whatever host, or nothing.
#[derive(Debug)]
struct Lenient {
    authorities: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(authorities) = &self.authorities {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, authorities, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn load(authorities: &Authorities) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match authorities {
        Authorities::System => {
            let found = rustls_native_certs::load_native_certs();
            // One that cannot be used is no reason to do without the others.
            let (added, _) = store.add_parsable_certificates(found.certs);
            if added == 0 {
                let reason = found.errors.first().map(ToString::to_string);
                return Err(TlsError::NoSystemAuthorities(
                    reason.unwrap_or_else(|| "none were found".to_owned()),
                ));
            }
        }
        Authorities::File(path) => {
            for certificate in certificates(path)? {
                store.add(certificate).map_err(|source| TlsError::Certificate {
                    path: path.clone(),
                    source,
                })?;
            }
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates = certificates.map_err(|source| TlsError::read(path, source))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.into() });
    }
    Ok(certificates)
}

/// Why a cluster's certificates cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("{}: {source}; name a PEM file that this user may read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{}: no CERTIFICATE section; name a PEM file of certificates", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in the file cannot be used.
    #[error("{}: a certificate is not usable: {source}; have it issued again as X.509 version 3", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// There is no key in the file.
    #[error("{}: no PRIVATE KEY section; name the unencrypted PEM key that belongs to the certificate", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is of no known kind, or not that of the certificate.
    #[error("{}: {source}; name the key that belongs to the certificate of sslcert", path.display())]
    Key {
        /// The file of the key.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The system trusts nobody.
    #[error("sslrootcert=system: {0}; install the system's certificates (ca-certificates), or name a PEM file")]
    NoSystemAuthorities(String),
    /// The library cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Library(rustls::Error),
}

impl TlsError {
    fn read(path: &Path, source: pem::Error) -> Self {
        Self::Read {
            path: path.into(),
            source,
        }
    }
}

/// Why no encrypted connection came to be.
#[derive(Debug, Error)]
pub(super) enum HandshakeError {
    #[error("the server does not speak TLS; set ssl = on there, or sslmode=disable in the cluster's url")]
    NotSpoken,
    #[error("the server answered the request for TLS with {0:?}; is it PostgreSQL?")]
    Answer(char),
    #[error("no certificate can be for the host {0:?}; write a DNS name or an IP address into the cluster's url")]
    Host(String),
    #[error("the server's certificate is refused: {refused}; {}", advice(refused))]
    Certificate { refused: CertificateError },
    #[error("the server's answer is no TLS: {0}; is there something between it and here?")]
    NotTls(rustls::Error),
    #[error("the TLS handshake failed: {0}")]
    Failed(io::Error),
}

impl HandshakeError {
    fn of(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(refused)) => Self::Certificate {
                refused: refused.clone(),
            },
            Some(cause @ rustls::Error::InvalidMessage(_)) => Self::NotTls(cause.clone()),
            _ => Self::Failed(error),
        }
    }
}

/// What to do about a certificate that is refused.
fn advice(refused: &CertificateError) -> &'static str {
    match refused {
        // The latter if the two authorities have one name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "have sslrootcert name the certificate of the authority that signed it"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "write a host that it is for into the cluster's url, have it issued for this one, or use sslmode=verify-ca"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew it, or correct this machine's clock"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "correct this machine's clock",
        CertificateError::Other(cause) if is_authority(cause) => {
            "it is an authority's (CA:TRUE): have one issued for the server alone"
        }
        _ => "have it issued again, as X.509 version 3 for a server",
    }
}

fn is_authority(cause: &rustls::OtherError) -> bool {
    matches!(cause.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm,
    };

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(["db1.example.com".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        assert_eq!(
            hash_of_signature(&certificate(&PKCS_ECDSA_P256_SHA256)),
            Some(&digest::SHA256)
        );
        assert_eq!(
            hash_of_signature(&certificate(&PKCS_ECDSA_P384_SHA384)),
            Some(&digest::SHA384)
        );
        assert_eq!(hash_of_signature(&certificate(&PKCS_ED25519)), None);
        // SEQUENCE { SEQUENCE {}, SEQUENCE { sha1WithRSAEncryption } }
        let old = [b"\x30\x11\x30\x00\x30\x0d", SHA1_WITH_RSA].concat();
        assert_eq!(hash_of_signature(&old), Some(&digest::SHA256));
    }

    #[test]
    fn a_certificate_that_is_cut_off_has_none() {
        let whole = certificate(&PKCS_ECDSA_P256_SHA256);
        for length in 0..whole.len() {
            assert_eq!(hash_of_signature(&whole[..length]), None, "{length}");
        }
        assert_eq!(der_value(b"\x30\x84\xff\xff\xff\xff"), None);
        assert_eq!(der_value(b"\x30\x89\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(der_value(b"\x30\x81\x01ab"), Some((&b"a"[..], &b"b"[..])));
    }
}
