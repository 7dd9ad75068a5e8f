//! `[tenants.ID]`: one tenant of a tenant file, among the clusters and limits that `rowhouse.toml` gives.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::foundation::Foundation;
use super::keys::{TokenKeys, WrittenSecret};
use super::{Surroundings, WrittenLimits, only_one, resolve_certificate};
use crate::config::claims::{Claim, Draft};
use crate::config::defaults::{CLUSTER, LIMITS, SHARED_SCHEMA, built_in};
use crate::config::field::{Entry, Field, List, Report};
use crate::config::value::{ExistingSchema, Mistake, Raw, Relation, Scalar, tenant_id};
use crate::config::{AnonymousAccess, Cluster, Dialect, Limits, Tenant, dialect, file, schema};
use crate::types::{ClusterId, Host, RoleName, SchemaName, TenantId};

/// The tenant id whose roles would have the names of those of the shared tables.
pub(crate) const RESERVED_ID: &str = "shared";

/// The schema of the edge's own tables.
pub(crate) const RESERVED_SCHEMA: &str = "rowhouse";

/// What the tenants of all files refer to.
pub(in crate::config) struct Neighbourhood<'a> {
    /// The clusters of `rowhouse.toml`; `None` if that could not be read, so that no cluster can be said to be missing.
    pub(in crate::config) clusters: Option<&'a BTreeMap<ClusterId, Cluster>>,
    pub(in crate::config) shared_schema: SchemaName,
    pub(in crate::config) limits: Arc<Limits>,
    /// What the tenants without options of their own share.
    pub(in crate::config) dialect: Arc<Dialect>,
    pub(in crate::config) has_tls: bool,
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
pub(in crate::config) fn tenant(
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
        pool_min,
        weight,
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
        jwks,
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

    let hosts = resolve_hosts(hosts, id.as_ref(), id_offset, report);
    claims.extend(hosts.iter().map(|(host, offset)| (Claim::Host(host.clone()), *offset)));

    let cluster = resolve_tenant_cluster(cluster, id_offset, neighbourhood, report);
    let schemas_offset = schemas.offset();
    let (schema, more_schemas) = resolve_schemas(schema, schemas, id.as_ref(), id_offset, report);
    check_schemas(schema.iter().chain(&more_schemas), report);
    let operator = schema
        .as_ref()
        .is_some_and(|(schema, _)| *schema == neighbourhood.shared_schema);
    if let (Some((schema, offset)), Some(cluster)) = (&schema, &cluster) {
        claims.push((Claim::Schema(cluster.clone(), schema.clone()), *offset));
        for (schema, offset) in &more_schemas {
            claims.push((Claim::Schema(cluster.clone(), schema.clone()), *offset));
        }
    }

    let pool_min_offset = pool_min.offset().unwrap_or(id_offset);
    let limits = WrittenLimits {
        pool_max,
        pool_min,
        weight,
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

    let (jwks, jwt_secret) = TokenKeys {
        jwks_file,
        jwks,
        jwt_secret: WrittenSecret {
            jwt_secret_env,
            jwt_secret_file,
            jwt_secret,
        },
        jwt_secret_base64,
    }
    .resolve(around, report);
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
    if managed {
        check_roles(&roles, report);
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
        pool_min_offset,
        tenant,
    })
}

/// The tenant's hosts and where they stand, each once. There must be one.
fn resolve_hosts(
    written: Field<List<Host>>,
    id: Option<&TenantId>,
    id_offset: usize,
    report: &mut Report<'_>,
) -> Vec<(Host, usize)> {
    let (offset, mistakes) = (written.offset(), report.errors.len());
    let mut hosts = written.elements(report);
    if hosts.is_empty() && report.errors.len() == mistakes {
        let example = id.map_or("acme", TenantId::as_str).replace('_', "-");
        let message = format!("the tenant has no host: write hosts = [\"{example}.example.com\"]");
        report.error(offset.unwrap_or(id_offset), message);
    }
    let mut distinct = HashSet::new();
    hosts.retain(|(host, offset)| {
        let is_new = distinct.insert(host.clone());
        if !is_new {
            report.error(
                *offset,
                format!("host \"{host}\" stands twice in this list: remove one"),
            );
        }
        is_new
    });
    hosts
}

/// A schema and where it is written.
type Placed = (SchemaName, usize);

/// The tenant's own schema, which is that of `schema`, the first of `schemas` or the one named like the tenant; and the
/// others of `schemas`.
fn resolve_schemas(
    schema: Field<SchemaName>,
    schemas: Field<List<ExistingSchema>>,
    id: Option<&TenantId>,
    id_offset: usize,
    report: &mut Report<'_>,
) -> (Option<Placed>, Vec<Placed>) {
    let (schema_offset, schemas_offset) = (schema.offset(), schemas.offset());
    let mistakes = report.errors.len();
    only_one([("schema", schema_offset), ("schemas", schemas_offset)], report);
    let listed = schemas.elements(report).into_iter();
    let mut listed = listed.map(|(ExistingSchema(schema), offset)| (schema, offset));
    let first = listed.next();
    if let (Some(offset), None, true) = (schemas_offset, &first, report.errors.len() == mistakes) {
        report.error(
            offset,
            "the list is empty: write schemas = [\"v1\", \"v2\"], or remove it",
        );
    }
    let schema = match (schema_offset, first, id) {
        (Some(offset), _, _) => schema.get(report).map(|schema| (schema, offset)),
        (None, Some(first), _) => Some(first),
        (None, None, Some(id)) => SchemaName::from_raw(&Raw::Text(id.as_str()))
            .map(|schema| (schema, id_offset))
            .map_err(|Mistake(message)| report.error(id_offset, format!("{message}: write schema = \"another\"")))
            .ok(),
        (None, None, None) => None,
    };
    (schema, listed.collect())
}

/// No schema that is someone else's by its name, and none twice.
fn check_schemas<'s>(schemas: impl Iterator<Item = &'s Placed>, report: &mut Report<'_>) {
    let mut listed = HashSet::new();
    for (schema, offset) in schemas {
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
}

/// With one login for all tenants, Postgres would let it become any role of a managed one's list.
fn check_roles(roles: &[(RoleName, usize)], report: &mut Report<'_>) {
    for (role, offset) in roles {
        if role.as_str() == "*" || role.as_str().starts_with("rowhouse_") {
            report.error(
                *offset,
                format!(
                    "role \"{role}\" may be another tenant's: write roles of your own, or managed = false \
                     (a token may name the tenant's own roles anyway)"
                ),
            );
        }
    }
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
