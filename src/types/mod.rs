//! The words of the domain as types: parsed once at the edge of the program, then passed on.
//!
//! Nothing here knows sockets, clocks or Postgres.

mod claim_path;
mod host;
mod identifier;

pub use claim_path::{ClaimPath, ClaimPathError};
pub use host::{Host, HostBuffer, HostError, MAX_HOST_LEN};
pub use identifier::{ClusterId, IdentifierError, RoleName, SchemaName, TenantId};
