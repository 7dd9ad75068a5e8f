//! Who may have an id, a host or a schema when two tenants want it.
//!
//! A tenant that is being served keeps what it has, whatever new files say: nobody takes over a running tenant's host by
//! adding a file. Otherwise the first in order of files wins. A tenant that loses is a mistake of its file, and no tenant
//! of that file is taken from it.
//!
//! So it is with what tenants keep of a cluster's budget (`pool_min`), which not all of them may be able to have.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::error::{Error, Source};
use super::{Cluster, Live, Tenant};
use crate::types::{ClusterId, Host, SchemaName, TenantId};

/// What only one tenant can have.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Claim {
    Id(TenantId),
    Host(Host),
    Schema(ClusterId, SchemaName),
}

/// A tenant as far as its file could be read.
pub(super) struct Draft {
    pub(super) id: TenantId,
    /// The line of its header, from 1.
    pub(super) line: u32,
    /// Whether its schema is the shared one.
    pub(super) operator: bool,
    /// What it claims, and where in the file, in bytes.
    pub(super) claims: Vec<(Claim, usize)>,
    /// Where it says how much of the budget it keeps, or else its header, in bytes.
    pub(super) pool_min_offset: usize,
    /// The tenant, unless a mistake of its own was reported.
    pub(super) tenant: Option<Arc<Tenant>>,
}

/// A tenant file as far as it could be read.
pub(super) struct TenantFile {
    pub(super) path: Arc<Path>,
    /// `None` if the file could not be read at all; there are no drafts then.
    pub(super) source: Option<Source>,
    pub(super) drafts: Vec<Draft>,
    /// The tenants it tried to define.
    pub(super) ids: Vec<TenantId>,
    pub(super) errors: Vec<Error>,
    /// Whether its tenants are not taken from it.
    pub(super) failed: bool,
}

/// Who has a claim, and where it is defined. A file defines an id at most once, so the two tell tenants apart.
#[derive(Clone, Copy)]
struct Holder<'a> {
    id: &'a TenantId,
    file: &'a Arc<Path>,
    line: u32,
}

impl Holder<'_> {
    fn is(&self, other: &Holder<'_>) -> bool {
        self.id == other.id && self.file == other.file
    }
}

type Claims<'a> = HashMap<Claim, Holder<'a>>;

/// Decides all claims, marks the files that lost one as failed, and gives the tenants to serve: those of the other
/// files, and live ones whose file failed, as they were. What they keep of the budgets of `clusters` fits.
pub(super) fn settle(files: &mut [TenantFile], live: &Live, clusters: &BTreeMap<ClusterId, Cluster>) -> Live {
    // A file that fails now may be that of a live tenant, which then keeps what it has, so that others may lose in turn.
    // Files only ever join the failed, so this ends; nearly always after the second round.
    loop {
        let losers = losers(files, live);
        for index in &losers {
            files[*index].failed = true;
        }
        if losers.is_empty() {
            let overdrawn = overdrawn(files, live, clusters);
            if overdrawn.is_empty() {
                break;
            }
            for (index, error) in overdrawn {
                files[index].failed = true;
                files[index].errors.push(error);
            }
        }
    }
    report(files, live);

    let kept = kept(files, live).map(|tenant| (tenant.id.clone(), Arc::clone(tenant)));
    let good = files.iter().filter(|file| !file.failed).flat_map(|file| &file.drafts);
    let good = good.filter_map(|draft| Some((draft.id.clone(), Arc::clone(draft.tenant.as_ref()?))));
    kept.chain(good).collect()
}

/// The live tenants that are served on as they were, because the file that defines them failed.
fn kept<'a>(files: &[TenantFile], live: &'a Live) -> impl Iterator<Item = &'a Arc<Tenant>> {
    let mut state_of_file = HashMap::new();
    let mut well_defined = HashSet::new();
    let mut badly_defined = HashSet::new();
    for file in files {
        state_of_file.insert(Arc::clone(&file.path), file.failed);
        let ids = if file.failed {
            &mut badly_defined
        } else {
            &mut well_defined
        };
        ids.extend(file.ids.iter().cloned());
    }
    live.values().filter(move |tenant| {
        let its_file_failed = state_of_file.get(&tenant.file).copied().unwrap_or(false);
        let moved_badly = badly_defined.contains(&tenant.id) && !well_defined.contains(&tenant.id);
        its_file_failed || moved_badly
    })
}

/// What live tenants have and still want: those kept as they were, and what the others' new definitions claim again.
fn reserved<'a>(files: &'a [TenantFile], live: &'a Live) -> Claims<'a> {
    let mut claims = Claims::new();
    let mut kept_ids = HashSet::new();
    for tenant in kept(files, live) {
        kept_ids.insert(&tenant.id);
        let holder = Holder {
            id: &tenant.id,
            file: &tenant.file,
            line: tenant.line,
        };
        claims.extend(claims_of(tenant).map(|claim| (claim, holder)));
    }
    // Of two files that define a live tenant, the one it came from goes on; else the first in order.
    let mut heirs: HashMap<&TenantId, (&Tenant, &TenantFile, &Draft)> = HashMap::new();
    for file in files.iter().filter(|file| !file.failed) {
        for draft in &file.drafts {
            let Some(old) = live.get(&draft.id).filter(|old| !kept_ids.contains(&old.id)) else {
                continue;
            };
            if old.file == file.path || !heirs.contains_key(&draft.id) {
                heirs.insert(&draft.id, (old, file, draft));
            }
        }
    }
    for (old, file, draft) in heirs.into_values() {
        let had: HashSet<Claim> = claims_of(old).collect();
        let holder = Holder {
            id: &draft.id,
            file: &file.path,
            line: draft.line,
        };
        let again = draft.claims.iter().filter(|(claim, _)| had.contains(claim));
        claims.extend(again.map(|(claim, _)| (claim.clone(), holder)));
    }
    claims
}

fn claims_of(tenant: &Tenant) -> impl Iterator<Item = Claim> {
    let schemas = [&tenant.schema].into_iter().chain(&tenant.more_schemas);
    let schemas = schemas.map(|schema| Claim::Schema(tenant.cluster.clone(), schema.clone()));
    [Claim::Id(tenant.id.clone())]
        .into_iter()
        .chain(schemas)
        .chain(tenant.hosts.iter().cloned().map(Claim::Host))
}

/// The good files that lose a claim to a live tenant or to an earlier file.
fn losers(files: &[TenantFile], live: &Live) -> Vec<usize> {
    let mut claims = reserved(files, live);
    let mut losers = Vec::new();
    for (index, file) in files.iter().enumerate().filter(|(_, file)| !file.failed) {
        let mut won = Vec::new();
        let mut lost = false;
        for (draft, claim) in claims_in(file) {
            let holder = Holder {
                id: &draft.id,
                file: &file.path,
                line: draft.line,
            };
            match claims.entry(claim.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(holder);
                    won.push(claim);
                }
                Entry::Occupied(entry) => lost |= !entry.get().is(&holder),
            }
        }
        if lost {
            losers.push(index);
            // What it would have had is free for the files after it.
            for claim in won {
                claims.remove(claim);
            }
        }
    }
    losers
}

/// The tenants of a file that keep any of their cluster's budget.
fn keeping(file: &TenantFile) -> impl Iterator<Item = (&Draft, &Tenant)> {
    let tenants = file
        .drafts
        .iter()
        .filter_map(|draft| Some((draft, draft.tenant.as_deref()?)));
    tenants.filter(|(_, tenant)| tenant.limits.pool_min > 0)
}

/// The tenants of good files that would keep more of their cluster's budget than the others leave. One connection at least
/// is for all, and one more for the reads that tenants share.
fn overdrawn(files: &[TenantFile], live: &Live, clusters: &BTreeMap<ClusterId, Cluster>) -> Vec<(usize, Error)> {
    let mut kept_of: HashMap<&ClusterId, u32> = HashMap::new();
    for tenant in kept(files, live) {
        *kept_of.entry(&tenant.cluster).or_default() += tenant.limits.pool_min;
    }
    // What a live tenant has and still wants is its own, whatever the files before it say.
    let own = |tenant: &Tenant| {
        let old = live.get(&tenant.id).filter(|old| old.cluster == tenant.cluster);
        old.map_or(0, |old| old.limits.pool_min.min(tenant.limits.pool_min))
    };
    let good = || files.iter().enumerate().filter(|(_, file)| !file.failed);
    for (_, tenant) in good().flat_map(|(_, file)| keeping(file)) {
        *kept_of.entry(&tenant.cluster).or_default() += own(tenant);
    }
    let mut overdrawn = Vec::new();
    for (index, file) in good() {
        let (before, mistakes) = (kept_of.clone(), overdrawn.len());
        for (draft, tenant) in keeping(file) {
            let Some(cluster) = clusters.get(&tenant.cluster) else {
                continue;
            };
            let (budget, own, wanted) = (cluster.budget, own(tenant), tenant.limits.pool_min);
            let all = kept_of.entry(&tenant.cluster).or_default();
            let others = *all - own;
            let (left, for_all) = match cluster.shared_reads {
                true => (2, "two must be left, for all and for shared reads"),
                false => (1, "one must be left for all"),
            };
            let most = budget.get().saturating_sub(left + others);
            if wanted <= most.max(own) {
                *all += wanted - own;
            } else if let Some(source) = &file.source {
                let message = format!(
                    "pool_min = {wanted} is too much: other tenants keep {others} of the {budget} connections of cluster \
                     `{}`, and {for_all}: write at most {most}, or a higher budget there",
                    tenant.cluster
                );
                overdrawn.push((index, source.error(draft.pool_min_offset, message)));
            }
        }
        if overdrawn.len() > mistakes {
            // What it would have had is free for the files after it.
            kept_of = before;
        }
    }
    overdrawn
}

fn claims_in(file: &TenantFile) -> impl Iterator<Item = (&Draft, &Claim)> {
    file.drafts
        .iter()
        .flat_map(|draft| draft.claims.iter().map(move |(claim, _)| (draft, claim)))
}

/// Adds to each failed file what it lost and to whom.
fn report(files: &mut [TenantFile], live: &Live) {
    let mut lost: Vec<(usize, Error)> = Vec::new();
    let mut claims = reserved(files, live);
    // The failed come last: each of them has lost to those that are served.
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|&index| files[index].failed);
    for index in order {
        let file = &files[index];
        for draft in &file.drafts {
            let holder = Holder {
                id: &draft.id,
                file: &file.path,
                line: draft.line,
            };
            for (claim, offset) in &draft.claims {
                let other = *claims.entry(claim.clone()).or_insert(holder);
                if let (false, Some(source)) = (other.is(&holder), &file.source) {
                    lost.push((index, source.error(*offset, message(claim, &other, draft.operator))));
                }
            }
        }
    }
    for (index, error) in lost {
        files[index].errors.push(error);
    }
}

fn message(claim: &Claim, holder: &Holder<'_>, operator: bool) -> String {
    let Holder { id, file, line } = holder;
    let file = file.display();
    match claim {
        Claim::Id(_) => format!("tenant `{id}` is already defined at {file}:{line}: write another id"),
        Claim::Host(host) => {
            format!(
                "host \"{host}\" is already that of tenant `{id}` ({file}:{line}): write another, or remove it there"
            )
        }
        Claim::Schema(cluster, schema) if operator => format!(
            "schema \"{schema}\" is the shared one, and tenant `{id}` ({file}:{line}) is already the operator of cluster \
             `{cluster}`: write another schema"
        ),
        Claim::Schema(cluster, schema) => format!(
            "schema \"{schema}\" of cluster `{cluster}` is already that of tenant `{id}` ({file}:{line}): write another \
             schema"
        ),
    }
}
