//! Brings a cluster and its tenants to the state the configuration asks for: roles, schemas, migrations, rights.
//!
//! Who may do what, afterwards:
//!
//! | role | of | may |
//! |---|---|---|
//! | `rowhouse_shared_owner` | cluster | owns the shared tables |
//! | `rowhouse_shared_read`, `_write` | cluster | read, write the shared tables; groups of tenants' roles |
//! | [`rowhouse_ID_owner`](owner_role) | tenant | owns the schema and its tables |
//! | [`rowhouse_ID_anon`](anonymous_role) | tenant | what `anonymous` says on its own tables; reads the shared ones |
//! | [`rowhouse_ID_user`](user_role) | tenant | writes its own tables; reads, perhaps writes, the shared ones |
//! | [`rowhouse_ID_login`](login_role) | tenant | logs in and becomes the two above; only with [`Credentials::PerTenant`] |
//! | `rowhouse_shared_login` | cluster | connects to the database; the group of those |
//!
//! The edge's login (`NOINHERIT CREATEROLE`) creates them all and has no rights of its own on any tenant's table. It is a
//! member of an owner while that owner's schema is worked on, and with [`Credentials::Shared`] of the roles of all tenants'
//! requests. It needs `CREATE` on the database, and `CREATE, USAGE … WITH GRANT OPTION` on a shared schema that it did not
//! create; where not everybody may connect to the database, also `CONNECT … WITH GRANT OPTION`.
//!
//! [`Credentials::PerTenant`]: crate::pool::Credentials::PerTenant
//! [`Credentials::Shared`]: crate::pool::Credentials::Shared
//!
//! The order is [`shared()`] once per cluster, then [`tenant()`] for all whose digest in [`onboarded`] is not
//! [`Migrations::digest`]. Nothing but validated names and constants is ever put into SQL.

mod error;
mod files;
mod grants;
mod registry;
mod roles;
mod session;
mod shared;
mod tenant;

pub use self::error::Error;
pub use self::files::Migrations;
pub use self::registry::onboarded;
pub use self::roles::{
    EDGE_LOGIN, anonymous_role, as_owner, is_request_role, login_role, owner_role, shared_owner_role, user_role,
};
pub use self::shared::{EMBEDDED_DATABASE, bootstrap_embedded, bootstrap_embedded_database, shared};
pub use self::tenant::tenant;

#[cfg(test)]
mod tests;
