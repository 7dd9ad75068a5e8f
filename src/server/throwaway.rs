//! The throw-away authority of `rowhouse demo --tls`: certificates for a laptop, never for production.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::tls::Certificate;

/// The files of a throw-away certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throwaway {
    /// The authority, for clients to trust: `curl --cacert ca.pem`.
    pub ca: PathBuf,
    /// The certificate, for a [`super::tls::CertificateStore`].
    pub certificate: PathBuf,
    /// Its key, readable by this user alone.
    pub key: PathBuf,
}

impl Throwaway {
    /// Makes `ca.pem`, `cert.pem` and `key.pem` in `directory`, or finds those of an earlier run.
    ///
    /// An earlier run's are kept while they cover exactly `hosts` and are valid for another day. The key of the authority is
    /// never written and dies with this call: whoever trusts `ca.pem` trusts this one certificate. Valid for 90 days.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] for a host that no certificate can hold, [`Error::Write`] when the directory cannot be written.
    pub fn make<H: AsRef<str>>(hosts: impl IntoIterator<Item = H>, directory: &Path) -> Result<Self, Error> {
        let hosts: Vec<String> = hosts
            .into_iter()
            .map(|host| host.as_ref().to_ascii_lowercase())
            .collect();
        let files = Self {
            ca: directory.join("ca.pem"),
            certificate: directory.join("cert.pem"),
            key: directory.join("key.pem"),
        };
        if files.usable_for(&hosts) {
            return Ok(files);
        }

        let now = SystemTime::now();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        authority
            .distinguished_name
            .push(DnType::CommonName, "Rowhouse throw-away CA");
        authority.not_before = (now - CLOCK_SKEW).into();
        authority.not_after = (now + LIFETIME).into();
        let authority_key = KeyPair::generate()?;
        let ca = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let mut leaf = CertificateParams::new(hosts.clone()).map_err(|source| Error::Name {
            hosts: hosts.join(", "),
            source,
        })?;
        leaf.distinguished_name.push(DnType::CommonName, "Rowhouse demo");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        leaf.not_before = (now - CLOCK_SKEW).into();
        leaf.not_after = (now + LIFETIME).into();
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &issuer)?;

        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| Error::Write {
                path: directory.into(),
                source,
            })?;
        write(&files.key, &key.serialize_pem(), 0o600)?;
        write(&files.certificate, &certificate.pem(), 0o644)?;
        write(&files.ca, &ca.pem(), 0o644)?;
        Ok(files)
    }

    /// True when the files of an earlier run serve `hosts`. Any doubt, a file that cannot be read included, makes new ones.
    fn usable_for(&self, hosts: &[String]) -> bool {
        let Ok(ca) = CertificateDer::from_pem_file(&self.ca) else {
            return false;
        };
        let Ok(certificate) = Certificate::load(&self.certificate, &self.key) else {
            return false;
        };
        let private = fs::metadata(&self.key).is_ok_and(|key| key.permissions().mode() & 0o077 == 0);
        let same_names = certificate.names().count() == hosts.len()
            && hosts.iter().all(|host| certificate.names().any(|name| name == host));
        let valid = webpki::anchor_from_trusted_cert(&ca).is_ok_and(|anchor| {
            let tomorrow = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + LEAST_LIFETIME);
            EndEntityCert::try_from(certificate.leaf()).is_ok_and(|leaf| {
                leaf.verify_for_usage(
                    webpki::ALL_VERIFICATION_ALGS,
                    &[anchor],
                    &[],
                    tomorrow,
                    KeyUsage::server_auth(),
                    None,
                    None,
                )
                .is_ok()
            })
        });
        private && same_names && valid
    }
}

/// Why no throw-away certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A host cannot stand in a certificate.
    #[error("no certificate can be made for {hosts}: {source}; write hosts in ASCII")]
    Name {
        /// All hosts that were asked for.
        hosts: String,
        /// What is wrong with one of them.
        source: rcgen::Error,
    },
    /// Key or signature could not be made.
    #[error("no certificate can be made: {0}")]
    Generate(#[from] rcgen::Error),
    /// A file or the directory cannot be written.
    #[error("{}: {source}; name a directory that this user may write", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Writes beside the target and renames, so that no reader sees half a file and an old file's permissions do not survive.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let fresh = path.with_extension("pem.new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&fresh)
        .and_then(|mut file| {
            // A file left by an interrupted run keeps its own mode, so set it before anything secret is in it.
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(text.as_bytes())
        })
        .and_then(|()| fs::rename(&fresh, path));
    written.map_err(|source| Error::Write {
        path: path.into(),
        source,
    })
}

/// Browsers refuse longer ones step by step; a demo does not live this long.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// What must be left of it for a reuse.
const LEAST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// For clients in a virtual machine whose clock is behind.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::super::support::Directory;
    use super::*;

    #[test]
    fn makes_a_certificate_that_its_ca_signed_and_a_private_key() {
        let directory = Directory::new();
        let files = Throwaway::make(["a.localhost", "*.todo.local"], directory.path()).unwrap();
        assert!(files.usable_for(&["a.localhost".to_owned(), "*.todo.local".to_owned()]));
        let certificate = Certificate::load(&files.certificate, &files.key).unwrap();
        assert!(certificate.covers("a.localhost") && certificate.covers("x.todo.local"));
        assert!(!certificate.covers("todo.local") && !certificate.covers("a.x.todo.local"));
        assert_eq!(fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&files.ca).unwrap().contains("PRIVATE KEY"));
    }

    #[test]
    fn second_run_reuses_and_other_hosts_make_new_ones() {
        let directory = Directory::new();
        let files = Throwaway::make(["a.localhost"], directory.path()).unwrap();
        let first = fs::read(&files.certificate).unwrap();
        Throwaway::make(["A.localhost"], directory.path()).unwrap();
        assert_eq!(fs::read(&files.certificate).unwrap(), first);
        Throwaway::make(["a.localhost", "b.localhost"], directory.path()).unwrap();
        assert_ne!(fs::read(&files.certificate).unwrap(), first);
    }

    #[test]
    fn readable_key_or_foreign_ca_is_not_reused() {
        let directory = Directory::new();
        let other = Directory::new();
        let hosts = ["a.localhost"];
        let files = Throwaway::make(hosts, directory.path()).unwrap();
        let foreign = Throwaway::make(hosts, other.path()).unwrap();
        fs::set_permissions(&files.key, Permissions::from_mode(0o644)).unwrap();
        let first = fs::read(&files.certificate).unwrap();
        Throwaway::make(hosts, directory.path()).unwrap();
        let second = fs::read(&files.certificate).unwrap();
        assert_ne!(first, second);
        assert_eq!(fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::copy(&foreign.ca, &files.ca).unwrap();
        Throwaway::make(hosts, directory.path()).unwrap();
        assert_ne!(fs::read(&files.certificate).unwrap(), second);
    }

    #[test]
    fn host_that_is_not_ascii_is_refused_and_nothing_is_written() {
        let directory = Directory::new();
        let error = Throwaway::make(["café.localhost"], directory.path()).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{error}");
        assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
    }
}
