//! Rowhouse routes HTTP by `Host` to per-tenant PostgreSQL pools and answers straight from the database.
//!
//! The modules stand in dependency order, top to bottom: each uses only those below it (`tests/it/layering.rs`).

pub mod cli;
pub mod demo;
pub mod edge;
pub mod admin;
pub mod service;
pub mod views;
pub mod response;
pub mod error;
pub mod router;
pub mod tenant;
pub mod users;
pub mod migrate;
pub mod query;
pub mod encode;
pub mod openapi;
pub mod catalog;
pub mod embedded;
pub mod pool;
pub mod wire;
pub mod identity;
pub mod config;
pub mod metrics;
pub mod traffic;
pub mod pages;
pub mod server;
pub mod trace;
pub mod types;
pub mod percent;
