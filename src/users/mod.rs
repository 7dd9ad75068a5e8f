//! Who may sign in to the console: users of a tenant, their passwords and their sessions.
//!
//! They are kept in the schema `rowhouse` of the tenant's own cluster, which only the edge's login can read: edges share
//! them, none keeps any for longer than an outage, and a tenant whose cluster is down concerns nobody else. A user belongs to one tenant, and so does
//! each of its sessions; a cookie is worth nothing at another host.
//!
//! The table of sessions holds the digest of each one's secret, so that who reads the table can sign in as nobody.

mod password;
mod session;
mod store;
mod throttle;

pub use password::{LEAST_CHARACTERS, new_password, spell};
pub use session::{Cookie, Token};
pub(crate) use store::Place;
pub use store::{LONGEST, Listed, Open, Session, Store, User, add, add_if_missing, create_tables, list, remove};
pub use throttle::Throttle;

use thiserror::Error;

use crate::pool;

/// Why a user could not be looked up or changed.
#[derive(Debug, Error)]
pub enum Error {
    /// No connection to the tenant's cluster.
    #[error(transparent)]
    Pool(#[from] pool::Error),
    /// A statement failed.
    #[error("{}", .0.as_db_error().map_or_else(|| .0.to_string(), ToString::to_string))]
    Database(#[from] tokio_postgres::Error),
    /// The system gave no random bytes, or a password could not be hashed.
    #[error("the password could not be hashed")]
    Hash,
    /// The users' tables did not answer in time.
    #[error("the users of the console could not be looked up in time")]
    Slow,
    /// Too many passwords are being checked.
    #[error("too many passwords are being checked at once")]
    Busy,
    /// The name is no name of a user.
    #[error("a name has 1 to 100 characters, and neither spaces at its ends nor control characters")]
    Name,
    /// The password is too short, or longer than anybody types.
    #[error("a password has {LEAST_CHARACTERS} characters at least, and 4,000 bytes at most")]
    Password,
}

/// Whether `name` can be a user's.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let characters = name.chars().count();
    (1..=100).contains(&characters) && name.trim() == name && !name.chars().any(char::is_control)
}
