//! What a connection carries from its first byte on: search path, role and timeouts in the startup options.

use std::fmt::Write as _;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};

use crate::config::Secret;
use crate::types::RoleName;
use crate::types::SchemaName;
use crate::wire::Login;

/// Where names are found that are found in every search path.
pub(super) const NOWHERE: &str = "pg_catalog";

/// What is set in the startup message of a connection (Postgres manual, 55.2.1; `options` as in libpq 34.1.2).
///
/// Set there, they are the session's defaults: no statement ever sets them again, and `RESET ALL` returns to them.
#[derive(Clone, Debug, Default)]
pub struct Startup {
    options: String,
    application_name: String,
    /// Instead of the endpoint's own: user and password.
    own: Option<(RoleName, Option<Secret>)>,
}

impl Startup {
    /// Nothing set but the name that `pg_stat_activity` shows: `rowhouse/NAME`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            options: String::new(),
            application_name: format!("rowhouse/{name}"),
            own: None,
        }
    }

    /// Adds one setting. The value may be any text: it is escaped.
    #[must_use]
    pub fn setting(mut self, name: &'static str, value: &str) -> Self {
        if !self.options.is_empty() {
            self.options.push(' ');
        }
        self.options.push_str("-c ");
        self.options.push_str(name);
        self.options.push('=');
        for c in value.chars() {
            // The server splits `options` at white space unless a backslash stands before it.
            if c == '\\' || c.is_whitespace() {
                self.options.push('\\');
            }
            self.options.push(c);
        }
        self
    }

    /// The schemas to search, in order, with `pg_temp` behind them: it would come first if it were not named.
    #[must_use]
    pub fn search_path<'a>(self, schemas: impl IntoIterator<Item = &'a SchemaName>) -> Self {
        self.setting("search_path", &path(schemas))
    }

    /// No schema to search but [`NOWHERE`], where everything is Postgres' own.
    #[must_use]
    pub(super) fn search_path_nowhere(self) -> Self {
        self.setting("search_path", &format!("{NOWHERE}, pg_temp"))
    }

    /// How long a statement may run, and how long it may wait for a lock. A transaction may be idle no longer either.
    #[must_use]
    pub fn timeouts(self, statement: Duration, lock: Duration) -> Self {
        let millis = |duration: Duration| duration.as_millis().to_string();
        self.setting("statement_timeout", &millis(statement))
            .setting("lock_timeout", &millis(lock))
            .setting("idle_in_transaction_session_timeout", &millis(statement))
    }

    /// What runs by itself only reads; whatever writes says so in its own transaction.
    #[must_use]
    pub fn only_reads(self) -> Self {
        self.setting("default_transaction_read_only", "on")
    }

    /// The formats that `encode` prints (its module page): the server's own settings must not change them.
    #[must_use]
    pub fn formats(self) -> Self {
        self.setting("TimeZone", "UTC")
            .setting("DateStyle", "ISO")
            .setting("IntervalStyle", "postgres")
            .setting("bytea_output", "hex")
            .setting("client_encoding", "UTF8")
            .setting("standard_conforming_strings", "on")
    }

    /// Whom to log in as, instead of the endpoint's own user.
    #[must_use]
    pub fn logged_in_as(mut self, login: RoleName, password: Option<Secret>) -> Self {
        self.own = Some((login, password));
        self
    }

    /// The role to take on at once (member of which the login must be).
    #[must_use]
    pub fn role(self, role: &RoleName) -> Self {
        self.setting("role", role.as_str())
    }

    /// `endpoint` with all of this in it, for a socket that is encrypted already if it is to be.
    pub(super) fn config(&self, endpoint: &tokio_postgres::Config) -> tokio_postgres::Config {
        let mut config = endpoint.clone();
        config.application_name(&self.application_name);
        config
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
        if !self.options.is_empty() {
            config.options(&self.options);
        }
        if let Some((login, password)) = &self.own {
            config.user(login.as_str());
            if let Some(password) = password {
                config.password(password.expose());
            }
        }
        config
    }

    /// The same for the wire, on a connection of this end point.
    pub(super) fn login<'a>(
        &'a self,
        endpoint: &'a tokio_postgres::Config,
        server_end_point: Option<&'a [u8]>,
    ) -> Login<'a> {
        let (user, password) = match &self.own {
            Some((login, password)) => (
                Some(login.as_str()),
                password.as_ref().map(|password| password.expose()),
            ),
            None => (endpoint.get_user(), None),
        };
        Login {
            user: user.unwrap_or_default(),
            password: password.or_else(|| endpoint.get_password()),
            database: endpoint.get_dbname(),
            options: &self.options,
            application_name: &self.application_name,
            server_end_point: server_end_point.filter(|_| endpoint.get_channel_binding() != ChannelBinding::Disable),
            must_be_bound: endpoint.get_channel_binding() == ChannelBinding::Require,
        }
    }
}

/// `schemas` as a `search_path`, with `pg_temp` behind them.
pub(super) fn path<'a>(schemas: impl IntoIterator<Item = &'a SchemaName>) -> String {
    let mut path = String::new();
    for schema in schemas {
        let _infallible = write!(path, "{},", schema.quoted());
    }
    path.push_str("pg_temp");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_add_an_option() {
        let role: RoleName = r"x -c role=postgres\".parse().unwrap();
        let startup = Startup::new("t").role(&role);
        assert_eq!(startup.options, r"-c role=x\ -c\ role=postgres\\");
    }

    #[test]
    fn pg_temp_is_searched_last() {
        let schemas: Vec<SchemaName> = vec!["cliente".parse().unwrap(), "public".parse().unwrap()];
        assert_eq!(
            Startup::new("t").search_path(&schemas).options,
            r#"-c search_path="cliente","public",pg_temp"#
        );
    }
}
