//! `rowhouse.toml`: listeners, the shared tables, migrations, and the limits that tenants start from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::clusters::resolve_clusters;
use super::keys::WrittenSecret;
use super::{Surroundings, WrittenLimits, existing_path, resolve_certificate};
use crate::config::defaults::{
    GRACE, LIMITS, LISTEN, MAX_BODY, MAX_CONNECTIONS, OPERATOR_LISTEN, SHARED_SCHEMA, built_in,
};
use crate::config::field::{Field, Report};
use crate::config::value::Size;
use crate::config::{Cluster, Limits, Migrations, Server, Shared, SharedWrite, Tls, file};
use crate::types::ClusterId;

/// `rowhouse.toml` resolved: all of [`super::Config`] but the tenants.
pub(in crate::config) struct Foundation {
    pub(in crate::config) server: Server,
    pub(in crate::config) tls: Option<Tls>,
    pub(in crate::config) clusters: BTreeMap<ClusterId, Cluster>,
    pub(in crate::config) shared: Shared,
    pub(in crate::config) limits: Arc<Limits>,
    pub(in crate::config) migrations: Migrations,
}

pub(in crate::config) fn foundation(
    written: file::Rowhouse,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Foundation {
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
        trusted_proxies,
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
        trusted_proxies: trusted_proxies.values(report),
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
