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

/// More are not kept in mind: those that failed longest ago are forgotten.
const MOST: usize = 20_000;

/// Counts failed attempts to sign in, each edge for itself, in memory.
///
/// After a few failures the next attempt has to wait, twice as long after each further one, a minute at most: nobody is
/// locked out for longer than that, and nobody tries many passwords. One name from one address may fail five times, an
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
    /// How long the next attempt has to wait; zero if it need not.
    pub fn wait(&self, tenant: &TenantId, name: &str, address: IpAddr) -> Duration {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let wait = |key: &Key| {
            let found = failures
                .get(key)
                .filter(|found| now.duration_since(found.last) < MEMORY)?;
            let over = found.count.checked_sub(key.free())?;
            let pause = Duration::from_secs(1 << over.min(6)).min(LONGEST);
            Some((found.last + pause).saturating_duration_since(now))
        };
        Key::all(tenant, name, address)
            .iter()
            .filter_map(wait)
            .max()
            .unwrap_or_default()
    }

    /// An attempt has failed.
    pub fn failed(&self, tenant: &TenantId, name: &str, address: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if failures.len() + 3 > MOST {
            failures.retain(|_, found| now.duration_since(found.last) < MEMORY);
            if failures.len() + 3 > MOST {
                failures.clear(); // an attack from thousands of addresses: better than no end of memory
            }
        }
        for key in Key::all(tenant, name, address) {
            let found = failures.entry(key).or_insert(Failures { count: 0, last: now });
            if now.duration_since(found.last) >= MEMORY {
                found.count = 0;
            }
            found.count = found.count.saturating_add(1);
            found.last = now;
        }
    }

    /// An attempt has succeeded: the name may fail again from that address.
    pub fn succeeded(&self, tenant: &TenantId, name: &str, address: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let [both, _, name] = Key::all(tenant, name, address);
        failures.remove(&both);
        failures.remove(&name);
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
        for _ in 0..4 {
            throttle.failed(&tenant, "ana", address(1));
            assert_eq!(throttle.wait(&tenant, "ana", address(1)), Duration::ZERO);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            throttle.failed(&tenant, "ana", address(1));
            assert_eq!(throttle.wait(&tenant, "ana", address(1)), Duration::from_secs(seconds));
        }
        // Others are not held up: another name, another address, another tenant.
        assert_eq!(throttle.wait(&tenant, "rui", address(1)), Duration::ZERO);
        assert_eq!(throttle.wait(&tenant, "ana", address(2)), Duration::ZERO);
        assert_eq!(
            throttle.wait(&"other".parse().unwrap(), "ana", address(1)),
            Duration::ZERO
        );
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(throttle.wait(&tenant, "ana", address(1)), Duration::ZERO);
        throttle.succeeded(&tenant, "ana", address(1));
        throttle.failed(&tenant, "ana", address(1));
        assert_eq!(throttle.wait(&tenant, "ana", address(1)), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_try_names_for_ever() {
        let (throttle, tenant) = (Throttle::default(), "cliente".parse().unwrap());
        for number in 0..30 {
            throttle.failed(&tenant, &format!("name {number}"), address(1));
        }
        assert_eq!(throttle.wait(&tenant, "another", address(1)), Duration::from_secs(1));
        // Nor one name from many addresses; a network of IPv6 is one.
        for number in 0..50 {
            throttle.failed(&tenant, "ana", address(100 + number));
        }
        assert_eq!(throttle.wait(&tenant, "ana", address(2)), Duration::from_secs(1));
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        for number in 0..5 {
            throttle.failed(&tenant, "rui", v6(number));
        }
        assert_eq!(throttle.wait(&tenant, "rui", v6(99)), Duration::from_secs(1));
        tokio::time::advance(MEMORY).await;
        assert_eq!(throttle.wait(&tenant, "rui", v6(99)), Duration::ZERO);
    }
}
