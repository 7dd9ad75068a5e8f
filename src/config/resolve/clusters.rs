//! `[clusters.ID]`: where each Postgres is, how many connections it gets, and who they log in as.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Surroundings, only_one};
use crate::config::defaults::{BUDGET, DATA};
use crate::config::field::{Entry, Report};
use crate::config::postgres_url::PostgresUrl;
use crate::config::value::{Scalar, Variable, cluster_id};
use crate::config::{Cluster, Credentials, Encryption, Endpoint, file};
use crate::types::ClusterId;

pub(super) fn resolve_clusters(
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
        shared_reads,
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
        && url.postgres.get_password().is_some()
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
        PostgresUrl::parse(&text)
            .map_err(|message| {
                let write = PostgresUrl::WRITE;
                report.error(
                    offset,
                    format!("environment variable {name}: {message}: set it to {write}"),
                );
            })
            .ok()
    });
    let (endpoint, usual) = match url {
        Some(PostgresUrl { postgres, encryption }) => {
            let postgres = Box::new(postgres);
            let encryption = encryption.map(|encryption| {
                let offset = url_offset.or(url_env_offset).unwrap_or(offset);
                resolve_files(encryption, offset, around, report)
            });
            (Endpoint::Url { postgres, encryption }, Credentials::Shared)
        }
        None => {
            let data = around.root.join(data);
            (Endpoint::Embedded { data }, Credentials::PerTenant)
        }
    };
    let credentials = credentials.or(usual, report);
    let shares = credentials == Credentials::Shared;
    let shared_reads_offset = shared_reads.offset();
    let shared_reads = shared_reads.or(false, report);
    if let (true, false, Some(offset)) = (shared_reads, shares, shared_reads_offset) {
        report.error(
            offset,
            "no login may become every tenant with credentials = \"per_tenant\": remove it, or write credentials = \"shared\"",
        );
    }
    Cluster {
        endpoint,
        budget: budget.or(BUDGET, report),
        credentials,
        shared_reads,
    }
}

/// Makes the paths of a url absolute. Its files must exist now: a wrong path is found while its author still looks.
fn resolve_files(
    mut encryption: Encryption,
    offset: usize,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Encryption {
    for (setting, path) in encryption.files() {
        *path = around.root.join(&path);
        if !path.is_file() {
            let (path, root) = (path.display(), around.root.display());
            report.error(
                offset,
                format!(
                    "there is no file {path} for `{setting}`: create it or correct the path (relative paths start at {root})"
                ),
            );
        }
    }
    encryption
}
