//! Why a request got no answer: one variant per stage, in the order a request meets them.

use std::time::Duration;

use thiserror::Error;
use tracing::{info, warn};

use crate::encode;
use crate::identity;
use crate::pool;
use crate::query;
use crate::router;
use crate::tenant::CatalogError;
use crate::users;

/// Why a request got no answer. What the client is told of it is decided in `response/problem.rs`, and nowhere else.
#[derive(Debug, Error)]
pub enum Error {
    /// It addresses nothing that is served.
    #[error(transparent)]
    Router(#[from] router::Error),
    /// The root of the API is asked for, and the tenant does not describe it.
    #[error("Root endpoint metadata is disabled")]
    NoRoot,
    /// The tenant is being brought up.
    #[error("the tenant is being brought up")]
    Onboarding,
    /// The operator has taken the tenant out of service.
    #[error("the operator has taken this tenant out of service; try again later")]
    Drained,
    /// The tenant could not be brought up.
    #[error("the tenant is out of order")]
    TenantFailed,
    /// The verb is not served here; the value is what is.
    #[error("Unsupported HTTP method: {method}")]
    Method {
        /// What was asked.
        method: http::Method,
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// A function is called with a verb that calls none.
    #[error("Cannot use the {0} method on RPC")]
    CallMethod(http::Method),
    /// The schema asked for is not one of the tenant's.
    #[error("Invalid schema: {schema}")]
    Schema {
        /// What was asked for.
        schema: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Preferences that are not known, with `handling=strict`.
    #[error("Invalid preferences given with handling=strict")]
    Preferences(Vec<String>),
    /// One object was asked for, and there is none or are several.
    #[error("Cannot coerce the result to a single JSON object")]
    NotSingular(u64),
    /// More rows would be changed than the client allows.
    #[error("Query result exceeds max-affected preference constraint")]
    TooManyAffected(u64),
    /// `max-affected` for a function that does not return a set.
    #[error("Function must return SETOF or TABLE when max-affected preference is used with handling=strict")]
    MaxAffectedCall,
    /// Rows were asked for behind the last one.
    #[error("Requested range not satisfiable")]
    OutOfRange {
        /// The first row asked for, from 0.
        offset: u64,
        /// How many there are.
        total: u64,
    },
    /// A function set `response.headers` to what is no list of headers.
    #[error("response.headers guc must be a JSON array composed of objects with a single key and a string value")]
    ResponseHeaders,
    /// A function set `response.status` to what is no status.
    #[error("response.status guc must be a valid status code")]
    ResponseStatus,
    /// None of the formats the client takes is served.
    #[error("None of these media types are available: {0}")]
    NotAcceptable(String),
    /// The body is not of a type that is understood.
    #[error("Content-Type not acceptable: {0}")]
    ContentType(String),
    /// The body is longer than `max_body`.
    #[error("the body is longer than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body stopped coming.
    #[error("no byte of the body came for {0:?}")]
    BodyTimeout(Duration),
    /// The body broke off.
    #[error("the body broke off")]
    BodyBroken,
    /// The token is refused.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// There is no token, and without one the tenant answers nothing.
    #[error("Anonymous access is disabled")]
    AnonymousDisabled,
    /// The token names a role that is not the tenant's to give.
    #[error("permission denied to set role \"{0}\"")]
    RoleNotPermitted(String),
    /// What was asked does not make sense for the tenant's tables.
    #[error(transparent)]
    Query(#[from] query::Error),
    /// No connection, or Postgres said no.
    #[error("{source}")]
    Pool {
        /// What happened.
        source: pool::Error,
        /// Whether it ran as another role than that of requests without a token, which decides between 401 and 403.
        authenticated: bool,
    },
    /// The catalog makes no sense.
    #[error(transparent)]
    Catalog(#[from] crate::catalog::Error),
    /// A statement's columns are of other types than the catalog says.
    #[error("the schema has changed meanwhile")]
    Outdated,
    /// What a role may use could not be read.
    #[error("the privileges of the role could not be read")]
    Privileges,
    /// Users of the console could not be looked up or changed.
    #[error(transparent)]
    Users(users::Error),
    /// A file for a relation that whoever is signed in may not insert into.
    #[error("permission denied: these rows are read only for this user")]
    ImportNotPermitted,
    /// Too many files are being imported.
    #[error("other files are being imported")]
    ImportsBusy,
    /// A row could not be encoded.
    #[error(transparent)]
    Encode(#[from] encode::Error),
    /// The answer is larger than one response may be.
    #[error("the answer is larger than {limit} bytes")]
    ResponseTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl Error {
    /// Logs it, once, where it is handled: what the client can mend at INFO, what we or the operator must at WARN.
    pub fn log(&self) {
        match self {
            Self::TenantFailed
            | Self::Catalog(_)
            | Self::Privileges
            | Self::Users(users::Error::Database(_) | users::Error::Hash | users::Error::Slow)
            | Self::Outdated
            | Self::Encode(_)
            | Self::ResponseHeaders
            | Self::ResponseStatus
            | Self::Identity(identity::Error::NoKey) => {
                warn!(error = %self, "request failed")
            }
            Self::Pool { source, .. } => match source {
                pool::Error::Database(database) => {
                    // The message may quote values, so only the code is logged.
                    let code = database.code().code();
                    // What no client can mend: resources, the system, corruption (manual, appendix A).
                    if ["53", "58", "XX"].iter().any(|class| code.starts_with(class)) {
                        warn!(db.response.status_code = code, "statement failed");
                    } else {
                        info!(db.response.status_code = code, "statement refused");
                    }
                }
                pool::Error::TenantQueueFull { .. } | pool::Error::ClusterSaturated { .. } | pool::Error::Draining => {
                    info!(error = %self, "request refused");
                }
                _ => {
                    warn!(error = %self, cause = std::error::Error::source(source).map(tracing::field::display), "request failed")
                }
            },
            // Its text quotes the request, values included.
            Self::Query(error) => info!(code = error.code(), "request refused"),
            _ => info!(error = %self, "request refused"),
        }
    }
}

impl From<pool::Error> for Error {
    /// Without a token; what runs with one says so itself.
    fn from(source: pool::Error) -> Self {
        Self::Pool {
            source,
            authenticated: false,
        }
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Pool(source) => source.into(),
            CatalogError::Catalog(error) => Self::Catalog(error),
        }
    }
}
