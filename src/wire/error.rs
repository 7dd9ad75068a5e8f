//! Why a connection came to nothing, and what the server says of a statement.

use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error;
use tokio_postgres::error::SqlState;

use super::reply::Body;

/// Why a connection ended, or never began. Everybody who waited on it is told the same.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// The socket failed.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server said why it ended the connection, or refused it.
    #[error("{0}")]
    Server(Arc<DbError>),
    /// The server said something that it should not have.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// A setting of the session is such that what the server says cannot be read.
    #[error("the session has {name} = {value}, and must have {wanted}")]
    Setting {
        /// Which one.
        name: &'static str,
        /// What the server says of it.
        value: Box<str>,
        /// What it must be.
        wanted: &'static str,
    },
    /// The server asks to be authenticated to in a way that is not known here, or with a password that there is not.
    #[error("authentication: {0}")]
    Authentication(&'static str),
    /// A text with a NUL, or a message of more than 2 GiB.
    #[error("this cannot be sent to Postgres: {0}")]
    Unsendable(Arc<io::Error>),
}

impl Error {
    /// The SQLSTATE, if the server gave one.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Server(error) => Some(error.code()),
            _ => None,
        }
    }

    pub(super) fn io(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }

    pub(super) fn unsendable(error: io::Error) -> Self {
        Self::Unsendable(Arc::new(error))
    }
}

/// An error as Postgres reports it (manual, 55.8).
///
/// Texts are as the server sent them; what was not UTF-8 is replaced.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DbError {
    severity: Box<str>,
    code: SqlState,
    message: Box<str>,
    detail: Option<Box<str>>,
    hint: Option<Box<str>>,
    context: Option<Box<str>>,
    routine: Option<Box<str>>,
}

impl DbError {
    pub(super) fn parse(mut body: Body<'_>) -> Result<Self, Error> {
        let mut error = Self {
            severity: "ERROR".into(),
            code: SqlState::INTERNAL_ERROR,
            message: "".into(),
            detail: None,
            hint: None,
            context: None,
            routine: None,
        };
        loop {
            let field = body.byte()?;
            if field == 0 {
                return Ok(error);
            }
            let text = String::from_utf8_lossy(body.text()?);
            match field {
                // `V` is never translated, `S` is.
                b'V' => error.severity = text.into(),
                b'C' => error.code = SqlState::from_code(&text),
                b'M' => error.message = text.into(),
                b'D' => error.detail = Some(text.into()),
                b'H' => error.hint = Some(text.into()),
                b'W' => error.context = Some(text.into()),
                b'R' => error.routine = Some(text.into()),
                _ => {}
            }
        }
    }

    /// `ERROR`, `FATAL` or `PANIC`.
    #[must_use]
    pub fn severity(&self) -> &str {
        &self.severity
    }

    /// The SQLSTATE (manual, appendix A).
    #[must_use]
    pub fn code(&self) -> &SqlState {
        &self.code
    }

    /// The primary message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// More of what happened.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// What may be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Which functions and statements it happened in, if not in the statement itself.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// The function of the server's source that reported it.
    #[must_use]
    pub fn routine(&self) -> Option<&str> {
        self.routine.as_deref()
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.message)
    }
}

impl std::error::Error for DbError {}
