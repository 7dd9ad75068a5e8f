//! A cluster's `url`: where its server is, and what libpq's settings say of TLS to it.

use std::borrow::Cow;
use std::iter::Peekable;
use std::path::PathBuf;
use std::str::{CharIndices, FromStr};

use schemars::{Schema, json_schema};
use tokio_postgres::config::{SslNegotiation, TargetSessionAttrs};

use super::value::{Mistake, Raw, Scalar};
use super::{Authorities, Certificate, Encryption, Proof};
use crate::percent;

/// A URL or a `key=value` connection string (manual, 34.1.1).
pub(super) struct PostgresUrl {
    /// All but TLS, as the driver's own type, whose `Debug` hides the password.
    pub(super) postgres: tokio_postgres::Config,
    /// How TCP connections are encrypted, if they are. Paths are as they were written.
    pub(super) encryption: Option<Encryption>,
}

impl Scalar for PostgresUrl {
    const WRITE: &'static str = "a URL such as \"postgres://user@host:5432/database\"";

    fn from_raw(raw: &Raw<'_>) -> Result<Self, Mistake> {
        Self::parse(raw.text()?).map_err(Mistake)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl PostgresUrl {
    /// The message never repeats the text, because a password may stand in it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (rest, tls) = Tls::take_from(text).ok_or(NO_URL)?;
        let postgres = tokio_postgres::Config::from_str(&rest).map_err(|_| NO_URL)?;
        if postgres.get_hosts().is_empty() {
            return Err("this URL names no host".into());
        }
        // They would be lost: the edge sets its own for each tenant, and connects to the first host that answers.
        if postgres.get_options().is_some() {
            return Err("`options` in this URL would have no effect".into());
        }
        if postgres.get_target_session_attrs() != TargetSessionAttrs::Any {
            return Err("`target_session_attrs` in this URL would have no effect".into());
        }
        if !postgres.get_hostaddrs().is_empty() {
            return Err("`hostaddr` in this URL would have no effect".into());
        }
        if postgres.get_ssl_negotiation() != SslNegotiation::Postgres {
            return Err("`sslnegotiation` in this URL would have no effect".into());
        }
        Ok(Self {
            postgres,
            encryption: tls.encryption()?,
        })
    }
}

/// The settings about TLS (manual, 34.1.2), as they are written.
#[derive(Default)]
struct Tls {
    mode: Option<String>,
    root: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

impl Tls {
    /// Takes the settings about TLS out of `text`, because the driver knows some of them only. Of a setting that is
    /// written twice the last one counts, as in libpq. `None` if the text is nothing of the kind.
    fn take_from(text: &str) -> Option<(String, Self)> {
        let mut tls = Self::default();
        let Some(start) = parameters(text) else {
            let mut rest = String::new();
            for Pair { written, key, value } in pairs(text)? {
                if !tls.take(&key, value) {
                    rest.push_str(written);
                    rest.push(' ');
                }
            }
            return Some((rest, tls));
        };
        let (mut rest, parameters) = (text[..start].to_owned(), &text[start..]);
        for written in parameters.split('&').filter(|written| !written.is_empty()) {
            let (key, value) = written.split_once('=')?;
            if !tls.take(
                &percent::decode_segment(key)?,
                percent::decode_segment(value)?.into_owned(),
            ) {
                rest.push_str(written);
                rest.push('&');
            }
        }
        rest.truncate(rest.trim_end_matches('&').len());
        Some((rest, tls))
    }

    /// Whether the setting is about TLS.
    fn take(&mut self, key: &str, value: String) -> bool {
        let field = match key {
            "sslmode" => &mut self.mode,
            "sslrootcert" => &mut self.root,
            "sslcert" => &mut self.cert,
            "sslkey" => &mut self.key,
            _ => return false,
        };
        *field = Some(value);
        true
    }

    /// What they mean, mostly what they mean to libpq (manual, 34.19). A setting that would have no effect is refused.
    fn encryption(self) -> Result<Option<Encryption>, String> {
        const MODES: &str = "disable, prefer, require, verify-ca or verify-full";
        let authorities = self.root.map(|root| match root.as_str() {
            "system" => Authorities::System,
            _ => Authorities::File(root.into()),
        });
        let mode = match (&self.mode, &authorities) {
            (Some(mode), _) => mode,
            // As in libpq: nothing less makes sense of authorities who sign for everybody.
            (None, Some(Authorities::System)) => "verify-full",
            (None, _) => "disable",
        };
        if authorities == Some(Authorities::System) && mode != "verify-full" {
            return Err("`sslrootcert=system` in this URL needs sslmode=verify-full".into());
        }
        if let ("disable" | "prefer", Some(_)) = (mode, &authorities) {
            return Err("`sslrootcert` in this URL would have no effect without sslmode=verify-full".into());
        }
        let client = match (self.cert, self.key) {
            (None, None) => None,
            (Some(_), Some(_)) if mode == "disable" => {
                return Err("`sslcert` in this URL would have no effect without sslmode=verify-full".into());
            }
            (Some(cert), Some(key)) => Some(Certificate {
                cert: PathBuf::from(cert),
                key: PathBuf::from(key),
            }),
            _ => return Err("`sslcert` and `sslkey` in this URL need each other".into()),
        };
        let proof = match (mode, authorities) {
            ("disable", _) => return Ok(None),
            ("prefer" | "require", None) => Proof::None,
            ("require" | "verify-ca", Some(authorities)) => Proof::Authority(authorities),
            ("verify-full", Some(authorities)) => Proof::AuthorityAndHost(authorities),
            ("verify-ca" | "verify-full", None) => {
                return Err(format!(
                    "`sslmode={mode}` in this URL needs sslrootcert, the path of a PEM file{}",
                    if mode == "verify-full" { " or system" } else { "" }
                ));
            }
            (unknown, _) => return Err(format!("`sslmode` in this URL is {unknown:?}, and not {MODES}")),
        };
        Ok(Some(Encryption {
            required: mode != "prefer",
            proof,
            client,
        }))
    }
}

/// Where the parameters of a URL begin, behind their `?`; at its end if there are none. `None` if it is no URL.
fn parameters(text: &str) -> Option<usize> {
    let known = ["postgres://", "postgresql://"];
    known.iter().find(|scheme| text.starts_with(**scheme))?;
    // A password may have a `?` in it, as the driver reads it.
    let host = text.find('@').unwrap_or(0);
    Some(text[host..].find('?').map_or(text.len(), |at| host + at + 1))
}

/// One `key = value`.
struct Pair<'a> {
    written: &'a str,
    key: Cow<'a, str>,
    value: String,
}

/// The pairs of a connection string (manual, 34.1.1.1). `None` if it is none.
fn pairs(text: &str) -> Option<Vec<Pair<'_>>> {
    let mut pairs = Vec::new();
    let mut chars = text.char_indices().peekable();
    loop {
        let start = skip_space(&mut chars, text);
        if start == text.len() {
            return Some(pairs);
        }
        while chars.next_if(|(_, c)| *c != '=' && !c.is_whitespace()).is_some() {}
        let key = &text[start..position(&mut chars, text)];
        skip_space(&mut chars, text);
        chars.next_if(|(_, c)| *c == '=')?;
        skip_space(&mut chars, text);
        let value = value(&mut chars)?;
        pairs.push(Pair {
            written: &text[start..position(&mut chars, text)],
            key: Cow::Borrowed(key),
            value,
        });
    }
}

/// A value, in quotes or up to the next space; a backslash takes the meaning from what follows it.
fn value(chars: &mut Peekable<CharIndices<'_>>) -> Option<String> {
    let quoted = chars.next_if(|(_, c)| *c == '\'').is_some();
    let mut value = String::new();
    loop {
        match chars.next_if(|(_, c)| quoted || !c.is_whitespace()) {
            Some((_, '\'')) if quoted => return Some(value),
            Some((_, '\\')) => value.extend(chars.next().map(|(_, c)| c)),
            Some((_, c)) => value.push(c),
            None => return (!quoted && !value.is_empty()).then_some(value),
        }
    }
}

fn skip_space(chars: &mut Peekable<CharIndices<'_>>, text: &str) -> usize {
    while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    position(chars, text)
}

fn position(chars: &mut Peekable<CharIndices<'_>>, text: &str) -> usize {
    chars.peek().map_or(text.len(), |(at, _)| *at)
}

const NO_URL: &str = "this is no URL of a Postgres server";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host() {
        assert!(PostgresUrl::parse("postgres://rowhouse_edge@db1/app").is_ok());
        assert!(PostgresUrl::parse("host=/run/postgresql dbname=app").is_ok());
        assert!(PostgresUrl::parse("postgres:///app").is_err());
        for text in [
            "",
            "http://db1/app",
            "postgres://user:hunter2@db1:port/app",
            "postgres://user:hunter2@db1/app?options=-csearch_path%3Dx",
            "postgres://user:hunter2@db1/app?target_session_attrs=read-write",
            "postgres://user:hunter2@db1/app?sslnegotiation=direct",
            "postgres://user:hunter2@db1/app?sslmode",
            "postgres://user:hunter2@db1/app?sslcrl=x",
            "postgres://user:hunter2@db1/app?sslmode=hunter",
            "hostaddr=127.0.0.1 password=hunter2",
            "password=hunter2 hots=db1",
            "password=hunter2 host=db1 sslmode='require",
            "password=hunter2 host=db1 sslmode",
        ] {
            let message = PostgresUrl::parse(text).err().unwrap();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    fn encryption(proof: Proof) -> Option<Encryption> {
        Some(Encryption {
            required: true,
            proof,
            client: None,
        })
    }

    #[track_caller]
    fn check(settings: &[(&str, &str)], expected: Result<Option<&Encryption>, &str>) {
        let url: Vec<String> = settings
            .iter()
            .map(|(key, value)| format!("{key}={}", value.replace('/', "%2F")))
            .collect();
        let string: Vec<String> = settings
            .iter()
            .map(|(key, value)| format!("{key} ='{value}'"))
            .collect();
        let url = format!("postgres://u:a%20?b@db1/app?{}&connect_timeout=3", url.join("&"));
        let string = format!(
            "host=db1 password='a ?b' {} user = u dbname=app connect_timeout=3",
            string.join(" ")
        );
        for text in [url, string] {
            let parsed = PostgresUrl::parse(&text);
            let found = parsed.as_ref().map(|parsed| parsed.encryption.as_ref());
            assert_eq!(found.map_err(String::as_str), expected, "{text}");
            if let Ok(PostgresUrl { postgres, .. }) = parsed {
                assert_eq!(postgres.get_dbname(), Some("app"), "{text}");
                assert_eq!(postgres.get_password(), Some(&b"a ?b"[..]), "{text}");
                assert_eq!(postgres.get_connect_timeout().unwrap().as_secs(), 3, "{text}");
            }
        }
    }

    #[test]
    fn modes_are_those_of_libpq() {
        let file = || Authorities::File("tls/ca.pem".into());
        check(&[], Ok(None));
        check(&[("sslmode", "disable")], Ok(None));
        let mut preferred = encryption(Proof::None);
        preferred.as_mut().unwrap().required = false;
        check(&[("sslmode", "prefer")], Ok(preferred.as_ref()));
        check(&[("sslmode", "require")], Ok(encryption(Proof::None).as_ref()));
        let root = ("sslrootcert", "tls/ca.pem");
        let authority = encryption(Proof::Authority(file()));
        check(&[("sslmode", "require"), root], Ok(authority.as_ref()));
        check(&[root, ("sslmode", "verify-ca")], Ok(authority.as_ref()));
        let host = encryption(Proof::AuthorityAndHost(file()));
        check(&[("sslmode", "verify-full"), root], Ok(host.as_ref()));
        let twice = [("sslmode", "disable"), root, ("sslmode", "verify-full")];
        check(&twice, Ok(host.as_ref()));
        let system = encryption(Proof::AuthorityAndHost(Authorities::System));
        check(
            &[("sslmode", "verify-full"), ("sslrootcert", "system")],
            Ok(system.as_ref()),
        );
        check(&[("sslrootcert", "system")], Ok(system.as_ref()));
        let mut known = encryption(Proof::None);
        known.as_mut().unwrap().client = Some(Certificate {
            cert: "a.pem".into(),
            key: "a.key".into(),
        });
        let client = [("sslmode", "require"), ("sslcert", "a.pem"), ("sslkey", "a.key")];
        check(&client, Ok(known.as_ref()));
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        let root = ("sslrootcert", "ca.pem");
        for mode in ["", "allow", "Require", "verify_full"] {
            let message = format!(
                "`sslmode` in this URL is {mode:?}, and not disable, prefer, require, verify-ca or verify-full"
            );
            check(&[("sslmode", mode), root], Err(&message));
        }
        let no_effect = "`sslrootcert` in this URL would have no effect without sslmode=verify-full";
        check(&[root], Err(no_effect));
        check(&[root, ("sslmode", "disable")], Err(no_effect));
        check(&[root, ("sslmode", "prefer")], Err(no_effect));
        check(
            &[("sslmode", "require"), ("sslrootcert", "system")],
            Err("`sslrootcert=system` in this URL needs sslmode=verify-full"),
        );
        check(
            &[("sslmode", "verify-full")],
            Err("`sslmode=verify-full` in this URL needs sslrootcert, the path of a PEM file or system"),
        );
        check(
            &[("sslmode", "verify-ca")],
            Err("`sslmode=verify-ca` in this URL needs sslrootcert, the path of a PEM file"),
        );
        check(
            &[("sslmode", "require"), ("sslkey", "a.key")],
            Err("`sslcert` and `sslkey` in this URL need each other"),
        );
        check(
            &[("sslcert", "a.pem"), ("sslkey", "a.key")],
            Err("`sslcert` in this URL would have no effect without sslmode=verify-full"),
        );
    }
}
