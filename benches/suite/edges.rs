//! Edges, one at a time: kept for as long as the same is asked for, and new to no tenant.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::Result;
use crate::load::Client;
use crate::processes::Server;
use crate::street::{Setup, Street, Tenant};
use crate::traffic::{Dialect, Exchange};

/// The one that runs, with how many tenants and how configured.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    running: Option<(usize, Setup, Arc<Server>)>,
}

impl Edges {
    /// An edge that has answered each of its tenants once, so that it knows what their schemas hold.
    pub(crate) async fn of(&mut self, street: &Street, tenants: usize, setup: Setup) -> Result<Arc<Server>> {
        if let Some((of, with, edge)) = &self.running
            && (*of, *with) == (tenants, setup)
        {
            return Ok(Arc::clone(edge));
        }
        self.end(street).await?;
        let edge = Arc::new(street.edge(tenants, setup).await?);
        let dialect = Dialect::Rowhouse { token: false };
        greet(edge.address(), street.tenants(tenants), dialect).await?;
        self.running = Some((tenants, setup, Arc::clone(&edge)));
        Ok(edge)
    }

    /// Ends the one that runs, and waits until its connections are gone.
    pub(crate) async fn end(&mut self, street: &Street) -> Result<()> {
        self.running = None;
        street.wait_for_end_of("rowhouse").await
    }
}

/// Asks each tenant for a row. It must be its own.
pub(crate) async fn greet(address: SocketAddr, tenants: &[Tenant], dialect: Dialect) -> Result<()> {
    let ask = async |tenants: &[Tenant]| -> Result<()> {
        let mut client = Client::connect(address).await?;
        for tenant in tenants {
            client.first_answer(&Exchange::by_key(tenant, 1, dialect)).await?;
        }
        Ok(())
    };
    try_join_all(tenants.chunks(tenants.len().div_ceil(AT_ONCE)).map(ask)).await?;
    Ok(())
}

/// Tenants that are asked at once.
const AT_ONCE: usize = 4;
