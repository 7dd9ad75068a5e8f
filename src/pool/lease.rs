//! A connection checked out for one request.

use std::fmt;
use std::sync::Arc;

use bb8::PooledConnection;
use tokio::sync::OwnedSemaphorePermit;

use super::error::Error;
use super::session::{Call, Done, Rows, Session};
use super::tenant_pool::{Manager, TenantPool};

/// A connection checked out for one request.
///
/// [`finish`](Self::finish) gives it back. A lease that is dropped before that, because the client went away or the
/// request failed half-way, cancels what runs on its connection and closes it: it is clean or closed, never dirty.
pub struct Lease {
    connection: Option<Connection>,
    pool: Arc<TenantPool>,
    /// Whether a statement is on its way, or ended in a way that leaves the state of the session in doubt.
    in_doubt: bool,
    _admission: OwnedSemaphorePermit,
}

enum Connection {
    Fresh(Session),
    Pooled(PooledConnection<'static, Manager>),
}

impl Connection {
    fn session(&mut self) -> &mut Session {
        match self {
            Self::Fresh(session) => session,
            Self::Pooled(connection) => connection,
        }
    }
}

impl Lease {
    pub(super) fn fresh(pool: Arc<TenantPool>, session: Session, admission: OwnedSemaphorePermit) -> Self {
        Self {
            connection: Some(Connection::Fresh(session)),
            pool,
            in_doubt: false,
            _admission: admission,
        }
    }

    pub(super) fn pooled(
        pool: Arc<TenantPool>,
        connection: PooledConnection<'static, Manager>,
        admission: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            connection: Some(Connection::Pooled(connection)),
            pool,
            in_doubt: false,
            _admission: admission,
        }
    }

    /// Runs `call` and hands its rows over, in server order, until `rows` breaks. It comes back with what it has taken.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] with what Postgres said, [`Error::Lost`] if the connection broke, [`Error::Deadline`].
    pub async fn run<R: Rows>(&mut self, call: &Call<'_>, rows: R) -> Result<(Done, R), Error> {
        let Some(connection) = &mut self.connection else {
            return Err(Error::Draining); // only after `finish`, which takes the lease
        };
        let session = connection.session();
        self.in_doubt = true;
        let result = session.run(call, rows).await;
        // An error that Postgres reports leaves the session idle: outside a transaction by itself, inside because the
        // transaction was ended. Anything else is not worth finding out.
        self.in_doubt = session.is_retired();
        result
    }

    /// Gives the connection back for the next request.
    pub fn finish(mut self) {
        self.release();
    }

    fn release(&mut self) {
        match self.connection.take() {
            Some(mut connection) if self.in_doubt => {
                self.pool.cancel(connection.session());
                connection.session().retire();
            }
            Some(Connection::Fresh(session)) => self.pool.take_back(session),
            Some(Connection::Pooled(connection)) => self.pool.put_back(connection),
            None => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("pool", &self.pool)
            .field("in_doubt", &self.in_doubt)
            .finish_non_exhaustive()
    }
}
