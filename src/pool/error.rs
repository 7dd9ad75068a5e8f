//! Why a request got no connection, or no answer on it.

use std::time::Duration;

use thiserror::Error;
use tokio_postgres::error::SqlState;

use crate::wire::{self, DbError};

use super::session::Unrun;

/// What can go wrong between asking for a connection and the last row.
#[derive(Debug, Error)]
pub enum Error {
    /// The tenant already uses all it may, and its line is full or did not move in time.
    #[error("the tenant already runs as many requests as it may ({most})")]
    TenantQueueFull {
        /// How many that are: its `pool_max`, or of short reads those that may be on their way at once.
        most: u32,
        /// When the line will have moved, by what leases take.
        retry_after: Duration,
    },
    /// All connections of the cluster are in use, and none came free in time.
    #[error("all {budget} connections of the cluster are in use")]
    ClusterSaturated {
        /// The cluster's budget.
        budget: u32,
        /// When the line will have moved, by what leases take.
        retry_after: Duration,
    },
    /// The server cannot be reached, or is starting up or shutting down.
    #[error("the database cannot be reached")]
    ClusterDown {
        /// What connecting failed of.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// The server did not finish connecting in time.
    #[error("the database did not accept a connection within {limit:?}")]
    ConnectTimeout {
        /// The time it had.
        limit: Duration,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// The server refuses this tenant's role or database.
    #[error("the database refuses the tenant's role or database")]
    Refused {
        /// What it says.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// The connection came up with another schema or role than asked for: it was closed, nothing ran on it.
    #[error("connected as role {found_role:?} in schema {found_schema:?} instead of {role:?} in {schema:?}")]
    Unverified {
        /// The schema asked for.
        schema: Box<str>,
        /// `current_schema()`; none if the schema does not exist.
        found_schema: Option<String>,
        /// The role asked for.
        role: Box<str>,
        /// `current_user`.
        found_role: String,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// The tenant is being removed or the edge is shutting down.
    #[error("no new work is taken on")]
    Draining,
    /// Postgres answered the statement with an error.
    #[error("{}", .0.message())]
    Database(Box<DbError>),
    /// The connection broke while the statement was on its way.
    #[error("the connection to the database was lost")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The statement outran its time although Postgres should have stopped it.
    #[error("the database did not answer within {0:?}")]
    Deadline(Duration),
}

impl Error {
    /// Of a call that nobody else's could have held up.
    pub(super) fn of_alone(unrun: Unrun) -> Self {
        match unrun {
            Unrun::Failed(error) => error,
            Unrun::Moved | Unrun::Elsewhere => Self::Draining, // only calls on lanes and shared connections are
        }
    }

    /// Whether it took too long: to run, or to get at what others have locked.
    pub(super) fn is_of_time(&self) -> bool {
        match self {
            Self::Database(error) => matches!(*error.code(), SqlState::LOCK_NOT_AVAILABLE | SqlState::QUERY_CANCELED),
            Self::Deadline(_) => true,
            _ => false,
        }
    }

    /// Whether the same may go well a little later, with nothing changed.
    #[must_use]
    pub fn passes(&self) -> bool {
        let waits = matches!(
            self,
            Self::ClusterDown { .. }
                | Self::ClusterSaturated { .. }
                | Self::ConnectTimeout { .. }
                | Self::TenantQueueFull { .. }
        );
        waits || self.is_of_time() || self.is_of_connection()
    }

    /// Whether the connection ended, and not the statement: it may have run or not.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            // The server shuts down, or somebody has terminated the backend (manual, appendix A, class 57).
            Self::Database(error) => error.code().code().starts_with("57P"),
            _ => false,
        }
    }

    /// What an open connection ended with: often the server says why, as it would of a statement.
    pub(super) fn of_connection(error: wire::Error) -> Self {
        match error {
            wire::Error::Server(said) => Self::Database(Box::new((*said).clone())),
            error => Self::lost(error),
        }
    }

    /// Fills in when a connection is tried again, which is known after the attempt only.
    pub(super) fn retried_after(mut self, delay: Duration) -> Self {
        if let Self::ClusterDown { retry_after, .. }
        | Self::ConnectTimeout { retry_after, .. }
        | Self::Refused { retry_after, .. }
        | Self::Unverified { retry_after, .. } = &mut self
        {
            *retry_after = delay;
        }
        self
    }

    pub(super) fn lost(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Lost(Box::new(error))
    }
}
