//! The private Postgres of an edge: started with it, started again when it ends by itself, stopped last.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::embedded;
use crate::embedded::Postgres;
use crate::migrate;
use crate::types::ClusterId;

use super::{Options, RESERVE, StartError, admin};

/// How often a server is looked after.
const PERIOD: Duration = Duration::from_millis(200);

/// A server that does not come back is tried again after this, then after twice that, and so on.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two tries.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// One embedded server. It stops when dropped.
#[derive(Debug)]
pub(super) struct Server {
    cluster: ClusterId,
    postgres: Mutex<Postgres>,
}

impl Server {
    /// Starts a private Postgres and makes the edge's login and database in it.
    pub(super) async fn start(
        id: &ClusterId,
        data: PathBuf,
        budget: u32,
        options: &Options,
    ) -> Result<(Arc<Self>, tokio_postgres::Config), StartError> {
        let started = Instant::now();
        let mut launch = embedded::Options::new(data);
        launch.durable = !options.volatile;
        launch.template.clone_from(&options.template);
        launch.max_connections = u16::try_from(budget.saturating_add(RESERVE)).unwrap_or(u16::MAX);
        let starting = spawn_blocking(move || Postgres::start(launch));
        let postgres = starting
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        info!(cluster = %id, pid = postgres.pid(), version = postgres.version(), elapsed = ?started.elapsed(), "embedded Postgres started");
        let mut endpoint = tokio_postgres::Config::new();
        endpoint.host_path(postgres.socket_dir()).port(postgres.port());
        let bootstrap = async {
            let mut superuser = endpoint.clone();
            superuser.user("postgres").dbname("postgres");
            migrate::bootstrap_embedded(&admin(id, &superuser, None).await?)
                .await
                .map_err(|error| error.to_string())?;
            superuser.dbname(migrate::EMBEDDED_DATABASE);
            migrate::bootstrap_embedded_database(&admin(id, &superuser, None).await?)
                .await
                .map_err(|error| error.to_string())
        };
        bootstrap.await.map_err(|reason| StartError::Bootstrap {
            cluster: id.clone(),
            reason,
        })?;
        endpoint.user(migrate::EDGE_LOGIN).dbname(migrate::EMBEDDED_DATABASE);
        let server = Self {
            cluster: id.clone(),
            postgres: Mutex::new(postgres),
        };
        Ok((Arc::new(server), endpoint))
    }

    /// Starts the server again whenever it has ended, until `stop` or until it is dropped.
    pub(super) async fn keep(server: Weak<Self>, stop: CancellationToken) {
        let mut pause = PERIOD;
        while stop.run_until_cancelled(sleep(pause)).await.is_some()
            && let Some(server) = server.upgrade()
        {
            pause = server.look_after(pause).await;
        }
    }

    /// Looks after it once, and returns the pause until the next time.
    async fn look_after(self: Arc<Self>, last_pause: Duration) -> Duration {
        let cluster = &self.cluster;
        let Some(status) = self.lock().exited() else {
            return PERIOD;
        };
        let started = Instant::now();
        let server = Arc::clone(&self);
        let reviving = spawn_blocking(move || {
            let mut postgres = server.lock();
            let log = postgres.last_log_lines(); // waits for the last of them
            warn!(cluster = %server.cluster, %status, %log, "embedded Postgres ended, starting it again");
            postgres.revive()
        });
        match reviving.await {
            Ok(Ok(_)) => {
                info!(%cluster, pid = self.lock().pid(), elapsed = ?started.elapsed(), "embedded Postgres started again");
                PERIOD
            }
            Ok(Err(reason)) => {
                error!(%cluster, error = %reason, "embedded Postgres does not start again");
                (last_pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE)
            }
            Err(_) => LAST_PAUSE, // the runtime is going down
        }
    }

    /// Stops the server and waits until it is gone. Blocks.
    pub(super) fn stop(&self) {
        self.lock().stop();
    }

    /// Held for moments only, but for the time of a start.
    pub(super) fn lock(&self) -> MutexGuard<'_, Postgres> {
        self.postgres.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
