//! How often a password may be tried.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::types::TenantId;

/// Failures are forgotten after this.
const MEMORY: Duration = Duration::from_secs(15 * 60);

/// The longest wait between two attempts.
const LONGEST: Duration = Duration::from_secs(60);

/// More are not kept in mind: those that failed least often are forgotten.
const MOST: usize = 20_000;

/// Counts failed attempts to sign in, each edge for itself, in memory.
///
/// After a few failures the next attempt has to wait, twice as long after each further one, a minute at most: nobody tries
/// many passwords. Who is attacked by name from many addresses may have to wait as well. One name from one address may fail five times, an
/// address 30 times, as many people may be behind one, and a name 50 times from wherever.
#[derive(Debug, Default)]
pub struct Throttle {
    failures: Mutex<HashMap<Key, Failures>>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Key {
    Both(TenantId, Box<str>, IpAddr),
    Address(IpAddr),
    Name(TenantId, Box<str>),
}

impl Key {
    fn all(tenant: &TenantId, name: &str, address: IpAddr) -> [Self; 3] {
        // Who has a whole network of IPv6 addresses has one address here.
        let address = match address {
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => v4.into(),
                None => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
            },
            v4 @ IpAddr::V4(_) => v4,
        };
        // An endless name is no user's, and must not be kept.
        let name: Box<str> = name.chars().take(100).collect::<String>().into();
        [
            Self::Both(tenant.clone(), name.clone(), address),
            Self::Address(address),
            Self::Name(tenant.clone(), name),
        ]
    }

    fn free(&self) -> u32 {
        match self {
            Self::Both(..) => 5,
            Self::Address(_) => 30,
            Self::Name(..) => 50,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Throttle {
    /// Begins an attempt, which counts as failed until it is said that it was [not](Self::succeeded).
    ///
    /// # Errors
    ///
    /// How long it has to wait, if it has to: it does not count then.
    pub fn begin(&self, tenant: &TenantId, name: &str, address: IpAddr) -> Result<(), Duration> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let keys = Key::all(tenant, name, address);
        let wait = |key: &Key| {
            let found = failures
                .get(key)
                .filter(|found| now.duration_since(found.last) < MEMORY)?;
            let over = found.count.checked_sub(key.free())?;
            let pause = Duration::from_secs(1 << over.min(6)).min(LONGEST);
            Some((found.last + pause).saturating_duration_since(now))
        };
        let wait = keys.iter().filter_map(wait).max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        if failures.len() + keys.len() > MOST {
            failures.retain(|_, found| now.duration_since(found.last) < MEMORY);
            // An attack from thousands of addresses: those that failed least often say least.
            for least in 1.. {
                if failures.len() + keys.len() <= MOST {
                    break;
                }
                failures.retain(|_, found| found.count > least);
            }
        }
        for key in keys {
            let found = failures.entry(key).or_insert(Failures { count: 0, last: now });
            if now.duration_since(found.last) >= MEMORY {
                found.count = 0;
            }
            found.count = found.count.saturating_add(1);
            found.last = now;
        }
        Ok(())
    }

    /// The attempt has succeeded: the name may fail again from that address, and the address owes nothing for it.
    pub fn succeeded(&self, tenant: &TenantId, name: &str, address: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let [both, address, name] = Key::all(tenant, name, address);
        failures.remove(&both);
        failures.remove(&name);
        if let Some(found) = failures.get_mut(&address) {
            found.count = found.count.saturating_sub(1);
        }
    }

    /// The attempt came to nothing, for a reason of ours: it counts for nobody.
    pub fn withdrawn(&self, tenant: &TenantId, name: &str, address: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for key in Key::all(tenant, name, address) {
            if let Some(found) = failures.get_mut(&key) {
                found.count = found.count.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[tokio::test(start_paused = true)]
    async fn the_sixth_attempt_waits_and_each_later_one_longer() {
        let (throttle, tenant) = (Throttle::default(), "cliente".parse().unwrap());
        let attempt = |name: &str, last| throttle.begin(&tenant, name, address(last));
        for _ in 0..5 {
            assert_eq!(attempt("ana", 1), Ok(()));
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(attempt("ana", 1), Err(pause));
            tokio::time::advance(pause).await;
            assert_eq!(attempt("ana", 1), Ok(()));
        }
        // Others are not held up: another name, another address, another tenant.
        assert!(attempt("ana", 1).is_err());
        assert_eq!(attempt("rui", 1), Ok(()));
        assert_eq!(attempt("ana", 2), Ok(()));
        assert_eq!(throttle.begin(&"other".parse().unwrap(), "ana", address(1)), Ok(()));
        throttle.succeeded(&tenant, "ana", address(1));
        assert_eq!(attempt("ana", 1), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_try_names_for_ever() {
        let (throttle, tenant) = (Throttle::default(), "cliente".parse().unwrap());
        let attempt = |name: &str, address| throttle.begin(&tenant, name, address);
        for number in 0..30 {
            assert_eq!(attempt(&format!("name {number}"), address(1)), Ok(()));
        }
        assert_eq!(attempt("another", address(1)), Err(Duration::from_secs(1)));
        // Nor one name from many addresses; a network of IPv6 is one.
        for number in 0..50 {
            assert_eq!(attempt("ana", address(100 + number)), Ok(()));
        }
        assert_eq!(attempt("ana", address(2)), Err(Duration::from_secs(1)));
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        for number in 0..5 {
            assert_eq!(attempt("rui", v6(number)), Ok(()));
        }
        assert_eq!(attempt("rui", v6(99)), Err(Duration::from_secs(1)));
        tokio::time::advance(MEMORY).await;
        assert_eq!(attempt("rui", v6(99)), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_the_password_may_come_as_often_as_one_likes() {
        let (throttle, tenant) = (Throttle::default(), "cliente".parse().unwrap());
        for _ in 0..100 {
            assert_eq!(throttle.begin(&tenant, "ana", address(1)), Ok(()));
            throttle.succeeded(&tenant, "ana", address(1));
        }
        for _ in 0..100 {
            assert_eq!(throttle.begin(&tenant, "rui", address(1)), Ok(()));
            throttle.withdrawn(&tenant, "rui", address(1));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (throttle, tenant) = (Throttle::default(), "cliente".parse().unwrap());
        for number in 0..30_000_u32 {
            let _ = throttle.begin(&tenant, &format!("name {number}"), IpAddr::from(number.to_be_bytes()));
        }
        assert!(throttle.failures.lock().unwrap().len() <= MOST);
    }
}
