//! The configuration: `rowhouse.toml` and `tenants/*.toml` in one directory.
//!
//! [`Config`] is what the program uses: newtypes, durations, every default filled in. What may be written is `file.rs`,
//! which [`schema`] gives as JSON Schema for editors.
//!
//! Relative paths in a file (migrations, certificates, secrets, data) start at the directory that *contains* the
//! configuration directory, so that `config/` beside `migrations/` works wherever the process runs.
//!
//! # Mistakes
//!
//! Every mistake of every file is found at once and reads `file:line:column: what is wrong and what to write instead`
//! ([`Error`]). One in `rowhouse.toml` stops everything. One in a tenant file stops the tenants of that file alone, all of
//! them, because a half-read file is not what its author meant.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::types::{ClusterId, Host, RoleName, SchemaName, TenantId};

mod claims;
mod defaults;
mod dialect;
mod error;
mod field;
mod file;
mod jwks;
mod load;
mod postgres_url;
mod read;
mod resolve;
pub mod schema;
mod secret;
mod value;

pub use self::dialect::{Dialect, FunctionName, OpenApi, TxEnd};
pub use self::error::{Error, Errors};
pub use self::jwks::{Jwks, JwksError};
pub(crate) use self::resolve::{RESERVED_ID, RESERVED_SCHEMA};
pub use self::secret::Secret;

/// The tenants that are being served, from the configuration before this one; empty at start.
pub type Live = BTreeMap<TenantId, Arc<Tenant>>;

/// The whole configuration as used.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to listen, and what one edge takes on.
    pub server: Server,
    /// The HTTPS listener, if any.
    pub tls: Option<Tls>,
    /// Postgres servers; at least one.
    pub clusters: BTreeMap<ClusterId, Cluster>,
    /// The tables that every tenant reads.
    pub shared: Shared,
    /// Where the SQL migrations are.
    pub migrations: Migrations,
    /// The tenants to serve: those of the good files, and those live ones whose file has gone bad, as they were.
    pub tenants: Live,
    /// Tenant files that changed nothing because they hold mistakes, in the order of their paths.
    pub failed: Vec<FailedFile>,
    /// What is allowed but hardly meant, one sentence each.
    pub warnings: Vec<String>,
}

impl Config {
    /// The mistakes of all failed tenant files, in reading order. Empty if all is well.
    #[must_use]
    pub fn report(&self) -> Errors {
        self.failed.iter().flat_map(|file| &file.errors).cloned().collect()
    }
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Address of plain HTTP. Default: 127.0.0.1:8000.
    pub listen: SocketAddr,
    /// Address of the operator's endpoints. Default: 127.0.0.1:9000.
    pub operator_listen: SocketAddr,
    /// Ports that may stand in `Host` besides the listeners' own, 80 and 443. Default: none.
    pub public_ports: Box<[NonZeroU16]>,
    /// Proxies whose `X-Forwarded-…` is believed where the console wants to know who asks. Default: none.
    pub trusted_proxies: Box<[IpNet]>,
    /// HS256 key of the whole server, at least 32 bytes; a token signed with it must carry the tenant's id as `aud`.
    pub jwt_secret: Option<Secret>,
    /// The longest request body, in bytes. Default: 1 MiB; at most 1 GiB.
    pub max_body: NonZeroUsize,
    /// The most client connections at once. Default: 10,000.
    pub max_connections: NonZeroU32,
    /// How long running requests may take to finish after the signal to stop. Default: 30 s.
    pub grace: Duration,
}

/// `[tls]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Address of HTTPS.
    pub listen: SocketAddr,
    /// Certificates for hosts whose tenants bring none of their own.
    pub certificates: Box<[Certificate]>,
}

/// A certificate chain and its private key: absolute paths of PEM files that existed when the configuration was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// The chain, the host's own certificate first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// `[clusters.ID]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The most connections this edge opens to it, all tenants together. Default: 80.
    pub budget: NonZeroU32,
    /// Who managed tenants' connections log in as. Default: each tenant as itself if embedded, else all as the url says.
    pub credentials: Credentials,
    /// Whether tenants share connections for short reads. Default: false.
    pub shared_reads: bool,
}

/// Who the connections of managed tenants log in as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Credentials {
    /// The edge's own login, which is a member of every tenant's roles.
    Shared,
    /// A login of the tenant's own, which is a member of that tenant's roles alone.
    PerTenant,
}

/// Where a cluster is.
#[derive(Clone, Debug, PartialEq)]
pub enum Endpoint {
    /// A server that others run.
    Url {
        /// Where it is, and who logs in. Its `Debug` hides the password.
        postgres: Box<tokio_postgres::Config>,
        /// How its TCP connections are encrypted. Default: not at all.
        encryption: Option<Encryption>,
    },
    /// A private server that we start and stop.
    Embedded {
        /// Its data directory, an absolute path. Default: `.rowhouse/ID`.
        data: PathBuf,
    },
}

/// How a cluster's TCP connections are encrypted: what `sslmode` and its like in the url mean. A connection over a Unix
/// socket never is.
#[derive(Clone, Debug, PartialEq)]
pub struct Encryption {
    /// Whether a server that does not speak TLS is refused. If not, it is spoken to in plain text.
    pub required: bool,
    /// What the server's certificate must prove.
    pub proof: Proof,
    /// The certificate that the server is shown if it asks for one.
    pub client: Option<Certificate>,
}

impl Encryption {
    /// The files it names, each with the name of its setting.
    fn files(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let root = match &mut self.proof {
            Proof::Authority(Authorities::File(path)) | Proof::AuthorityAndHost(Authorities::File(path)) => Some(path),
            Proof::None | Proof::Authority(Authorities::System) | Proof::AuthorityAndHost(Authorities::System) => None,
        };
        let client = self.client.as_mut();
        let client = client.map(|client| [("sslcert", &mut client.cert), ("sslkey", &mut client.key)]);
        root.map(|path| ("sslrootcert", path))
            .into_iter()
            .chain(client.into_iter().flatten())
    }
}

/// What a server's certificate must prove.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    /// Nothing: who listens in learns nothing, who steps in between learns all.
    None,
    /// That one of these authorities has signed it.
    Authority(Authorities),
    /// That, and that it is for the host that is connected to.
    AuthorityAndHost(Authorities),
}

/// Whose signatures are believed.
#[derive(Clone, Debug, PartialEq)]
pub enum Authorities {
    /// Those whom the system trusts.
    System,
    /// Those of a PEM file, which existed when the configuration was read.
    File(PathBuf),
}

/// `[shared]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// The schema of the shared tables. Default: public.
    pub schema: SchemaName,
    /// Who may write to them. Default: the operator.
    pub write: SharedWrite,
}

/// Who may write to the shared tables.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SharedWrite {
    /// The operator's tenant alone.
    Operator,
    /// Every tenant.
    Tenants,
}

/// `[migrations]`: absolute paths of directories that existed when the configuration was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Migrations {
    /// Those of the shared schema.
    pub shared: Option<PathBuf>,
    /// Those of a tenant's schema.
    pub tenant: Option<PathBuf>,
}

/// What a request without a token may do with the tenant's own tables.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnonymousAccess {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// `[defaults]`, or a tenant's own. Timeouts are 1 ms to 24 days.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The most connections the tenant uses at once. Default: 8.
    pub pool_max: NonZeroU32,
    /// Connections of the budget that are there for the tenant at any time; at most `pool_max`. Those of a cluster's
    /// tenants together are fewer than its budget. Default: 0.
    pub pool_min: u32,
    /// As how many tenants it counts where connections are short, 1 to 100. Default: 1.
    pub weight: NonZeroU32,
    /// The longest wait for a free connection. Default: 2 s.
    pub checkout_timeout: Duration,
    /// The longest run of one statement. Default: 5 s.
    pub statement_timeout: Duration,
    /// The longest wait of one statement for a lock. Default: 2 s.
    pub lock_timeout: Duration,
    /// How long an unused connection is kept. Default: 60 s.
    pub idle_timeout: Duration,
    /// The most rows a read may answer with; a larger result is cut here. Default: 1,000.
    pub max_rows: NonZeroU32,
    /// What a request without a token may do. Default: read.
    pub anonymous: AnonymousAccess,
}

/// `[tenants.ID]`.
///
/// Small, because there may be ten thousand: text is shared, and so are limits that are not the tenant's own. Two are
/// equal if a server could not tell them apart; where they were written does not count.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The id.
    pub id: TenantId,
    /// The hosts whose requests are this tenant's; at least one, no two tenants share one.
    pub hosts: Box<[Host]>,
    /// The table or view that `GET /` lists.
    pub home: Option<Box<str>>,
    /// The tenant's own schema; no two tenants of a cluster share one. Default: the id.
    pub schema: SchemaName,
    /// Other schemas that requests may choose by `Accept-Profile` and `Content-Profile`; only if not managed.
    pub more_schemas: Box<[SchemaName]>,
    /// The cluster that holds it, one of [`Config::clusters`]. Default: main.
    pub cluster: ClusterId,
    /// Limits, those of `[defaults]` unless the tenant has its own.
    pub limits: Arc<Limits>,
    /// The tenant's own HS256 key, at least 32 bytes.
    pub jwt_secret: Option<Secret>,
    /// The tenant's own keys for tokens in place of that.
    pub jwks: Option<Jwks>,
    /// How its data API behaves.
    pub dialect: Arc<Dialect>,
    /// Roles a token may name besides the tenant's own.
    pub roles: Box<[RoleName]>,
    /// Whether we create, grant and migrate. Default: true.
    pub managed: bool,
    /// Whether its requests reach the shared tables. Default: as `managed`.
    pub shared: bool,
    /// The role of requests without a token; only if not managed, and then unless such requests may do nothing.
    pub anonymous_role: Option<RoleName>,
    /// Schemas that are searched after the tenant's own and the shared one.
    pub extra_search_path: Box<[SchemaName]>,
    /// Certificate for this tenant's hosts.
    pub tls: Option<Box<Certificate>>,
    /// The file that defines the tenant.
    pub file: Arc<Path>,
    /// The line of its header in that file, from 1.
    pub line: u32,
    /// Whether its schema is the shared one of its cluster.
    pub(crate) operator: bool,
}

impl Tenant {
    /// Whether this is the operator's tenant, whose own schema is the shared one. There is at most one per cluster.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.operator
    }
}

impl PartialEq for Tenant {
    fn eq(&self, other: &Self) -> bool {
        // Taken apart, so that a new field cannot be forgotten.
        let Self {
            id,
            hosts,
            home,
            schema,
            more_schemas,
            cluster,
            limits,
            jwt_secret,
            jwks,
            dialect,
            roles,
            managed,
            shared,
            anonymous_role,
            extra_search_path,
            tls,
            file: _,
            line: _,
            operator,
        } = self;
        *id == other.id
            && *hosts == other.hosts
            && *home == other.home
            && *schema == other.schema
            && *more_schemas == other.more_schemas
            && *cluster == other.cluster
            && *dialect == other.dialect
            && *limits == other.limits
            && *jwt_secret == other.jwt_secret
            && *jwks == other.jwks
            && *roles == other.roles
            && *managed == other.managed
            && *shared == other.shared
            && *anonymous_role == other.anonymous_role
            && *extra_search_path == other.extra_search_path
            && *tls == other.tls
            && *operator == other.operator
    }
}

/// A tenant file that holds mistakes. None of its tenants was taken from it.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong in it; at least one.
    pub errors: Errors,
    /// The tenants it tried to define, as far as that could be read.
    pub ids: Vec<TenantId>,
}
