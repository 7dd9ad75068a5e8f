//! What can keep a cluster or a tenant from its state.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;

use tokio_postgres::Error as PgError;
use tokio_postgres::error::SqlState;

use crate::types::{SchemaName, TenantId};

/// Why a cluster or a tenant was not brought to its state. What had been done by then stays; a later call goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A directory or file of migrations cannot be read.
    #[error("cannot read {}: {source}; make it readable UTF-8, or change [migrations] in rowhouse.toml", .path.display())]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not named as a migration must be.
    #[error(
        "{} is no migration's name: call it V<number>__<words>.sql, such as V3__add_due.sql (letters, digits and _)",
        .path.display()
    )]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Two files have one version.
    #[error("{} and {} have the same version: give the newer one the next free number", .first.display(), .second.display())]
    RepeatedVersion {
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The tenant's roles would have the names of roles that all tenants share.
    #[error("tenant id `{0}` is reserved for the roles of the shared tables: choose another id")]
    ReservedId(TenantId),
    /// The schema is kept for this program's own notes.
    #[error("schema `{0}` is kept for the edge's own tables: choose another schema")]
    ReservedSchema(SchemaName),
    /// The tenant's schema exists and is somebody else's.
    #[error(
        "schema `{schema}` already exists and belongs to role `{holder}`: choose another schema, or set managed = false \
         to serve it as it is"
    )]
    SchemaTaken {
        /// The schema.
        schema: SchemaName,
        /// Its owner.
        holder: String,
    },
    /// A migration failed; those before it stay applied, and nothing of it does.
    #[error("migration {} failed: {}", .file.display(), Cause(.source.source()))]
    Migration {
        /// The file, or its directory if the list of applied migrations could not be read.
        file: PathBuf,
        /// What Postgres said.
        source: refinery::Error,
    },
    /// The files do not go on from what was applied before: one was changed, removed, or added below the last version.
    #[error("the migrations in {} do not go on from those applied to schema `{schema}`: {reason}", .dir.display())]
    History {
        /// The directory.
        dir: PathBuf,
        /// The schema.
        schema: SchemaName,
        /// What differs.
        reason: String,
    },
    /// Any other statement failed.
    #[error("cannot {step}: {}", Cause(Some(.source)))]
    Database {
        /// What it was for.
        step: &'static str,
        /// What Postgres said.
        source: PgError,
    },
}

impl Error {
    /// Whether the connection or another session is at fault, not the statement: the same call may succeed a moment later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = match self {
            Self::Migration { source, .. } => Some(source),
            Self::Database { source, .. } => Some(source),
            _ => None,
        };
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<PgError>() {
                return error
                    .as_db_error()
                    .is_none_or(|error| error.code().code().starts_with("57P") || PASSING.contains(error.code()));
            }
            cause = error.source();
        }
        false
    }

    /// For `map_err`.
    pub(super) fn at(step: &'static str) -> impl Fn(PgError) -> Self {
        move |source| Self::Database { step, source }
    }
}

/// What another session was in the way of.
const PASSING: [SqlState; 4] = [
    SqlState::T_R_DEADLOCK_DETECTED,
    SqlState::T_R_SERIALIZATION_FAILURE,
    SqlState::LOCK_NOT_AVAILABLE,
    SqlState::TOO_MANY_CONNECTIONS,
];

/// Postgres' own words and the SQLSTATE.
struct Cause<'a>(Option<&'a (dyn StdError + 'static)>);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(cause) = self.0 else {
            return f.write_str("unknown cause");
        };
        let Some(error) = cause.downcast_ref().and_then(PgError::as_db_error) else {
            return write!(f, "{cause}");
        };
        write!(f, "{} (SQLSTATE {})", error.message(), error.code().code())?;
        for more in [error.detail(), error.hint()].into_iter().flatten() {
            write!(f, "; {more}")?;
        }
        Ok(())
    }
}
