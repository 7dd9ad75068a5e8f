//! Who the connections of managed tenants log in as, and with which passwords.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::pbkdf2;

use crate::config;
use crate::config::Secret;
use crate::types::RoleName;

/// A password of people may be short, and what is derived from it can be tried out by whoever reads `pg_authid`: each
/// try should cost something. Once per cluster and start, some 50 ms.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(100_000 - 1);

/// Who the connections of a cluster's managed tenants log in as.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The edge's own login, which is a member of every tenant's roles.
    Shared,
    /// A login of the tenant's own. Its password is derived from that of the edge's login, so that none has to be kept
    /// anywhere; if the edge's login has none, because the server trusts the socket, neither have they.
    PerTenant(Passwords),
}

/// The passwords of the tenants' logins, as the key they come from.
#[derive(Clone, Debug)]
pub struct Passwords(Option<Secret>);

impl Credentials {
    /// Those that the configuration asks for. With a password in `endpoint` it takes some 50 ms of CPU time.
    #[must_use]
    pub fn new(kind: config::Credentials, endpoint: &tokio_postgres::Config) -> Self {
        match kind {
            config::Credentials::Shared => Self::Shared,
            config::Credentials::PerTenant => Self::PerTenant(Passwords(endpoint.get_password().map(|password| {
                let user = endpoint.get_user().unwrap_or_default();
                let salt = format!("rowhouse tenants of {user}");
                let mut key = [0; 32];
                pbkdf2::derive(
                    pbkdf2::PBKDF2_HMAC_SHA256,
                    ITERATIONS,
                    salt.as_bytes(),
                    password,
                    &mut key,
                );
                Secret::new(key)
            }))),
        }
    }
}

impl Passwords {
    /// The password of `login`, if it has one. Always the same for the same password of the edge's login.
    #[must_use]
    pub fn of(&self, login: &RoleName) -> Option<Secret> {
        let key = Key::new(HMAC_SHA256, self.0.as_ref()?.expose());
        let tag = sign(&key, login.as_str().as_bytes());
        let mut text = String::with_capacity(64);
        for byte in tag.as_ref() {
            let _infallible = write!(text, "{byte:02x}");
        }
        Some(Secret::new(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(url: &str) -> Passwords {
        match Credentials::new(config::Credentials::PerTenant, &url.parse().unwrap()) {
            Credentials::PerTenant(passwords) => passwords,
            Credentials::Shared => unreachable!(),
        }
    }

    #[test]
    fn passwords_follow_the_logins_password_and_the_tenant() {
        let [a, b]: [RoleName; 2] = ["rowhouse_a_login", "rowhouse_b_login"].map(|role| role.parse().unwrap());
        let first = passwords("postgres://edge:secret@db1/app");
        assert_eq!(first.of(&a).unwrap().expose().len(), 64);
        assert_eq!(first.of(&a), passwords("postgres://edge:secret@db2/app").of(&a));
        assert_ne!(first.of(&a), first.of(&b));
        assert_ne!(first.of(&a), passwords("postgres://edge:other@db1/app").of(&a));
        assert_eq!(passwords("postgres://edge@db1/app").of(&a), None);
    }

    #[test]
    fn secrets_are_not_printed() {
        let url = "postgres://edge:secret@db1/app".parse().unwrap();
        let credentials = Credentials::new(config::Credentials::PerTenant, &url);
        assert_eq!(format!("{credentials:?}"), "PerTenant(Passwords(Some(Secret(***))))");
    }
}
