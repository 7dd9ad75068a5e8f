//! The promises of the project, each against real Postgres over real sockets. A file per area, a name per promise.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a failed helper should fail the test"
)]

mod config_errors;
mod identity;
mod pages;
mod problems;
mod requests;
mod routing;
mod embedded;
mod encode;
mod layering;
mod support;
