//! How a tenant's data API behaves: what PostgREST has settings for.

use schemars::{Schema, json_schema};

use super::defaults::{ROLE_CLAIM, built_in};
use super::field::{Field, List, Report};
use super::value::{Mistake, Raw, Scalar};
use crate::types::ClaimPath;

/// The options of a tenant's data API. Most tenants have none, and then share one.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialect {
    /// A function without arguments that runs before every request's own statement, in its transaction.
    pub pre_request: Option<FunctionName>,
    /// How transactions end. Default: commit.
    pub tx_end: TxEnd,
    /// Whether aggregates may be asked for. Default: no.
    pub aggregates: bool,
    /// Whether `EXPLAIN` may be asked for. Default: no.
    pub plan: bool,
    /// Whether embedded relations with an alias may be named by their own name as well. Default: yes.
    pub legacy_target_names: bool,
    /// What the OpenAPI document shows. Default: what the role may do.
    pub openapi: OpenApi,
    /// Whether the OpenAPI document asks for a token. Default: no.
    pub openapi_security: bool,
    /// Where the OpenAPI document says the API is. Default: where it was asked for.
    pub openapi_url: Option<Box<str>>,
    /// A function that answers for the root of the API.
    pub root_function: Option<Box<str>>,
    /// Origins whose pages may call the API. Default: all.
    pub cors_origins: Box<[Box<str>]>,
    /// Whether errors carry details and hints. Default: yes.
    pub verbose_errors: bool,
    /// Whether answers say what took how long. Default: no.
    pub server_timing: bool,
    /// Settings for every transaction: `app.settings.NAME` and value.
    pub app_settings: Box<[(Box<str>, Box<str>)]>,
    /// What a token's `aud` must hold, if it has one.
    pub jwt_audience: Option<Box<str>>,
    /// Where a token says its role. Default: `$.role`.
    pub jwt_role_claim: ClaimPath,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            pre_request: None,
            tx_end: TxEnd::Commit,
            aggregates: false,
            plan: false,
            legacy_target_names: true,
            openapi: OpenApi::FollowPrivileges,
            openapi_security: false,
            openapi_url: None,
            root_function: None,
            cors_origins: Box::default(),
            verbose_errors: true,
            server_timing: false,
            app_settings: Box::default(),
            jwt_audience: None,
            jwt_role_claim: built_in(ROLE_CLAIM),
        }
    }
}

/// A function by its name, with its schema or without.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FunctionName {
    /// The schema, unquoted; none where the search_path finds it.
    pub schema: Option<Box<str>>,
    /// The name, unquoted.
    pub name: Box<str>,
}

/// How transactions end, and whether a request may say otherwise with `Prefer: tx=…`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TxEnd {
    /// What was written stays.
    Commit,
    /// What was written stays unless the request says otherwise.
    CommitAllowOverride,
    /// Nothing that was written stays.
    Rollback,
    /// Nothing that was written stays unless the request says otherwise.
    RollbackAllowOverride,
}

/// What the OpenAPI document shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenApi {
    /// What the role may do.
    FollowPrivileges,
    /// Everything.
    IgnorePrivileges,
    /// There is none.
    Disabled,
}

/// The keys of a tenant's file that are about the data API.
pub(super) struct Written {
    pub(super) pre_request: Field<FunctionName>,
    pub(super) tx_end: Field<TxEnd>,
    pub(super) aggregates: Field<bool>,
    pub(super) plan: Field<bool>,
    pub(super) legacy_target_names: Field<bool>,
    pub(super) openapi: Field<OpenApi>,
    pub(super) openapi_security: Field<bool>,
    pub(super) openapi_url: Field<Url>,
    pub(super) root_function: Field<OwnFunction>,
    pub(super) cors_origins: Field<List<Origin>>,
    pub(super) verbose_errors: Field<bool>,
    pub(super) server_timing: Field<bool>,
    pub(super) app_settings: Field<List<AppSetting>>,
    pub(super) jwt_audience: Field<Name>,
    pub(super) jwt_role_claim: Field<ClaimPath>,
}

impl Written {
    pub(super) fn resolve(self, report: &mut Report<'_>) -> Dialect {
        let default = Dialect::default();
        Dialect {
            pre_request: self.pre_request.get(report),
            tx_end: self.tx_end.or(default.tx_end, report),
            aggregates: self.aggregates.or(default.aggregates, report),
            plan: self.plan.or(default.plan, report),
            legacy_target_names: self.legacy_target_names.or(default.legacy_target_names, report),
            openapi: self.openapi.or(default.openapi, report),
            openapi_security: self.openapi_security.or(default.openapi_security, report),
            openapi_url: self.openapi_url.get(report).map(|Url(url)| url),
            root_function: self.root_function.get(report).map(|OwnFunction(name)| name),
            cors_origins: self
                .cors_origins
                .elements(report)
                .into_iter()
                .map(|(Origin(origin), _)| origin)
                .collect(),
            verbose_errors: self.verbose_errors.or(default.verbose_errors, report),
            server_timing: self.server_timing.or(default.server_timing, report),
            app_settings: self
                .app_settings
                .elements(report)
                .into_iter()
                .map(|(AppSetting(name, value), _)| (name, value))
                .collect(),
            jwt_audience: self.jwt_audience.get(report).map(|Name(name)| name),
            jwt_role_claim: self.jwt_role_claim.or(default.jwt_role_claim, report),
        }
    }
}

impl Scalar for FunctionName {
    const WRITE: &'static str = "the name of a function, such as \"check_request\" or \"api.check_request\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let Name(text) = Name::from_raw(raw)?;
        let (schema, name) = match text.rsplit_once('.') {
            Some((schema, name)) => (Some(schema.trim_matches('"')), name),
            None => (None, &*text),
        };
        let name = name.trim_matches('"');
        if name.is_empty() || schema == Some("") {
            return Err(Mistake(format!("{text:?} names no function")));
        }
        Ok(Self {
            schema: schema.map(Into::into),
            name: name.into(),
        })
    }

    fn schema() -> Schema {
        Name::schema()
    }
}

/// A function of the tenant's schema.
pub(super) struct OwnFunction(Box<str>);

impl Scalar for OwnFunction {
    const WRITE: &'static str = "the name of a function of the tenant's schema, such as \"root\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let Name(name) = Name::from_raw(raw)?;
        if name.contains('.') {
            return Err(Mistake(format!("{name:?} names a schema, which is not looked at")));
        }
        Ok(Self(name))
    }

    fn schema() -> Schema {
        Name::schema()
    }
}

/// A text that is not empty.
pub(super) struct Name(Box<str>);

impl Scalar for Name {
    const WRITE: &'static str = "a text in quotes";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        match raw.text()? {
            "" => Err(Mistake("the text is empty".into())),
            text if text.contains('\0') => Err(Mistake("the text contains a NUL character".into())),
            text => Ok(Self(text.into())),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl Scalar for ClaimPath {
    const WRITE: &'static str = "a path such as \"$.role\" or \"$.app.roles[0]\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let text = raw.text()?;
        text.parse().map_err(|error| Mistake(format!("{text:?}: {error}")))
    }

    fn schema() -> Schema {
        Name::schema()
    }
}

/// The address of an API.
pub(super) struct Url(Box<str>);

impl Scalar for Url {
    const WRITE: &'static str = "an address such as \"https://api.example.com/\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let text = raw.text()?;
        match text.parse::<http::Uri>() {
            Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) => Ok(Self(text.into())),
            _ => Err(Mistake(format!("{text:?} is no address of an API"))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^https?://" })
    }
}

/// An origin of web pages (RFC 6454).
pub(super) struct Origin(Box<str>);

impl Scalar for Origin {
    const WRITE: &'static str = "an origin such as \"https://app.example.com\", without a path";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let Url(text) = Url::from_raw(raw)?;
        // As browsers send it (RFC 6454, section 6.2).
        let plain = |c: char| !matches!(c, '?' | '#' | '@') && !c.is_ascii_uppercase();
        if text.matches('/').count() == 2 && text.chars().all(plain) {
            Ok(Self(text))
        } else {
            Err(Mistake(format!("{text:?} is no origin")))
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^https?://[^/]+$" })
    }
}

/// `name=value`.
pub(super) struct AppSetting(Box<str>, Box<str>);

impl Scalar for AppSetting {
    const WRITE: &'static str = "a name and a value, such as \"app_host=localhost\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        // As Postgres takes names of settings (manual, 20.16).
        let begins = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let allowed = |part: &str| begins(part) && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match raw.text()?.split_once('=') {
            Some((name, value)) if name.split('.').all(allowed) => {
                Ok(Self(format!("app.settings.{name}").into(), value.into()))
            }
            _ => Err(Mistake("this is no setting".into())),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_.]+=" })
    }
}

impl Scalar for TxEnd {
    const WRITE: &'static str = "\"commit\", \"commit-allow-override\", \"rollback\" or \"rollback-allow-override\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        match raw.text()? {
            "commit" => Ok(Self::Commit),
            "commit-allow-override" => Ok(Self::CommitAllowOverride),
            "rollback" => Ok(Self::Rollback),
            "rollback-allow-override" => Ok(Self::RollbackAllowOverride),
            text => Err(Mistake(format!("{text:?} is unknown"))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["commit", "commit-allow-override", "rollback", "rollback-allow-override"] })
    }
}

impl Scalar for OpenApi {
    const WRITE: &'static str = "\"follow-privileges\", \"ignore-privileges\" or \"disabled\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        match raw.text()? {
            "follow-privileges" => Ok(Self::FollowPrivileges),
            "ignore-privileges" => Ok(Self::IgnorePrivileges),
            "disabled" => Ok(Self::Disabled),
            text => Err(Mistake(format!("{text:?} is unknown"))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["follow-privileges", "ignore-privileges", "disabled"] })
    }
}
