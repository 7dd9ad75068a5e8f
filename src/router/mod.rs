//! Which host and which thing a request addresses.
//!
//! Pure: it reads what the HTTP layer parsed and touches no socket and no registry. The host comes from the authority of
//! the request and from nothing else: `Forwarded`, `X-Forwarded-Host` and their like are never read.

mod authority;
mod error;
mod path;

pub use self::authority::{Ports, authority, host};
pub use self::error::Error;
pub use self::path::Path;
