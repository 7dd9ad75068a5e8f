//! Host → tenant → pool handle: what tenancy itself costs per request, without a connection.

#![expect(clippy::print_stderr, reason = "a bench that cannot start says why")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri, Version};
use rowhouse::config::{Config, Live};
use rowhouse::pool::{Cluster, Credentials, Pools};
use rowhouse::router;
use rowhouse::router::Ports;
use rowhouse::tenant::{Registry, State, Tenant};
use rowhouse::types::MAX_HOST_LEN;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Lookups measured at once: few, so that their heads stay in the caches, and enough to drown the clock's own time.
const BATCH: usize = 16;

/// A registry of `count` tenants, read from a real configuration.
fn registry(count: usize) -> Registry {
    let dir = std::env::temp_dir().join(format!("rowhouse-bench-router-{}-{count}", std::process::id()));
    let tenants: String = (0..count)
        .map(|n| format!("[tenants.t{n:05}]\nhosts = [\"t{n:05}.example.com\"]\n"))
        .collect();
    write(
        &dir.join("rowhouse.toml"),
        "[clusters.main]\nurl = \"postgres://edge@localhost/app\"\n",
    );
    write(&dir.join("tenants/all.toml"), &tenants);
    let config = Config::load(&dir, &|_| None, &Live::new()).unwrap_or_else(|errors| unusable(&errors));
    let _gone = std::fs::remove_dir_all(&dir);
    let Some(id) = config.clusters.keys().next() else {
        unusable(&"no cluster");
    };
    let endpoint = tokio_postgres::Config::new();
    let cluster = Cluster::new(
        id.clone(),
        endpoint,
        None,
        Credentials::Shared,
        80,
        true,
        TaskTracker::new(),
    );
    let registry = Registry::new();
    for (generation, tenant) in config.tenants.values().enumerate() {
        let cluster = Arc::clone(&cluster);
        let shared = config.shared.schema.clone();
        registry.install(&Tenant::new(
            Arc::clone(tenant),
            cluster,
            shared,
            generation as u64,
            State::Live,
        ));
    }
    registry
}

fn write(path: &Path, text: &str) {
    let written = path
        .parent()
        .map(std::fs::create_dir_all)
        .transpose()
        .and_then(|_| std::fs::write(path, text));
    if let Err(error) = written {
        unusable(&error)
    }
}

fn unusable(error: &dyn std::fmt::Display) -> ! {
    eprintln!("{error}");
    std::process::exit(1)
}

fn head(tenant: usize) -> HeaderMap {
    let host = HeaderValue::from_str(&format!("t{tenant:05}.example.com:8000"));
    HeaderMap::from_iter(host.map(|host| (HOST, host)))
}

fn lookup(criterion: &mut Criterion) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        unusable(&"no runtime");
    };
    let _entered = runtime.enter();
    let mut group = criterion.benchmark_group("router/lookup");
    // Of how many tenants, and how many of them are asked for in turn: all, or those who are busy at the moment.
    for (name, count, busy) in [
        ("10", 10, 10),
        ("10000", 10_000, 10_000),
        ("10000_of_which_busy_100", 10_000, 100),
    ] {
        let registry = registry(count);
        let pools = Pools::new();
        let ports = Ports::new([8000]);
        let uri = Uri::from_static("/api/mylist");
        let find = |head: &HeaderMap| {
            let mut buffer = [0; MAX_HOST_LEN];
            let authority = router::authority(head, &uri, Version::HTTP_11).ok()?;
            let host = router::host(authority, &ports, &mut buffer).ok()?;
            let tenant = registry.route(host)?;
            Some(tenant.pool(&pools))
        };
        let mut next = 0;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut elapsed = Duration::ZERO;
                for start in (0..iterations).step_by(BATCH) {
                    // A request's head has just been read, so it is in the caches; its tenant was last asked for long ago.
                    let heads: Vec<HeaderMap> = (start..iterations)
                        .take(BATCH)
                        .map(|_| {
                            // A stride that visits all tenants in no order the caches like.
                            next = (next + 7919) % busy;
                            head(next)
                        })
                        .collect();
                    let started = Instant::now();
                    for head in &heads {
                        assert!(black_box(find(head)).is_some(), "every host has its tenant");
                    }
                    elapsed += started.elapsed();
                }
                elapsed
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
