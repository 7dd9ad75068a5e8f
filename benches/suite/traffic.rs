//! What the clients send: whole requests, made before any clock runs, in the order in which they are sent.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use crate::statements;
use crate::statements::{MANY_ROWS, ROWS};
use crate::street::Tenant;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Work {
    ByKey,
    Fifty,
    Thousand,
    /// One in ten inserts a row, the others read one by its key.
    Mixed,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Order {
    /// One tenant after the other.
    RoundRobin,
    /// By chance, the n-th tenant with a weight of 1/n.
    Zipf,
}

/// Whose language a request is in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dialect {
    /// The edge's. `token`: reads carry one too, as writes always do.
    Rowhouse { token: bool },
    /// That of `baseline.rs`; `json`: Postgres makes the document.
    Baseline { json: bool },
}

/// One request and what its answer starts with.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) request: Box<[u8]>,
    pub(crate) expected: Box<[u8]>,
    /// Whether its latency counts.
    pub(crate) counts: bool,
}

/// Requests in their order, again and again.
#[derive(Debug)]
pub(crate) struct Traffic {
    exchanges: Vec<Exchange>,
    next: AtomicUsize,
}

impl Traffic {
    pub(crate) fn new(exchanges: Vec<Exchange>) -> Self {
        Self {
            exchanges,
            next: AtomicUsize::new(0),
        }
    }

    /// Of some thousands of requests, of all `tenants`.
    pub(crate) fn of(work: Work, order: Order, tenants: &[Tenant], dialect: Dialect) -> Self {
        let mut chance = Chance::new();
        let weights = Weights::zipf(tenants.len());
        let count = tenants.len() * LENGTH.div_ceil(tenants.len());
        let exchange = |n: usize| {
            let tenant = match order {
                Order::RoundRobin => n % tenants.len(),
                Order::Zipf => weights.choose(chance.next()),
            };
            let key = 1 + (chance.next() * ROWS as f64) as usize;
            let write = work == Work::Mixed && chance.next() < 0.1;
            Exchange::of(work, write, &tenants[tenant], key, dialect)
        };
        Self::new((0..count).map(exchange).collect())
    }

    /// Of requests to a server that answers all alike.
    pub(crate) fn hello() -> Self {
        Self::new(vec![Exchange {
            request: b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".as_slice().into(),
            expected: b"hello world".as_slice().into(),
            counts: true,
        }])
    }

    /// The next one, whoever asks.
    pub(crate) fn next(&self) -> &Exchange {
        &self.exchanges[self.next.fetch_add(1, Ordering::Relaxed) % self.exchanges.len()]
    }
}

impl Exchange {
    fn of(work: Work, write: bool, tenant: &Tenant, key: usize, dialect: Dialect) -> Self {
        match work {
            Work::ByKey | Work::Mixed if !write => Self::by_key(tenant, key, dialect),
            Work::ByKey | Work::Mixed => Self::insert(tenant, dialect),
            Work::Fifty => Self::list(tenant, ROWS, dialect),
            Work::Thousand => Self::list(tenant, MANY_ROWS, dialect),
        }
    }

    pub(crate) fn by_key(tenant: &Tenant, key: usize, dialect: Dialect) -> Self {
        let target = match dialect {
            Dialect::Rowhouse { .. } => format!("/api/item?id=eq.{key}"),
            Dialect::Baseline { .. } => format!("/key/{key}"),
        };
        Self::get(&target, tenant, key, dialect)
    }

    pub(crate) fn list(tenant: &Tenant, rows: usize, dialect: Dialect) -> Self {
        let target = match dialect {
            Dialect::Rowhouse { .. } => format!("/api/item?limit={rows}"),
            Dialect::Baseline { json: false } => format!("/list/{rows}"),
            Dialect::Baseline { json: true } => format!("/json/{rows}"),
        };
        Self::get(&target, tenant, 1, dialect)
    }

    fn get(target: &str, tenant: &Tenant, first_key: usize, dialect: Dialect) -> Self {
        let host = &tenant.host;
        let authorization = match dialect {
            Dialect::Rowhouse { token: true } => format!("Authorization: Bearer {}\r\n", tenant.token),
            _ => String::new(),
        };
        Self {
            request: format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n")
                .into_bytes()
                .into(),
            expected: statements::start_of_answer(&tenant.name, first_key).into_bytes().into(),
            counts: true,
        }
    }

    pub(crate) fn insert(tenant: &Tenant, dialect: Dialect) -> Self {
        let Tenant { name, host, token } = tenant;
        let (target, head, body) = match dialect {
            Dialect::Rowhouse { .. } => (
                "/api/visit",
                format!(
                    "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nPrefer: return=minimal\r\n"
                ),
                format!(r#"{{"text":"{name} was here"}}"#),
            ),
            Dialect::Baseline { .. } => ("/visit", String::new(), format!("{name} was here")),
        };
        let length = body.len();
        Self {
            request: format!("POST {target} HTTP/1.1\r\nHost: {host}\r\n{head}Content-Length: {length}\r\n\r\n{body}")
                .into_bytes()
                .into(),
            expected: [].into(),
            counts: true,
        }
    }

    /// What is only for who has a token. Without one, no answer is a good one.
    pub(crate) fn letter(tenant: &Tenant, token: bool) -> Self {
        let expected = match token {
            true => format!(r#"[{{"id":1,"text":"{} letter"}}]"#, tenant.name),
            false => "nothing".to_owned(),
        };
        Self {
            expected: expected.into_bytes().into(),
            ..Self::get("/api/letter", tenant, 1, Dialect::Rowhouse { token })
        }
    }

    /// As whom it runs: schema, role, and for whom the token is.
    pub(crate) fn whoami(tenant: &Tenant, token: bool) -> Self {
        let name = &tenant.name;
        let expected = match token {
            true => format!(r#""{name} rowhouse_{name}_user {name}""#),
            false => format!(r#""{name} rowhouse_{name}_anon""#),
        };
        Self {
            expected: expected.into_bytes().into(),
            ..Self::get("/api/rpc/whoami", tenant, 1, Dialect::Rowhouse { token })
        }
    }

    /// Whether an edge is ready, for its operator's listener.
    pub(crate) fn ready() -> Self {
        Self {
            request: b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice().into(),
            expected: [].into(),
            counts: false,
        }
    }

    /// A call of the tenant's function that takes so long.
    pub(crate) fn wait(tenant: &Tenant, ms: u32, counts: bool) -> Self {
        let host = &tenant.host;
        Self {
            request: format!("GET /api/rpc/wait?ms={ms} HTTP/1.1\r\nHost: {host}\r\n\r\n")
                .into_bytes()
                .into(),
            expected: [].into(),
            counts,
        }
    }
}

/// Requests are repeated after so many, or a few more.
const LENGTH: usize = 8192;

/// What sums up to 1, term by term.
struct Weights(Vec<f64>);

impl Weights {
    fn zipf(count: usize) -> Self {
        let whole: f64 = (1..=count).map(|n| 1.0 / n as f64).sum();
        let mut sum = 0.0;
        let sums = (1..=count).map(|n| {
            sum += 1.0 / n as f64 / whole;
            sum
        });
        Self(sums.collect())
    }

    /// Whose part of 0 to 1 `at` lies in.
    fn choose(&self, at: f64) -> usize {
        self.0.partition_point(|&sum| sum <= at).min(self.0.len() - 1)
    }
}

/// The same numbers in every run: xorshift64*.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    /// From 0 to below 1.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }
}
