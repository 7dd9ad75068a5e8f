//! One Postgres endpoint: its budget of connections, and how one is opened, cancelled and closed.

use std::fmt;
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::types::ClusterId;
use crate::wire::{self, CancelKey, Connection};

use super::budget::{Budget, Slot};
use super::connect::Startup;
use super::credentials::Credentials;
use super::error::Error;
use super::lane::Costs;
use super::shared;
use super::socket::{AsItIs, Socket};
use super::tls::Tls;

/// Socket, handshake, authentication and startup together may take this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Forking a backend costs the server some 2.5 ms of a core: more at once only make all of them late.
const CONNECTS_AT_ONCE: usize = 8;

/// Each cancel is a connection of its own outside the budget: few, and short.
const CANCELS_AT_ONCE: usize = 4;

/// A cancel that takes longer, its turn included, is given up; the statement ends at its `statement_timeout`.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// One Postgres endpoint with one budget of connections over all its tenants.
pub struct Cluster {
    id: ClusterId,
    endpoint: tokio_postgres::Config,
    tls: Option<Tls>,
    credentials: Credentials,
    budget: Arc<Budget>,
    /// How many connections tenants may share; none if they may not.
    shared: Option<NonZeroU32>,
    /// What statements cost tenants that are like others.
    costs: Costs,
    trouble: ArcSwapOption<String>,
    connect_gate: Semaphore,
    cancel_gate: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// A cluster's figures at one moment.
#[derive(Clone, Copy, Debug)]
pub struct ClusterState {
    /// The most connections there may be.
    pub budget: u32,
    /// The connections there are, in use, idle or closing.
    pub in_use: u32,
    /// Requests that wait for one.
    pub waiting: usize,
}

/// A notification (manual, NOTIFY).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The channel.
    pub channel: Box<str>,
    /// What was said.
    pub payload: String,
}

impl Cluster {
    /// A cluster that has not been connected to. With `tls`, connections over TCP are encrypted. With `shares`, tenants may
    /// share connections for short reads: only those that the edge's own login can become. `tasks` runs the tasks that drive
    /// its sockets.
    #[must_use]
    pub fn new(
        id: ClusterId,
        endpoint: tokio_postgres::Config,
        tls: Option<Tls>,
        credentials: Credentials,
        budget: u32,
        shares: bool,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let shares = shares && matches!(credentials, Credentials::Shared);
        Arc::new(Self {
            id,
            endpoint,
            tls,
            credentials,
            budget: Budget::new(budget),
            shared: shares.then(|| shared::connections(budget)).flatten(),
            costs: Costs::default(),
            trouble: ArcSwapOption::empty(),
            connect_gate: Semaphore::new(CONNECTS_AT_ONCE),
            cancel_gate: Arc::new(Semaphore::new(CANCELS_AT_ONCE)),
            tasks,
        })
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &ClusterId {
        &self.id
    }

    /// The most connections there may be.
    #[must_use]
    pub fn budget(&self) -> u32 {
        self.budget.size()
    }

    /// Who the connections of managed tenants log in as.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The edge's own login.
    #[must_use]
    pub fn login(&self) -> &str {
        self.endpoint.get_user().unwrap_or_default()
    }

    /// The figures of this moment.
    #[must_use]
    pub fn state(&self) -> ClusterState {
        ClusterState {
            budget: self.budget.size(),
            in_use: self.budget.taken(),
            waiting: self.budget.waiting() as usize,
        }
    }

    /// How many connections tenants may share; none if they may not.
    pub(super) fn shared(&self) -> Option<NonZeroU32> {
        self.shared
    }

    /// What statements cost tenants that are like others.
    pub(super) fn costs(&self) -> &Costs {
        &self.costs
    }

    /// Why the last connection could not be opened, for the operator. `None` if it could be.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.trouble.load_full()
    }

    /// The slots, and whose turn it is.
    pub(super) fn slots(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Opens a connection for requests. The slot stays with the task that drives the socket, whatever becomes of the
    /// connection.
    pub(super) async fn connect(&self, startup: &Startup, slot: Slot) -> Result<Connection, Error> {
        let connecting = async {
            let _gate = self.connect_gate.acquire().await.map_err(|_| Error::Draining)?;
            let socket = self.socket().await?;
            let end_point = socket.server_end_point();
            wire::startup(socket, startup.login(&self.endpoint, end_point.as_deref()))
                .await
                .map_err(|error| self.classify(error.code().cloned(), error))
        };
        let (connection, driver) = self.within_timeout(connecting).await?;
        self.drive(driver, slot);
        Ok(connection)
    }

    /// Opens a connection for onboarding and the like, by a client that knows more of Postgres.
    pub(super) async fn connect_admin(&self, startup: &Startup, slot: Slot) -> Result<Client, Error> {
        let connecting = async {
            let _gate = self.connect_gate.acquire().await.map_err(|_| Error::Draining)?;
            self.connect_client(startup).await
        };
        let (client, connection) = self.within_timeout(connecting).await?;
        self.drive(connection, slot);
        Ok(client)
    }

    async fn connect_client(
        &self,
        startup: &Startup,
    ) -> Result<(Client, tokio_postgres::Connection<Socket, Socket>), Error> {
        let socket = self.socket().await?;
        startup
            .config(&self.endpoint)
            .connect_raw(socket, AsItIs)
            .await
            .map_err(|error| self.classify(error.code().cloned(), error))
    }

    /// Whose fault a refused connection is: the server's state, or this tenant's role and database.
    fn classify(&self, code: Option<SqlState>, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        match code {
            Some(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION
                | SqlState::INVALID_PASSWORD
                | SqlState::INVALID_CATALOG_NAME
                | SqlState::INSUFFICIENT_PRIVILEGE
                | SqlState::INVALID_PARAMETER_VALUE
                | SqlState::UNDEFINED_OBJECT,
            ) => Error::Refused(Box::new(error)),
            // Others have taken what the budget counts on.
            Some(SqlState::TOO_MANY_CONNECTIONS) => {
                warn!(cluster = %self.id, %error, "fewer connections than the budget");
                Error::ClusterSaturated { budget: self.budget() }
            }
            _ => Error::ClusterDown(Box::new(error)),
        }
    }

    async fn socket(&self) -> Result<Socket, Error> {
        Socket::connect(&self.endpoint, self.tls.as_ref())
            .await
            .map_err(|error| Error::ClusterDown(error.into()))
    }

    /// Socket, handshake, authentication and startup together. What comes of it is kept for the operator.
    async fn within_timeout<T>(&self, connecting: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let result = timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or(Err(Error::ConnectTimeout(CONNECT_TIMEOUT)));
        match &result {
            Ok(_) => self.trouble.store(None),
            Err(Error::ClusterDown(cause)) => self.trouble.store(Some(Arc::new(with_causes(&**cause)))),
            Err(error @ Error::ConnectTimeout(_)) => self.trouble.store(Some(Arc::new(error.to_string()))),
            Err(_) => {} // it answers
        }
        result
    }

    /// Runs a task that shutdown waits for.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Drives a socket in a task of its own, which owns the slot.
    fn drive<E: fmt::Display>(&self, driver: impl Future<Output = Result<(), E>> + Send + 'static, slot: Slot) {
        let cluster = self.id.clone();
        self.tasks.spawn(async move {
            if let Err(error) = driver.await {
                // The requests on it have been told; here it is on record once per connection.
                warn!(%cluster, %error, "connection to Postgres lost");
            }
            drop(slot);
        });
    }

    /// Opens a connection beside the budget and listens to `channels` on it for as long as the client lives; what is
    /// notified goes to `notices`, which ends when the connection does.
    ///
    /// # Errors
    ///
    /// Those of connecting, and [`Error::Lost`].
    pub async fn listen(
        &self,
        startup: &Startup,
        channels: &[&str],
        notices: mpsc::Sender<Notice>,
    ) -> Result<Client, Error> {
        let (client, mut connection) = self.within_timeout(self.connect_client(startup)).await?;
        self.tasks.spawn(async move {
            // Ends with an error or without: whoever listens sees that it has ended.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message {
                    let notice = Notice {
                        channel: notification.channel().into(),
                        payload: notification.payload().into(),
                    };
                    // A full queue holds a notice already that leads to the same.
                    let _ = notices.try_send(notice);
                }
            }
        });
        let listen: Vec<String> = channels.iter().map(|channel| format!("LISTEN {channel}")).collect();
        client.batch_execute(&listen.join("; ")).await.map_err(Error::lost)?;
        Ok(client)
    }

    /// Asks the server to stop what runs on a connection. Returns at once.
    ///
    /// A cancel may arrive late and hit the next statement, so only a connection that is never used again is cancelled.
    pub(super) fn cancel(&self, key: CancelKey) {
        let gate = Arc::clone(&self.cancel_gate);
        let (endpoint, tls) = (self.endpoint.clone(), self.tls.clone());
        let cluster = self.id.clone();
        self.tasks.spawn(async move {
            let cancelling = async {
                let _gate = gate.acquire().await.map_err(|error| error.to_string())?;
                let socket = Socket::connect(&endpoint, tls.as_ref())
                    .await
                    .map_err(|error| error.to_string())?;
                wire::cancel(socket, key).await.map_err(|error| error.to_string())
            };
            match timeout(CANCEL_TIMEOUT, cancelling).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%cluster, %error, "cancel failed"),
                Err(_) => debug!(%cluster, "cancel timed out"),
            }
        });
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("id", &self.id)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// An error with all that is behind it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
