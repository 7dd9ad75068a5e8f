//! The operator's endpoints, on a listener of their own: `/livez`, `/readyz`, `/status`, `/metrics`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::{ALLOW, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use crate::pool::Cluster;
use crate::server::{Answer, Body, ConnectionInfo};
use crate::service::Service;
use crate::tenant::State;
use crate::traffic::Rate;

/// Answers the operator.
#[derive(Debug)]
pub struct Operator {
    service: Arc<Service>,
    clusters: Vec<Arc<Cluster>>,
    ready: AtomicBool,
    config_error: ArcSwapOption<String>,
}

impl Operator {
    /// Not ready yet.
    #[must_use]
    pub fn new(service: Arc<Service>, clusters: Vec<Arc<Cluster>>) -> Self {
        Self {
            service,
            clusters,
            ready: AtomicBool::new(false),
            config_error: ArcSwapOption::empty(),
        }
    }

    /// The first configuration has been applied.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// What is wrong with the newest configuration, if it could not be used.
    pub(crate) fn set_config_error(&self, error: Option<String>) {
        self.config_error.store(error.map(Arc::new));
    }

    fn status(&self) -> Status {
        let clusters = self.clusters.iter().map(|cluster| {
            let state = cluster.state();
            (
                cluster.id().to_string(),
                ClusterStatus {
                    budget: state.budget,
                    in_use: state.in_use,
                    waiting: state.waiting,
                    shared: self
                        .service
                        .pools
                        .shared_state(cluster.id())
                        .map_or(0, |shared| shared.held),
                    reason: cluster.trouble().map(|reason| reason.to_string()),
                },
            )
        });
        let pools: BTreeMap<_, _> = self.service.pools.states().into_iter().collect();
        let tenants = self.service.registry.tenants();
        let tenants = tenants.iter().map(|tenant| {
            let config = tenant.config();
            let state = tenant.state();
            let reason = match &*state {
                State::Failed { reason } => Some(reason.clone()),
                State::Onboarding | State::Live | State::Draining => None,
            };
            let pool = pools.get(&config.id);
            let status = TenantStatus {
                state: state.as_str(),
                reason,
                hosts: config.hosts.iter().map(ToString::to_string).collect(),
                schema: config.schema.to_string(),
                cluster: config.cluster.to_string(),
                connections: pool.map_or(0, |pool| pool.held),
                idle: pool.map_or(0, |pool| pool.idle),
                waiting: pool.map_or(0, |pool| pool.waiting),
                rate: self.service.history.now(&config.id).map(RateStatus::from),
            };
            (config.id.to_string(), status)
        });
        let failed_files = self.service.registry.failed_files();
        let errors = failed_files
            .iter()
            .flat_map(|file| &file.errors)
            .map(ToString::to_string);
        let config_error = self.config_error.load_full().map(|error| error.to_string());
        Status {
            version: env!("CARGO_PKG_VERSION"),
            ready: self.ready.load(Ordering::Acquire),
            config_errors: config_error.into_iter().chain(errors).collect(),
            catalogs: self.service.catalogs.len(),
            rate: self.service.history.edge_now().map(RateStatus::from),
            clusters: clusters.collect(),
            tenants: tenants.collect(),
        }
    }

    fn metrics(&self) -> String {
        for cluster in &self.clusters {
            let state = cluster.state();
            self.service
                .metrics
                .cluster(cluster.id().as_str(), state.in_use, state.budget, state.waiting);
        }
        self.service.metrics.text()
    }
}

impl Answer for Operator {
    async fn answer(&self, head: &Parts, _: Incoming, _: &ConnectionInfo) -> Response<Body> {
        if !is_ours(head) {
            return plain(
                StatusCode::MISDIRECTED_REQUEST,
                "write the address of this listener, or localhost, as Host\n",
            );
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match head.uri.path() {
            "/livez" => plain(StatusCode::OK, "ok\n"),
            "/readyz" if self.ready.load(Ordering::Acquire) => plain(StatusCode::OK, "ready\n"),
            "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, "tenants are being brought up\n"),
            "/status" => match serde_json::to_vec_pretty(&self.status()) {
                Ok(json) => typed(StatusCode::OK, "application/json; charset=utf-8", json),
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the status could not be written\n"),
            },
            "/metrics" => typed(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                self.metrics().into_bytes(),
            ),
            _ => plain(StatusCode::NOT_FOUND, "/livez /readyz /status /metrics\n"),
        }
    }
}

/// Whether a request names an address or localhost as its host: a name somebody else controls may resolve to loopback,
/// and a browser would then read this for a foreign page (DNS rebinding).
fn is_ours(head: &Parts) -> bool {
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let Some(authority) = authority.or_else(|| head.headers.get(HOST)?.to_str().ok()) else {
        return false;
    };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

fn typed(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    ready: bool,
    /// `file:line:column: message` of every mistake in files that are not used.
    config_errors: Vec<String>,
    /// Different structures among the catalogs that are loaded.
    catalogs: usize,
    /// Of all requests, those for unknown hosts included.
    #[serde(flatten)]
    rate: Option<RateStatus>,
    clusters: BTreeMap<String, ClusterStatus>,
    tenants: BTreeMap<String, TenantStatus>,
}

#[derive(Serialize)]
struct ClusterStatus {
    budget: u32,
    in_use: u32,
    waiting: usize,
    /// Connections that tenants share for short reads, of those in use.
    shared: u32,
    /// Why no connection can be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct TenantStatus {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    hosts: Vec<String>,
    schema: String,
    cluster: String,
    connections: u32,
    idle: u32,
    waiting: u32,
    #[serde(flatten)]
    rate: Option<RateStatus>,
}

/// How requests went within the last ten seconds; nothing of it if there were none.
#[derive(Serialize)]
struct RateStatus {
    requests_per_second: f64,
    errors_per_second: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl From<Rate> for RateStatus {
    fn from(rate: Rate) -> Self {
        // More digits would be noise.
        let rounded = |number: f64| (number * 1e3).round() / 1e3;
        let ms = |time: Duration| rounded(time.as_secs_f64() * 1e3);
        Self {
            requests_per_second: rounded(rate.requests_per_second),
            errors_per_second: rounded(rate.errors_per_second),
            p50_ms: rate.p50.map(ms),
            p99_ms: rate.p99.map(ms),
        }
    }
}
