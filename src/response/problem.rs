//! Every failure as HTTP: the only place that knows which status and code a failure has.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ALLOW, CONNECTION, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::error::SqlState;

use crate::error::Error;
use crate::identity;
use crate::pool;
use crate::query;
use crate::router;
use crate::server::Body;
use crate::users;
use crate::wire::DbError;

use super::settings;

/// A failure as the client sees it. The body is the dialect's: `code`, `message`, `details`, `hint`.
#[derive(Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// What programs branch on: `PGRST…`, a SQLSTATE, or a word of our own. Stable.
    pub code: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// More of it, or nothing; mostly a text.
    pub details: Option<Value>,
    /// What to do, or nothing.
    pub hint: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            details: None,
            hint: None,
            headers: Vec::new(),
        }
    }

    fn details(mut self, details: impl Into<Value>) -> Self {
        self.details = Some(details.into());
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A refusal that is worth another try in `seconds`.
    fn unavailable(code: &'static str, message: impl Into<String>, seconds: u16) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The headers that belong to it.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// As JSON; without details and hint if they are not to be shown.
    #[must_use]
    pub fn into_response(self, verbose: bool) -> Response<Body> {
        #[derive(Serialize)]
        struct Dialect<'a> {
            code: &'a str,
            details: Option<&'a Value>,
            hint: Option<&'a str>,
            message: &'a str,
        }
        #[derive(Serialize)]
        struct Brief<'a> {
            code: &'a str,
            message: &'a str,
        }
        let body = if verbose {
            serde_json::to_vec(&Dialect {
                code: &self.code,
                details: self.details.as_ref(),
                hint: self.hint.as_deref(),
                message: &self.message,
            })
        } else {
            serde_json::to_vec(&Brief {
                code: &self.code,
                message: &self.message,
            })
        };
        let mut response = Response::new(Body::new(body.unwrap_or_default().into()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        // RFC 9209; the name is what clients of the dialect know.
        if let Ok(status) = HeaderValue::from_str(&format!("PostgREST; error={}", self.code)) {
            headers.insert(PROXY_STATUS, status);
        }
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        match error {
            Error::Router(error) => router(*error),
            Error::NoRoot => Self::new(StatusCode::NOT_FOUND, "PGRST126", error.to_string()),
            Error::Onboarding => Self::unavailable("tenant_onboarding", error.to_string(), 1),
            Error::Drained => Self::unavailable("draining", error.to_string(), 5),
            // The reason names schemas and files: it is in the operator's status, never sent.
            Error::TenantFailed => Self::unavailable("tenant_failed", error.to_string(), 30),
            Error::Method { allow, .. } => Self::new(StatusCode::METHOD_NOT_ALLOWED, "PGRST117", error.to_string())
                .header(ALLOW, HeaderValue::from_static(allow)),
            Error::CallMethod(_) => Self::new(StatusCode::METHOD_NOT_ALLOWED, "PGRST101", error.to_string())
                .header(ALLOW, HeaderValue::from_static("GET, HEAD, POST, OPTIONS")),
            Error::Schema { known, .. } => Self::new(StatusCode::NOT_ACCEPTABLE, "PGRST106", error.to_string())
                .hint(format!("Only the following schemas are exposed: {}", known.join(", "))),
            Error::Preferences(unknown) => Self::new(StatusCode::BAD_REQUEST, "PGRST122", error.to_string())
                .details(format!("Invalid preferences: {}", unknown.join(", "))),
            Error::NotSingular(count) => Self::new(StatusCode::NOT_ACCEPTABLE, "PGRST116", error.to_string())
                .details(format!("The result contains {count} rows")),
            Error::TooManyAffected(count) => Self::new(StatusCode::BAD_REQUEST, "PGRST124", error.to_string())
                .details(format!("The query affects {count} rows")),
            Error::MaxAffectedCall => Self::new(StatusCode::BAD_REQUEST, "PGRST128", error.to_string()),
            Error::OutOfRange { offset, total } => {
                let problem = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "PGRST103", error.to_string()).details(
                    format!("An offset of {offset} was requested, but there are only {total} rows."),
                );
                match HeaderValue::from_str(&format!("*/{total}")) {
                    Ok(range) => problem.header(CONTENT_RANGE, range),
                    Err(_) => problem,
                }
            }
            Error::ResponseHeaders => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "PGRST111", error.to_string()),
            Error::ResponseStatus => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "PGRST112", error.to_string()),
            Error::NotAcceptable(_) => Self::new(StatusCode::NOT_ACCEPTABLE, "PGRST107", error.to_string()),
            Error::ContentType(_) => Self::new(StatusCode::BAD_REQUEST, "PGRST102", error.to_string()),
            Error::BodyTooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error.to_string())
                .hint("send it in several requests, or raise max_body in rowhouse.toml")
                // What is left of the body is not read, so that nothing after it may be taken for a request.
                .header(CONNECTION, HeaderValue::from_static("close")),
            Error::BodyTimeout(_) => Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", error.to_string())
                .header(CONNECTION, HeaderValue::from_static("close")),
            Error::BodyBroken => Self::new(StatusCode::BAD_REQUEST, "body_broken", error.to_string()),
            Error::Identity(error) => identity(error),
            Error::AnonymousDisabled => Self::new(StatusCode::UNAUTHORIZED, "PGRST302", error.to_string())
                .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            Error::RoleNotPermitted(_) => Self::new(StatusCode::FORBIDDEN, "42501", error.to_string()),
            Error::Query(error) => query(error),
            Error::Pool { source, authenticated } => pool(source, *authenticated),
            Error::Outdated => Self::unavailable("schema_changed", error.to_string(), 1),
            Error::Catalog(_) | Error::Privileges | Error::Encode(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "PGRSTX00",
                "the answer could not be read",
            ),
            Error::ImportNotPermitted => Self::new(StatusCode::FORBIDDEN, "42501", error.to_string()),
            Error::ImportsBusy => Self::unavailable("imports_busy", error.to_string(), 10),
            Error::Users(users::Error::Slow) => Self::unavailable("users_slow", error.to_string(), 1),
            Error::Users(users::Error::Busy) => Self::unavailable("sign_in_busy", error.to_string(), 1),
            Error::Users(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "users",
                "the users of the console could not be looked up",
            ),
            Error::ResponseTooLarge { .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "response_too_large",
                error.to_string(),
            )
            .hint("ask for fewer rows with limit, or fewer columns with select"),
        }
    }
}

fn router(error: router::Error) -> Problem {
    let message = error.to_string();
    let bad = |code| {
        Problem::new(StatusCode::BAD_REQUEST, code, message.clone())
            .header(CONNECTION, HeaderValue::from_static("close"))
    };
    match error {
        router::Error::MissingHost => bad("host_missing"),
        router::Error::RepeatedHost => bad("host_repeated"),
        router::Error::AuthorityMismatch => bad("host_mismatch"),
        router::Error::MalformedHost(_) => bad("host_malformed"),
        router::Error::UnknownHost => Problem::new(StatusCode::NOT_FOUND, "unknown_host", message),
        router::Error::Misdirected => Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", message),
        router::Error::InvalidPath => Problem::new(StatusCode::NOT_FOUND, "PGRST125", message),
    }
}

fn identity(error: &identity::Error) -> Problem {
    let status = match error {
        identity::Error::NoKey | identity::Error::Signing => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNAUTHORIZED,
    };
    let mut problem = Problem::new(status, error.code(), error.message());
    problem.details = error.details().map(Value::from);
    match HeaderValue::from_str(&error.www_authenticate()) {
        Ok(challenge) if status == StatusCode::UNAUTHORIZED => problem.header(WWW_AUTHENTICATE, challenge),
        _ => problem,
    }
}

fn query(error: &query::Error) -> Problem {
    let status = match error {
        query::Error::Relation { .. } | query::Error::Function { .. } => StatusCode::NOT_FOUND,
        query::Error::Range(_) => StatusCode::RANGE_NOT_SATISFIABLE,
        query::Error::PutFilters => StatusCode::METHOD_NOT_ALLOWED,
        query::Error::AmbiguousRelationship { .. } | query::Error::AmbiguousFunction { .. } => {
            StatusCode::MULTIPLE_CHOICES
        }
        _ => StatusCode::BAD_REQUEST,
    };
    let mut problem = Problem::new(status, error.code(), error.message());
    problem.details = match error.candidates() {
        Some(candidates) => serde_json::to_value(candidates).ok(),
        None => error.details().map(|details| Value::from(details.into_owned())),
    };
    problem.hint = error.hint().map(Cow::into_owned);
    problem
}

/// The causes name hosts, roles and schemas: they are logged, never sent.
fn pool(error: &pool::Error, authenticated: bool) -> Problem {
    const DOWN: &str = "the database cannot be reached";
    match error {
        pool::Error::TenantQueueFull { retry_after, .. } => {
            Problem::unavailable("tenant_queue_full", error.to_string(), seconds(*retry_after))
        }
        pool::Error::ClusterSaturated { retry_after, .. } => Problem::unavailable(
            "cluster_saturated",
            "all database connections are in use",
            seconds(*retry_after),
        ),
        pool::Error::ClusterDown { retry_after, .. } | pool::Error::ConnectTimeout { retry_after, .. } => {
            Problem::unavailable("cluster_down", DOWN, seconds(*retry_after))
        }
        pool::Error::Lost(_) => Problem::unavailable("cluster_down", DOWN, 1),
        pool::Error::Refused { retry_after, .. } | pool::Error::Unverified { retry_after, .. } => Problem::unavailable(
            "tenant_misconfigured",
            "the tenant's database settings do not fit",
            seconds(*retry_after),
        ),
        pool::Error::Draining => Problem::unavailable("draining", error.to_string(), 1),
        pool::Error::Deadline(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "deadline", error.to_string()),
        pool::Error::Database(error) => database(error, authenticated),
    }
}

/// A delay as `Retry-After` has it: whole seconds, at least one.
fn seconds(delay: Duration) -> u16 {
    let whole = delay.as_millis().div_ceil(1000).max(1);
    u16::try_from(whole).unwrap_or(u16::MAX)
}

/// What Postgres said, with the status of the dialect's table (PostgREST, "Errors from PostgreSQL").
fn database(error: &DbError, authenticated: bool) -> Problem {
    let code = error.code();
    if code.code() == "PGRST" {
        return raised(error);
    }
    let status = match *code {
        _ if code.code().starts_with("PT") => {
            let status = code.code()[2..].parse().ok().and_then(settings::final_status);
            status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        }
        // A cast of an aggregate that is not for this: a handler of media types that does not fit.
        SqlState::UNDEFINED_FUNCTION
            if ["function xmlagg(", "function st_asgeojson("]
                .iter()
                .any(|function| error.message().starts_with(function)) =>
        {
            StatusCode::NOT_ACCEPTABLE
        }
        // pg-safeupdate; otherwise a function or view that is wrong.
        SqlState::CARDINALITY_VIOLATION
            if error.message().ends_with("requires a WHERE clause")
                // The body has a key twice.
                || error.message().starts_with("ON CONFLICT DO UPDATE") =>
        {
            StatusCode::BAD_REQUEST
        }
        SqlState::CARDINALITY_VIOLATION => StatusCode::INTERNAL_SERVER_ERROR,
        SqlState::INVALID_PARAMETER_VALUE
            if error.message().starts_with("role") && error.message().ends_with("does not exist") =>
        {
            StatusCode::UNAUTHORIZED
        }
        SqlState::FOREIGN_KEY_VIOLATION | SqlState::UNIQUE_VIOLATION => StatusCode::CONFLICT,
        SqlState::INSUFFICIENT_PRIVILEGE if authenticated => StatusCode::FORBIDDEN,
        SqlState::INSUFFICIENT_PRIVILEGE => StatusCode::UNAUTHORIZED,
        SqlState::UNDEFINED_FUNCTION | SqlState::UNDEFINED_TABLE => StatusCode::NOT_FOUND,
        SqlState::INVALID_TABLE_DEFINITION => StatusCode::BAD_REQUEST,
        SqlState::INVALID_OBJECT_DEFINITION => StatusCode::INTERNAL_SERVER_ERROR,
        SqlState::READ_ONLY_SQL_TRANSACTION => StatusCode::METHOD_NOT_ALLOWED,
        SqlState::CONFIGURATION_LIMIT_EXCEEDED => StatusCode::INTERNAL_SERVER_ERROR,
        SqlState::RAISE_EXCEPTION => StatusCode::BAD_REQUEST,
        _ => class(code.code()),
    };
    let mut problem = Problem::new(status, code.code().to_owned(), error.message());
    problem.details = error.detail().map(Value::from);
    problem.hint = error.hint().map(str::to_owned);
    match status {
        StatusCode::UNAUTHORIZED => problem.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        StatusCode::SERVICE_UNAVAILABLE => problem.header(RETRY_AFTER, HeaderValue::from(1_u16)),
        _ => problem,
    }
}

/// A response that a function made up by itself.
fn raised(error: &DbError) -> Problem {
    match settings::raised(error.message(), error.detail()) {
        Ok(raised) => {
            let mut problem = Problem::new(raised.status, raised.body.code, raised.body.message);
            problem.details = raised.body.details.map(Value::from);
            problem.hint = raised.body.hint;
            problem.headers = raised.headers;
            problem
        }
        Err(malformed) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "PGRST121",
            "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error",
        )
        .details(malformed.details)
        .hint(malformed.hint),
    }
}

/// The status of a class of SQLSTATEs (Postgres manual, appendix A).
fn class(code: &str) -> StatusCode {
    match code.get(..2).unwrap_or_default() {
        // The server is going down or coming up: the whole of 57P is about the server, not the statement.
        "57" if code.starts_with("57P") => StatusCode::SERVICE_UNAVAILABLE,
        "08" | "53" => StatusCode::SERVICE_UNAVAILABLE,
        "0L" | "0P" | "28" => StatusCode::FORBIDDEN,
        "09" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0" | "HV" | "P0" | "XX" => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_dialects_status() {
        for (code, status) in [
            ("22P02", 400),
            ("57014", 500),
            ("57P01", 503),
            ("53300", 503),
            ("28000", 403),
            ("40001", 500),
            ("", 400),
        ] {
            assert_eq!(class(code).as_u16(), status, "{code}");
        }
    }

    #[test]
    fn refusals_that_pass_say_when_to_come_back() {
        for error in [
            Error::Onboarding,
            Error::TenantFailed,
            pool::Error::TenantQueueFull {
                most: 8,
                retry_after: Duration::ZERO,
            }
            .into(),
            pool::Error::ClusterSaturated {
                budget: 4,
                retry_after: Duration::ZERO,
            }
            .into(),
            pool::Error::Draining.into(),
        ] {
            let problem = Problem::from(&error);
            assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE, "{error}");
            assert!(problem.headers().iter().any(|(name, _)| name == RETRY_AFTER), "{error}");
        }
    }

    #[test]
    fn a_delay_is_rounded_up_to_whole_seconds() {
        for (millis, whole) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (29_001, 30), (u64::MAX, u16::MAX)] {
            assert_eq!(seconds(Duration::from_millis(millis)), whole, "{millis} ms");
        }
    }

    #[test]
    fn causes_are_never_sent() {
        let error: Error = pool::Error::Unverified {
            schema: "geheim".into(),
            found_schema: None,
            role: "geheim".into(),
            found_role: "geheim".to_owned(),
            retry_after: Duration::ZERO,
        }
        .into();
        let problem = Problem::from(&error);
        assert!(!format!("{problem:?}").contains("geheim"));
    }
}
