//! Names that stand in configuration and reach Postgres: tenant, cluster, schema and role.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::ser::{Serialize, Serializer};
use thiserror::Error;

/// Why a text is no identifier. The text itself is left to the caller, who knows where it stood.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum IdentifierError {
    /// Nothing but blanks, or nothing at all.
    #[error("is empty: write 1 to {max} of a-z, 0-9 and _")]
    Empty {
        /// The longest permitted length in bytes.
        max: usize,
    },
    /// Longer than Postgres (or, for a tenant, our role names) can hold.
    #[error("is {len} bytes long: at most {max} are allowed")]
    TooLong {
        /// The length in bytes.
        len: usize,
        /// The longest permitted length in bytes.
        max: usize,
    },
    /// A first character other than a letter or an underscore.
    #[error("must begin with a-z or _, not with {0:?}")]
    BadStart(char),
    /// A character that is not allowed.
    #[error("may hold only a-z, 0-9 and _, not {0:?}")]
    BadCharacter(char),
    /// A prefix that Postgres keeps for itself.
    #[error("begins with pg_, which PostgreSQL reserves for itself")]
    Reserved,
}

/// The names that this program makes up or puts into startup options keep to `[a-z_][a-z0-9_]*`, so that no quoting
/// rule of Postgres (identifier, string or `options`) can ever be at stake.
fn check(text: &str, max: usize) -> Result<(), IdentifierError> {
    let Some(first) = text.chars().next() else {
        return Err(IdentifierError::Empty { max });
    };
    if text.len() > max {
        return Err(IdentifierError::TooLong { len: text.len(), max });
    }
    if !(first.is_ascii_lowercase() || first == '_') {
        return Err(IdentifierError::BadStart(first));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match text.chars().find(|&c| !allowed(c)) {
        Some(bad) => Err(IdentifierError::BadCharacter(bad)),
        None if text.starts_with("pg_") => Err(IdentifierError::Reserved),
        None => Ok(()),
    }
}

/// Writes `text` so that Postgres reads it as one identifier (manual, 4.1.1: quoted identifiers).
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if c == '"' {
            quoted.push('"');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $max:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest permitted length in bytes.
            pub const MAX_LEN: usize = $max;

            /// The text, unquoted.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentifierError;

            fn from_str(text: &str) -> Result<Self, IdentifierError> {
                check(text, Self::MAX_LEN)?;
                Ok(Self(text.into()))
            }
        }

        identifier!(@common $name, $what);
    };
    (@common $name:ident, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// By visitor, because `#[serde(try_from)]` inside a list reports the position of the list.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Parse;
                impl Visitor<'_> for Parse {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", $what, " name"))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(|error| E::custom(format_args!(concat!($what, " name {:?} {}"), text, error)))
                    }
                }
                deserializer.deserialize_str(Parse).map_err(D::Error::custom)
            }
        }
    };
}

identifier!(
    /// A tenant's id, as in `[tenants.ID]`: `[a-z_][a-z0-9_]*`, at most 40 bytes.
    ///
    /// The limit leaves room for the names of the roles we derive from it, which Postgres cuts at 63 bytes.
    TenantId,
    40,
    "tenant"
);
identifier!(
    /// A cluster's id, as in `[clusters.ID]`: `[a-z_][a-z0-9_]*`, at most 40 bytes.
    ClusterId,
    40,
    "cluster"
);
identifier!(
    /// A schema of Postgres: `[a-z_][a-z0-9_]*`, at most 63 bytes (`NAMEDATALEN` − 1), not `pg_…`.
    SchemaName,
    63,
    "schema"
);

/// A role of Postgres: 1 to 63 bytes, no control character.
///
/// Unlike the other names it may be any text Postgres takes (`"Legacy Admin"`), because tenants over an existing
/// database bring their own roles. Wherever it enters SQL or startup options it is quoted by [`RoleName::quoted`] or
/// escaped by the connection.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RoleName(Arc<str>);

impl RoleName {
    /// The longest permitted length in bytes (`NAMEDATALEN` − 1).
    pub const MAX_LEN: usize = 63;

    /// The text, unquoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a quoted SQL identifier.
    #[must_use]
    pub fn quoted(&self) -> String {
        quote(&self.0)
    }
}

impl FromStr for RoleName {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        if text.is_empty() {
            return Err(IdentifierError::Empty { max: Self::MAX_LEN });
        }
        if text.len() > Self::MAX_LEN {
            return Err(IdentifierError::TooLong {
                len: text.len(),
                max: Self::MAX_LEN,
            });
        }
        match text.chars().find(|c| c.is_control()) {
            Some(bad) => Err(IdentifierError::BadCharacter(bad)),
            None => Ok(Self(text.into())),
        }
    }
}

identifier!(@common RoleName, "role");

impl SchemaName {
    /// The name of a schema that others have made, which may be anything that Postgres takes.
    ///
    /// # Errors
    ///
    /// When it is empty, too long or holds a NUL character.
    pub fn existing(text: &str) -> Result<Self, IdentifierError> {
        match text.len() {
            0 => Err(IdentifierError::Empty { max: Self::MAX_LEN }),
            len if len > Self::MAX_LEN => Err(IdentifierError::TooLong {
                len,
                max: Self::MAX_LEN,
            }),
            _ if text.contains('\0') => Err(IdentifierError::BadCharacter('\0')),
            _ => Ok(Self(text.into())),
        }
    }

    /// The name as a quoted SQL identifier.
    #[must_use]
    pub fn quoted(&self) -> String {
        quote(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expected: IdentifierError) {
        assert_eq!(text.parse::<SchemaName>(), Err(expected), "{text:?}");
    }

    #[test]
    fn schema_names_are_plain_lower_case_identifiers() {
        for good in ["a", "_a", "cliente2", "public", &"x".repeat(63)] {
            assert_eq!(good.parse::<SchemaName>().unwrap().as_str(), good);
        }
        refused("", IdentifierError::Empty { max: 63 });
        refused(&"x".repeat(64), IdentifierError::TooLong { len: 64, max: 63 });
        refused("2fast", IdentifierError::BadStart('2'));
        refused("PUBLIC", IdentifierError::BadStart('P'));
        refused("x -c role=postgres", IdentifierError::BadCharacter(' '));
        refused("a\"; drop schema b", IdentifierError::BadCharacter('"'));
        refused("größe", IdentifierError::BadCharacter('ö'));
        refused("pg_temp_3", IdentifierError::Reserved);
    }

    #[test]
    fn role_names_may_be_any_text_and_are_quoted() {
        let role: RoleName = "Legacy \"Admin\"".parse().unwrap();
        assert_eq!(role.quoted(), "\"Legacy \"\"Admin\"\"\"");
        assert_eq!("a\0b".parse::<RoleName>(), Err(IdentifierError::BadCharacter('\0')));
    }
}
