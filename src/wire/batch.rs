//! What is sent: whole messages, made before a connection is asked for.

use std::io;

use bytes::{BufMut, BytesMut};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend::{self, BindError};

use super::error::Error;

/// Messages that end in at least one synchronisation point. Without one, the server would not answer the last of them.
#[derive(Default)]
// Not `Debug`: parameters are never logged.
pub struct Batch {
    bytes: BytesMut,
    points: u32,
}

/// Values are sent as text, which Postgres parses as it would a literal; rows come back binary.
const BINARY: [i16; 1] = [1];

impl Batch {
    /// No message yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `Query`: statements without parameters, and without rows that anyone wants; a synchronisation point of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Unsendable`], also of the methods below; the batch is as it was then.
    pub fn query(&mut self, sql: &str) -> Result<(), Error> {
        self.attempt(|bytes| frontend::query(sql, bytes))?;
        self.points += 1;
        Ok(())
    }

    /// `Parse` and `Describe`: prepares a statement under `name`, the types of its parameters to be found by the server,
    /// and asks for its columns.
    pub fn prepare(&mut self, name: &str, sql: &str) -> Result<(), Error> {
        self.attempt(|bytes| {
            frontend::parse(name, sql, [], bytes)?;
            frontend::describe(b'S', name, bytes)
        })
    }

    /// `Close`: forgets a prepared statement.
    pub fn close(&mut self, name: &str) -> Result<(), Error> {
        self.attempt(|bytes| frontend::close(b'S', name, bytes))
    }

    /// `Bind` and `Execute`: runs a prepared statement; a parameter that is none is NULL.
    pub fn execute<'p>(&mut self, name: &str, params: impl IntoIterator<Item = Option<&'p str>>) -> Result<(), Error> {
        self.bind("", name, params)?;
        self.run("")
    }

    /// `Bind`: plans a prepared statement as it would run now, without running it, as a portal of this name. It is gone
    /// at the end of the transaction.
    pub fn bind<'p>(
        &mut self,
        portal: &str,
        name: &str,
        params: impl IntoIterator<Item = Option<&'p str>>,
    ) -> Result<(), Error> {
        self.attempt(|bytes| {
            let write = |param: Option<&str>, bytes: &mut BytesMut| match param {
                Some(text) => {
                    bytes.put_slice(text.as_bytes());
                    Ok(IsNull::No)
                }
                None => Ok(IsNull::Yes),
            };
            frontend::bind(portal, name, [], params, write, BINARY, bytes).map_err(|error| match error {
                BindError::Serialization(error) => error,
                BindError::Conversion(error) => io::Error::other(error),
            })
        })
    }

    /// `Execute`: runs a portal to its end.
    pub fn run(&mut self, portal: &str) -> Result<(), Error> {
        self.attempt(|bytes| frontend::execute(portal, 0, bytes))
    }

    /// `Sync`: a synchronisation point. What stands between two of them is one transaction unless it says otherwise, and
    /// an error skips what is left of it (manual, 55.2.3).
    pub fn sync(&mut self) {
        frontend::sync(&mut self.bytes);
        self.points += 1;
    }

    /// The messages, and how many synchronisation points they have.
    pub(super) fn parts(&self) -> (&[u8], u32) {
        (&self.bytes, self.points)
    }

    fn attempt(&mut self, write: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<(), Error> {
        let before = self.bytes.len();
        write(&mut self.bytes).map_err(|error| {
            self.bytes.truncate(before);
            Error::unsendable(error)
        })
    }
}
