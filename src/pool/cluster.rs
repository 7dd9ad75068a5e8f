//! One Postgres endpoint: its budget of connections, and how one is opened, cancelled and closed.

use std::fmt;
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::types::ClusterId;
use crate::wire::{self, CancelKey, Connection, Watch};

use super::breaker::{Attempt, Breaker, PATIENCE, Shut};
use super::budget::{Budget, Slot};
use super::chance;
use super::connect::Startup;
use super::credentials::Credentials;
use super::error::Error;
use super::lane::Costs;
use super::lease::Holds;
use super::shared;
use super::socket::{AsItIs, Berth, Socket};
use super::tls::Tls;

/// Socket, handshake, authentication and startup together may take this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest delay of a probe while the cluster is down. More would save little, as there is one at a time and none without
/// a request, and the service would be back the later.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Who meets a server without a connection left tries once more after this, half of it more or less.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// Forking a backend costs the server some 2.5 ms of a core: more at once only make all of them late.
const CONNECTS_AT_ONCE: usize = 8;

/// Each cancel is a connection of its own outside the budget: few, and short.
const CANCELS_AT_ONCE: usize = 4;

/// A cancel that takes longer, its turn included, is tried anew.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// What has not ended after this is asked once more: a cancel that arrives before its statement has begun is lost.
const CANCEL_AGAIN: Duration = Duration::from_secs(1);

/// Whether it has ended is looked at so often.
const CANCEL_LOOK: Duration = Duration::from_millis(50);

/// What the other client may read on one connection, in bytes: it keeps all settings that a server tells it of. To bring up
/// a hundred thousand tenants takes half of it; who listens longer than that connects anew.
const ALLOWANCE: u64 = 32 << 20;

/// One Postgres endpoint with one budget of connections over all its tenants.
pub struct Cluster {
    id: ClusterId,
    endpoint: tokio_postgres::Config,
    tls: Option<Tls>,
    credentials: Credentials,
    budget: Arc<Budget>,
    /// Whether tenants share connections for short reads.
    shares_reads: bool,
    /// How many connections they share, for that or for reading catalogs alone.
    shared: Option<NonZeroU32>,
    /// What statements cost tenants that are like others.
    costs: Costs,
    trouble: ArcSwapOption<String>,
    breaker: Breaker,
    holds: Holds,
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
            shares_reads: shares,
            shared: shared::connections(budget, shares),
            costs: Costs::default(),
            trouble: ArcSwapOption::empty(),
            breaker: Breaker::new(LONGEST_DELAY),
            holds: Holds::default(),
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

    /// Whether tenants share connections for short reads.
    pub(super) fn shares_reads(&self) -> bool {
        self.shares_reads
    }

    /// How many connections tenants share; none if the budget has none to spare now.
    pub(super) fn shared(&self) -> Option<NonZeroU32> {
        self.shared
            .filter(|_| self.shares_reads || self.budget.for_all() >= shared::LEAST_FOR_CATALOGS)
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
    /// connection. If the cluster has just gone down, waits up to a second for its return; if it is known to be down, fails at
    /// once.
    pub(super) async fn connect(&self, startup: &Startup, slot: Slot) -> Result<Connection, Error> {
        let connect = |socket| self.connect_wire(startup, socket);
        let ((connection, driver), berth) = self.attempt(slot, connect).await?;
        self.drive(driver, berth);
        Ok(connection)
    }

    /// Opens a connection for onboarding and the like, by a client that knows more of Postgres.
    pub(super) async fn connect_admin(&self, startup: &Startup, slot: Slot) -> Result<Client, Error> {
        let connect = |socket| self.connect_client(startup, socket);
        let ((client, connection), berth) = self.attempt(slot, connect).await?;
        self.drive(connection, berth);
        Ok(client)
    }

    async fn connect_wire(
        &self,
        startup: &Startup,
        socket: Socket,
    ) -> Result<(Connection, wire::Driver<Socket>), Error> {
        let end_point = socket.server_end_point();
        wire::startup(socket, startup.login(&self.endpoint, end_point.as_deref()))
            .await
            .map_err(|error| match error {
                // As a role or a database may have them.
                wire::Error::Setting { .. } => refused(error.into()),
                error => self.classify(error.code().cloned(), error),
            })
    }

    async fn connect_client(
        &self,
        startup: &Startup,
        socket: Socket,
    ) -> Result<(Client, tokio_postgres::Connection<Socket, Socket>), Error> {
        startup
            .config(&self.endpoint)
            .connect_raw(socket.up_to(ALLOWANCE), AsItIs)
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
            ) => refused(error.into()),
            // Others have taken what the budget counts on.
            Some(SqlState::TOO_MANY_CONNECTIONS) => {
                let slots = self.budget.shrink();
                warn!(cluster = %self.id, %error, slots, "fewer connections than the budget");
                self.saturated()
            }
            _ => down(error.into()),
        }
    }

    async fn socket(&self) -> Result<Socket, Error> {
        Socket::connect(&self.endpoint, self.tls.as_ref())
            .await
            .map_err(|error| down(error.into()))
    }

    /// That all slots are in use, and when one may be free.
    pub(crate) fn saturated(&self) -> Error {
        let budget = self.budget.size();
        Error::ClusterSaturated {
            budget,
            retry_after: self.holds.wait(self.budget.waiting(), budget),
        }
    }

    /// That no connection has been opened within `limit`.
    pub(super) fn too_slow(&self, limit: Duration) -> Error {
        Error::ConnectTimeout {
            limit,
            retry_after: self.breaker.retry_after(),
        }
    }

    /// How long leases of all tenants take.
    pub(super) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// That the cluster is known to be down, if a request that needs a connection would fail at once.
    pub(super) fn is_down(&self) -> Option<Error> {
        self.breaker.refuses(PATIENCE).map(Error::from)
    }

    /// Connects when the breaker lets it pass; again if that fails while requests wait for the cluster's return, and once more
    /// if the server has no connection left. 5 s in all.
    async fn attempt<T, F>(&self, slot: Slot, connect: impl Fn(Socket) -> F) -> Result<(T, Berth), Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let asked = Instant::now();
        let deadline = asked + CONNECT_TIMEOUT;
        let mut was_full = false;
        let mut berth = Berth::new(slot, self.tasks.clone());
        loop {
            let attempt = self.breaker.pass(asked).await?;
            let gate = timeout_at(deadline, self.connect_gate.acquire()).await;
            let gate = gate.map_err(|_| too_late())?.map_err(|_| Error::Draining)?;
            if attempt.is_outdated() {
                continue;
            }
            let began = Instant::now();
            let connecting = async {
                let mut socket = self.socket().await?;
                berth.takes(&mut socket);
                connect(socket).await
            };
            let result = timeout_at(deadline, connecting)
                .await
                .unwrap_or_else(|_| Err(too_late()));
            drop(gate);
            self.note(&result, began.elapsed(), attempt);
            match result {
                Err(Error::ClusterDown { .. }) if asked.elapsed() < PATIENCE => {
                    self.clear(&mut berth, deadline).await?;
                }
                Err(Error::ClusterSaturated { .. }) if !was_full => {
                    was_full = true;
                    self.clear(&mut berth, deadline).await?;
                    sleep_until(deadline.min(Instant::now() + FULL_PAUSE.mul_f64(0.5 + chance()))).await;
                }
                Ok(connected) => return Ok((connected, berth)),
                Err(error) => return Err(error.retried_after(self.breaker.retry_after())),
            }
        }
    }

    /// Waits until what was refused is closed, so that its slot can be used again.
    async fn clear(&self, berth: &mut Berth, deadline: Instant) -> Result<(), Error> {
        let cleared = timeout_at(deadline, berth.clear()).await;
        cleared.map_err(|_| too_late().retried_after(self.breaker.retry_after()))
    }

    /// Keeps what came of an attempt, for the operator and for the next one.
    fn note<T>(&self, result: &Result<T, Error>, took: Duration, attempt: Attempt<'_>) {
        self.tell(result);
        match result {
            Err(Error::ClusterDown { source: cause, .. }) if is_of_cluster(&**cause) => {
                attempt.failed(&with_causes(&**cause))
            }
            // With less time than that it has rather waited for other connections to open.
            Err(error @ Error::ConnectTimeout { .. }) if took >= CONNECT_TIMEOUT / 2 => {
                attempt.failed(&error.to_string())
            }
            Err(Error::ClusterDown { .. } | Error::ConnectTimeout { .. } | Error::Draining) => {}
            Ok(_) | Err(_) => attempt.succeeded(), // it answers
        }
    }

    fn tell<T>(&self, result: &Result<T, Error>) {
        match result {
            Ok(_) => self.trouble.store(None),
            Err(Error::ClusterDown { source: cause, .. }) => self.trouble.store(Some(Arc::new(with_causes(&**cause)))),
            Err(error @ Error::ConnectTimeout { .. }) => self.trouble.store(Some(Arc::new(error.to_string()))),
            Err(_) => {} // it answers
        }
    }

    /// Runs a task that shutdown waits for.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Drives a socket in a task of its own, which owns the slot.
    fn drive<E: fmt::Display>(&self, driver: impl Future<Output = Result<(), E>> + Send + 'static, berth: Berth) {
        let cluster = self.id.clone();
        self.tasks.spawn(async move {
            if let Err(error) = driver.await {
                // The requests on it have been told; here it is on record once per connection.
                warn!(%cluster, %error, "connection to Postgres lost");
            }
            drop(berth);
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
        let connecting = timeout(CONNECT_TIMEOUT, async {
            let socket = self.socket().await?;
            self.connect_client(startup, socket).await
        });
        let connecting = connecting.await;
        let connected = connecting.unwrap_or_else(|_| Err(too_late()));
        self.tell(&connected);
        let (client, mut connection) = connected?;
        self.breaker.close();
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

    /// Asks the server to stop what runs on a connection, again and again until the connection is over. Returns at once.
    ///
    /// A cancel may arrive late and hit the next statement, so only a connection that is never used again is cancelled.
    pub(super) fn cancel(&self, key: CancelKey, watch: Watch) {
        let gate = Arc::clone(&self.cancel_gate);
        let (endpoint, tls) = (self.endpoint.clone(), self.tls.clone());
        let cluster = self.id.clone();
        self.tasks.spawn(async move {
            let cancel = async || {
                let _gate = gate.acquire().await.map_err(|error| error.to_string())?;
                let socket = Socket::connect(&endpoint, tls.as_ref())
                    .await
                    .map_err(|error| error.to_string())?;
                wire::cancel(socket, key).await.map_err(|error| error.to_string())
            };
            while !watch.is_over() {
                match timeout(CANCEL_TIMEOUT, cancel()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(%cluster, %error, "cancel failed"),
                    Err(_) => debug!(%cluster, "cancel timed out"),
                }
                let again = Instant::now() + CANCEL_AGAIN;
                while !watch.is_over() && Instant::now() < again {
                    sleep(CANCEL_LOOK).await;
                }
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

fn down(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let retry_after = Duration::ZERO;
    Error::ClusterDown { source, retry_after }
}

fn refused(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let retry_after = Duration::ZERO;
    Error::Refused { source, retry_after }
}

fn too_late() -> Error {
    Error::ConnectTimeout {
        limit: CONNECT_TIMEOUT,
        retry_after: Duration::ZERO,
    }
}

/// Whether a failed connection says that no other would do better. What Postgres says of a session may be one tenant's
/// doing (a library that its role loads), unless it shuts down or starts up (manual, appendix A, classes 08 and 57).
fn is_of_cluster(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let of_wire = cause.downcast_ref::<wire::Error>().and_then(wire::Error::code);
    let of_client = cause
        .downcast_ref::<tokio_postgres::Error>()
        .and_then(|error| error.code());
    let code = of_wire.or(of_client).map(SqlState::code);
    code.is_none_or(|code| code.starts_with("57P") || code.starts_with("08"))
}

impl From<Shut> for Error {
    fn from(shut: Shut) -> Self {
        Self::ClusterDown {
            source: shut.reason.as_ref().into(),
            retry_after: shut.retry_after,
        }
    }
}

/// An error with all that is behind it.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
