//! What is used where a file says nothing. `file.rs` shows the same values in the JSON Schema.

use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;
use std::time::Duration;

use super::{AnonymousAccess, Limits};

pub(super) const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8000));
pub(super) const OPERATOR_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9000));
pub(super) const MAX_BODY_TEXT: &str = "1MiB";
pub(super) const MAX_BODY: NonZeroUsize = NonZeroUsize::MIN.saturating_add((1 << 20) - 1);
pub(super) const MAX_CONNECTIONS: NonZeroU32 = number(10_000);
pub(super) const GRACE: Duration = Duration::from_secs(30);
pub(super) const BUDGET: NonZeroU32 = number(80);
pub(super) const SHARED_SCHEMA: &str = "public";
pub(super) const CLUSTER: &str = "main";
pub(super) const LIMITS: Limits = Limits {
    pool_max: number(8),
    pool_min: 0,
    weight: number(1),
    checkout_timeout: Duration::from_secs(2),
    statement_timeout: Duration::from_secs(5),
    lock_timeout: Duration::from_secs(2),
    idle_timeout: Duration::from_secs(60),
    max_rows: number(1000),
    anonymous: AnonymousAccess::Read,
};

/// Where a token says its role, unless the tenant says otherwise.
pub(super) const ROLE_CLAIM: &str = "$.role";

/// Where the embedded Postgres of a cluster keeps its data, below the project's root; `.gitignore` names it.
pub(super) const DATA: &str = ".rowhouse";

const fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number - 1)
}

/// A duration as it is written in a file.
pub(super) fn text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[expect(
    clippy::expect_used,
    reason = "takes this file's own constants, which `built_in_names_are_valid` reads"
)]
pub(super) fn built_in<T: FromStr<Err: Debug>>(name: &'static str) -> T {
    name.parse().expect("built-in names are valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::{Raw, Scalar, Size};
    use crate::types::{ClaimPath, ClusterId, SchemaName};

    #[test]
    fn built_in_names_are_valid() {
        assert_eq!(built_in::<SchemaName>(SHARED_SCHEMA).as_str(), "public");
        assert_eq!(built_in::<ClusterId>(CLUSTER).as_str(), "main");
        assert!(built_in::<ClaimPath>(ROLE_CLAIM).is("role"));
        assert_eq!(
            Size::from_raw(&Raw::Text(MAX_BODY_TEXT)).ok().map(|size| size.0),
            Some(MAX_BODY)
        );
        assert_eq!((MAX_BODY.get(), BUDGET.get(), LIMITS.pool_max.get()), (1 << 20, 80, 8));
    }
}
