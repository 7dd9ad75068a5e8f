//! Reads the whole configuration directory at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::claims::{self, TenantFile};
use super::error::{Error, Errors, Source};
use super::field::Report;
use super::resolve::{self, Foundation, Neighbourhood, Surroundings};
use super::{Cluster, Config, Credentials, FailedFile, Live, file, read, schema, value};
use crate::types::ClusterId;

impl Config {
    /// Reads `rowhouse.toml` and `tenants/*.toml` below `dir`. Blocks; 10,000 tenant files take well below a second.
    ///
    /// `env` looks up environment variables. `live` holds the tenants of the configuration before this one (empty at
    /// start): they win every dispute about an id, host or schema, and those whose file has gone bad are in the result as
    /// they were, so that the result is what to serve from now on.
    ///
    /// Hidden files and names that do not end in `.toml` are skipped. Refused are symbolic links that leave `dir`, files
    /// longer than 1 MiB, and tenant files without a tenant (a file just being written often looks so).
    ///
    /// # Errors
    ///
    /// The mistakes of *all* files if `rowhouse.toml` holds any or a directory cannot be read. Mistakes in tenant files
    /// alone are no error: they are in [`Config::failed`].
    pub fn load(dir: &Path, env: &dyn Fn(&str) -> Option<String>, live: &Live) -> Result<Self, Errors> {
        let rowhouse_path: Arc<Path> = dir.join("rowhouse.toml").into();
        let real_dir = dir.canonicalize().map_err(|error| {
            let message = format!("there is no configuration directory here ({error}): create it, or use --config DIR");
            Errors::from_iter([Error::of_file(&rowhouse_path, message)])
        })?;
        let around = Surroundings {
            root: real_dir.parent().unwrap_or(&real_dir),
            env,
        };
        let mut warnings = Vec::new();

        let (foundation, mut errors) = match read_rowhouse(&rowhouse_path, &real_dir) {
            Ok(source) => {
                let mut report = Report::new(&source);
                let foundation = parse_rowhouse(&around, &mut report);
                warnings.append(&mut report.warnings);
                (foundation, report.errors)
            }
            Err(error) => (None, vec![error]),
        };

        let tenants_dir = dir.join("tenants");
        let paths = match read::tenant_files(&tenants_dir, &real_dir) {
            Ok(Some(paths)) => paths,
            Ok(None) => {
                warnings.push(format!(
                    "there is no directory {}, hence no tenant",
                    tenants_dir.display()
                ));
                Vec::new()
            }
            Err(error) => {
                errors.push(error);
                Vec::new()
            }
        };
        let neighbourhood = Neighbourhood::from(foundation.as_ref());
        let files = paths.into_iter();
        let files = files.filter_map(|found| read_tenant_file(found, &neighbourhood, &around, &mut warnings));
        let mut files: Vec<TenantFile> = files.collect();
        let no_clusters = BTreeMap::new();
        let clusters = foundation
            .as_ref()
            .map_or(&no_clusters, |foundation| &foundation.clusters);
        let mut tenants = claims::settle(&mut files, live, clusters);

        let failed = files.into_iter().filter(|file| file.failed);
        let failed: Vec<FailedFile> = failed
            .map(|file| FailedFile {
                path: file.path.to_path_buf(),
                errors: file.errors.into_iter().collect(),
                ids: file.ids,
            })
            .collect();
        match foundation {
            Some(Foundation {
                server,
                tls,
                clusters,
                shared,
                limits: _,
                migrations,
            }) if errors.is_empty() => {
                tenants.retain(|id, tenant| {
                    let has_cluster = clusters.contains_key(&tenant.cluster);
                    if !has_cluster {
                        let cluster = &tenant.cluster;
                        warnings.push(format!(
                            "tenant `{id}` cannot be served on: its cluster `{cluster}` is gone"
                        ));
                    }
                    has_cluster
                });
                warnings.extend(crowded(&clusters, &tenants));
                Ok(Self {
                    server,
                    tls,
                    clusters,
                    shared,
                    migrations,
                    tenants,
                    failed,
                    warnings,
                })
            }
            _ => Err(errors
                .into_iter()
                .chain(failed.iter().flat_map(|file| &file.errors).cloned())
                .collect()),
        }
    }
}

/// A warning for each cluster whose one login is a member of so many tenants' roles that connecting takes longer: 18 ms
/// with 1,000 of them on PostgreSQL 15, 132 ms with 3,000.
fn crowded(clusters: &BTreeMap<ClusterId, Cluster>, tenants: &Live) -> Vec<String> {
    const MANY: usize = 500;
    let shared = clusters
        .iter()
        .filter(|(_, cluster)| cluster.credentials == Credentials::Shared);
    let crowds = shared.map(|(id, _)| {
        let members = tenants
            .values()
            .filter(|tenant| tenant.managed && tenant.cluster == *id);
        (id, members.count())
    });
    crowds
        .filter(|(_, count)| *count >= MANY)
        .map(|(id, count)| {
            format!(
                "{count} tenants share the login of cluster `{id}`, and each connection takes the longer the more they are: \
                 write credentials = \"per_tenant\" in [clusters.{id}]"
            )
        })
        .collect()
}

fn read_rowhouse(path: &Arc<Path>, real_dir: &Path) -> Result<Source, Error> {
    let missing = || Error::of_file(path, "there is no such file: create it, or use --config DIR");
    if path.symlink_metadata().is_err() {
        return Err(missing());
    }
    read::check_inside(path, real_dir)?;
    read::source(path)?.ok_or_else(missing)
}

/// `None` if not even the syntax is right.
fn parse_rowhouse(around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Foundation> {
    let (table, sound) = parse(report);
    if !sound {
        return None;
    }
    schema::check_keys(table.get_ref(), &schema::ROWHOUSE, report);
    let written = file::Rowhouse::deserialize(Deserializer::from(table));
    let written = written.map_err(|error| report.error(0, error.message())).ok()?;
    Some(resolve::foundation(written, around, report))
}

/// `None` if the file has vanished since the directory was read.
fn read_tenant_file(
    (path, error): read::Found,
    neighbourhood: &Neighbourhood<'_>,
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Option<TenantFile> {
    let mut file = TenantFile {
        path,
        source: None,
        drafts: Vec::new(),
        ids: Vec::new(),
        errors: Vec::new(),
        failed: false,
    };
    let source = match error {
        Some(error) => Err(error),
        None => read::source(&file.path),
    };
    match source {
        Ok(source) => {
            let source = source?;
            let mut report = Report::new(&source);
            parse_tenants(&mut file, neighbourhood, around, &mut report);
            file.errors = report.errors;
            warnings.append(&mut report.warnings);
            file.source = Some(source);
        }
        Err(error) => file.errors.push(error),
    }
    file.failed = !file.errors.is_empty();
    Some(file)
}

fn parse_tenants(
    file: &mut TenantFile,
    neighbourhood: &Neighbourhood<'_>,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) {
    let (table, sound) = parse(report);
    let entries = table
        .get_ref()
        .get("tenants")
        .and_then(|tenants| tenants.get_ref().as_table());
    let ids = entries.into_iter().flat_map(|entries| entries.keys());
    file.ids = ids.filter_map(|id| value::tenant_id(id.get_ref()).ok()).collect();
    if !sound {
        return;
    }
    schema::check_keys(table.get_ref(), &schema::TENANTS, report);
    let written = match file::Tenants::deserialize(Deserializer::from(table)) {
        Ok(file::Tenants { tenants }) => tenants.get(report),
        Err(error) => return report.error(0, error.message()),
    };
    let entries = written.map_or_else(Vec::new, |entries| entries.0);
    if entries.is_empty() && report.errors.is_empty() {
        report.error(
            0,
            "there is no tenant in this file: write [tenants.ID] and below it hosts = [\"…\"], or delete the file",
        );
    }
    let drafts = entries
        .into_iter()
        .filter_map(|entry| resolve::tenant(entry, neighbourhood, around, report));
    file.drafts = drafts.collect();
}

/// Parses a file and reports mistakes of syntax: every key that stands twice, and the first of all others, because what
/// follows it may be its consequence. Also says whether the table holds all that was written.
fn parse<'a>(report: &mut Report<'a>) -> (Spanned<DeTable<'a>>, bool) {
    let text = report.source.text.as_str();
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut sound = true;
    for error in errors {
        let span = error.span().unwrap_or_default();
        if error.message() == "duplicate key" {
            let key = text.get(span.clone()).unwrap_or_default();
            report.error(span.start, format!("`{key}` stands twice: keep one of the two"));
        } else if sound {
            report.error(span.start, format!("this is not TOML: {}", error.message()));
            sound = false;
        }
    }
    (table, sound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a text as both kinds of file and gives the positions of all mistakes.
    fn positions(text: &str) -> Vec<(u32, u32)> {
        let source = Source::new(Path::new("x.toml").into(), text.to_owned(), false);
        let around = Surroundings {
            root: Path::new("/nonexistent"),
            env: &|_| None,
        };
        let mut report = Report::new(&source);
        let foundation = parse_rowhouse(&around, &mut report);
        let neighbourhood = Neighbourhood::from(foundation.as_ref());
        let mut file = TenantFile {
            path: Arc::clone(&source.path),
            source: None,
            drafts: Vec::new(),
            ids: Vec::new(),
            errors: Vec::new(),
            failed: false,
        };
        parse_tenants(&mut file, &neighbourhood, &around, &mut report);
        report.errors.iter().map(|error| (error.line, error.column)).collect()
    }

    #[test]
    fn odd_numbers_and_dates_are_mistakes_of_their_key_alone() {
        for value in [
            "99999999999999999999999999999999999999999999",
            "1979-05-27",
            "nan",
            "[[1]]",
            "{}",
        ] {
            let text = format!("[tenants.x]\nhosts = [\"x\"]\npool_max = {value}\nhome = 5\n");
            assert!(positions(&text).contains(&(4, 8)), "{value}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_positions_are_in_the_file(
            pieces in prop::collection::vec(
                prop_oneof![
                    Just("[tenants.a]\n".to_owned()),
                    Just("[[tenants.a]]\n".to_owned()),
                    Just("[clusters.main]\nembedded = true\n".to_owned()),
                    Just("hosts = [\"a\", \"é\"]\n".to_owned()),
                    Just("tls = { cert = 1, key = [] }\n".to_owned()),
                    Just("schema = \"x -c role=postgres\"\r\n".to_owned()),
                    Just("a.b.c = 1\n".to_owned()),
                    Just("= ]".to_owned()),
                    "\\PC{0,12}",
                    "[\\[\\]{}=\"'.,\\n\\r #a0-]{0,12}",
                ],
                0..12,
            ),
        ) {
            let text = pieces.concat();
            let lines: Vec<&str> = text.split('\n').collect();
            for (line, column) in positions(&text) {
                let length = lines[line as usize - 1].chars().count();
                prop_assert!((1..=length + 1).contains(&(column as usize)), "{line}:{column} in {text:?}");
            }
        }
    }
}
