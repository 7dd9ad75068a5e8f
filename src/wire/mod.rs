//! A small client for Postgres' protocol (version 3.0; Postgres manual, "Frontend/Backend Protocol"), for the path of
//! every request.
//!
//! ```text
//! startup ─► (Connection, Driver)
//!
//! Batch ── Connection::send ──► Driver ──► socket      whole messages, several batches in flight
//! Sent  ◄── Replies ─────────── Driver ◄── socket      rows are taken straight from the read buffer
//! ```
//!
//! A [`Batch`] is messages that end in one or more synchronisation points. Who sends it gives a [`Replies`], which the
//! [`Driver`], the task that owns the socket, calls with what comes back, in order; when the last synchronisation point
//! is answered, [`Sent`] is ready and gives it back. Batches of a connection run in the order they were sent, and an
//! error ends its own only: so a connection can be shared by requests that know nothing of each other. Who has a connection
//! alone may pause: nothing is read then, and the server waits, until the batch is resumed.
//!
//! Nothing here knows pools, tenants or SQL.

mod batch;
mod connection;
mod driver;
mod error;
mod reply;
mod startup;

pub use batch::Batch;
pub use connection::{CancelKey, Connection, Sent, Watch};
pub use driver::{Driver, PATIENCE};
pub use error::{DbError, Error};
pub use reply::{Answer, Halt, Replies, Row, Status};
pub use startup::{Login, cancel, startup};

#[cfg(test)]
mod tests;
