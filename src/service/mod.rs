//! The request path: Host, tenant, path, identity, query, connection, rows, response. From top to bottom, on one page.

mod api;
mod asked;
mod collect;
mod console;
mod document;
mod run;
mod status;
mod stream;
mod timing;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use ipnet::IpNet;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Level, Span, info_span};

use crate::catalog;
use crate::config::{AnonymousAccess, Secret};
use crate::error::Error;
use crate::identity;
use crate::identity::Claims;
use crate::metrics::Metrics;
use crate::pages;
use crate::pages::words;
use crate::pages::words::Words;
use crate::pool::{Pools, Step};
use crate::query::plan::{Context, Delivery};
use crate::query::{MediaType, Plan, Plans, Query, plan};
use crate::response;
use crate::response::Problem;
use crate::router;
use crate::router::{Path, Ports};
use crate::server::{Answer, Body, ConnectionInfo};
use crate::tenant::{Registry, State, Tenant};
use crate::traffic;
use crate::traffic::{Failure, History, Traffic};
use crate::types::MAX_HOST_LEN;
use crate::users;
use crate::views;

use api::{Sender, Target};
use asked::texts;
use collect::{Checks, Collector};
use run::{Job, Runner};
pub use status::{ClusterStatus, Control, RateStatus, Status, TenantStatus};
pub use stream::Streams;

/// No answer may take more memory than this. One that is streamed may be longer, if no row of it is.
const MAX_RESPONSE: usize = 64 << 20;

/// The values of a page, as text: markup makes them several times as large, and no browser shows so much well.
const MAX_PAGE: usize = 8 << 20;

/// A body whose next byte takes longer is given up.
const BODY_IDLE: Duration = Duration::from_secs(10);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers the requests of all tenants.
#[derive(Debug)]
pub struct Service {
    /// Who is served.
    pub registry: Arc<Registry>,
    /// Their connections.
    pub pools: Arc<Pools>,
    /// Their catalogs, one per structure.
    pub catalogs: catalog::Store,
    /// Plans of reads, those of alike tenants shared.
    pub plans: Plans,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What it came to within the last hour.
    pub history: History,
    /// The ports that may stand in `Host`.
    pub ports: Ports,
    /// Proxies that say whose requests they pass on.
    pub trusted_proxies: Box<[IpNet]>,
    /// The server's own key for tokens.
    pub server_key: Option<Secret>,
    /// The longest body in bytes.
    pub max_body: usize,
    /// Who may sign in to the console.
    pub users: Arc<users::Store>,
    /// The edge as a whole.
    pub control: Control,
    /// Answers that are sent while their rows still come.
    pub streams: Streams,
    /// Numbers the requests.
    pub next_request: AtomicU64,
}

impl Answer for Service {
    async fn answer(&self, head: &Parts, body: Incoming, connection: &ConnectionInfo) -> Response<Body> {
        let id = RequestId::new(self.next_request.fetch_add(1, Ordering::Relaxed));
        let tenant = self.route(head, connection);
        let asking = Asking {
            id: &id,
            head,
            scheme: if connection.tls.is_some() { "https" } else { "http" },
            peer: connection.peer.ip(),
            tenant: tenant.as_deref().ok().map(Tenant::label),
            traffic: match &tenant {
                Ok(tenant) => tenant.traffic(&self.metrics),
                Err(_) => self.metrics.unknown(),
            },
            began: Instant::now(),
        };
        let result = match &tenant {
            Ok(tenant) => self.answer_for(tenant, asking, body).instrument(asking.detail()).await,
            Err(error) => Err(Error::Router(*error)),
        };
        let mut response = result.unwrap_or_else(|error| asking.log(&error).into_response(true));
        if let Ok(id) = HeaderValue::from_bytes(&id.0) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        // A streamed answer is counted when it is complete.
        if response.body().is_whole() {
            asking.count(response.status());
        }
        response
    }
}

/// The number of a request, as its client and the log see it: sixteen hexadecimal digits.
#[derive(Debug)]
struct RequestId([u8; 16]);

impl RequestId {
    fn new(number: u64) -> Self {
        let nibbles = (0..16).rev().map(|at| (number >> (4 * at)) as usize & 15);
        let mut digits = [b'0'; 16];
        for (digit, nibble) in digits.iter_mut().zip(nibbles) {
            *digit = b"0123456789abcdef"[nibble];
        }
        Self(digits)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A request, but for its body.
#[derive(Clone, Copy)]
struct Asking<'a> {
    id: &'a RequestId,
    head: &'a Parts,
    scheme: &'static str,
    /// The other end of the socket.
    peer: IpAddr,
    /// For whom it is; none if that is nobody.
    tenant: Option<&'a str>,
    traffic: &'a Traffic,
    began: Instant,
}

impl Asking<'_> {
    /// What all log lines of the request carry.
    fn span(self) -> Span {
        info_span!("request", id = self.id.as_str(), method = %self.head.method, tenant = self.tenant)
    }

    /// The span of the request, where there is more to log than how it failed. A span that nothing is logged in costs a
    /// request of one row a tenth of its time.
    fn detail(self) -> Span {
        if tracing::enabled!(Level::DEBUG) {
            self.span()
        } else {
            Span::none()
        }
    }

    /// Logs how it failed, and keeps that among the tenant's failures: once for each request, so this is where it becomes
    /// what the client is told.
    fn log(self, error: &Error) -> Problem {
        self.span().in_scope(|| error.log());
        let problem = Problem::from(error);
        self.traffic.failed(Failure {
            at: unix_time(),
            request_id: self.id.as_str().to_owned(),
            method: self.head.method.as_str().to_owned(),
            path: self.head.uri.path().to_owned(),
            status: problem.status.as_u16(),
            code: problem.code.clone().into_owned(),
        });
        problem
    }

    /// Counts it as answered now.
    fn count(self, status: StatusCode) {
        let took = self.began.elapsed();
        self.traffic.answered(status, took);
        // What is fast need not even look at the clock.
        if took >= traffic::SLOW {
            let (method, uri) = (&self.head.method, &self.head.uri);
            self.traffic.slow(unix_time(), took, || {
                traffic::shape(method.as_str(), uri.path(), uri.query().unwrap_or_default())
            });
        }
    }
}

impl Service {
    /// The tenant a request is addressed to. Nothing else of the request is looked at, and nothing is allocated.
    ///
    /// # Errors
    ///
    /// Those of [`router`]: the same for every host that is nobody's.
    pub fn route(&self, head: &Parts, connection: &ConnectionInfo) -> Result<Arc<Tenant>, router::Error> {
        let authority = router::authority(&head.headers, &head.uri, head.version)?;
        let mut buffer = [0; MAX_HOST_LEN];
        let host = router::host(authority, &self.ports, &mut buffer)?;
        // A client that was shown another tenant's certificate has no business here (RFC 9110, 15.5.20).
        if connection.tls.as_ref().is_some_and(|session| !session.covers(host)) {
            return Err(router::Error::Misdirected);
        }
        self.registry.route(host).ok_or(router::Error::UnknownHost)
    }

    async fn answer_for(
        &self,
        tenant: &Arc<Tenant>,
        asking: Asking<'_>,
        body: Incoming,
    ) -> Result<Response<Body>, Error> {
        let head = asking.head;
        let path = head.uri.path();
        let asset = || response::asset(path).ok_or(router::Error::InvalidPath);
        let found = Path::parse(path).and_then(|found| match found {
            Path::Asset(_) => Ok((found, Some(asset()?))),
            found => Ok((found, None)),
        });
        let (found, asset) = match found {
            Err(error) if takes_html(&head.headers) => {
                return Ok(failure_page(tenant, asking, &error.into()));
            }
            found => found?,
        };
        match found {
            Path::Asset(_) => match (asset, &head.method) {
                (Some(asset), &(Method::GET | Method::HEAD)) => Ok(asset),
                _ => Err(Error::Method {
                    method: head.method.clone(),
                    allow: "GET, HEAD",
                }),
            },
            // Boxed, or every request would carry the room that a page needs.
            Path::Admin(path) => Ok(Box::pin(self.console(tenant, path, asking, body)).await),
            Path::ApiRoot => Ok(self.api(tenant, Target::Root, asking, Sender::Client(body)).await),
            // What programs can ask is a page for who reads; boxed as well.
            Path::Api { relation } => {
                if prefers_html(head)
                    && let Some(page) = Box::pin(self.api_for_reader(tenant, &relation, asking)).await
                {
                    return Ok(page);
                }
                let target = Target::Relation(&relation);
                Ok(self.api(tenant, target, asking, Sender::Client(body)).await)
            }
            Path::Call { function } => Ok(self
                .api(tenant, Target::Function(&function), asking, Sender::Client(body))
                .await),
            page @ (Path::Home | Path::Page { .. }) => {
                // Boxed, or every request would carry the room that a page needs.
                let result = Box::pin(self.page(tenant, &page, head)).await;
                Ok(result.unwrap_or_else(|error| failure_page(tenant, asking, &error)))
            }
        }
    }

    /// `/` and `/{relation}`, for people.
    async fn page(&self, tenant: &Arc<Tenant>, path: &Path<'_>, head: &Parts) -> Result<Response<Body>, Error> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(Error::Method {
                method: head.method.clone(),
                allow: "GET, HEAD",
            });
        }
        serving(tenant)?;
        let caller = self.caller(tenant, &head.headers)?;
        let host = host(head);
        let page = views::PageQuery::parse(head.uri.query().unwrap_or_default());
        let structure = tenant.structure(0, &self.pools, &self.catalogs).await?;
        let catalog = &structure.catalog;
        let config = tenant.config();
        let name = match path {
            Path::Home if config.is_operator() => {
                let html = views::street(words(head), &self.registry.tenants(), tenant, host, catalog, &page);
                return Ok(response::html(StatusCode::OK, html));
            }
            Path::Home => config.home.as_deref().ok_or(router::Error::InvalidPath)?,
            Path::Page { relation } => relation.as_ref(),
            _ => return Err(router::Error::InvalidPath.into()),
        };
        let context = Context {
            catalog,
            schema: config.schema.as_str(),
            max_rows: Some(u64::from(views::PAGE_SIZE) + 1),
            aggregates: false,
            legacy_names: false,
            zoned: false,
        };
        let relation = plan::relation(&context, name)?;
        let query = views::list_query(relation, &page);
        let plan = self
            .plans
            .read(&context, structure.number, &query, relation, Delivery::Text, None)?;
        let runner = Runner {
            tenant,
            structure: &structure,
            caller: &caller,
            schema: 0,
            head,
            timezone: None,
        };
        let rows = self.texts(runner, &query, &plan).await?;
        let html = views::list(words(head), catalog, &plan, name, tenant, host, rows, &page);
        Ok(response::html(StatusCode::OK, html))
    }

    /// Who asks: nobody in particular, or whoever the token says.
    fn caller(&self, tenant: &Tenant, headers: &HeaderMap) -> Result<Caller, Error> {
        let config = tenant.config();
        let authorization = match headers.get(AUTHORIZATION) {
            Some(value) => Some(value.to_str().map_err(|_| identity::Error::Malformed)?),
            None => None,
        };
        let claims = tenant
            .verifier(self.server_key.as_ref())
            .verify(authorization, unix_time())?;
        let named = claims.as_ref().and_then(|claims| claims.role.clone());
        match named {
            Some(role) if !tenant.permits_role(&role) => Err(Error::RoleNotPermitted(role.to_string())),
            None if config.limits.anonymous == AnonymousAccess::None => Err(Error::AnonymousDisabled),
            named => Ok(Caller {
                role: named.unwrap_or_else(|| Arc::clone(tenant.anonymous_role())),
                claims,
            }),
        }
    }

    /// Runs `plan` and takes its rows as text.
    async fn texts(&self, runner: Runner<'_>, query: &Query, plan: &Plan) -> Result<Vec<Vec<Option<String>>>, Error> {
        let params = plan.params(query, None);
        let job = Job {
            runs_code: plan.runs_code,
            ..Job::read(Step {
                sql: &plan.statement,
                params: &params,
            })
        };
        let collector = || Box::new(Collector::new(plan, false, MAX_PAGE, Checks::default()));
        let (_, collector) = self.execute(runner, job, collector).await?;
        match collector.failure {
            Some(failure) => Err(failure),
            None => Ok(collector.texts),
        }
    }

    /// The whole body, as long as it keeps coming and stays within `limit` bytes.
    async fn body(&self, mut body: Incoming, limit: usize) -> Result<Bytes, Error> {
        let too_large = Error::BodyTooLarge { limit };
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large);
        }
        let mut bytes = BytesMut::new();
        loop {
            let frame = timeout(BODY_IDLE, body.frame())
                .await
                .map_err(|_| Error::BodyTimeout(BODY_IDLE))?;
            let Some(frame) = frame else {
                return Ok(bytes.freeze());
            };
            if let Ok(data) = frame.map_err(|_| Error::BodyBroken)?.into_data() {
                if bytes.len() + data.len() > limit {
                    return Err(too_large);
                }
                bytes.extend_from_slice(&data);
            }
        }
    }
}

/// Who asks.
struct Caller {
    /// What the token says; none without one.
    claims: Option<Claims>,
    /// The role that everything runs as.
    role: Arc<str>,
}

/// Only a tenant that is live is asked.
fn serving(tenant: &Tenant) -> Result<(), Error> {
    match *tenant.state() {
        State::Live => Ok(()),
        State::Onboarding => Err(Error::Onboarding),
        State::Failed { .. } => Err(Error::TenantFailed),
        State::Draining => Err(Error::Drained),
    }
}

/// Whether the client says that it takes pages, as browsers do.
fn takes_html(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    given.any(|value| value.contains("text/html"))
}

/// Whether a page is what the client likes best, as browsers do.
fn prefers_html(head: &Parts) -> bool {
    // Whoever asks for certain rows wants rows: links of our own pages, for one.
    head.method == Method::GET
        && head.uri.query().is_none()
        && takes_html(&head.headers)
        && MediaType::accepted(texts(&head.headers, &ACCEPT))
            .first()
            .is_some_and(MediaType::is_html)
}

/// The words of the reader's language.
fn words(head: &Parts) -> &'static Words {
    words::of(texts(&head.headers, &ACCEPT_LANGUAGE).next().unwrap_or_default())
}

fn host(head: &Parts) -> &str {
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    authority
        .or_else(|| head.headers.get(HOST)?.to_str().ok())
        .unwrap_or_default()
}

/// What went wrong, for a person; this is where it is logged.
fn failure_page(tenant: &Tenant, asking: Asking<'_>, error: &Error) -> Response<Body> {
    let problem = asking.log(error);
    let page = pages::Failure {
        words: words(asking.head),
        status: problem.status.as_u16(),
        title: problem.status.canonical_reason().unwrap_or("Error"),
        message: &problem.message,
        hint: problem.hint.as_deref(),
        tenant: Some(tenant.config().id.as_str()),
        host: host(asking.head),
        request_id: Some(asking.id.as_str()),
    };
    let mut response = response::html(problem.status, page.render());
    for (name, value) in problem.headers() {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
