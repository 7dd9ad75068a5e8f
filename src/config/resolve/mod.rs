//! From what was written to what is used: defaults, paths, secrets, and which values are good together.
//!
//! `foundation.rs` resolves `rowhouse.toml`, `clusters.rs` its clusters, `tenant.rs` a tenant of a tenant file, `keys.rs` the
//! keys that tokens are checked with. Here is what both kinds of file have: limits, certificates, paths.
//!
//! Every function reports what it finds and goes on with a stand-in, so that all mistakes are found at once; the caller
//! uses nothing of a file that has any.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::field::{Field, Report};
use super::value::Weight;
use super::{AnonymousAccess, Certificate, Limits, file};

mod clusters;
mod foundation;
mod keys;
mod tenant;

pub(super) use self::foundation::{Foundation, foundation};
pub(super) use self::tenant::{Neighbourhood, tenant};
pub(crate) use self::tenant::{RESERVED_ID, RESERVED_SCHEMA};

/// What values of a file refer to.
pub(super) struct Surroundings<'a> {
    /// Where relative paths start: the directory that contains the configuration directory.
    pub(super) root: &'a Path,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
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
    pool_min: Field<u32>,
    weight: Field<Weight>,
    checkout_timeout: Field<Duration>,
    statement_timeout: Field<Duration>,
    lock_timeout: Field<Duration>,
    idle_timeout: Field<Duration>,
    max_rows: Field<NonZeroU32>,
    anonymous: Field<AnonymousAccess>,
}

impl WrittenLimits {
    fn over(self, base: &Limits, report: &mut Report<'_>) -> Limits {
        let (pool_min_offset, pool_max_offset) = (self.pool_min.offset(), self.pool_max.offset());
        let mistakes = report.errors.len();
        let pool_max = self.pool_max.or(base.pool_max, report);
        let pool_min = self.pool_min.or(base.pool_min, report);
        if pool_min > pool_max.get()
            && report.errors.len() == mistakes
            && let Some(offset) = pool_min_offset.or(pool_max_offset)
        {
            report.error(
                offset,
                format!("pool_min = {pool_min} is more than pool_max = {pool_max}: write a lower `pool_min`, or a higher `pool_max`"),
            );
        }
        Limits {
            pool_max,
            pool_min,
            weight: self.weight.or(Weight(base.weight), report).0,
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
            pool_min,
            weight,
            checkout_timeout,
            statement_timeout,
            lock_timeout,
            idle_timeout,
            anonymous,
            max_rows,
        } = written;
        Self {
            pool_max,
            pool_min,
            weight,
            checkout_timeout,
            statement_timeout,
            lock_timeout,
            idle_timeout,
            max_rows,
            anonymous,
        }
    }
}
