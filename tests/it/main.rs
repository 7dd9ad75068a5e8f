//! The promises of the project, each against real Postgres over real sockets. A file per area, a name per promise.

#![expect(missing_docs, clippy::unwrap_used, reason = "a failed helper should fail the test")]

mod config_errors;
mod embedded;
mod encode;
mod layering;
mod support;
