//! What a client is told when its request cannot become SQL.

use std::borrow::Cow;

use thiserror::Error;

/// Why a request cannot become SQL: always the client's to mend, and each with the dialect's code.
///
/// `Display` is the dialect's `message`, so its wording follows PostgREST, capitals included.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Error {
    /// A query parameter is not of the dialect, or of a part of it that is not built.
    #[error("failed to parse {part} ({text})")]
    Syntax {
        /// The parameter: `select`, `order`, `filter` …
        part: &'static str,
        /// Its text, decoded.
        text: String,
        /// What was not understood.
        details: Cow<'static, str>,
    },
    /// A negative limit or offset.
    #[error("Requested range not satisfiable")]
    Range(&'static str),
    /// The body is not JSON, or JSON that is neither an object nor an array.
    #[error("Empty or invalid json")]
    Json,
    /// An array whose elements are not objects with the same keys, and no `columns` to say which count.
    #[error("All object keys must match")]
    Keys,
    /// `select`, a filter or `order` names a column that is not there.
    #[error("column {relation}.{column} does not exist")]
    Column {
        /// The relation.
        relation: Box<str>,
        /// The unknown name.
        column: String,
    },
    /// The body or `columns` names a column that is not there.
    #[error("Could not find the '{column}' column of '{relation}' in the schema cache")]
    BodyColumn {
        /// The relation.
        relation: Box<str>,
        /// The unknown name.
        column: String,
    },
    /// A `PUT` whose filters do not name one row by its whole primary key.
    #[error("Filters must include all and only primary key columns with 'eq' operators")]
    PutFilters,
    /// A `PUT` with `limit` or `offset`.
    #[error("limit/offset querystring parameters are not allowed for PUT")]
    PutRange,
    /// A `PUT` whose body is not the one row that the filters name.
    #[error("Payload values do not match URL in primary key column(s)")]
    PutPayload,
    /// The tenant has no such relation.
    #[error("Could not find the table '{0}' in the schema cache")]
    Relation(String),
}

impl Error {
    /// The dialect's code, or the SQLSTATE that Postgres would have sent.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "PGRST100",
            Self::Json | Self::Keys => "PGRST102",
            Self::Range(_) => "PGRST103",
            Self::PutFilters => "PGRST105",
            Self::PutRange => "PGRST114",
            Self::PutPayload => "PGRST115",
            Self::BodyColumn { .. } => "PGRST204",
            Self::Relation(_) => "PGRST205",
            Self::Column { .. } => "42703",
        }
    }

    /// What happened.
    #[must_use]
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// What exactly, where the message does not say it all.
    #[must_use]
    pub fn details(&self) -> Option<&str> {
        match self {
            Self::Syntax { details, .. } => Some(details),
            Self::Range(details) => Some(details),
            Self::Json
            | Self::Keys
            | Self::Column { .. }
            | Self::BodyColumn { .. }
            | Self::PutFilters
            | Self::PutRange
            | Self::PutPayload
            | Self::Relation(_) => None,
        }
    }

    /// What to try instead. None yet: hints of the dialect come from fuzzy matching, which is not built.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        None
    }
}
