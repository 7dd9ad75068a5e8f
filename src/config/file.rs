//! The configuration as written: the one list of keys, for the reader, the check for unknown keys and the JSON Schema.
//!
//! A key's doc comment is its description in editors. Which values are good together is decided in [`super::resolve`].

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::defaults::{
    BUDGET, CLUSTER, GRACE, LIMITS, LISTEN, MAX_BODY_TEXT, MAX_CONNECTIONS, OPERATOR_LISTEN, ROLE_CLAIM, SHARED_SCHEMA,
    text,
};
use super::dialect::{AppSetting, FunctionName, Name, OpenApi, Origin, OwnFunction, TxEnd, Url};
use super::field::{Entries, Field, List, tables};
use super::postgres_url::PostgresUrl;
use super::value::{ExistingSchema, Relation, Size, Variable, Weight};
use super::{AnonymousAccess, Credentials, Secret, SharedWrite};
use crate::types::{ClaimPath, ClusterId, Host, RoleName, SchemaName};

tables!(Server, Tls, Certificate, Cluster, Shared, Defaults, Migrations, Tenant);

/// `config/rowhouse.toml`: how this edge listens, where its databases are, and the limits every tenant starts from.
///
/// Relative paths start at the directory that holds the configuration directory. Sizes are a number of bytes, with
/// KiB, MiB or GiB if wanted; durations carry their unit ("500ms", "2s", "1m 30s").
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, title = "rowhouse.toml", extend("required" = ["clusters"]))]
pub(super) struct Rowhouse {
    /// Where to listen, and what one edge takes on.
    pub(super) server: Field<Server>,
    /// The HTTPS listener. Without this table there is none.
    pub(super) tls: Field<Tls>,
    /// Postgres servers by id: one endpoint with one budget of connections each.
    pub(super) clusters: Field<Entries<Cluster>>,
    /// The tables that every tenant reads.
    pub(super) shared: Field<Shared>,
    /// Limits that hold for every tenant whose file does not say otherwise.
    pub(super) defaults: Field<Defaults>,
    /// Where the SQL migrations are.
    pub(super) migrations: Field<Migrations>,
}

/// Where to listen, and what one edge takes on.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct Server {
    /// Address and port of plain HTTP (1.1, and 2 with prior knowledge).
    #[schemars(extend("default" = LISTEN.to_string()))]
    pub(super) listen: Field<SocketAddr>,
    /// Address and port of /livez, /readyz, /metrics and /status. Keep it away from the public.
    #[schemars(extend("default" = OPERATOR_LISTEN.to_string()))]
    pub(super) operator_listen: Field<SocketAddr>,
    /// Ports that may stand in `Host` besides the listeners' own, 80 and 443: those a load balancer shows to the public.
    #[schemars(extend("default" = []))]
    pub(super) public_ports: Field<List<NonZeroU16>>,
    /// Addresses or networks of proxies in front, whose `X-Forwarded-For` and `X-Forwarded-Proto` say who asks the console, and
    /// whether over TLS.
    #[schemars(extend("default" = []))]
    pub(super) trusted_proxies: Field<List<IpNet>>,
    /// Environment variable with the HMAC key (HS256, HS384, HS512) of the whole server, at least 32 bytes. A token
    /// signed with it must carry the tenant's id as `aud`.
    pub(super) jwt_secret_env: Field<Variable>,
    /// File with the HMAC key (HS256, HS384, HS512) of the whole server, at least 32 bytes; one newline at its end is
    /// not part of the key.
    pub(super) jwt_secret_file: Field<PathBuf>,
    /// The HMAC key (HS256, HS384, HS512) of the whole server itself, at least 32 bytes; only in a file that others
    /// cannot read (chmod 640).
    pub(super) jwt_secret: Field<Secret>,
    /// The longest request body in bytes.
    #[schemars(extend("default" = MAX_BODY_TEXT))]
    pub(super) max_body: Field<Size>,
    /// The most client connections at once.
    #[schemars(extend("default" = MAX_CONNECTIONS))]
    pub(super) max_connections: Field<NonZeroU32>,
    /// How long running requests may take to finish after the signal to stop.
    #[schemars(extend("default" = text(GRACE)))]
    pub(super) grace: Field<Duration>,
}

/// The HTTPS listener.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["listen"]))]
pub(super) struct Tls {
    /// Address and port of HTTPS.
    pub(super) listen: Field<SocketAddr>,
    /// Certificates for hosts whose tenants bring none of their own.
    #[schemars(extend("default" = []))]
    pub(super) certificates: Field<List<Certificate>>,
}

/// A certificate with its key, both PEM.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["cert", "key"]))]
pub(super) struct Certificate {
    /// File with the certificate chain, the host's own certificate first.
    pub(super) cert: Field<PathBuf>,
    /// File with the private key.
    pub(super) key: Field<PathBuf>,
}

/// One Postgres server: exactly one of `url`, `url_env` and `embedded = true`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct Cluster {
    /// Where it is. A password may stand here only in a file that others cannot read (chmod 640). With sslmode=require,
    /// verify-ca or verify-full in it, TCP connections are encrypted; sslrootcert names the authorities.
    #[schemars(extend("examples" = ["postgres://rowhouse_edge@db1/app"]))]
    pub(super) url: Field<PostgresUrl>,
    /// Environment variable that says where it is.
    #[schemars(extend("examples" = ["DATABASE_URL"]))]
    pub(super) url_env: Field<Variable>,
    /// Start a private Postgres and stop it with this process.
    #[schemars(extend("default" = false))]
    pub(super) embedded: Field<bool>,
    /// Data directory of the embedded Postgres. Default: .rowhouse/ID.
    pub(super) data: Field<PathBuf>,
    /// The most connections this edge opens to it, all tenants together.
    #[schemars(extend("default" = BUDGET))]
    pub(super) budget: Field<NonZeroU32>,
    /// Who the connections of managed tenants log in as: the edge's one login (shared), or a login for each tenant
    /// (per_tenant), which serves thousands of tenants. Default: per_tenant if embedded, else shared.
    pub(super) credentials: Field<Credentials>,
    /// Whether tenants share a few connections for short reads that run no code of theirs: for many tenants on few
    /// connections. Not with per_tenant.
    #[schemars(extend("default" = false))]
    pub(super) shared_reads: Field<bool>,
}

/// The tables that every tenant reads.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct Shared {
    /// Their schema. The tenant whose schema this is, is the operator's.
    #[schemars(extend("default" = SHARED_SCHEMA))]
    pub(super) schema: Field<SchemaName>,
    /// Who may write to them: the operator's tenant alone, or every tenant.
    #[schemars(extend("default" = "operator"))]
    pub(super) write: Field<SharedWrite>,
}

/// Limits that hold for every tenant whose file does not say otherwise.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct Defaults {
    /// The most connections one tenant uses at once.
    #[schemars(extend("default" = LIMITS.pool_max))]
    pub(super) pool_max: Field<NonZeroU32>,
    /// Connections of the budget that are there for each tenant at any time, whatever others do. All of them together
    /// must be fewer than the budget.
    #[schemars(extend("default" = LIMITS.pool_min))]
    pub(super) pool_min: Field<u32>,
    /// As how many tenants each counts where connections are short.
    #[schemars(extend("default" = LIMITS.weight))]
    pub(super) weight: Field<Weight>,
    /// The longest wait for a free connection.
    #[schemars(extend("default" = text(LIMITS.checkout_timeout)))]
    pub(super) checkout_timeout: Field<Duration>,
    /// The longest run of one statement.
    #[schemars(extend("default" = text(LIMITS.statement_timeout)))]
    pub(super) statement_timeout: Field<Duration>,
    /// The longest wait of one statement for a lock.
    #[schemars(extend("default" = text(LIMITS.lock_timeout)))]
    pub(super) lock_timeout: Field<Duration>,
    /// How long an unused connection is kept.
    #[schemars(extend("default" = text(LIMITS.idle_timeout)))]
    pub(super) idle_timeout: Field<Duration>,
    /// What a request without a token may do with the tenant's own tables.
    #[schemars(extend("default" = "read"))]
    pub(super) anonymous: Field<AnonymousAccess>,
    /// The most rows a read may answer with; a larger result is cut here.
    #[schemars(extend("default" = LIMITS.max_rows))]
    pub(super) max_rows: Field<NonZeroU32>,
}

/// Where the SQL migrations are: directories of V1__name.sql, V2__name.sql, …
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct Migrations {
    /// Directory with those of the shared schema, run once per cluster. Default: none.
    #[schemars(extend("examples" = ["migrations/shared"]))]
    pub(super) shared: Field<PathBuf>,
    /// Directory with those of a tenant's schema, run once per tenant. Default: none.
    #[schemars(extend("examples" = ["migrations/tenant"]))]
    pub(super) tenant: Field<PathBuf>,
}

/// `config/tenants/*.toml`: one tenant or many. A mistake stops all tenants of its file and no other.
///
/// Relative paths start at the directory that holds the configuration directory.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, title = "Tenants of Rowhouse", extend("required" = ["tenants"]))]
pub(super) struct Tenants {
    /// Tenants by id.
    pub(super) tenants: Field<Entries<Tenant>>,
}

/// One tenant.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["hosts"]))]
pub(super) struct Tenant {
    /// The hosts whose requests are this tenant's, without port. No two tenants share one.
    #[schemars(extend("minItems" = 1))]
    pub(super) hosts: Field<List<Host>>,
    /// The table or view that GET / lists. Default: none.
    pub(super) home: Field<Relation>,
    /// The tenant's own schema. No two tenants of a cluster share one. Default: the tenant's id.
    pub(super) schema: Field<SchemaName>,
    /// Schemas that requests choose by `Accept-Profile` and `Content-Profile`, the first if they do not say. In place of
    /// `schema`; needs managed = false.
    pub(super) schemas: Field<List<ExistingSchema>>,
    /// The cluster of rowhouse.toml that holds the schema.
    #[schemars(extend("default" = CLUSTER))]
    pub(super) cluster: Field<ClusterId>,

    /// The most connections this tenant uses at once. Default: that of `[defaults]`.
    pub(super) pool_max: Field<NonZeroU32>,
    /// Connections of the budget that are there for this tenant at any time, whatever others do. Those of a cluster's
    /// tenants together must be fewer than its budget. Default: that of `[defaults]`.
    pub(super) pool_min: Field<u32>,
    /// As how many tenants this one counts where connections are short. Default: that of `[defaults]`.
    pub(super) weight: Field<Weight>,
    /// The longest wait for a free connection. Default: that of `[defaults]`.
    pub(super) checkout_timeout: Field<Duration>,
    /// The longest run of one statement. Default: that of `[defaults]`.
    pub(super) statement_timeout: Field<Duration>,
    /// The longest wait of one statement for a lock. Default: that of `[defaults]`.
    pub(super) lock_timeout: Field<Duration>,
    /// How long an unused connection is kept. Default: that of `[defaults]`.
    pub(super) idle_timeout: Field<Duration>,
    /// What a request without a token may do with this tenant's own tables. Default: that of `[defaults]`.
    pub(super) anonymous: Field<AnonymousAccess>,
    /// The most rows a read may answer with; a larger result is cut here. Default: that of `[defaults]`.
    pub(super) max_rows: Field<NonZeroU32>,

    /// Environment variable with this tenant's HMAC key (HS256, HS384, HS512), at least 32 bytes.
    pub(super) jwt_secret_env: Field<Variable>,
    /// File with this tenant's HMAC key (HS256, HS384, HS512), at least 32 bytes; one newline at its end is not part of
    /// the key.
    pub(super) jwt_secret_file: Field<PathBuf>,
    /// This tenant's HMAC key (HS256, HS384, HS512) itself, at least 32 bytes; only in a file that others cannot read
    /// (chmod 640).
    pub(super) jwt_secret: Field<Secret>,
    /// Whether the key in the environment or in the file is written in base64.
    #[schemars(extend("default" = false))]
    pub(super) jwt_secret_base64: Field<bool>,
    /// File with the keys of this tenant's tokens: a JWK or a JWK Set (RFC 7517).
    pub(super) jwks_file: Field<PathBuf>,
    /// The keys of this tenant's tokens themselves: a JWK or a JWK Set (RFC 7517), as JSON in quotes. With a secret among
    /// them only in a file that others cannot read (chmod 640).
    pub(super) jwks: Field<Secret>,
    /// What the `aud` of a token must hold, if it has one. Default: anything.
    pub(super) jwt_audience: Field<Name>,
    /// Where a token says its role, as JSONPath.
    #[schemars(extend("default" = ROLE_CLAIM))]
    pub(super) jwt_role_claim: Field<ClaimPath>,
    /// Roles a token may name besides the tenant's own.
    #[schemars(extend("default" = []))]
    pub(super) roles: Field<List<RoleName>>,
    /// Whether we create, grant and migrate; false for a schema that others own.
    #[schemars(extend("default" = true))]
    pub(super) managed: Field<bool>,
    /// Whether its requests reach the shared tables. Default: as `managed` says.
    pub(super) shared: Field<bool>,
    /// The role of requests without a token. Needs managed = false, and is then required unless anonymous = "none".
    pub(super) anonymous_role: Field<RoleName>,
    /// Schemas that are searched after the tenant's own and the shared one.
    #[schemars(extend("default" = []))]
    pub(super) extra_search_path: Field<List<ExistingSchema>>,

    /// Function without arguments that runs before every request, in its transaction. Default: none.
    pub(super) pre_request: Field<FunctionName>,
    /// How transactions end, and whether `Prefer: tx=…` may say otherwise.
    #[schemars(extend("default" = "commit"))]
    pub(super) tx_end: Field<TxEnd>,
    /// Whether requests may ask for aggregates. They can be costly.
    #[schemars(extend("default" = false))]
    pub(super) aggregates: Field<bool>,
    /// Whether requests may ask how Postgres would answer (EXPLAIN).
    #[schemars(extend("default" = false))]
    pub(super) plan: Field<bool>,
    /// Whether embedded tables with an alias may be named by their own name as well, with a warning.
    #[schemars(extend("default" = true))]
    pub(super) legacy_target_names: Field<bool>,
    /// What the OpenAPI document of /api/ shows.
    #[schemars(extend("default" = "follow-privileges"))]
    pub(super) openapi: Field<OpenApi>,
    /// Whether the OpenAPI document asks for a token.
    #[schemars(extend("default" = false))]
    pub(super) openapi_security: Field<bool>,
    /// Where the OpenAPI document says that the API is. Default: where it was asked for.
    pub(super) openapi_url: Field<Url>,
    /// Function that answers for /api/ in place of the OpenAPI document.
    pub(super) root_function: Field<OwnFunction>,
    /// Origins whose pages may call the API. Default: all.
    #[schemars(extend("default" = []))]
    pub(super) cors_origins: Field<List<Origin>>,
    /// Whether errors carry details and hints.
    #[schemars(extend("default" = true))]
    pub(super) verbose_errors: Field<bool>,
    /// Whether answers say in Server-Timing what took how long.
    #[schemars(extend("default" = false))]
    pub(super) server_timing: Field<bool>,
    /// Settings of every transaction, read in SQL as current_setting('app.settings.NAME').
    #[schemars(extend("default" = []))]
    pub(super) app_settings: Field<List<AppSetting>>,
    /// Certificate for this tenant's hosts. Default: one of `[tls]` in rowhouse.toml.
    pub(super) tls: Field<Certificate>,
}
