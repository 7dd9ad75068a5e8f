//! What a client is told when its request cannot become SQL.

use std::borrow::Cow;

use serde::Serialize;
use thiserror::Error;

/// Why a request cannot become SQL: always the client's to mend, and each with the dialect's code.
///
/// `Display` is the dialect's `message`, so its wording follows PostgREST, capitals included.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Error {
    /// A query parameter is not of the dialect.
    #[error("\"failed to parse {part} ({text})\" (line 1, column {column})")]
    Syntax {
        /// The parameter: `select parameter`, `order`, `filter` …
        part: &'static str,
        /// Its text, decoded.
        text: String,
        /// Where it was not understood, in characters from 1.
        column: usize,
        /// What was not understood.
        details: Cow<'static, str>,
    },
    /// A negative limit or offset, or an inverted range.
    #[error("Requested range not satisfiable")]
    Range(&'static str),
    /// The body is not JSON.
    #[error("Empty or invalid json")]
    Json,
    /// An array whose elements are not objects with the same keys, and no `columns` to say which count.
    #[error("All object keys must match")]
    Keys,
    /// The body, which is to be text, is not UTF-8.
    #[error("The body is not UTF-8")]
    Encoding,
    /// Lines of CSV with more or fewer fields than the header.
    #[error("All lines must have same number of fields")]
    Csv,
    /// A quoted field of CSV does not end.
    #[error("A quoted field of the CSV does not end")]
    CsvQuotes,
    /// `select`, a filter or `order` names a column that is not there.
    #[error("column {relation}.{column} does not exist")]
    Column {
        /// The relation.
        relation: Box<str>,
        /// The unknown name.
        column: String,
    },
    /// A cast to a type that is not there.
    #[error("type \"{0}\" does not exist")]
    Type(String),
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
    /// A filter, order or limit of an embedded relation that is not embedded.
    #[error("'{name}' is not an embedded resource in this request")]
    NotEmbedded {
        /// The name.
        name: String,
        /// What it is called in the request, if it is there under another name.
        alias: Option<String>,
    },
    /// An order by an embedded relation with many rows.
    #[error("A related order on '{target}' is not possible")]
    RelatedOrder {
        /// The relation that is ordered.
        relation: Box<str>,
        /// The embedded one.
        target: String,
    },
    /// A filter on an embedded relation that asks for anything but whether it has rows.
    #[error("Bad operator on the '{0}' embedded resource")]
    EmbeddedFilter(String),
    /// Aggregates, which the tenant does not allow.
    #[error("Use of aggregate functions is not allowed")]
    AggregatesDisabled,
    /// What the dialect itself does not have.
    #[error("Feature not implemented")]
    NotImplemented(&'static str),
    /// Two relations that have nothing to do with each other.
    #[error("Could not find a relationship between '{parent}' and '{child}' in the schema cache")]
    NoRelationship {
        /// The outer relation.
        parent: String,
        /// The name of the inner one.
        child: String,
        /// The schema.
        schema: String,
        /// What should tell which relationship is meant.
        hint: Option<String>,
        /// What may be meant.
        suggestion: Option<String>,
    },
    /// Two relations that are related in several ways.
    #[error("Could not embed because more than one relationship was found for '{parent}' and '{child}'")]
    AmbiguousRelationship {
        /// The outer relation.
        parent: String,
        /// The name of the inner one.
        child: String,
        /// The ways.
        candidates: Vec<Candidate>,
        /// How to say which.
        hint: String,
    },
    /// The tenant has no such function for these arguments.
    #[error("Could not find the function {schema}.{name}{} in the schema cache", listed(.body, .arguments))]
    Function {
        /// The schema.
        schema: String,
        /// The function.
        name: String,
        /// The names of the arguments.
        arguments: Vec<String>,
        /// The type that a single argument for the whole body would have; none without a body.
        body: Option<&'static str>,
        /// What may be meant.
        similar: Option<String>,
    },
    /// Several functions fit.
    #[error("Could not choose the best candidate function between: {}", .candidates.join(", "))]
    AmbiguousFunction {
        /// Their signatures.
        candidates: Vec<String>,
    },
    /// The tenant has no such relation.
    #[error("Could not find the table '{schema}.{name}' in the schema cache")]
    Relation {
        /// The schema.
        schema: String,
        /// The name.
        name: String,
        /// What may be meant.
        similar: Option<String>,
    },
}

/// One of several relationships.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Candidate {
    /// `many-to-one` and so on.
    pub cardinality: &'static str,
    /// Which relations it ties.
    pub embedding: String,
    /// By which columns.
    pub relationship: String,
}

/// The arguments as a message shows them.
fn listed(body: &Option<&'static str>, arguments: &[String]) -> String {
    if body.is_some_and(|body| body != "json") {
        String::new()
    } else if arguments.is_empty() {
        " without parameters".to_owned()
    } else {
        format!("({})", arguments.join(", "))
    }
}

impl Error {
    /// With its column counted from further left.
    pub(super) fn behind(mut self, characters: usize) -> Self {
        if let Self::Syntax { column, .. } = &mut self {
            *column += characters;
        }
        self
    }

    /// The dialect's code, or the SQLSTATE that Postgres would have sent.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "PGRST100",
            Self::Json | Self::Keys | Self::Encoding | Self::Csv | Self::CsvQuotes => "PGRST102",
            Self::Range(_) => "PGRST103",
            Self::PutFilters => "PGRST105",
            Self::NotEmbedded { .. } => "PGRST108",
            Self::PutRange => "PGRST114",
            Self::PutPayload => "PGRST115",
            Self::RelatedOrder { .. } => "PGRST118",
            Self::EmbeddedFilter(_) => "PGRST120",
            Self::AggregatesDisabled => "PGRST123",
            Self::NotImplemented(_) => "PGRST127",
            Self::NoRelationship { .. } => "PGRST200",
            Self::AmbiguousRelationship { .. } => "PGRST201",
            Self::Function { .. } => "PGRST202",
            Self::AmbiguousFunction { .. } => "PGRST203",
            Self::BodyColumn { .. } => "PGRST204",
            Self::Relation { .. } => "PGRST205",
            Self::Column { .. } => "42703",
            Self::Type(_) => "42704",
        }
    }

    /// What happened.
    #[must_use]
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// What exactly, where the message does not say it all.
    #[must_use]
    pub fn details(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Syntax { details, .. } => Cow::Borrowed(details),
            Self::Range(details) | Self::NotImplemented(details) => Cow::Borrowed(*details),
            Self::NotEmbedded { alias: Some(_), .. } => {
                Cow::Borrowed("Target names are not allowed in filters if they have an alias")
            }
            Self::RelatedOrder { relation, target } => Cow::Owned(format!(
                "'{relation}' and '{target}' do not form a many-to-one or one-to-one relationship"
            )),
            Self::EmbeddedFilter(_) => {
                Cow::Borrowed("Only is null or not is null filters are allowed on embedded resources")
            }
            Self::NoRelationship {
                parent,
                child,
                schema,
                hint,
                ..
            } => {
                let hint = hint
                    .as_ref()
                    .map_or(String::new(), |hint| format!("' using the hint '{hint}"));
                Cow::Owned(format!(
                    "Searched for a foreign key relationship between '{parent}' and '{child}{hint}' in the schema \
                     '{schema}', but no matches were found."
                ))
            }
            Self::Function {
                schema,
                name,
                arguments,
                body,
                ..
            } => {
                let parameters = match arguments.as_slice() {
                    [] => " without parameters".to_owned(),
                    [one] => format!(" with parameter {one}"),
                    several => format!(" with parameters {}", several.join(", ")),
                };
                let tried = match body {
                    None => parameters,
                    Some("json") => format!("{parameters} or with a single unnamed json/jsonb parameter"),
                    Some(other) => format!(" with a single unnamed {other} parameter"),
                };
                Cow::Owned(format!(
                    "Searched for the function {schema}.{name}{tried}, but no matches were found in the schema cache."
                ))
            }
            _ => return None,
        })
    }

    /// The ways that an embed may mean, which stand in place of details.
    #[must_use]
    pub fn candidates(&self) -> Option<&[Candidate]> {
        match self {
            Self::AmbiguousRelationship { candidates, .. } => Some(candidates),
            _ => None,
        }
    }

    /// What to try instead.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::NotEmbedded { name, alias: None } => Cow::Owned(format!(
                "Verify that '{name}' is included in the 'select' query parameter."
            )),
            Self::NotEmbedded {
                name,
                alias: Some(alias),
            } => Cow::Owned(format!("Change '{name}' to '{alias}' in filters, orders or limits.")),
            Self::NoRelationship { suggestion, .. } => Cow::Borrowed(suggestion.as_deref()?),
            Self::AmbiguousRelationship { hint, .. } => Cow::Borrowed(hint),
            Self::Function {
                schema,
                similar: Some(similar),
                body: None | Some("json"),
                ..
            } => Cow::Owned(format!("Perhaps you meant to call the function {schema}.{similar}")),
            Self::AmbiguousFunction { .. } => Cow::Borrowed(
                "Try renaming the parameters or the function itself in the database so function overloading can be \
                 resolved",
            ),
            Self::Relation {
                schema,
                similar: Some(similar),
                ..
            } => Cow::Owned(format!("Perhaps you meant the table '{schema}.{similar}'")),
            _ => return None,
        })
    }
}
