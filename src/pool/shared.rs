//! Connections that tenants of a cluster share: for reading catalogs, and where they may for short reads, one transaction each.
//!
//! Such a connection is nobody's: it is opened as the edge's own login, with a search path that finds nothing. A read that runs
//! on it is a batch that becomes the tenant first, by settings that hold to the end of its transaction (`search_path`,
//! `role`), and says where it has come out; then comes the statement. Postgres itself takes the settings back at the
//! end, whatever happens. Only reads that run no code of a tenant's own are sent here, so that nothing outlives them; and
//! as they run as the tenant's role, even a wrong search path could not read a neighbour's rows.
//!
//! A statement is prepared once for each tenant: a plan belongs to the search path that it was made under. The one that reads
//! a catalog is planned where no tenant's names are found, and once for all; then the batch takes on the tenant's search path, and
//! its role only where the edge's login may.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::types::{RoleName, SchemaName};

use super::cluster::Cluster;
use super::connect::{Startup, path};
use super::tenant_pool::Spec;

/// The timeouts of most tenants. Others' are set with the rest of what they are.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// One connection in so many of a cluster's budget is shared, but no more than `MOST`: few backends that never pause do
/// more than many that do.
const ONE_IN: u32 = 8;
const MOST: u32 = 8;

/// A budget that is smaller has none to share.
const LEAST_BUDGET: u32 = 4;

/// The same where they are for catalogs alone.
const ONE_FOR_CATALOGS_IN: u32 = 16;
const MOST_FOR_CATALOGS: u32 = 2;

/// With fewer slots than that for all tenants, each reads its catalog on a connection of its own: it takes ten times as long,
/// but no slot from others.
pub(super) const LEAST_FOR_CATALOGS: u32 = 8;

/// How a shared connection becomes a tenant's for one transaction.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Where names must resolve first: seen in every transaction.
    pub(super) schema: Arc<str>,
    /// `search_path`, what differs from most tenants, and last `role`, if it takes one on.
    settings: Box<[(&'static str, Box<str>)]>,
    /// Whether it does. Else it is not for rows.
    pub(super) has_role: bool,
    pub(super) statement_timeout: Duration,
}

impl Identity {
    /// Of a tenant whose names are found in `schemas`, in this order, and in whose name nothing runs but as `role`. Without one it
    /// is for what reads nothing but Postgres' own catalogs.
    #[must_use]
    pub fn new<'a>(
        schemas: impl Iterator<Item = &'a SchemaName> + Clone,
        role: Option<&RoleName>,
        statement_timeout: Duration,
        lock_timeout: Duration,
    ) -> Self {
        let schema = schemas
            .clone()
            .next()
            .map_or_else(|| "".into(), |schema| schema.as_str().into());
        let mut settings: Vec<(&'static str, Box<str>)> = vec![("search_path", path(schemas).into())];
        for (name, timeout, usual) in [
            ("statement_timeout", statement_timeout, STATEMENT_TIMEOUT),
            ("lock_timeout", lock_timeout, LOCK_TIMEOUT),
        ] {
            if timeout != usual {
                settings.push((name, timeout.as_millis().to_string().into()));
            }
        }
        settings.extend(role.map(|role| ("role", role.as_str().into())));
        Self {
            schema,
            settings: settings.into(),
            has_role: role.is_some(),
            statement_timeout,
        }
    }

    /// What a call with these settings of its own takes on before them: not a role, if they name one.
    pub(super) fn before<'a>(
        &'a self,
        own: &[(&str, &str)],
    ) -> impl ExactSizeIterator<Item = (&'static str, &'a str)> + Clone + use<'a> {
        let names_role = own.iter().any(|(name, _)| *name == "role");
        let taken = self.settings.len() - usize::from(names_role && self.has_role);
        self.settings.iter().take(taken).map(|(name, value)| (*name, &**value))
    }
}

/// How many connections of such a budget are shared, for reads too or for catalogs alone.
pub(super) fn connections(budget: u32, reads: bool) -> Option<NonZeroU32> {
    let (one_in, least, most) = match reads {
        true => (ONE_IN, LEAST_BUDGET, MOST),
        false => (ONE_FOR_CATALOGS_IN, LEAST_FOR_CATALOGS, MOST_FOR_CATALOGS),
    };
    NonZeroU32::new((budget / one_in).clamp(u32::from(budget >= least), most))
}

/// What the shared connections of `cluster` are opened with, and that there are at most so many.
pub(super) fn spec(cluster: &Arc<Cluster>, most: NonZeroU32) -> Spec {
    let name = if cluster.shares_reads() {
        "shared reads"
    } else {
        "catalogs"
    };
    let startup = Startup::new(name)
        .search_path_nowhere()
        .timeouts(STATEMENT_TIMEOUT, LOCK_TIMEOUT)
        .only_reads()
        .formats()
        // What is planned once for each tenant should not be planned five times more (manual, 20.7.4). A plan that is bad
        // for some values makes its statement long, and that has a connection of the tenant's own.
        .setting("plan_cache_mode", "force_generic_plan")
        // The planner thinks that reading a catalog is long work, which it is not.
        .setting("jit", "off");
    Spec {
        cluster: Arc::clone(cluster),
        schema: None,
        role: None,
        startup,
        pool_max: most,
        weight: most,
        kept: 1,
        checkout_timeout: Duration::from_secs(2),
        statement_timeout: STATEMENT_TIMEOUT,
        idle_timeout: Duration::from_secs(60),
        shared: None,
    }
}
