//! The console: what people see and change in a browser, at `/admin/` on every tenant's host.
//!
//! It is a client of the data API that happens to live in the same process: whatever it reads or writes is a request of the
//! dialect, answered by [`Service::api`] as the role of who is signed in. So it can do nothing that the role cannot.
//!
//! A cookie alone changes nothing. What changes anything is a form that carries the session's key, sent by a page of this
//! very host.

mod account;
mod ask;
mod client;
mod data;
mod explorer;
mod import;
mod row;
mod street;

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{COOKIE, LOCATION, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use ipnet::IpNet;

use crate::catalog;
use crate::catalog::{Catalog, Relation};
use crate::config::OpenApi;
use crate::error::Error;
use crate::identity::Claims;
use crate::migrate;
use crate::pages;
use crate::pages::console::{ConsoleFailure, Frame, Part};
use crate::pages::words::{Words, fill};
use crate::percent::decode_segment;
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
use crate::views::Sent;

use super::run::{Job, Runner};
use super::{Asking, Caller, Service, host, serving, words};
use account::signed_out;
use ask::{Ask, MOST_BYTES, Reply};
use client::{Client, is_embedded_elsewhere, is_of_this_host};

pub(super) const FORM_KEY: HeaderName = HeaderName::from_static("x-rowhouse-form");
/// The script asks for a part of a page.
const PART: HeaderName = HeaderName::from_static("x-rowhouse-part");

/// A request to the console.
pub(super) struct Visit<'a> {
    tenant: &'a Arc<Tenant>,
    asking: Asking<'a>,
    words: &'static Words,
    /// Whose request it is, and how it came, as a trusted proxy says.
    client: Client,
    /// Who is signed in.
    session: Option<Arc<Session>>,
    /// What its forms carry.
    form_key: String,
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

    /// The path and the query string.
    fn address(&self) -> &str {
        self.head().uri.path_and_query().map_or("/admin/", PathAndQuery::as_str)
    }

    /// The row that the address names: what stands before our own parameters.
    fn row_key(&self) -> String {
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
            key: &self.form_key,
            operator: config.is_operator(),
            relations,
            part,
            current,
            notice: None,
        }
    }

    /// The page that says what went wrong.
    fn failure(&self, frame: Frame<'_>, status: StatusCode, message: &str, hint: Option<&str>) -> Response<Body> {
        let page = ConsoleFailure {
            frame,
            status: status.as_u16(),
            message,
            hint,
            request_id: self.asking.id.as_str(),
        };
        response::console(status, page.render())
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
            // Passwords are not for carrying about.
            return self.ask_to_sign_in(visit, body, first != "account").await;
        };
        if first == "data" && last == "import" && name.is_some() && visit.is_post() {
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
            ("data", Some(name), "row", sent) => self.row(visit, name, Some(visit.row_key()), sent).await,
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
        visit.form_key = visit
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
}

impl<'a> Visit<'a> {
    fn new(tenant: &'a Arc<Tenant>, asking: Asking<'a>, trusted: &[IpNet]) -> Self {
        Self {
            tenant,
            asking,
            words: words(asking.head),
            client: Client::of(asking, trusted),
            session: None,
            form_key: String::new(),
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

fn see_other(to: &str) -> Response<Body> {
    let mut response = response::console(StatusCode::SEE_OTHER, String::new());
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// A form that this console did not send.
fn refused(visit: &Visit<'_>) -> Response<Body> {
    let frame = visit.frame(&[], Part::Data, "");
    visit.failure(frame, StatusCode::FORBIDDEN, visit.words.other_site, None)
}

/// What went wrong, for a person; this is where it is logged.
fn failure(visit: &Visit<'_>, error: &Error) -> Response<Body> {
    let problem: Problem = visit.asking.log(error);
    let message = match error {
        Error::Router(_) => visit.words.no_page,
        _ => &problem.message,
    };
    let frame = visit.frame(&[], Part::Data, "");
    let mut response = visit.failure(frame, problem.status, message, problem.hint.as_deref());
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
