//! What is known afterwards of how requests went: counts that never fall, failures, the slowest, and rates.

use std::time::{Duration, SystemTime};

use rowhouse::types::TenantId;

use crate::support::{EXAMPLE, Street, until};

const CLIENTE: &str = "cliente.localhost";

fn cliente() -> TenantId {
    "cliente".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_kept_once_and_without_values() {
    let street = Street::example().await;
    let service = street.edge().service();
    let html = [("Accept", "text/html")];
    let mut ids = Vec::new();
    for (host, path, headers, status) in [
        (CLIENTE, "/api/absent?id=eq.secret", &[][..], 404),
        (CLIENTE, "/absent?q=secret", &html, 404),
        (CLIENTE, "/a/b/c?secret", &html, 404),
        (CLIENTE, "/a/b/c", &[], 404),
        (CLIENTE, "/api/mylist?id=eq.secret", &[], 400),
        ("nobody.localhost", "/api/mylist?id=eq.secret", &[], 404),
    ] {
        let reply = street.send("GET", host, path, headers, "").await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        ids.push(reply.header("x-request-id").unwrap().to_owned());
    }
    let told = |failures: Vec<rowhouse::traffic::Failure>| -> Vec<_> {
        let oldest_first = failures.into_iter().rev();
        oldest_first
            .map(|failure| (failure.request_id, failure.path, failure.status, failure.code))
            .collect()
    };
    let traffic = service.metrics.traffic(&cliente());
    let failures = told(traffic.failures());
    let expected = [
        ("/api/absent", 404, "PGRST205"),
        ("/absent", 404, "PGRST205"),
        ("/a/b/c", 404, "PGRST125"),
        ("/a/b/c", 404, "PGRST125"),
        ("/api/mylist", 400, "22P02"),
    ];
    let with_ids = |(id, (path, status, code)): (&String, (&str, u16, &str))| {
        (id.clone(), path.to_owned(), status, code.to_owned())
    };
    let expected: Vec<_> = ids.iter().zip(expected).map(with_ids).collect();
    assert_eq!(failures, expected);
    assert_eq!((traffic.counts().requests(), traffic.counts().refused()), (5, 5));
    let nobody = ("/api/mylist", 404, "unknown_host");
    assert_eq!(
        told(service.metrics.unknown().failures()),
        [with_ids((&ids[5], nobody))]
    );
    // The first one had to wait for a connection and for the catalog, so it was slow.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let slowest = traffic.slowest(now.as_secs());
    assert!(
        slowest.iter().any(|slow| slow.shape == "GET /api/absent?id=eq"),
        "{slowest:?}"
    );
    assert!(!format!("{slowest:?}").contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_outlive_what_they_count() {
    let street = Street::example().await;
    let service = street.edge().service();
    let requests = || service.metrics.traffic(&cliente()).counts().requests();
    let generation = || service.registry.tenant(&cliente());
    assert_eq!(street.get(CLIENTE, "/api/mylist").await.status, 200);
    let before = generation().unwrap();
    street.write(
        "example.toml",
        &EXAMPLE.replace("cliente.todo.local", "else.todo.local"),
    );
    until(Duration::from_secs(10), "a new generation", async || {
        generation().is_some_and(|now| !std::sync::Arc::ptr_eq(&now, &before))
    })
    .await;
    assert_eq!(street.get(CLIENTE, "/api/mylist").await.status, 200);
    assert_eq!(requests(), 2);
    street.remove("example.toml");
    until(Duration::from_secs(10), "its removal", async || generation().is_none()).await;
    assert_eq!(requests(), 2);
    let metrics = street.operator("/metrics").await.body;
    assert!(
        metrics.contains("rowhouse_requests_total{tenant=\"cliente\",status=\"2xx\"} 2\n"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_the_rates_of_the_last_ten_seconds() {
    let street = Street::example().await;
    for _ in 0..5 {
        assert_eq!(street.get(CLIENTE, "/api/mylist").await.status, 200);
    }
    until(Duration::from_secs(30), "a sample", async || {
        street.status().await["tenants"]["cliente"]["requests_per_second"].is_number()
    })
    .await;
    let status = street.status().await;
    for rates in [&status, &status["tenants"]["cliente"]] {
        let requests = rates["requests_per_second"].as_f64().unwrap();
        // Five at most; a tick may have come between them.
        assert!(requests > 0.05 && requests < 0.55, "{rates}");
        assert_eq!(rates["errors_per_second"], 0.0, "{rates}");
        let [p50, p99] = ["p50_ms", "p99_ms"].map(|name| rates[name].as_f64().unwrap());
        assert!(p50 > 0.0 && p50 <= p99, "{rates}");
    }
    let silent = &status["tenants"]["cliente2"];
    assert!(
        silent["state"] == "live" && silent.get("requests_per_second").is_none(),
        "{silent}"
    );
}
