//! Rowhouse routes HTTP by `Host` to per-tenant PostgreSQL pools and answers straight from the database.
//!
//! The modules stand in dependency order, top to bottom: each uses only those below it (`tests/it/layering.rs`).

pub mod types;
