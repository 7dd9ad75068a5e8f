//! The kinds of values a key may have: how each is read, what to write, and its JSON Schema.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{Schema, json_schema};

use super::{AnonymousAccess, Credentials, Secret, SharedWrite};
use crate::types::{ClusterId, Host, IdentifierError, MAX_HOST_LEN, RoleName, SchemaName, TenantId};

/// A single value of TOML as it stands in the file.
pub(super) enum Raw<'a> {
    Text(&'a str),
    Number(i128),
    Flag(bool),
    /// Of no use to any key: the name of its kind.
    Other(&'static str),
}

impl<'a> Raw<'a> {
    pub(super) fn text(&self) -> Result<&'a str, Mistake> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(self.wrong_kind()),
        }
    }

    /// Names the kind only: the value may be a secret.
    fn wrong_kind(&self) -> Mistake {
        Mistake(match self {
            Self::Text(_) => "a text does not belong here".into(),
            Self::Number(_) => "a number does not belong here".into(),
            Self::Flag(_) => "true or false does not belong here".into(),
            Self::Other(kind) => format!("{kind} does not belong here"),
        })
    }
}

/// Why a value is refused; what to write instead is [`Scalar::WRITE`].
pub(super) struct Mistake(pub(super) String);

/// A value that is no table and no list.
pub(super) trait Scalar: Sized {
    /// What to write, to be read after "write".
    const WRITE: &'static str;

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake>;

    fn schema() -> Schema;
}

impl Scalar for bool {
    const WRITE: &'static str = "true or false";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        match raw {
            Raw::Flag(flag) => Ok(*flag),
            _ => Err(raw.wrong_kind()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

impl Scalar for NonZeroU32 {
    const WRITE: &'static str = "a whole number from 1 to 4294967295, such as 8";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        whole_number(raw, |number| u32::try_from(number).ok().and_then(Self::new))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })
    }
}

impl Scalar for u32 {
    const WRITE: &'static str = "a whole number from 0 to 4294967295, such as 2";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        whole_number(raw, |number| Self::try_from(number).ok())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": Self::MAX })
    }
}

/// As how many tenants one counts.
#[derive(Clone, Copy)]
pub(super) struct Weight(pub(super) NonZeroU32);

impl Weight {
    const MAX: u32 = 100;
}

impl Scalar for Weight {
    const WRITE: &'static str = "a whole number from 1 to 100, such as 3";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let weight = |number| NonZeroU32::new(u32::try_from(number).ok()?).filter(|weight| weight.get() <= Self::MAX);
        whole_number(raw, weight).map(Self)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

/// A port.
impl Scalar for NonZeroU16 {
    const WRITE: &'static str = "a port number from 1 to 65535, such as 8080";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        whole_number(raw, |number| u16::try_from(number).ok().and_then(Self::new))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": u16::MAX })
    }
}

fn whole_number<T>(raw: &Raw<'_>, convert: impl FnOnce(i128) -> Option<T>) -> Result<T, Mistake> {
    match raw {
        Raw::Number(number) => convert(*number).ok_or_else(|| Mistake(format!("{number} is out of range"))),
        _ => Err(raw.wrong_kind()),
    }
}

/// A number of bytes from 1 to 1 GiB.
///
/// The limit keeps every length that reaches Postgres far below its message limit of 2 GiB.
#[derive(Clone, Copy)]
pub(super) struct Size(pub(super) NonZeroUsize);

impl Size {
    const MAX: usize = 1 << 30;
}

impl Scalar for Size {
    const WRITE: &'static str = "a number of bytes from 1 to 1GiB, such as \"512KiB\", \"1MiB\" or 1048576";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let bytes = match raw {
            Raw::Number(number) => usize::try_from(*number).ok(),
            Raw::Text(text) => parse_size(text),
            _ => return Err(raw.wrong_kind()),
        };
        match bytes.filter(|&bytes| bytes <= Self::MAX).and_then(NonZeroUsize::new) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(Mistake(match raw {
                Raw::Text(text) => format!("{text:?} is no size"),
                _ => "the size is out of range".into(),
            })),
        }
    }

    fn schema() -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "pattern": "^[0-9]+ *([KMG]iB|B)?$" },
                { "type": "integer", "minimum": 1, "maximum": Self::MAX },
            ],
        })
    }
}

fn parse_size(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim_start_matches(' ') {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

/// Postgres keeps its timeouts in milliseconds, as a positive `int`; 0 would switch one off (manual, 20.11.1).
impl Scalar for Duration {
    const WRITE: &'static str = "a duration from 1ms to 24days, such as \"500ms\", \"2s\" or \"1m 30s\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let text = raw.text()?;
        let duration =
            humantime::parse_duration(text).map_err(|error| Mistake(format!("{text:?} is no duration ({error})")))?;
        if duration < Self::from_millis(1) || duration > Self::from_hours(24 * 24) {
            return Err(Mistake(format!("{text:?} is out of range")));
        }
        Ok(duration)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^ *[0-9]" })
    }
}

impl Scalar for SocketAddr {
    const WRITE: &'static str = "an IP address and a port, such as \"127.0.0.1:8000\" or \"[::]:8000\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let text = raw.text()?;
        text.parse()
            .map_err(|_| Mistake(format!("{text:?} is no address to listen on")))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": ":[0-9]+$" })
    }
}

impl Scalar for IpNet {
    const WRITE: &'static str = "an IP address or a network, such as \"127.0.0.1\" or \"10.0.0.0/8\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let text = raw.text()?;
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(Self::from));
        network.map_err(|_| Mistake(format!("{text:?} is no IP address and no network")))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$" })
    }
}

impl Scalar for PathBuf {
    const WRITE: &'static str = "a path in quotes, such as \"migrations/shared\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        match raw.text()? {
            "" => Err(Mistake("the path is empty".into())),
            text if text.contains('\0') => Err(Mistake("the path contains a NUL character".into())),
            text => Ok(text.into()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// The name of an environment variable.
pub(super) struct Variable(pub(super) String);

impl Scalar for Variable {
    const WRITE: &'static str = "the name of an environment variable, such as \"DATABASE_URL\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        match raw.text()? {
            // The text is not repeated: it may well be the secret itself, written after the wrong key.
            text if text.is_empty() || text.contains(['=', '\0']) => {
                Err(Mistake("this is no name of an environment variable".into()))
            }
            text => Ok(Self(text.to_owned())),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^=]+$" })
    }
}

/// A text that must not be printed. Its length is checked by whoever knows what it is for.
impl Scalar for Secret {
    const WRITE: &'static str = "a text in quotes";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        Ok(Self::new(raw.text()?.as_bytes()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Scalar for Host {
    const WRITE: &'static str = "a host name without port, such as \"acme.example.com\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let text = raw.text()?;
        text.parse()
            .map_err(|error| Mistake(format!("host {text:?} is refused ({error})")))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_HOST_LEN + 1, "pattern": "^[A-Za-z0-9.:\\[\\]-]+$" })
    }
}

/// Reads a tenant's id, which stands as a key of TOML.
pub(super) fn tenant_id(text: &str) -> Result<TenantId, String> {
    identifier("tenant id", text)
        .map_err(|Mistake(message)| format!("{message}: write 1 to 40 of a-z, 0-9 and _, such as [tenants.acme]"))
}

/// Reads a cluster's id, which stands as a key of TOML.
pub(super) fn cluster_id(text: &str) -> Result<ClusterId, String> {
    identifier("cluster id", text)
        .map_err(|Mistake(message)| format!("{message}: write 1 to 40 of a-z, 0-9 and _, such as [clusters.main]"))
}

impl Scalar for ClusterId {
    const WRITE: &'static str = "the id of a cluster of rowhouse.toml, such as \"main\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        identifier("cluster id", raw.text()?)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z_][a-z0-9_]*$", "maxLength": Self::MAX_LEN })
    }
}

impl Scalar for SchemaName {
    const WRITE: &'static str = "1 to 63 of a-z, 0-9 and _, such as \"acme\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let name: Self = identifier("schema name", raw.text()?)?;
        if name.as_str() == "information_schema" {
            return Err(Mistake(
                "schema \"information_schema\" belongs to PostgreSQL itself".into(),
            ));
        }
        Ok(name)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z_][a-z0-9_]*$", "maxLength": Self::MAX_LEN })
    }
}

/// A schema that others have made.
pub(super) struct ExistingSchema(pub(super) SchemaName);

impl Scalar for ExistingSchema {
    const WRITE: &'static str = "the name of a schema, 1 to 63 bytes, such as \"public\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let text = raw.text()?;
        let name = SchemaName::existing(text);
        name.map(Self)
            .map_err(|error| Mistake(format!("schema name {text:?} is refused ({error})")))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl Scalar for RoleName {
    const WRITE: &'static str = "the name of a role of Postgres, 1 to 63 bytes, such as \"web_anon\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let text = raw.text()?;
        if text.contains(char::is_control) {
            return Err(Mistake(format!("role name {text:?} has a control character")));
        }
        identifier("role name", text)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": Self::MAX_LEN })
    }
}

fn identifier<T: FromStr<Err = IdentifierError>>(what: &str, text: &str) -> Result<T, Mistake> {
    text.parse().map_err(|error| match error {
        // Its own message says what to write, and so does the caller's.
        IdentifierError::Empty { .. } => Mistake(format!("the {what} is empty")),
        error => Mistake(format!("{what} {text:?} {error}")),
    })
}

/// The name of a table or view: any name Postgres can hold, because it may be another's table.
pub(super) struct Relation(pub(super) Box<str>);

impl Scalar for Relation {
    const WRITE: &'static str = "the name of a table or view, 1 to 63 bytes, such as \"mylist\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        let text = raw.text()?;
        if text.is_empty() || text.len() > 63 || text.contains(char::is_control) {
            return Err(Mistake(format!("{text:?} is no name of a table or view")));
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 63 })
    }
}

impl Scalar for AnonymousAccess {
    const WRITE: &'static str = "\"none\", \"read\" or \"write\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        match raw.text()? {
            "none" => Ok(Self::None),
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            text => Err(Mistake(format!("{text:?} is unknown"))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["none", "read", "write"] })
    }
}

impl Scalar for SharedWrite {
    const WRITE: &'static str = "\"operator\" or \"tenants\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        match raw.text()? {
            "operator" => Ok(Self::Operator),
            "tenants" => Ok(Self::Tenants),
            text => Err(Mistake(format!("{text:?} is unknown"))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["operator", "tenants"] })
    }
}

impl Scalar for Credentials {
    const WRITE: &'static str = "\"shared\" or \"per_tenant\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        match raw.text()? {
            "shared" => Ok(Self::Shared),
            "per_tenant" => Ok(Self::PerTenant),
            text => Err(Mistake(format!("{text:?} is unknown"))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["shared", "per_tenant"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: Scalar + PartialEq + std::fmt::Debug>(raw: &Raw<'_>, expected: Option<&T>) {
        assert_eq!(T::from_raw(raw).ok().as_ref(), expected);
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [
            ("1MiB", 1 << 20),
            ("512 KiB", 512 << 10),
            ("1GiB", 1 << 30),
            ("7", 7),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text:?}");
        }
        for text in [
            "",
            "MiB",
            "1MB",
            "1mib",
            "-1",
            "1.5MiB",
            "1 MiB ",
            "99999999999999999999",
            "18446744073709551615GiB",
        ] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
        assert!(Size::from_raw(&Raw::Text("2GiB")).is_err());
        assert!(Size::from_raw(&Raw::Number(0)).is_err());
        assert!(Size::from_raw(&Raw::Number(-1)).is_err());
    }

    #[test]
    fn durations_fit_postgres() {
        check(&Raw::Text("1m 30s"), Some(&Duration::from_secs(90)));
        check(&Raw::Text("1ms"), Some(&Duration::from_millis(1)));
        for text in ["0s", "500us", "25days", "2", "s", "", "-2s"] {
            check::<Duration>(&Raw::Text(text), None);
        }
        check::<Duration>(&Raw::Number(2), None);
    }
}
