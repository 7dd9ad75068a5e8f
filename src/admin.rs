//! The operator's endpoints, on a listener of their own: `/livez`, `/readyz`, `/status`, `/metrics`.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{ALLOW, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;

use crate::server::{Answer, Body, ConnectionInfo};
use crate::service::Service;

/// Answers the operator.
#[derive(Debug)]
pub struct Operator {
    service: Arc<Service>,
}

impl Operator {
    /// Over the edge that `service` is.
    #[must_use]
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    fn metrics(&self) -> String {
        for cluster in &self.service.control.clusters {
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
            "/readyz" if self.service.control.is_ready() => plain(StatusCode::OK, "ready\n"),
            "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, "tenants are being brought up\n"),
            "/status" => match serde_json::to_vec_pretty(&self.service.status()) {
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
