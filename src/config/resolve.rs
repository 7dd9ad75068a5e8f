//! From what was written to what is used: defaults, paths, secrets, and which values are good together.
//!
//! Every function reports what it finds and goes on with a stand-in, so that all mistakes are found at once; the caller
//! uses nothing of a file that has any.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, KeyOperations, PublicKeyUse};

use super::claims::{Claim, Draft};
use super::field::{Entry, Field, Report};
use super::value::{ExistingSchema, Mistake, Raw, Relation, Scalar, Size, Variable, cluster_id, parse_url, tenant_id};
use super::{
    AnonymousAccess, Certificate, Cluster, Credentials, Dialect, Endpoint, Limits, Migrations, Secret, Server, Shared,
    SharedWrite, Tenant, Tls, dialect, file, read, schema,
};
use crate::types::{ClusterId, SchemaName, TenantId};

pub(super) const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8000));
pub(super) const OPERATOR_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9000));
pub(super) const MAX_BODY_TEXT: &str = "1MiB";
const MAX_BODY: NonZeroUsize = NonZeroUsize::MIN.saturating_add((1 << 20) - 1);
pub(super) const MAX_CONNECTIONS: NonZeroU32 = number(10_000);
pub(super) const GRACE: Duration = Duration::from_secs(30);
pub(super) const BUDGET: NonZeroU32 = number(80);
pub(super) const SHARED_SCHEMA: &str = "public";
pub(super) const CLUSTER: &str = "main";
pub(super) const LIMITS: Limits = Limits {
    pool_max: number(8),
    checkout_timeout: Duration::from_secs(2),
    statement_timeout: Duration::from_secs(5),
    lock_timeout: Duration::from_secs(2),
    idle_timeout: Duration::from_secs(60),
    max_rows: number(1000),
    anonymous: AnonymousAccess::Read,
};

/// The tenant id whose roles would have the names of those of the shared tables.
pub(crate) const RESERVED_ID: &str = "shared";

/// The schema of the edge's own tables.
pub(crate) const RESERVED_SCHEMA: &str = "rowhouse";

/// Where the embedded Postgres of a cluster keeps its data, below the project's root; `.gitignore` names it.
const DATA: &str = ".rowhouse";

/// A key for HMAC has at least the size of the smallest hash (RFC 7518, section 3.2).
const MIN_SECRET_LEN: usize = 32;

/// The longest secret file in bytes: far more than any key, little enough to read a wrong file without harm.
const MAX_SECRET_FILE_LEN: u64 = 64 << 10;

const fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number - 1)
}

/// A duration as it is written in a file.
pub(super) fn text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[expect(
    clippy::expect_used,
    reason = "takes this file's own constants, which `built_in_names_are_valid` reads"
)]
pub(super) fn built_in<T: FromStr<Err: Debug>>(name: &'static str) -> T {
    name.parse().expect("built-in names are valid")
}

/// What values of a file refer to.
pub(super) struct Surroundings<'a> {
    /// Where relative paths start: the directory that contains the configuration directory.
    pub(super) root: &'a Path,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
}

/// `rowhouse.toml` resolved: all of [`super::Config`] but the tenants.
pub(super) struct Foundation {
    pub(super) server: Server,
    pub(super) tls: Option<Tls>,
    pub(super) clusters: BTreeMap<ClusterId, Cluster>,
    pub(super) shared: Shared,
    pub(super) limits: Arc<Limits>,
    pub(super) migrations: Migrations,
}

pub(super) fn foundation(written: file::Rowhouse, around: &Surroundings<'_>, report: &mut Report<'_>) -> Foundation {
    let file::Rowhouse {
        server,
        tls,
        clusters,
        shared,
        defaults,
        migrations,
    } = written;
    let server = server.get(report).unwrap_or_default();
    let mut listeners = Listeners::default();
    let server = resolve_server(server, &mut listeners, around, report);
    let tls = tls.offset().and_then(|offset| Some((offset, tls.get(report)?)));
    let tls = tls.and_then(|(offset, tls)| resolve_tls(tls, offset, &mut listeners, around, report));
    listeners.check(report);

    let offset = clusters.offset();
    let clusters = clusters.get(report).map(|clusters| clusters.0);
    if clusters.as_ref().map_or_else(|| offset.is_none(), Vec::is_empty) {
        report.error(
            offset.unwrap_or_default(),
            "there is no cluster: write [clusters.main] and below it url = \"postgres://…\", url_env = \"DATABASE_URL\" \
             or embedded = true",
        );
    }
    let clusters = resolve_clusters(clusters.unwrap_or_default(), around, report);

    let file::Shared { schema, write } = shared.get(report).unwrap_or_default();
    let shared = Shared {
        schema: schema.get(report).unwrap_or_else(|| built_in(SHARED_SCHEMA)),
        write: write.or(SharedWrite::Operator, report),
    };

    let limits = WrittenLimits::from(defaults.get(report).unwrap_or_default());
    let limits = Arc::new(limits.over(&LIMITS, report));

    let file::Migrations {
        shared: shared_migrations,
        tenant,
    } = migrations.get(report).unwrap_or_default();
    let migrations = Migrations {
        shared: existing_path(shared_migrations, Path::is_dir, "directory", around, report),
        tenant: existing_path(tenant, Path::is_dir, "directory", around, report),
    };
    Foundation {
        server,
        tls,
        clusters,
        shared,
        limits,
        migrations,
    }
}

fn resolve_server(
    written: file::Server,
    listeners: &mut Listeners,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Server {
    let file::Server {
        listen,
        operator_listen,
        public_ports,
        jwt_secret_env,
        jwt_secret_file,
        jwt_secret,
        max_body,
        max_connections,
        grace,
    } = written;
    Server {
        listen: listeners.add("listen of [server]", listen, LISTEN, report),
        operator_listen: listeners.add("operator_listen of [server]", operator_listen, OPERATOR_LISTEN, report),
        public_ports: public_ports.values(report),
        jwt_secret: WrittenSecret {
            jwt_secret_env,
            jwt_secret_file,
            jwt_secret,
        }
        .resolve(false, around, report),
        max_body: max_body.or(Size(MAX_BODY), report).0,
        max_connections: max_connections.or(MAX_CONNECTIONS, report),
        grace: grace.or(GRACE, report),
    }
}

/// Listeners so far, to find two that want the same port.
#[derive(Default)]
struct Listeners(Vec<(&'static str, SocketAddr, Option<usize>)>);

impl Listeners {
    fn add(
        &mut self,
        name: &'static str,
        written: Field<SocketAddr>,
        default: SocketAddr,
        report: &mut Report<'_>,
    ) -> SocketAddr {
        let offset = written.offset();
        let address = match (written.get(report), offset) {
            // What was written was refused just now: nothing is known of the address.
            (None, Some(_)) => return default,
            (address, _) => address.unwrap_or(default),
        };
        self.0.push((name, address, offset));
        address
    }

    fn check(&self, report: &mut Report<'_>) {
        for (index, &(name, address, offset)) in self.0.iter().enumerate() {
            for &(earlier_name, earlier, earlier_offset) in &self.0[..index] {
                let same_ip =
                    address.ip() == earlier.ip() || address.ip().is_unspecified() || earlier.ip().is_unspecified();
                // Port 0 asks the kernel for any free port.
                if same_ip && address.port() == earlier.port() && address.port() != 0 {
                    let offset = offset.or(earlier_offset).unwrap_or_default();
                    let message =
                        format!("{name} ({address}) is the address of {earlier_name}, too: write another port");
                    report.error(offset, message);
                }
            }
        }
    }
}

fn resolve_tls(
    written: file::Tls,
    offset: usize,
    listeners: &mut Listeners,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Tls> {
    let file::Tls { listen, certificates } = written;
    let certificates = certificates.elements(report).into_iter();
    let certificates =
        certificates.filter_map(|(written, offset)| resolve_certificate(written, offset, around, report));
    let certificates = certificates.collect();
    if listen.offset().is_none() {
        report.error(offset, "[tls] needs an address: write listen = \"0.0.0.0:443\"");
        return None;
    }
    let listen = listeners.add("listen of [tls]", listen, LISTEN, report);
    Some(Tls { listen, certificates })
}

fn resolve_certificate(
    written: file::Certificate,
    offset: usize,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Certificate> {
    let file::Certificate { cert, key } = written;
    for (name, field) in [("cert", &cert), ("key", &key)] {
        if field.offset().is_none() {
            report.error(
                offset,
                format!("a certificate needs its `{name}`: write {name} = \"path of a PEM file\""),
            );
        }
    }
    let cert = existing_path(cert, Path::is_file, "file", around, report);
    let key = existing_path(key, Path::is_file, "file", around, report);
    Some(Certificate { cert: cert?, key: key? })
}

/// The absolute path, which must exist now: a wrong path is found while its author still looks.
fn existing_path(
    written: Field<PathBuf>,
    exists: fn(&Path) -> bool,
    what: &str,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    let offset = written.offset()?;
    let path = around.root.join(written.get(report)?);
    if !exists(&path) {
        report.error(
            offset,
            format!(
                "there is no {what} {}: create it or correct the path (relative paths start at {})",
                path.display(),
                around.root.display()
            ),
        );
    }
    Some(path)
}

fn resolve_clusters(
    entries: Vec<Entry<file::Cluster>>,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> BTreeMap<ClusterId, Cluster> {
    let mut clusters = BTreeMap::new();
    let mut directories: BTreeMap<PathBuf, ClusterId> = BTreeMap::new();
    for Entry { id, offset, table } in entries {
        let id = match cluster_id(&id) {
            Ok(id) => Some(id),
            Err(message) => {
                report.error(offset, message);
                None
            }
        };
        let Some(written) = table.get(report) else { continue };
        let (data_offset, mistakes) = (written.data.offset().unwrap_or(offset), report.errors.len());
        let cluster = resolve_cluster(
            written,
            id.as_ref().map_or("ID", ClusterId::as_str),
            offset,
            around,
            report,
        );
        let Some(id) = id else { continue };
        if let Endpoint::Embedded { data } = &cluster.endpoint
            && report.errors.len() == mistakes
            && let Some(other) = directories.insert(data.clone(), id.clone())
        {
            let data = data.display();
            report.error(
                data_offset,
                format!("cluster `{other}` has the data directory {data}, too: write another"),
            );
        }
        clusters.insert(id, cluster);
    }
    clusters
}

fn resolve_cluster(
    written: file::Cluster,
    id: &str,
    offset: usize,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Cluster {
    let file::Cluster {
        url,
        url_env,
        embedded,
        data,
        budget,
        credentials,
    } = written;
    let (url_offset, url_env_offset, embedded_offset) = (url.offset(), url_env.offset(), embedded.offset());
    let url = url.get(report);
    let url_env = url_env.get(report);
    let embedded = embedded.get(report);
    let embedded_is_bad = embedded_offset.is_some() && embedded.is_none();
    let embedded = embedded.unwrap_or(false);

    let endpoints = [
        ("url", url_offset),
        ("url_env", url_env_offset),
        ("embedded", embedded_offset.filter(|_| embedded)),
    ];
    if endpoints.iter().all(|(_, offset)| offset.is_none()) && !embedded_is_bad {
        report.error(
            offset,
            format!(
                "cluster `{id}` has no address: write url = \"postgres://…\", url_env = \"DATABASE_URL\" or embedded = true"
            ),
        );
    }
    only_one(endpoints, report);

    let data_offset = data.offset();
    let data = data.or(Path::new(DATA).join(id), report);
    if let Some(offset) = data_offset.filter(|_| !embedded && !embedded_is_bad) {
        report.error(
            offset,
            "`data` belongs to an embedded Postgres: remove it, or write embedded = true",
        );
    }

    if let (Some(url), Some(offset)) = (&url, url_offset)
        && url.get_password().is_some()
        && report.source.world_readable
    {
        report.error(
            offset,
            "a password stands in a file that everybody on this machine may read: run chmod 640 on the file, or use url_env",
        );
    }
    let url = url.or_else(|| {
        let (Variable(name), offset) = (url_env?, url_env_offset?);
        let Some(text) = (around.env)(&name) else {
            report.error(
                offset,
                format!("environment variable {name} is not set: set it, or write url = \"postgres://…\""),
            );
            return None;
        };
        parse_url(&text)
            .map_err(|message| {
                let write = tokio_postgres::Config::WRITE;
                report.error(
                    offset,
                    format!("environment variable {name}: {message}: set it to {write}"),
                );
            })
            .ok()
    });
    let (endpoint, usual) = match url {
        Some(url) => (Endpoint::Url(Box::new(url)), Credentials::Shared),
        None => {
            let data = around.root.join(data);
            (Endpoint::Embedded { data }, Credentials::PerTenant)
        }
    };
    Cluster {
        endpoint,
        budget: budget.or(BUDGET, report),
        credentials: credentials.or(usual, report),
    }
}

/// Reports every key but the first of those that exclude each other.
fn only_one<const N: usize>(keys: [(&str, Option<usize>); N], report: &mut Report<'_>) {
    let mut present: Vec<(usize, &str)> = keys.iter().filter_map(|&(key, offset)| Some((offset?, key))).collect();
    present.sort_unstable();
    if let [(_, first), others @ ..] = present.as_slice() {
        for (offset, key) in others {
            report.error(*offset, format!("`{key}` excludes `{first}`: remove one of them"));
        }
    }
}

/// The keys that `[defaults]` and a tenant have in common.
struct WrittenLimits {
    pool_max: Field<NonZeroU32>,
    checkout_timeout: Field<Duration>,
    statement_timeout: Field<Duration>,
    lock_timeout: Field<Duration>,
    idle_timeout: Field<Duration>,
    max_rows: Field<NonZeroU32>,
    anonymous: Field<AnonymousAccess>,
}

impl WrittenLimits {
    fn over(self, base: &Limits, report: &mut Report<'_>) -> Limits {
        Limits {
            pool_max: self.pool_max.or(base.pool_max, report),
            checkout_timeout: self.checkout_timeout.or(base.checkout_timeout, report),
            statement_timeout: self.statement_timeout.or(base.statement_timeout, report),
            lock_timeout: self.lock_timeout.or(base.lock_timeout, report),
            idle_timeout: self.idle_timeout.or(base.idle_timeout, report),
            max_rows: self.max_rows.or(base.max_rows, report),
            anonymous: self.anonymous.or(base.anonymous, report),
        }
    }
}

impl From<file::Defaults> for WrittenLimits {
    fn from(written: file::Defaults) -> Self {
        let file::Defaults {
            pool_max,
            checkout_timeout,
            statement_timeout,
            lock_timeout,
            idle_timeout,
            anonymous,
            max_rows,
        } = written;
        Self {
            pool_max,
            checkout_timeout,
            statement_timeout,
            lock_timeout,
            idle_timeout,
            max_rows,
            anonymous,
        }
    }
}

/// The three ways to name a key for HMAC, at most one of which may be used.
struct WrittenSecret {
    jwt_secret_env: Field<Variable>,
    jwt_secret_file: Field<PathBuf>,
    jwt_secret: Field<Secret>,
}

impl WrittenSecret {
    /// With `base64` what stands in the environment or the file is decoded first.
    fn resolve(self, base64: bool, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Secret> {
        let decoded = |text: &[u8], offset: usize, report: &mut Report<'_>| {
            if !base64 {
                return Some(Secret::new(text));
            }
            let bytes = decode_base64(text);
            if bytes.is_none() {
                report.error(offset, "the key is no base64: correct it, or remove jwt_secret_base64");
            }
            bytes.map(Secret::new)
        };
        let offsets = [
            self.jwt_secret_env.offset(),
            self.jwt_secret_file.offset(),
            self.jwt_secret.offset(),
        ];
        let [env_offset, file_offset, text_offset] = offsets;
        only_one(
            [
                ("jwt_secret_env", env_offset),
                ("jwt_secret_file", file_offset),
                ("jwt_secret", text_offset),
            ],
            report,
        );
        let mut secret = None;
        if let (Some(Variable(name)), Some(offset)) = (self.jwt_secret_env.get(report), env_offset) {
            match (around.env)(&name) {
                Some(value) => {
                    secret = decoded(value.as_bytes(), offset, report).and_then(|key| long_enough(key, offset, report));
                }
                None => report.error(
                    offset,
                    format!("environment variable {name} is not set: set it, or use jwt_secret_file"),
                ),
            }
        }
        if let (Some(path), Some(offset)) = (self.jwt_secret_file.get(report), file_offset) {
            let path = around.root.join(path);
            match read::regular_file(&path, MAX_SECRET_FILE_LEN) {
                Ok(file) => {
                    if file.world_readable {
                        let path = path.display();
                        report.warning(
                            offset,
                            format!("everybody on this machine may read {path}: run chmod 640 on it"),
                        );
                    }
                    let key = file.bytes.strip_suffix(b"\n").unwrap_or(&file.bytes);
                    let key = key.strip_suffix(b"\r").unwrap_or(key);
                    secret = decoded(key, offset, report).and_then(|key| long_enough(key, offset, report));
                }
                Err(message) => {
                    let path = path.display();
                    report.error(
                        offset,
                        format!("secret file {path} {message}: correct the path or its permissions"),
                    );
                }
            }
        }
        if let (Some(text), Some(offset)) = (self.jwt_secret.get(report), text_offset) {
            if report.source.world_readable {
                report.error(
                    offset,
                    "a secret stands in a file that everybody on this machine may read: run chmod 640 on the file, or use \
                     jwt_secret_file",
                );
            }
            secret = long_enough(text, offset, report);
        }
        secret
    }
}

/// Base64 in either alphabet, with padding or without (RFC 4648).
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0_u32, 0);
    for &byte in text.trim_ascii().iter().take_while(|&&byte| byte != b'=') {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// Whether a key is for signatures, as far as it says (RFC 7517, sections 4.2 and 4.3).
pub(crate) fn is_for_signatures(key: &Jwk) -> bool {
    let used = key.common.public_key_use.as_ref();
    let operations = key.common.key_operations.as_ref();
    used.is_none_or(|used| *used == PublicKeyUse::Signature)
        && operations.is_none_or(|operations| {
            operations.contains(&KeyOperations::Verify) || operations.contains(&KeyOperations::Sign)
        })
}

/// The JWK or JWK Set in a file, each key of which must be one that tokens can be checked with.
fn resolve_jwks(written: Field<PathBuf>, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Secret> {
    let offset = written.offset()?;
    let path = around.root.join(written.get(report)?);
    let shown = path.display();
    let file = match read::regular_file(&path, MAX_SECRET_FILE_LEN) {
        Ok(file) => file,
        Err(message) => {
            report.error(
                offset,
                format!("key file {shown} {message}: correct the path or its permissions"),
            );
            return None;
        }
    };
    let set = serde_json::from_slice::<JwkSet>(&file.bytes).map(|set| set.keys);
    let set = set.or_else(|_| serde_json::from_slice::<Jwk>(&file.bytes).map(|key| vec![key]));
    let Ok(keys) = set else {
        report.error(
            offset,
            format!("key file {shown} holds no JWK: write {{\"keys\": […]}} or one key as JSON (RFC 7517)"),
        );
        return None;
    };
    let usable = |key: &Jwk| is_for_signatures(key) && DecodingKey::from_jwk(key).is_ok();
    if !keys.iter().any(usable) {
        report.error(
            offset,
            format!(
                "key file {shown} holds no key that tokens can be checked with: write one of kty RSA, EC, OKP or oct"
            ),
        );
        return None;
    }
    let secret = |key: &Jwk| match &key.algorithm {
        AlgorithmParameters::OctetKey(octets) => Some(octets.value.len() * 3 / 4),
        _ => None,
    };
    let secrets: Vec<usize> = keys.iter().filter_map(secret).collect();
    if let Some(len) = secrets.iter().find(|len| **len < MIN_SECRET_LEN) {
        report.error(
            offset,
            format!("key file {shown} holds a secret of {len} bytes: HS256 needs {MIN_SECRET_LEN} or more"),
        );
        return None;
    }
    if file.world_readable && !secrets.is_empty() {
        report.error(
            offset,
            format!("everybody on this machine may read the secret in {shown}: run chmod 640 on it"),
        );
        return None;
    }
    Some(Secret::new(file.bytes))
}

fn long_enough(secret: Secret, offset: usize, report: &mut Report<'_>) -> Option<Secret> {
    // A public key that is taken for a secret lets everybody sign who has it.
    let text = secret.expose().trim_ascii();
    let is_json = |key: &str| {
        let json: Option<serde_json::Value> = serde_json::from_slice(text).ok();
        json.is_some_and(|json| json.get(key).is_some())
    };
    if text.starts_with(b"-----BEGIN") || is_json("kty") || is_json("keys") {
        report.error(
            offset,
            "this is a key of its own kind and no secret: put a JWK or JWK Set into a file, and write jwks_file",
        );
        return None;
    }
    let len = secret.expose().len();
    if len >= MIN_SECRET_LEN {
        return Some(secret);
    }
    report.error(
        offset,
        format!("the key has {len} bytes: HS256 needs {MIN_SECRET_LEN} or more, such as `openssl rand -hex 32` prints"),
    );
    None
}

/// What the tenants of all files refer to.
pub(super) struct Neighbourhood<'a> {
    /// The clusters of `rowhouse.toml`; `None` if that could not be read, so that no cluster can be said to be missing.
    pub(super) clusters: Option<&'a BTreeMap<ClusterId, Cluster>>,
    pub(super) shared_schema: SchemaName,
    pub(super) limits: Arc<Limits>,
    /// What the tenants without options of their own share.
    pub(super) dialect: Arc<Dialect>,
    pub(super) has_tls: bool,
}

impl<'a> From<Option<&'a Foundation>> for Neighbourhood<'a> {
    fn from(foundation: Option<&'a Foundation>) -> Self {
        Self {
            clusters: foundation.map(|foundation| &foundation.clusters),
            shared_schema: foundation.map_or_else(|| built_in(SHARED_SCHEMA), |found| found.shared.schema.clone()),
            limits: foundation.map_or_else(|| Arc::new(LIMITS), |found| Arc::clone(&found.limits)),
            dialect: Arc::default(),
            has_tls: foundation.is_none_or(|foundation| foundation.tls.is_some()),
        }
    }
}

/// One `[tenants.ID]`. `None` if not even its id can be read.
pub(super) fn tenant(
    entry: Entry<file::Tenant>,
    neighbourhood: &Neighbourhood<'_>,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Draft> {
    let mistakes_before = report.errors.len();
    let Entry {
        id,
        offset: id_offset,
        table,
    } = entry;
    let id = tenant_id(&id).map_err(|message| report.error(id_offset, message)).ok();
    let written = table.get(report)?;
    let file::Tenant {
        hosts,
        home,
        schema,
        schemas,
        cluster,
        pool_max,
        checkout_timeout,
        statement_timeout,
        lock_timeout,
        idle_timeout,
        anonymous,
        max_rows,
        jwt_secret_env,
        jwt_secret_file,
        jwt_secret,
        jwt_secret_base64,
        jwks_file,
        jwt_audience,
        jwt_role_claim,
        roles,
        managed,
        shared,
        anonymous_role,
        extra_search_path,
        pre_request,
        tx_end,
        aggregates,
        plan,
        legacy_target_names,
        openapi,
        openapi_security,
        openapi_url,
        root_function,
        cors_origins,
        verbose_errors,
        server_timing,
        app_settings,
        tls,
    } = written;
    let dialect = dialect::Written {
        pre_request,
        tx_end,
        aggregates,
        plan,
        legacy_target_names,
        openapi,
        openapi_security,
        openapi_url,
        root_function,
        cors_origins,
        verbose_errors,
        server_timing,
        app_settings,
        jwt_audience,
        jwt_role_claim,
    };
    let dialect = dialect.resolve(report);
    let mut claims = Vec::new();
    if let Some(id) = &id {
        claims.push((Claim::Id(id.clone()), id_offset));
    }

    let (hosts_offset, mistakes) = (hosts.offset(), report.errors.len());
    let hosts = hosts.elements(report);
    if hosts.is_empty() && report.errors.len() == mistakes {
        let example = id.as_ref().map_or("acme", TenantId::as_str).replace('_', "-");
        let message = format!("the tenant has no host: write hosts = [\"{example}.example.com\"]");
        report.error(hosts_offset.unwrap_or(id_offset), message);
    }
    let mut distinct = HashSet::new();
    for (host, offset) in &hosts {
        if distinct.insert(host) {
            claims.push((Claim::Host(host.clone()), *offset));
        } else {
            report.error(
                *offset,
                format!("host \"{host}\" stands twice in this list: remove one"),
            );
        }
    }

    let cluster = resolve_tenant_cluster(cluster, id_offset, neighbourhood, report);
    let (schema_offset, schemas_offset) = (schema.offset(), schemas.offset());
    let mistakes = report.errors.len();
    only_one([("schema", schema_offset), ("schemas", schemas_offset)], report);
    let listed = schemas.elements(report).into_iter();
    let mut listed = listed.map(|(ExistingSchema(schema), offset)| (schema, offset));
    let first = listed.next();
    let more_schemas: Vec<(SchemaName, usize)> = listed.collect();
    if let (Some(offset), None, true) = (schemas_offset, &first, report.errors.len() == mistakes) {
        report.error(
            offset,
            "the list is empty: write schemas = [\"v1\", \"v2\"], or remove it",
        );
    }
    let schema = match (schema_offset, first, &id) {
        (Some(offset), _, _) => schema.get(report).map(|schema| (schema, offset)),
        (None, Some(first), _) => Some(first),
        (None, None, Some(id)) => SchemaName::from_raw(&Raw::Text(id.as_str()))
            .map(|schema| (schema, id_offset))
            .map_err(|Mistake(message)| report.error(id_offset, format!("{message}: write schema = \"another\"")))
            .ok(),
        (None, None, None) => None,
    };
    let mut listed = HashSet::new();
    for (schema, offset) in schema.iter().chain(&more_schemas) {
        let name = schema.as_str();
        if name == RESERVED_SCHEMA {
            report.error(
                *offset,
                format!("schema \"{schema}\" is kept for the edge's own tables: write another"),
            );
        } else if name.starts_with("pg_") || name == "information_schema" {
            report.error(
                *offset,
                format!("schema \"{schema}\" belongs to PostgreSQL itself: write another"),
            );
        } else if !listed.insert(schema) {
            report.error(
                *offset,
                format!("schema \"{schema}\" stands twice in this list: remove one"),
            );
        }
    }
    let operator = schema
        .as_ref()
        .is_some_and(|(schema, _)| *schema == neighbourhood.shared_schema);
    if let (Some((schema, offset)), Some(cluster)) = (&schema, &cluster) {
        claims.push((Claim::Schema(cluster.clone(), schema.clone()), *offset));
        for (schema, offset) in &more_schemas {
            claims.push((Claim::Schema(cluster.clone(), schema.clone()), *offset));
        }
    }

    let limits = WrittenLimits {
        pool_max,
        checkout_timeout,
        statement_timeout,
        lock_timeout,
        idle_timeout,
        max_rows,
        anonymous,
    };
    let limits = limits.over(&neighbourhood.limits, report);

    let managed_offset = managed.offset();
    let managed = managed.or(true, report);
    let shared_offset = shared.offset();
    let shared = shared.or(managed, report);
    if let (true, false, Some(offset)) = (managed, shared, shared_offset) {
        report.error(
            offset,
            "a managed tenant always reads the shared tables: remove it, or write managed = false",
        );
    }
    if let (true, Some(offset)) = (managed, schemas_offset) {
        report.error(
            offset,
            "`schemas` is for schemas that others own: write schema = \"…\", or managed = false",
        );
    }
    if managed && id.as_ref().is_some_and(|id| id.as_str() == RESERVED_ID) {
        report.error(
            id_offset,
            format!("tenant id \"{RESERVED_ID}\" is kept for the roles of the shared tables: write another"),
        );
    }
    let role_offset = anonymous_role.offset();
    let anonymous_role = anonymous_role.get(report);
    match role_offset {
        Some(offset) if managed => report.error(
            offset,
            "`anonymous_role` is for schemas that others own: remove it, or write managed = false",
        ),
        None if !managed && limits.anonymous != AnonymousAccess::None => report.error(
            managed_offset.unwrap_or(id_offset),
            "a tenant that is not managed names the role of requests without a token: write anonymous_role = \"web_anon\", \
             or anonymous = \"none\"",
        ),
        _ => {}
    }

    only_one(
        [
            ("jwks_file", jwks_file.offset()),
            ("jwt_secret_env", jwt_secret_env.offset()),
            ("jwt_secret_file", jwt_secret_file.offset()),
            ("jwt_secret", jwt_secret.offset()),
        ],
        report,
    );
    let jwks = resolve_jwks(jwks_file, around, report);
    if let (Some(offset), None, None) = (
        jwt_secret_base64.offset(),
        jwt_secret_env.offset(),
        jwt_secret_file.offset(),
    ) {
        report.error(
            offset,
            "`jwt_secret_base64` belongs to jwt_secret_env or jwt_secret_file: remove it, or use one of them",
        );
    }
    let base64 = jwt_secret_base64.or(false, report);
    let jwt_secret = WrittenSecret {
        jwt_secret_env,
        jwt_secret_file,
        jwt_secret,
    }
    .resolve(base64, around, report);
    let tls_offset = tls.offset();
    let tls = tls.get(report).zip(tls_offset).and_then(|(written, offset)| {
        if !neighbourhood.has_tls {
            report.warning(
                offset,
                "this certificate is not used: rowhouse.toml has no [tls] with a listen address",
            );
        }
        resolve_certificate(written, offset, around, report)
    });
    let home = home.get(report).map(|Relation(name)| name);
    let roles = roles.elements(report);
    for (role, offset) in &roles {
        // With one login for all tenants, Postgres would let it become any of them.
        if managed && (role.as_str() == "*" || role.as_str().starts_with("rowhouse_")) {
            report.error(
                *offset,
                format!(
                    "role \"{role}\" may be another tenant's: write roles of your own, or managed = false \
                     (a token may name the tenant's own roles anyway)"
                ),
            );
        }
    }
    let extra_search_path = extra_search_path.elements(report).into_iter();
    let extra_search_path = extra_search_path.map(|(ExistingSchema(schema), _)| schema).collect();

    let id = id?;
    let (line, _) = report.source.position(id_offset);
    let complete = report.errors.len() == mistakes_before;
    let tenant = cluster.zip(schema).filter(|_| complete).map(|(cluster, (schema, _))| {
        Arc::new(Tenant {
            id: id.clone(),
            hosts: hosts.into_iter().map(|(host, _)| host).collect(),
            home,
            schema,
            cluster,
            limits: if limits == *neighbourhood.limits {
                Arc::clone(&neighbourhood.limits)
            } else {
                Arc::new(limits)
            },
            jwt_secret,
            jwks,
            dialect: if dialect == *neighbourhood.dialect {
                Arc::clone(&neighbourhood.dialect)
            } else {
                Arc::new(dialect)
            },
            more_schemas: more_schemas.into_iter().map(|(schema, _)| schema).collect(),
            roles: roles.into_iter().map(|(role, _)| role).collect(),
            managed,
            shared,
            anonymous_role,
            extra_search_path,
            tls: tls.map(Box::new),
            file: Arc::clone(&report.source.path),
            line,
            operator,
        })
    });
    Some(Draft {
        id,
        line,
        operator,
        claims,
        tenant,
    })
}

/// The cluster's id as `rowhouse.toml` holds it, so that ten thousand tenants share one text.
fn resolve_tenant_cluster(
    written: Field<ClusterId>,
    id_offset: usize,
    neighbourhood: &Neighbourhood<'_>,
    report: &mut Report<'_>,
) -> Option<ClusterId> {
    let offset = written.offset();
    let cluster = match offset {
        Some(_) => written.get(report)?,
        None => built_in(CLUSTER),
    };
    let Some(clusters) = neighbourhood.clusters else {
        return Some(cluster);
    };
    if let Some((known, _)) = clusters.get_key_value(&cluster) {
        return Some(known.clone());
    }
    let advice = schema::advice(cluster.as_str(), clusters.keys().map(ClusterId::as_str));
    let message = match offset {
        Some(_) => format!("rowhouse.toml has no cluster `{cluster}`: {advice}"),
        None => format!("rowhouse.toml has no cluster `{cluster}`, the default: write cluster = \"…\" ({advice})"),
    };
    report.error(offset.unwrap_or(id_offset), message);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_names_are_valid() {
        assert_eq!(built_in::<SchemaName>(SHARED_SCHEMA).as_str(), "public");
        assert_eq!(built_in::<ClusterId>(CLUSTER).as_str(), "main");
        assert_eq!(
            Size::from_raw(&Raw::Text(MAX_BODY_TEXT)).ok().map(|size| size.0),
            Some(MAX_BODY)
        );
        assert_eq!((MAX_BODY.get(), BUDGET.get(), LIMITS.pool_max.get()), (1 << 20, 80, 8));
    }
}
