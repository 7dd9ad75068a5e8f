//! The promises of the project, each against real Postgres over real sockets. A file per area, a name per promise.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a failed helper should fail the test"
)]

mod browser;
mod client;
mod command;
mod config_errors;
mod console;
mod dialect;
mod dialect_config;
mod failure;
mod hostile;
mod identity;
mod isolation;
mod lanes;
mod logins;
mod malicious;
mod onboarding;
mod openapi;
mod pages;
mod pools;
mod problems;
mod reload;
mod requests;
mod routing;
mod shared_reads;
mod storms;
mod streaming;
mod tls_to_postgres;
mod tokens;
mod traffic;
mod embedded;
mod encode;
mod layering;
mod support;
