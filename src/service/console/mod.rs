//! The console: what people see and change in a browser, at `/admin/` on every tenant's host.
//!
//! It is a client of the data API that happens to live in the same process: whatever it reads or writes is a request of the
//! dialect, answered by [`Service::api`] as the role of who is signed in. So it can do nothing that the role cannot.
//!
//! A cookie alone changes nothing. What changes anything is a form that carries the session's key, sent by a page of this
//! very host.

mod data;
mod explorer;
mod import;
mod row;
mod street;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, RETRY_AFTER, SET_COOKIE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use ipnet::IpNet;

use crate::catalog;
use crate::catalog::{Catalog, Relation};
use crate::config::OpenApi;
use crate::error::Error;
use crate::identity::Claims;
use crate::migrate;
use crate::pages;
use crate::pages::console::{Account, ConsoleFailure, Frame, OpenSession, Part, SendAgain, SignIn};
use crate::pages::words::{Words, fill};
use crate::percent::{decode_segment, encode};
use crate::pool::{Fold, Row, Step};
use crate::query;
use crate::response;
use crate::response::Problem;
use crate::router;
use crate::server::Body;
use crate::tenant::{Structure, Tenant};
use crate::users;
use crate::users::{Cookie, Place, Session};
use crate::views;
use crate::views::form::{Said, Sent};

use super::api::{Inside, Sender, Target};
use super::asked::texts;
use super::run::{Job, Runner};
use super::{Asking, Caller, Service, host, serving, words};

/// How long a browser keeps the cookie: a session is over after that whatever it does.
const COOKIE_SECONDS: u64 = 7 * 24 * 60 * 60;

/// The most bytes of an answer of the API that a page is made of.
const MOST_BYTES: usize = 8 << 20;

/// The most bytes of the form to sign in with, which anybody may send.
const SIGN_IN_BYTES: usize = 256 << 10;

pub(super) const FORM_KEY: HeaderName = HeaderName::from_static("x-rowhouse-form");
/// The script asks for a part of a page.
const PART: HeaderName = HeaderName::from_static("x-rowhouse-part");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A request to the console.
#[derive(Clone)]
pub(super) struct Visit<'a> {
    tenant: &'a Arc<Tenant>,
    asking: Asking<'a>,
    words: &'static Words,
    /// Whose request it is, and how it came, as a trusted proxy says.
    client: Client,
    /// Who is signed in.
    session: Option<Arc<Session>>,
    key: String,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Client {
    address: IpAddr,
    scheme: &'static str,
}

impl Client {
    /// The client of a request: the other end of its socket, or if that is a trusted proxy, whoever that says. Of the
    /// addresses in `X-Forwarded-For` the last counts that is no such proxy itself: what stands before it, anybody may have
    /// written.
    fn of(asking: Asking<'_>, trusted: &[IpNet]) -> Self {
        let mut client = Self {
            address: asking.peer,
            scheme: asking.scheme,
        };
        let trusts = |address: &IpAddr| {
            let address = address.to_canonical();
            trusted.iter().any(|network| network.contains(&address))
        };
        if !trusts(&client.address) {
            return client;
        }
        let headers = &asking.head.headers;
        let listed: Vec<&str> = texts(headers, &FORWARDED_FOR)
            .flat_map(|value| value.split(','))
            .collect();
        for address in listed.iter().rev() {
            // What is no address was written by nobody who is trusted.
            let Ok(address) = address.trim().parse() else { break };
            client.address = address;
            if !trusts(&address) {
                break;
            }
        }
        let scheme = texts(headers, &FORWARDED_PROTO)
            .flat_map(|value| value.split(','))
            .last();
        match scheme.map(str::trim) {
            Some("https") => client.scheme = "https",
            Some("http") => client.scheme = "http",
            _ => {}
        }
        client
    }
}

/// What a page of the console has to know of the tenant.
struct Room {
    structure: Arc<Structure>,
    rights: Vec<Rights>,
}

/// What whoever is signed in may do with a relation, as far as its definition permits it as well.
#[derive(Clone, Copy, Debug, Default)]
struct Rights {
    select: bool,
    insert: bool,
    update: bool,
    delete: bool,
}

/// A request to the data API.
struct Ask<'a> {
    method: Method,
    relation: &'a str,
    /// From the `?` on.
    query: &'a str,
    accept: &'a str,
    prefer: &'a str,
    content_type: &'a str,
    body: Bytes,
    /// Whether all rows shall come.
    whole: bool,
    /// Whether what it does is undone at its end.
    undone: bool,
}

impl<'a> Ask<'a> {
    fn get(relation: &'a str, query: &'a str) -> Self {
        Self {
            method: Method::GET,
            relation,
            query,
            accept: "application/json",
            prefer: "",
            content_type: "application/json",
            body: Bytes::new(),
            whole: false,
            undone: false,
        }
    }
}

/// What the data API answered.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    async fn collect(answer: Response<Body>, limit: usize) -> Result<Self, Error> {
        let (parts, mut body) = answer.into_parts();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Error::BodyBroken)?;
            if let Some(data) = frame.data_ref() {
                if bytes.len() + data.len() > limit {
                    return Err(Error::ResponseTooLarge { limit });
                }
                bytes.extend_from_slice(data);
            }
        }
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            body: bytes.into(),
        })
    }

    /// The page that says why it is refused.
    fn refusal(&self, visit: &Visit<'_>, room: &Room, name: &str) -> Response<Body> {
        let relations = room.navigation(visit.tenant);
        let said = self.said().text();
        let page = ConsoleFailure {
            frame: visit.frame(&relations, Part::Data, name),
            status: self.status.as_u16(),
            message: &said,
            hint: None,
            request_id: visit.asking.id.as_str(),
        };
        response::console(self.status, page.render())
    }

    fn is_good(&self) -> bool {
        self.status.is_success()
    }

    /// What it said of a failure.
    fn said(&self) -> Said {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Said {
            message: self.status.to_string(),
            ..Said::default()
        })
    }

    /// The total of `Content-Range`.
    fn total(&self) -> Option<u64> {
        let range = self.headers.get(http::header::CONTENT_RANGE)?.to_str().ok()?;
        range.rsplit_once('/')?.1.parse().ok()
    }

    /// Rows of JSON.
    fn rows(&self) -> Vec<views::form::Values> {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Visit<'_> {
    fn head(&self) -> &Parts {
        self.asking.head
    }

    fn cookie(&self) -> Cookie {
        Cookie::new(self.client.scheme == "https")
    }

    /// What the browser calls itself.
    fn agent(&self) -> &str {
        let agent = self.head().headers.get(USER_AGENT);
        agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default()
    }

    fn is_post(&self) -> bool {
        self.head().method == Method::POST
    }

    fn query(&self) -> &str {
        self.head().uri.query().unwrap_or_default()
    }

    /// The row that the address names: what stands before our own parameters.
    fn key(&self) -> String {
        let query = self.query();
        let ours = ["&_done=", "&_here="].iter().filter_map(|name| query.find(name)).min();
        query[..ours.unwrap_or(query.len())].to_owned()
    }

    /// A parameter of the address.
    fn parameter(&self, name: &str) -> Option<String> {
        let sent = Sent::parse(self.query());
        sent.all(name).next().map(str::to_owned)
    }

    fn frame<'f>(&'f self, relations: &'f [pages::Relation<'f>], part: Part, current: &'f str) -> Frame<'f> {
        let config = self.tenant.config();
        Frame {
            words: self.words,
            tenant: config.id.as_str(),
            host: host(self.head()),
            user: self.session.as_ref().map(|session| &*session.user.name),
            key: &self.key,
            operator: config.is_operator(),
            relations,
            part,
            current,
            notice: None,
        }
    }

    /// What was done before, as the address says: `?_done=deleted&_n=3`.
    fn notice(&self) -> Option<String> {
        let words = self.words;
        let number = self.parameter("_n").and_then(|number| number.parse::<u64>().ok());
        let counted = |one: &str, many: &str| match number {
            Some(1) => Some(one.to_owned()),
            Some(number) => Some(fill(many, &[&number.to_string()])),
            None => None,
        };
        match &*self.parameter("_done")? {
            "saved" => Some(words.saved.to_owned()),
            "created" => Some(words.created.to_owned()),
            "unchanged" => Some(words.nothing_changed.to_owned()),
            "none" => Some(words.none_selected.to_owned()),
            "deleted" => counted(words.deleted_one, words.deleted),
            "changed" => counted(words.changed_one, words.changed),
            "imported" => counted(words.imported_one, words.imported),
            "signed-out" => Some(words.signed_out.to_owned()),
            "reloaded" => Some(words.reloaded.to_owned()),
            "drained" => Some(words.drained.to_owned()),
            "resumed" => Some(words.resumed.to_owned()),
            "closed" => counted(words.closed_idle_one, words.closed_idle),
            "password" => Some(words.password_changed.to_owned()),
            _ => None,
        }
    }
}

impl Room {
    fn catalog(&self) -> &Catalog {
        &self.structure.catalog
    }

    /// What the navigation shows: the relations that can be read.
    fn navigation(&self, tenant: &Tenant) -> Vec<pages::Relation<'_>> {
        let all = views::navigation(self.catalog(), tenant);
        let readable = all.into_iter().zip(&self.rights).filter(|(_, rights)| rights.select);
        readable.map(|(relation, _)| relation).collect()
    }

    fn relation(&self, name: &str) -> Result<(&Relation, Rights), Error> {
        let relations = self.catalog().relations();
        let at = relations.iter().position(|relation| *relation.name == *name);
        let found = at.and_then(|at| Some((relations.get(at)?, self.rights.get(at).copied().unwrap_or_default())));
        // Of what the role may not use at all, not even the columns are told.
        let found = found.filter(|(_, rights)| rights.select || rights.insert || rights.update || rights.delete);
        found.ok_or(Error::Router(router::Error::InvalidPath))
    }
}

impl Service {
    /// Answers a request below `/admin`.
    pub(super) async fn console(
        &self,
        tenant: &Arc<Tenant>,
        path: &str,
        asking: Asking<'_>,
        body: Incoming,
    ) -> Response<Body> {
        let mut visit = Visit::new(tenant, asking, &self.trusted_proxies);
        match self.visit(&mut visit, path, body).await {
            Ok(response) => response,
            Err(error) => failure(&visit, &error),
        }
    }

    /// `/api/{relation}` for who reads: the page that explains it; none if the tenant makes pages of its own for it, or
    /// there is no such relation.
    pub(super) async fn api_for_reader(
        &self,
        tenant: &Arc<Tenant>,
        name: &str,
        asking: Asking<'_>,
    ) -> Option<Response<Body>> {
        let mut visit = Visit::new(tenant, asking, &self.trusted_proxies);
        let page = async {
            serving(tenant)?;
            let structure = tenant.structure(0, &self.pools, &self.catalogs).await?;
            // Who has said that the API is not described means pages as well.
            let silent = tenant.config().dialect.openapi == OpenApi::Disabled;
            let own = structure
                .catalog
                .handlers()
                .iter()
                .any(|handler| ["text/html", "*/*"].contains(&&*handler.media_type));
            if own || structure.catalog.relation(name).is_none() {
                return Ok(None);
            }
            self.recognize(&mut visit).await?;
            if silent && visit.session.is_none() {
                return Ok(None);
            }
            match self.relation_page(&visit, name).await {
                // Nothing of it is this reader's to see: the API says so in its own words.
                Err(Error::Router(_)) => Ok(None),
                page => page.map(Some),
            }
        };
        let page: Result<_, Error> = page.await;
        match page {
            Ok(page) => page,
            Err(error) => Some(failure(&visit, &error)),
        }
    }

    async fn visit(&self, visit: &mut Visit<'_>, path: &str, body: Incoming) -> Result<Response<Body>, Error> {
        let method = &visit.asking.head.method;
        if ![Method::GET, Method::HEAD, Method::POST].contains(method) {
            return Err(Error::Method {
                method: method.clone(),
                allow: "GET, HEAD, POST",
            });
        }
        if path.is_empty() {
            return Ok(see_other("/admin/"));
        }
        if (visit.is_post() && !is_of_this_host(visit.head())) || is_embedded_elsewhere(visit.head()) {
            return Ok(refused(visit));
        }
        if path == "/sign-in" {
            return self.sign_in(visit, body).await;
        }
        self.recognize(visit).await?;
        let mut pieces = path.trim_start_matches('/').splitn(3, '/');
        let first = pieces.next().unwrap_or_default();
        let name = pieces
            .next()
            .map(|name| decode_segment(name).ok_or(router::Error::InvalidPath));
        let name = name.transpose()?.filter(|name| !name.is_empty());
        let last = pieces.next().unwrap_or_default();
        // What programs can ask is shown to whoever may ask it.
        let silent = visit.tenant.config().dialect.openapi == OpenApi::Disabled;
        if first == "api" && (visit.session.is_some() || !silent) {
            return self.api_page(visit, name.as_deref(), body).await;
        }
        let Some(session) = visit.session.clone() else {
            let is_form = visit
                .head()
                .headers
                .get(CONTENT_TYPE)
                .is_some_and(|given| given.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
            if visit.is_post() && is_form {
                // What was written is not lost: it is sent again once somebody has signed in.
                let sent = self.form(body, SIGN_IN_BYTES).await?;
                let replay = Replay::of(visit, &sent);
                let mut page = sign_in_page(visit, "", "", Some(visit.words.ended), false, Some(&replay));
                *page.status_mut() = StatusCode::UNAUTHORIZED;
                return Ok(page);
            }
            if visit.is_post()
                || visit.head().headers.contains_key(PART)
                || visit
                    .head()
                    .headers
                    .get(ACCEPT)
                    .is_some_and(|accept| accept == "application/json")
            {
                return Ok(response::html(StatusCode::UNAUTHORIZED, visit.words.sign_in.to_owned()));
            }
            let mut to = String::from("/admin/sign-in?next=");
            encode(
                visit
                    .head()
                    .uri
                    .path_and_query()
                    .map_or("/admin/", http::uri::PathAndQuery::as_str),
                &mut to,
            );
            return Ok(see_other(&to));
        };
        if (first, &name, last) == ("data", &name, "import") && name.is_some() && visit.is_post() {
            // The largest body there is, and the only one that may not be a form.
            return self
                .import(visit, name.as_deref().unwrap_or_default(), Some(body))
                .await;
        }
        let sent = if visit.is_post() {
            let sent = self.form(body, usize::MAX).await?;
            if !session.token.has_form_key(sent.get("_key")) {
                return Ok(refused(visit));
            }
            Some(sent)
        } else {
            None
        };
        let operator = visit.tenant.config().is_operator();
        match (first, name.as_deref(), last, sent) {
            ("", None, "", None) if operator => self.street(visit).await,
            ("street", Some("reload"), "", sent) if operator => {
                self.street_reload(visit, &session, sent.is_some()).await
            }
            ("tenants", Some(id), action, sent) if operator => {
                self.street_tenant(visit, &session, id, action, sent.as_ref()).await
            }
            ("", None, "", None) | ("data", None, "", None) => self.overview(visit).await,
            ("sign-out", None, "", Some(_)) => self.sign_out(visit, &session).await,
            ("account", None, "", None) => self.account(visit, &session, None).await,
            ("account", Some("sign-out-everywhere"), "", Some(_)) => {
                let place = self.place(visit.tenant);
                self.users
                    .sign_out_everywhere(place, &session)
                    .await
                    .map_err(users_failed)?;
                Ok(signed_out(visit))
            }
            ("account", Some("password"), "", Some(sent)) => self.change_password(visit, &session, &sent).await,
            ("data", Some(name), "", None) => self.grid(visit, name).await,
            ("data", Some(name), "export", None) => self.export(visit, name).await,
            ("data", Some(name), "pick", None) => self.pick(visit, name).await,
            ("data", Some(name), "import", None) => self.import(visit, name, None).await,
            ("data", Some(name), "new", sent) => self.row(visit, name, None, sent).await,
            ("data", Some(name), "row", sent) => self.row(visit, name, Some(visit.key()), sent).await,
            ("data", Some(name), "delete", sent) => self.delete(visit, name, sent).await,
            ("data", Some(name), "bulk", Some(sent)) => self.bulk(visit, name, &sent).await,
            _ => Err(router::Error::InvalidPath.into()),
        }
    }

    fn place<'p>(&'p self, tenant: &'p Tenant) -> Place<'p> {
        Place {
            tenant: &tenant.config().id,
            cluster: tenant.cluster(),
            pools: &self.pools,
        }
    }

    /// Finds out who is signed in.
    async fn recognize(&self, visit: &mut Visit<'_>) -> Result<(), Error> {
        let cookies = visit.asking.head.headers.get_all(COOKIE).iter();
        let cookies: Vec<_> = cookies.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let Some(token) = visit.cookie().read(cookies.iter().map(|value| &**value)) else {
            return Ok(());
        };
        let used = !visit.asking.head.headers.contains_key(PART);
        let session = self.users.session(self.place(visit.tenant), token, used).await;
        visit.session = session.map_err(users_failed)?;
        visit.key = visit
            .session
            .as_ref()
            .map(|session| session.token.form_key())
            .unwrap_or_default();
        Ok(())
    }

    /// A form that was sent.
    async fn form(&self, body: Incoming, limit: usize) -> Result<Sent, Error> {
        let body = self.body(body, limit.min(self.max_body)).await?;
        Ok(Sent::parse(&String::from_utf8_lossy(&body)))
    }

    async fn sign_in(&self, visit: &Visit<'_>, body: Incoming) -> Result<Response<Body>, Error> {
        let words = visit.words;
        if !visit.is_post() {
            let next = visit.parameter("next").unwrap_or_default();
            let nobody = match self.users.has_users(self.place(visit.tenant)).await {
                Ok(there_are) => !there_are,
                Err(_) => {
                    let mut page = sign_in_page(visit, &next, "", Some(words.is_down), false, None);
                    *page.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    return Ok(page);
                }
            };
            return Ok(sign_in_page(visit, &next, "", None, nobody, None));
        }
        let sent = self.form(body, SIGN_IN_BYTES).await?;
        let (next, name) = (sent.get("next"), sent.get("name"));
        let replay = Replay::carried(&sent);
        let (id, peer) = (&visit.tenant.config().id, visit.client.address);
        let throttle = &self.users.throttle;
        if let Err(wait) = throttle.begin(id, name, peer) {
            let seconds = wait.as_secs_f64().ceil().to_string();
            let mut page = sign_in_page(
                visit,
                next,
                name,
                Some(&fill(words.wait, &[&seconds])),
                false,
                replay.as_ref(),
            );
            *page.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            if let Ok(seconds) = HeaderValue::from_str(&seconds) {
                page.headers_mut().insert(RETRY_AFTER, seconds);
            }
            return Ok(page);
        }
        let place = self.place(visit.tenant);
        let password = sent.get("password").to_owned();
        let session = match self.users.sign_in(place, name, password, visit.agent()).await {
            Ok(session) => session,
            Err(error) => {
                throttle.withdrawn(id, name, peer);
                return Err(users_failed(error));
            }
        };
        let Some(session) = session else {
            tracing::info!(tenant = %id, client.address = %peer, "sign-in refused");
            let mut page = sign_in_page(visit, next, name, Some(words.wrong_password), false, replay.as_ref());
            *page.status_mut() = StatusCode::FORBIDDEN;
            return Ok(page);
        };
        throttle.succeeded(id, name, peer);
        tracing::info!(tenant = %id, client.address = %peer, user = session.user.name, "signed in");
        let Some(replay) = replay else {
            return Ok(with_session(visit, see_other(destination(next)), &session));
        };
        let key = session.token.form_key();
        let page = SendAgain {
            frame: Frame {
                user: Some(&session.user.name),
                key: &key,
                ..visit.frame(&[], Part::Data, "")
            },
            action: &replay.action,
            fields: &replay.fields,
        };
        Ok(with_session(
            visit,
            response::console(StatusCode::OK, page.render()),
            &session,
        ))
    }

    async fn sign_out(&self, visit: &Visit<'_>, session: &Session) -> Result<Response<Body>, Error> {
        let place = self.place(visit.tenant);
        self.users.sign_out(place, session).await.map_err(users_failed)?;
        Ok(signed_out(visit))
    }

    async fn account(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        refused: Option<&str>,
    ) -> Result<Response<Body>, Error> {
        let place = self.place(visit.tenant);
        let open = self.users.sessions(place, session).await.map_err(users_failed)?;
        let notice = visit.notice();
        let page = Account {
            frame: Frame {
                notice: notice.as_deref(),
                ..visit.frame(&[], Part::Account, "")
            },
            role: &role(visit.tenant, session),
            sessions: open
                .iter()
                .map(|open| OpenSession {
                    started: &open.started,
                    seen: &open.seen,
                    agent: &open.agent,
                    current: open.current,
                })
                .collect(),
            refused,
            least: users::LEAST_CHARACTERS,
        };
        let status = if refused.is_some() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        };
        Ok(response::console(status, page.render()))
    }

    async fn change_password(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        sent: &Sent,
    ) -> Result<Response<Body>, Error> {
        let words = visit.words;
        let (old, new) = (sent.get("old"), sent.get("new"));
        if new != sent.get("again") {
            return self.account(visit, session, Some(words.passwords_differ)).await;
        }
        let (id, peer) = (&visit.tenant.config().id, visit.client.address);
        let (name, throttle) = (&session.user.name, &self.users.throttle);
        if let Err(wait) = throttle.begin(id, name, peer) {
            let seconds = wait.as_secs_f64().ceil().to_string();
            return self.account(visit, session, Some(&fill(words.wait, &[&seconds]))).await;
        }
        let place = self.place(visit.tenant);
        let (old, new) = (old.to_owned(), new.to_owned());
        match self
            .users
            .change_password(place, session, old, new, visit.agent())
            .await
        {
            Ok(Some(session)) => {
                throttle.succeeded(id, name, peer);
                Ok(with_session(
                    visit,
                    see_other("/admin/account?_done=password"),
                    &session,
                ))
            }
            Ok(None) => self.account(visit, session, Some(words.old_password_wrong)).await,
            Err(users::Error::Password) => {
                throttle.succeeded(id, name, peer);
                let rule = fill(words.password_rule, &[&users::LEAST_CHARACTERS.to_string()]);
                self.account(visit, session, Some(&rule)).await
            }
            Err(error) => {
                throttle.withdrawn(id, name, peer);
                Err(users_failed(error))
            }
        }
    }

    /// What the pages need of the tenant: its catalog, and what whoever asks may do.
    async fn room(&self, visit: &Visit<'_>) -> Result<Room, Error> {
        serving(visit.tenant)?;
        let structure = visit.tenant.structure(0, &self.pools, &self.catalogs).await?;
        let caller = self.as_whom(visit)?;
        let rights = self.rights(visit, &structure, &caller).await?;
        Ok(Room { structure, rights })
    }

    /// Whoever is signed in, or whoever the request says.
    fn as_whom(&self, visit: &Visit<'_>) -> Result<Caller, Error> {
        let Some(session) = &visit.session else {
            return self.caller(visit.tenant, &visit.head().headers);
        };
        let role = role(visit.tenant, session);
        if !visit.tenant.permits_role(&role) {
            return Err(Error::RoleNotPermitted(role.into_owned()));
        }
        let claims = Claims::of_user(&role, &visit.tenant.config().id, &session.user.name);
        Ok(Caller {
            role: claims.role.clone().unwrap_or_default(),
            claims: Some(claims),
        })
    }

    async fn rights(&self, visit: &Visit<'_>, structure: &Structure, caller: &Caller) -> Result<Vec<Rights>, Error> {
        let relations = structure.catalog.relations();
        let schemas: Vec<&str> = visit.tenant.searched(0).map(|schema| schema.as_str()).collect();
        let names: Vec<&str> = relations.iter().map(|relation| &*relation.name).collect();
        let sql: Arc<str> = catalog::RIGHTS_SQL.into();
        let lists = [query::array(&schemas), query::array(&names)];
        let params = lists.map(|list| Some(Cow::Owned(list)));
        let job = Job::read(Step {
            sql: &sql,
            params: &params,
        });
        let runner = Runner {
            tenant: visit.tenant,
            structure,
            caller,
            schema: 0,
            head: visit.head(),
            timezone: None,
        };
        let read = |found: &mut Vec<[Option<bool>; 4]>, row: Row<'_>| {
            let value = row.values().next().flatten().unwrap_or_default();
            *found = serde_json::from_slice(value).unwrap_or_default();
        };
        let (_, found) = self.execute(runner, job, || Fold::new(Vec::new(), read)).await?;
        if found.state.len() != relations.len() {
            return Err(Error::Privileges);
        }
        let rights = found.state.iter().zip(relations).map(|(granted, relation)| {
            let [select, insert, update, delete] = granted.map(|granted| granted.unwrap_or(false));
            Rights {
                select,
                insert: insert && relation.insertable,
                update: update && relation.updatable,
                delete: delete && relation.deletable,
            }
        });
        Ok(rights.collect())
    }

    /// One request of the data API, as whoever is signed in.
    async fn ask(&self, visit: &Visit<'_>, ask: Ask<'_>) -> Result<Response<Body>, Error> {
        let mut uri = String::from("/api/");
        encode(ask.relation, &mut uri);
        uri.push_str(ask.query);
        let request = Request::builder()
            .version(visit.head().version)
            .method(ask.method)
            .uri(uri)
            .header(HOST, host(visit.head()))
            .header(ACCEPT, ask.accept)
            .header(CONTENT_TYPE, ask.content_type)
            .header(PREFER, ask.prefer)
            .body(());
        // A name, a value or a preference that no URL or header can hold.
        let (mut head, ()) = request.map_err(|_| router::Error::InvalidPath)?.into_parts();
        if let Some(agent) = visit.head().headers.get(USER_AGENT) {
            head.headers.insert(USER_AGENT, agent.clone());
        }
        let asking = Asking {
            head: &head,
            ..visit.asking
        };
        let inside = Inside {
            caller: self.as_whom(visit)?,
            body: ask.body,
            whole: ask.whole,
            undone: ask.undone,
        };
        let target = if ask.relation.is_empty() {
            Target::Root
        } else {
            Target::Relation(ask.relation)
        };
        let sender = Sender::Console(Box::new(inside));
        Ok(Box::pin(self.api(visit.tenant, target, asking, sender)).await)
    }

    /// The same, with all of the answer.
    async fn reply(&self, visit: &Visit<'_>, ask: Ask<'_>) -> Result<Reply, Error> {
        Reply::collect(self.ask(visit, ask).await?, MOST_BYTES).await
    }
}

impl<'a> Visit<'a> {
    fn new(tenant: &'a Arc<Tenant>, asking: Asking<'a>, trusted: &[IpNet]) -> Self {
        Self {
            tenant,
            asking,
            words: words(asking.head),
            client: Client::of(asking, trusted),
            session: None,
            key: String::new(),
        }
    }
}

/// The role of who is signed in.
fn role<'s>(tenant: &Tenant, session: &'s Session) -> Cow<'s, str> {
    match &session.user.role {
        Some(role) => Cow::Borrowed(role),
        None => Cow::Owned(migrate::user_role(&tenant.config().id).as_str().to_owned()),
    }
}

/// Whether a request that changes something comes from a page of this host, as far as the browser says: every browser of
/// today does, and who is none has no cookie that others could use.
fn is_of_this_host(head: &Parts) -> bool {
    let text = |name: &HeaderName| head.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text(&FETCH_SITE).is_some_and(|site| !["same-origin", "none"].contains(&site)) {
        return false;
    }
    // The scheme may be another behind a proxy that ends TLS.
    text(&ORIGIN).is_none_or(|origin| {
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        authority.eq_ignore_ascii_case(host(head))
    })
}

/// Whether a page of another host loads this as a part of itself. It could not read it, but could tell how long it takes.
fn is_embedded_elsewhere(head: &Parts) -> bool {
    let is = |name: &HeaderName, values: &[&str]| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| values.contains(&value))
    };
    is(&FETCH_SITE, &["cross-site", "same-site"]) && !is(&FETCH_MODE, &["navigate"])
}

/// Where to go after signing in: nowhere but into this console.
fn destination(next: &str) -> &str {
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if plain && next.starts_with("/admin/") && !next.starts_with("/admin/sign-in") {
        next
    } else {
        "/admin/"
    }
}

fn see_other(to: &str) -> Response<Body> {
    let mut response = response::console(StatusCode::SEE_OTHER, String::new());
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

fn with_session(visit: &Visit<'_>, mut response: Response<Body>, session: &Session) -> Response<Body> {
    if let Ok(cookie) = HeaderValue::from_str(&visit.cookie().set(&session.token, COOKIE_SECONDS)) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

fn signed_out(visit: &Visit<'_>) -> Response<Body> {
    let mut response = see_other("/admin/sign-in?_done=signed-out");
    if let Ok(cookie) = HeaderValue::from_str(&visit.cookie().clear()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// A form that came when nobody was signed in.
struct Replay {
    action: String,
    fields: Vec<(String, String)>,
}

impl Replay {
    fn of(visit: &Visit<'_>, sent: &Sent) -> Self {
        let action = visit
            .head()
            .uri
            .path_and_query()
            .map_or("", http::uri::PathAndQuery::as_str);
        Self {
            action: action.to_owned(),
            fields: sent
                .pairs()
                .filter(|(name, _)| *name != "_key")
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    /// What the form to sign in carried of it.
    fn carried(sent: &Sent) -> Option<Self> {
        let action = sent.get("replay");
        let fields = sent
            .pairs()
            .filter_map(|(name, value)| Some((name.strip_prefix("replay:")?.to_owned(), value.to_owned())));
        // Nowhere but into this console.
        (!action.is_empty() && destination(action) == action).then(|| Self {
            action: action.to_owned(),
            fields: fields.collect(),
        })
    }
}

fn sign_in_page(
    visit: &Visit<'_>,
    next: &str,
    name: &str,
    refused: Option<&str>,
    nobody: bool,
    replay: Option<&Replay>,
) -> Response<Body> {
    let notice = visit.notice();
    let page = SignIn {
        frame: Frame {
            notice: notice.as_deref(),
            ..visit.frame(&[], Part::Account, "")
        },
        next: destination(next),
        name,
        refused,
        nobody,
        replay: replay.map(|replay| (&*replay.action, &*replay.fields)),
    };
    response::console(StatusCode::OK, page.render())
}

/// A form that this console did not send.
fn refused(visit: &Visit<'_>) -> Response<Body> {
    let page = ConsoleFailure {
        frame: visit.frame(&[], Part::Data, ""),
        status: StatusCode::FORBIDDEN.as_u16(),
        message: visit.words.other_site,
        hint: None,
        request_id: visit.asking.id.as_str(),
    };
    response::console(StatusCode::FORBIDDEN, page.render())
}

/// What went wrong, for a person; this is where it is logged.
fn failure(visit: &Visit<'_>, error: &Error) -> Response<Body> {
    let problem: Problem = visit.asking.log(error);
    let page = ConsoleFailure {
        frame: visit.frame(&[], Part::Data, ""),
        status: problem.status.as_u16(),
        message: &problem.message,
        hint: problem.hint.as_deref(),
        request_id: visit.asking.id.as_str(),
    };
    let mut response = response::console(problem.status, page.render());
    for (name, value) in problem.headers() {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

/// What users come to as an error of the request.
fn users_failed(error: users::Error) -> Error {
    match error {
        users::Error::Pool(error) => error.into(),
        error => Error::Users(error),
    }
}
