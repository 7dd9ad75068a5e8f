//! The request path: Host, tenant, path, identity, query, connection, rows, response. From top to bottom, on one page.

mod api;
mod asked;
mod collect;
mod document;
mod run;
mod stream;
mod timing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, info_span};

use crate::catalog;
use crate::config::{AnonymousAccess, Secret};
use crate::error::Error;
use crate::identity;
use crate::identity::Claims;
use crate::metrics::Metrics;
use crate::pages;
use crate::pool::{End, Pools, Step};
use crate::query::plan::{Context, Delivery};
use crate::query::{Plan, Plans, Query, plan};
use crate::response;
use crate::response::Problem;
use crate::router;
use crate::router::{Path, Ports};
use crate::server::{Answer, Body, ConnectionInfo};
use crate::tenant::{Registry, State, Tenant};
use crate::types::MAX_HOST_LEN;
use crate::views;

use api::Target;
use collect::{Checks, Collector};
use run::{Job, Runner};
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
    /// The ports that may stand in `Host`.
    pub ports: Ports,
    /// The server's own key for tokens.
    pub server_key: Option<Secret>,
    /// The longest body in bytes.
    pub max_body: usize,
    /// Answers that are sent while their rows still come.
    pub streams: Streams,
    /// Numbers the requests.
    pub next_request: AtomicU64,
}

impl Answer for Service {
    async fn answer(&self, request: Request<Incoming>, connection: &ConnectionInfo) -> Response<Body> {
        let started = Instant::now();
        let id = format!("{:016x}", self.next_request.fetch_add(1, Ordering::Relaxed));
        let span = info_span!("request", %id, method = %request.method(), tenant = tracing::field::Empty);
        async {
            let tenant = self.route(&request, connection);
            let result = match &tenant {
                Ok(tenant) => self.answer_for(tenant, connection.tls.is_some(), request, &id).await,
                Err(error) => Err(Error::Router(*error)),
            };
            let mut response = result.unwrap_or_else(|error| {
                error.log();
                Problem::from(&error).into_response(true)
            });
            if let Ok(id) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            let name = tenant.as_ref().ok().map(|tenant| tenant.label());
            // A streamed answer is counted when it is complete.
            if response.body().is_whole() {
                self.metrics.request(name, response.status(), started.elapsed());
            }
            response
        }
        .instrument(span)
        .await
    }
}

impl Service {
    /// The tenant a request is addressed to. Nothing else of the request is looked at, and nothing is allocated.
    ///
    /// # Errors
    ///
    /// Those of [`router`]: the same for every host that is nobody's.
    pub fn route(
        &self,
        request: &Request<Incoming>,
        connection: &ConnectionInfo,
    ) -> Result<Arc<Tenant>, router::Error> {
        let authority = router::authority(request.headers(), request.uri(), request.version())?;
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
        secure: bool,
        request: Request<Incoming>,
        id: &str,
    ) -> Result<Response<Body>, Error> {
        tracing::Span::current().record("tenant", tenant.config().id.as_str());
        let path = request.uri().path().to_owned();
        let found = Path::parse(&path).and_then(|found| match found {
            // The stylesheet is the only file there is, and the console is not built.
            Path::Asset(_) | Path::Admin if path != pages::style_path() => Err(router::Error::InvalidPath),
            found => Ok(found),
        });
        let found = match found {
            Err(error) if takes_html(request.headers()) => {
                return Ok(failure_page(tenant, &request, id, &error.into()));
            }
            found => found?,
        };
        match found {
            Path::Asset(_) | Path::Admin => match *request.method() {
                Method::GET | Method::HEAD => Ok(response::stylesheet()),
                _ => Err(Error::Method {
                    method: request.method().clone(),
                    allow: "GET, HEAD",
                }),
            },
            Path::ApiRoot => Ok(self.api(tenant, Target::Root, secure, request).await),
            Path::Api { relation } => Ok(self.api(tenant, Target::Relation(&relation), secure, request).await),
            Path::Call { function } => Ok(self.api(tenant, Target::Function(&function), secure, request).await),
            page @ (Path::Home | Path::Page { .. }) => {
                let result = self.page(tenant, &page, &request).await;
                Ok(result.unwrap_or_else(|error| failure_page(tenant, &request, id, &error)))
            }
        }
    }

    /// `/` and `/{relation}`, for people.
    async fn page(
        &self,
        tenant: &Arc<Tenant>,
        path: &Path<'_>,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Error::Method {
                method: request.method().clone(),
                allow: "GET, HEAD",
            });
        }
        serving(tenant)?;
        let caller = self.caller(tenant, request.headers())?;
        let host = host(request);
        let page = views::PageQuery::parse(request.uri().query().unwrap_or_default());
        let structure = tenant.structure(0, &self.pools, &self.catalogs).await?;
        let catalog = &structure.catalog;
        let config = tenant.config();
        let name = match path {
            Path::Home if config.is_operator() => {
                let html = views::street(&self.registry.tenants(), tenant, host, catalog, &page);
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
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            timezone: None,
        };
        let rows = self.texts(runner, &query, &plan).await?;
        let html = views::list(catalog, &plan, name, tenant, host, rows, &page);
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
            Some(role) if !tenant.permits_role(&role) => Err(Error::RoleNotPermitted(role)),
            None if config.limits.anonymous == AnonymousAccess::None => Err(Error::AnonymousDisabled),
            named => Ok(Caller {
                role: named.unwrap_or_else(|| tenant.anonymous_role()),
                claims,
            }),
        }
    }

    /// Runs `plan` and takes its rows as text.
    async fn texts(&self, runner: Runner<'_>, query: &Query, plan: &Plan) -> Result<Vec<Vec<Option<String>>>, Error> {
        let job = Job {
            statement: Step {
                sql: &plan.statement,
                params: &plan.params(query, None),
            },
            after: &[],
            settings: &[],
            runs_code: plan.runs_code,
            writes: false,
            end: End::Commit,
        };
        let collector = || Collector::new(plan, false, MAX_PAGE, Checks::default());
        let (_, collector) = self.execute(runner, job, collector).await?;
        match collector.failure {
            Some(failure) => Err(failure),
            None => Ok(collector.texts),
        }
    }

    /// The whole body, as long as it keeps coming and stays within `max_body`.
    async fn body(&self, mut body: Incoming) -> Result<Bytes, Error> {
        let too_large = Error::BodyTooLarge { limit: self.max_body };
        if body.size_hint().lower() > self.max_body as u64 {
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
                if bytes.len() + data.len() > self.max_body {
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
    role: String,
}

/// Only a tenant that is live is asked.
fn serving(tenant: &Tenant) -> Result<(), Error> {
    match *tenant.state() {
        State::Live => Ok(()),
        State::Onboarding => Err(Error::Onboarding),
        State::Failed { .. } => Err(Error::TenantFailed),
        State::Draining => Err(crate::pool::Error::Draining.into()),
    }
}

/// Whether the client says that it takes pages, as browsers do.
fn takes_html(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    given.any(|value| value.contains("text/html"))
}

fn host(request: &Request<Incoming>) -> &str {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    authority
        .or_else(|| request.headers().get(HOST)?.to_str().ok())
        .unwrap_or_default()
}

/// What went wrong, for a person; this is where it is logged.
fn failure_page(tenant: &Tenant, request: &Request<Incoming>, id: &str, error: &Error) -> Response<Body> {
    error.log();
    let problem = Problem::from(error);
    let page = pages::Failure {
        status: problem.status.as_u16(),
        title: problem.status.canonical_reason().unwrap_or("Error"),
        message: &problem.message,
        hint: problem.hint.as_deref(),
        tenant: Some(tenant.config().id.as_str()),
        host: host(request),
        request_id: Some(id),
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
