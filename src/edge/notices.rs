//! What clusters tell by `NOTIFY`: that something about their schemas has changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::pool::{Cluster, Notice, Startup};
use crate::tenant::Registry;
use crate::types::{SchemaName, TenantId};

/// Our own channel, and PostgREST's, so that event triggers written for it go on working.
const CHANNELS: [&str; 2] = ["rowhouse", "pgrst"];

/// A migration notifies many times within this.
const SETTLE: Duration = Duration::from_millis(100);

/// A cluster that cannot be listened to is tried again after this.
const RETRY: Duration = Duration::from_secs(2);

/// Has the catalogs of a cluster's tenants read again whenever it says so, until `stop`: those of all tenants, or of the
/// one that the notification names. It holds one connection beside the budget, and opens it again when it is lost.
pub(super) async fn listen(cluster: Arc<Cluster>, registry: Arc<Registry>, stop: CancellationToken) {
    let mut had_one = false;
    while !stop.is_cancelled() {
        let (send, mut notices) = mpsc::channel(64);
        let startup = Startup::new("notices").search_path(std::iter::empty::<&SchemaName>());
        let listening = cluster.listen(&startup, &CHANNELS, send);
        let Some(listening) = stop.run_until_cancelled(listening).await else {
            return;
        };
        match listening {
            Ok(client) => {
                if had_one {
                    // What was said while nobody listened is lost.
                    forget(&cluster, &registry, None);
                }
                had_one = true;
                while let Some(Some(notice)) = stop.run_until_cancelled(notices.recv()).await {
                    sleep(SETTLE).await;
                    let mut all = vec![notice];
                    while let Ok(more) = notices.try_recv() {
                        all.push(more);
                    }
                    take(&cluster, &registry, &all);
                }
                drop(client);
            }
            Err(error) => debug!(cluster = %cluster.id(), %error, "no notifications from the cluster"),
        }
        if stop.run_until_cancelled(sleep(RETRY)).await.is_none() {
            return;
        }
    }
}

fn take(cluster: &Cluster, registry: &Registry, notices: &[Notice]) {
    // What PostgREST knows besides: there is nothing to read again for it here.
    let told: Vec<&Notice> = notices
        .iter()
        .filter(|notice| notice.payload != "reload config")
        .collect();
    let known = |notice: &&Notice| {
        notice
            .payload
            .parse()
            .ok()
            .filter(|tenant| registry.tenant(tenant).is_some())
    };
    let named: Option<Vec<TenantId>> = told.iter().map(known).collect();
    match named {
        Some(tenants) => {
            for tenant in &tenants {
                forget(cluster, registry, Some(tenant));
            }
        }
        None => forget(cluster, registry, None),
    }
}

/// Has one tenant's catalog read again, or those of all tenants of the cluster.
fn forget(cluster: &Cluster, registry: &Registry, only: Option<&TenantId>) {
    let mut count = 0;
    for tenant in registry.tenants() {
        let config = tenant.config();
        if config.cluster == *cluster.id() && only.is_none_or(|only| config.id == *only) {
            tenant.forget_catalog();
            count += 1;
        }
    }
    info!(cluster = %cluster.id(), tenants = count, "catalogs are read again");
}
