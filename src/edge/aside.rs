//! A connection to a tenant's cluster for the command line, whether an edge runs or not.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_postgres::Client;

use crate::config;
use crate::config::{Config, Endpoint};
use crate::embedded;
use crate::migrate;

use super::server::Server;
use super::{Options, StartError, admin, encryption_to};

/// A connection as the edge's login, beside every edge.
pub struct Aside {
    /// The connection.
    pub client: Client,
    /// An embedded server that was started for it, because no edge ran.
    server: Option<Arc<Server>>,
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").finish_non_exhaustive()
    }
}

impl Aside {
    /// Connects to the cluster of `tenant`. An embedded server is the one of the edge that runs, or is started.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn connect(config: &Config, tenant: &config::Tenant, data: Option<PathBuf>) -> Result<Self, StartError> {
        let id = &tenant.cluster;
        let failed = |reason| StartError::Bootstrap {
            cluster: id.clone(),
            reason,
        };
        let cluster = config
            .clusters
            .get(id)
            .ok_or_else(|| failed("there is no such cluster".to_owned()))?;
        let (endpoint, tls, server) = match &cluster.endpoint {
            Endpoint::Url { postgres, encryption } => (
                (**postgres).clone(),
                encryption_to(id, postgres, encryption.as_ref())?,
                None,
            ),
            Endpoint::Embedded { data: configured } => {
                let data = data.unwrap_or_else(|| configured.clone());
                match embedded::running(&data) {
                    Some((socket_dir, port)) => {
                        let mut endpoint = tokio_postgres::Config::new();
                        endpoint.host_path(socket_dir).port(port);
                        endpoint.user(migrate::EDGE_LOGIN).dbname(migrate::EMBEDDED_DATABASE);
                        (endpoint, None, None)
                    }
                    None => {
                        let options = Options::default();
                        let (server, endpoint) = Server::start(id, data, cluster.budget.get(), &options).await?;
                        (endpoint, None, Some(server))
                    }
                }
            }
        };
        let client = admin(id, &endpoint, tls).await.map_err(failed)?;
        Ok(Self { client, server })
    }

    /// Closes the connection, and stops the server if it was started for it.
    pub async fn close(self) {
        drop(self.client);
        if let Some(server) = self.server {
            // Stopping waits for the server. It ends with this process in any case.
            let _stopped = tokio::task::spawn_blocking(move || server.stop()).await;
        }
    }
}
