//! The request path: Host, tenant, path, identity, query, connection, rows, response. From top to bottom, on one page.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, info_span};

use crate::catalog;
use crate::config::{Access as Anonymous, Secret};
use crate::encode::JsonRows;
use crate::error::Error;
use crate::identity;
use crate::identity::{Claims, Key};
use crate::metrics::Metrics;
use crate::pages;
use crate::pool::{Access, Call, Commit, Pools};
use crate::query;
use crate::query::{Body as QueryBody, Output, Plan, Preferences, Query, Return, plan};
use crate::response;
use crate::response::{Problem, Written};
use crate::router;
use crate::router::{Path, Ports};
use crate::server::{Answer, Body, ConnectionInfo};
use crate::tenant::{Registry, State, Tenant};
use crate::types::MAX_HOST_LEN;
use crate::views;

/// No answer may take more memory than this.
const MAX_RESPONSE: usize = 64 << 20;

/// The values of a page, as text: markup makes them several times as large, and no browser shows so much well.
const MAX_PAGE: usize = 8 << 20;

/// A body whose next byte takes longer is given up.
const BODY_IDLE: Duration = Duration::from_secs(10);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Answers the requests of all tenants.
#[derive(Debug)]
pub struct Service {
    /// Who is served.
    pub registry: Arc<Registry>,
    /// Their connections.
    pub pools: Arc<Pools>,
    /// Their catalogs, one per structure.
    pub catalogs: catalog::Store,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The ports that may stand in `Host`.
    pub ports: Ports,
    /// The server's own key for tokens.
    pub server_key: Option<Secret>,
    /// The longest body in bytes.
    pub max_body: usize,
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
                Ok(tenant) => self.answer_for(tenant, request, &id).await,
                Err(error) => Err(Error::Router(*error)),
            };
            let mut response = result.unwrap_or_else(|error| {
                error.log();
                Problem::from(&error).into_response()
            });
            if let Ok(id) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            let name = tenant.as_ref().ok().map(|tenant| tenant.label());
            self.metrics.request(name, response.status(), started.elapsed());
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
            Path::ApiRoot => Err(Error::NoRoot),
            Path::Api { relation } => {
                serving(tenant)?;
                self.api(tenant, &relation, request).await
            }
            page @ (Path::Home | Path::Page { .. }) => {
                let result = self.page(tenant, &page, &request).await;
                Ok(result.unwrap_or_else(|error| failure_page(tenant, &request, id, &error)))
            }
        }
    }

    /// `/api/{relation}`.
    async fn api(
        &self,
        tenant: &Arc<Tenant>,
        relation: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let (parts, body) = request.into_parts();
        let head = parts.method == Method::HEAD;
        if !matches!(
            parts.method,
            Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE
        ) {
            return Err(Error::Method {
                method: parts.method,
                allow: "GET, HEAD, POST, PUT, PATCH, DELETE",
            });
        }
        takes_json(&parts.headers)?;
        let caller = self.caller(tenant, &parts.headers)?;
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let catalog = tenant.catalog(&self.pools, &self.catalogs).await?;
        if matches!(parts.method, Method::GET | Method::HEAD) {
            let plan = plan::read(
                &query,
                &catalog,
                relation,
                tenant.config().limits.max_rows.get(),
                Output::Json,
            )?;
            let rows = self.rows(tenant, &plan, &caller, None).await?;
            return Ok(response::read(
                if head { Bytes::new() } else { rows.json },
                rows.count,
                plan.offset,
            ));
        }
        let values = parts.headers.get_all(PREFER);
        let mut preferences = Preferences::parse(values.iter().filter_map(|value| value.to_str().ok()));
        let returning = preferences.returning == Some(Return::Representation);
        if parts.method != Method::POST {
            preferences.resolution = None;
        }
        // The body is read before a connection is asked for: a slow client holds none.
        let (mut what, plan) = match parts.method {
            Method::POST => {
                let body = self.body(&parts.headers, body).await?;
                (
                    Written::Inserted,
                    plan::insert(
                        &query,
                        &QueryBody::parse(&body)?,
                        &catalog,
                        relation,
                        preferences.resolution,
                        returning,
                    )?,
                )
            }
            Method::PUT => {
                let body = self.body(&parts.headers, body).await?;
                (
                    Written::Replaced,
                    plan::put(&query, &QueryBody::parse(&body)?, &catalog, relation, returning)?,
                )
            }
            Method::PATCH => {
                let body = self.body(&parts.headers, body).await?;
                (
                    Written::Updated,
                    plan::update(&query, &QueryBody::parse(&body)?, &catalog, relation, returning)?,
                )
            }
            _ => (Written::Deleted, plan::delete(&query, &catalog, relation, returning)?),
        };
        // With rows to deliver, the commit waits until they are encoded; without, everything leaves in one go.
        let commit = if returning {
            Commit::AfterRows
        } else {
            Commit::Pipelined
        };
        let rows = self.rows(tenant, &plan, &caller, Some(commit)).await?;
        match what {
            // Nothing has happened then: the body's key is not the one of the filters.
            Written::Replaced if rows.count == 0 => return Err(query::Error::PutPayload.into()),
            Written::Replaced if rows.created > 0 => what = Written::Inserted,
            Written::Inserted if plan.tells_created && rows.created == 0 => what = Written::Merged,
            _ => {}
        }
        let applied = preferences.applied();
        Ok(response::written(
            what,
            returning.then_some((rows.json, rows.count)),
            applied.as_deref(),
        ))
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
        let catalog = tenant.catalog(&self.pools, &self.catalogs).await?;
        let config = tenant.config();
        let name = match path {
            Path::Home if config.is_operator() => {
                let html = views::street(&self.registry.tenants(), tenant, host, &catalog, &page);
                return Ok(response::html(StatusCode::OK, html));
            }
            Path::Home => config.home.as_deref().ok_or(router::Error::InvalidPath)?,
            Path::Page { relation } => relation.as_ref(),
            _ => return Err(router::Error::InvalidPath.into()),
        };
        let query = views::list_query(&catalog, name, &page)?;
        let plan = plan::read(&query, &catalog, name, views::PAGE_SIZE + 1, Output::Text)?;
        let rows = self.texts(tenant, &plan, &caller).await?;
        let html = views::list(&catalog, &plan, name, tenant, host, rows, &page);
        Ok(response::html(StatusCode::OK, html))
    }

    /// Who asks: nobody in particular, or whoever the token says.
    fn caller(&self, tenant: &Tenant, headers: &HeaderMap) -> Result<Caller, Error> {
        let config = tenant.config();
        let authorization = match headers.get(AUTHORIZATION) {
            Some(value) => Some(value.to_str().map_err(|_| identity::Error::Malformed)?),
            None => None,
        };
        let claims = match authorization {
            None => None,
            Some(_) => identity::verify(authorization, &self.key(tenant), &config.id, unix_time())?,
        };
        match claims {
            None if config.limits.anonymous == Anonymous::None => Err(Error::AnonymousDisabled),
            None => Ok(Caller(None)),
            Some(claims) => match &claims.role {
                Some(role) if !tenant.permits_role(role) => Err(Error::RoleNotPermitted(role.clone())),
                None if config.limits.anonymous == Anonymous::None => Err(Error::AnonymousDisabled),
                _ => Ok(Caller(Some(claims))),
            },
        }
    }

    /// The key that a tenant's tokens are signed with.
    fn key(&self, tenant: &Tenant) -> Key {
        match (&tenant.config().jwt_secret, &self.server_key) {
            (Some(own), _) => Key::Tenant(own.clone()),
            (None, Some(server)) => Key::Server(server.clone()),
            (None, None) => Key::None,
        }
    }

    /// Runs `plan` and encodes its rows as JSON.
    async fn rows(
        &self,
        tenant: &Arc<Tenant>,
        plan: &Plan,
        caller: &Caller,
        commit: Option<Commit>,
    ) -> Result<Rows, Error> {
        let width = plan.columns.len();
        let mut encoder = JsonRows::new(Arc::clone(&plan.columns), 0);
        let mut created = 0;
        let mut failure = None;
        self.run(tenant, plan, caller, commit, |row| {
            if plan.tells_created && row.values().nth(width) == Some(Some(&[1])) {
                created += 1;
            }
            match encoder.row(row.values().take(width)) {
                Ok(()) if encoder.len() <= MAX_RESPONSE => return ControlFlow::Continue(()),
                Ok(()) => failure = Some(Error::ResponseTooLarge { limit: MAX_RESPONSE }),
                Err(error) => failure = Some(error.into()),
            }
            ControlFlow::Break(())
        })
        .await?;
        match failure {
            Some(error) => Err(error),
            None => {
                let count = encoder.rows();
                Ok(Rows {
                    json: encoder.finish(),
                    count,
                    created,
                })
            }
        }
    }

    /// Runs `plan` and takes its rows as text.
    async fn texts(
        &self,
        tenant: &Arc<Tenant>,
        plan: &Plan,
        caller: &Caller,
    ) -> Result<Vec<Vec<Option<String>>>, Error> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        self.run(tenant, plan, caller, None, |row| {
            bytes += row.values().flatten().map(<[u8]>::len).sum::<usize>();
            if bytes > MAX_PAGE {
                return ControlFlow::Break(());
            }
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            rows.push(row.values().map(|value| value.map(text)).collect());
            ControlFlow::Continue(())
        })
        .await?;
        if bytes > MAX_PAGE {
            return Err(Error::ResponseTooLarge { limit: MAX_PAGE });
        }
        Ok(rows)
    }

    /// Runs `plan` on a connection of the tenant, as the caller's role.
    async fn run(
        &self,
        tenant: &Arc<Tenant>,
        plan: &Plan,
        caller: &Caller,
        commit: Option<Commit>,
        on_row: impl FnMut(crate::pool::Row<'_>) -> ControlFlow<()> + Send,
    ) -> Result<(), Error> {
        let started = Instant::now();
        let mut lease = tenant.pool(&self.pools).checkout(&self.pools).await?;
        self.metrics.checkout(started.elapsed());
        let settings = caller.settings();
        let access = match commit {
            None if settings.is_empty() && !plan.runs_code => Access::Read,
            _ => Access::Transaction {
                writes: commit.is_some(),
                settings: &settings,
                commit: commit.unwrap_or(Commit::Pipelined),
            },
        };
        let call = Call {
            sql: &plan.statement,
            params: &plan.params,
            access,
        };
        let result = lease.run(&call, on_row).await;
        lease.finish();
        result.map(drop).map_err(|source| Error::Pool {
            source,
            authenticated: caller.0.is_some(),
        })
    }

    /// The whole body, as long as it keeps coming and stays within `max_body`.
    async fn body(&self, headers: &HeaderMap, mut body: Incoming) -> Result<Bytes, Error> {
        if let Some(given) = headers.get(CONTENT_TYPE) {
            let given = given.to_str().unwrap_or_default();
            let media = given.split(';').next().unwrap_or_default().trim();
            if !media.eq_ignore_ascii_case("application/json") {
                return Err(Error::ContentType(given.to_owned()));
            }
        }
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

/// The rows of a statement.
struct Rows {
    json: Bytes,
    count: u64,
    /// How many of them were not there before; counted for PUT only.
    created: u64,
}

/// Who asks; none for a request without a token.
struct Caller(Option<Claims>);

impl Caller {
    /// What the transaction of this caller sets.
    fn settings(&self) -> Vec<(&str, &str)> {
        let Some(claims) = &self.0 else {
            return Vec::new();
        };
        // The role first: the claims are then set by the role itself, as any custom setting may be.
        let role = claims.role.as_deref().map(|role| ("role", role));
        role.into_iter()
            .chain([("request.jwt.claims", &*claims.json)])
            .collect()
    }
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

/// Whether the client takes JSON (RFC 9110, 12.5.1; which of several it prefers does not matter while there is one).
fn takes_json(headers: &HeaderMap) -> Result<(), Error> {
    let mut given = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .peekable();
    if given.peek().is_none() {
        return Ok(());
    }
    let ranges: Vec<&str> = given.flat_map(|value| value.split(',')).map(str::trim).collect();
    let takes = |range: &&str| {
        let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
        matches!(
            media.trim().to_ascii_lowercase().as_str(),
            "application/json" | "application/*" | "*/*" | ""
        ) && !matches!(parameters.trim(), "q=0" | "q=0.0")
    };
    if ranges.iter().any(takes) {
        Ok(())
    } else {
        Err(Error::NotAcceptable(ranges.join(", ")))
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
