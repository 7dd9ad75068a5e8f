//! The data API: a request in the dialect to a plan, and what comes of it to a response.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, HOST, RANGE};
use http::{HeaderMap, HeaderName, Method, Request, Response, request};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::catalog;
use crate::catalog::{Function, Relation, Takes, Volatility};
use crate::config::{Dialect, OpenApi, TxEnd};
use crate::error::Error;
use crate::openapi::Description;
use crate::pool::{Access, Call, End, Isolation, Step, Transaction};
use crate::query;
use crate::query::plan::{Arguments, Context, Delivery, Returning, Rows, Write};
use crate::query::{
    Body as QueryBody, BodyFormat, Count, Honoured, MediaType, Missing, Plan, Preferences, Purpose, Query, Return,
    TransactionEnd, plan,
};
use crate::response;
use crate::response::{Action, Data};
use crate::server::Body;
use crate::tenant::{Structure, Tenant};

use super::collect::{Checks, Collector};
use super::timing::{Phase, Timings};
use super::{Caller, MAX_RESPONSE, Service};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");

/// What a request of the API addresses.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// `/api/`.
    Root,
    /// `/api/name`.
    Relation(&'a str),
    /// `/api/rpc/name`.
    Function(&'a str),
}

/// All that is known of a request before its plan.
struct Asked<'a> {
    tenant: &'a Arc<Tenant>,
    parts: &'a request::Parts,
    /// `http` or `https`.
    scheme: &'static str,
    caller: Caller,
    /// The number of the schema, and its name if there are several.
    schema: usize,
    profile: Option<&'a str>,
    preferences: Preferences,
    accepts: Vec<MediaType>,
    structure: Arc<Structure>,
    timings: Timings,
}

/// What came of a plan.
struct Outcome {
    body: Bytes,
    count: u64,
    total: Option<u64>,
    created: u64,
    texts: Vec<Vec<Option<String>>>,
    headers: Option<String>,
    status: Option<String>,
}

impl Service {
    pub(super) async fn api(
        &self,
        tenant: &Arc<Tenant>,
        target: Target<'_>,
        secure: bool,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let dialect = Arc::clone(&tenant.config().dialect);
        let (parts, body) = request.into_parts();
        if let Some(answer) = response::preflight(&parts.method, &parts.headers, &dialect.cors_origins) {
            return Ok(answer);
        }
        let target = match (target, &dialect.root_function) {
            (Target::Root, Some(function)) => Target::Function(function),
            (target, _) => target,
        };
        let (schema, profile) = schema(tenant, &parts)?;
        let timings = Timings::default();
        let started = Instant::now();
        let caller = self.caller(tenant, &parts.headers)?;
        timings.add(Phase::Jwt, started);
        let decides = matches!(
            dialect.tx_end,
            TxEnd::CommitAllowOverride | TxEnd::RollbackAllowOverride
        );
        let asked = Asked {
            tenant,
            caller,
            schema,
            profile,
            preferences: Preferences::parse(texts(&parts.headers, &PREFER), decides),
            accepts: MediaType::accepted(texts(&parts.headers, &ACCEPT)),
            structure: tenant.structure(schema, &self.pools, &self.catalogs).await?,
            parts: &parts,
            timings,
            scheme: if secure { "https" } else { "http" },
        };
        let answer = match target {
            Target::Root => self.root(&asked).await,
            Target::Relation(name) => self.relation(&asked, name, body).await,
            Target::Function(name) => self.function(&asked, name, body).await,
        };
        answer.map(|mut answer| {
            let headers = answer.headers_mut();
            response::expose(&parts.headers, &dialect.cors_origins, headers);
            if dialect.server_timing
                && let Ok(timing) = asked.timings.header().parse()
            {
                headers.insert(SERVER_TIMING, timing);
            }
            answer
        })
    }

    /// `/api/{relation}`.
    async fn relation(&self, asked: &Asked<'_>, name: &str, body: Incoming) -> Result<Response<Body>, Error> {
        let method = &asked.parts.method;
        let context = asked.context();
        if method == Method::OPTIONS {
            return Ok(response::options(&allowed(plan::relation(&context, name)?)));
        }
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
        let reads = [Method::GET, Method::HEAD].contains(method);
        if !reads && !writes {
            return Err(Error::Method {
                method: method.clone(),
                allow: "OPTIONS, GET, HEAD, POST, PUT, PATCH, DELETE",
            });
        }
        let started = Instant::now();
        let mut query = Query::parse(asked.parts.uri.query().unwrap_or_default(), Purpose::Relation)?;
        asked.timings.add(Phase::Parse, started);
        if reads {
            asked.range(&mut query)?;
        }
        // The body is read before a connection is asked for: a slow client holds none.
        let body = match *method {
            Method::POST | Method::PUT | Method::PATCH => Some(self.rows_of(asked, body).await?),
            _ => None,
        };
        let relation = plan::relation(&context, name)?;
        let chosen = asked.choose(Some(relation), None, query.selects_all())?;
        if writes {
            asked.check_preferences()?;
            return self
                .write(asked, &context, &query, relation, body.as_ref(), chosen)
                .await;
        }
        let head = *method == Method::HEAD;
        let (delivery, media) = chosen;
        let delivery = if head { Delivery::Number } else { delivery };
        let started = Instant::now();
        let number = asked.structure.number;
        let plan = self
            .plans
            .read(&context, number, &query, relation, delivery, asked.preferences.count)?;
        asked.timings.add(Phase::Plan, started);
        asked.check_preferences()?;
        let singular = matches!(media, MediaType::Singular { .. });
        let checks = Checks { singular, most: None };
        let outcome = self
            .run(asked, &query, None, &plan, &media, checks, End::Commit)
            .await?;
        let (_, offset) = query.range();
        out_of_range(offset, outcome.total)?;
        let explains = plan.rows == Rows::Lines;
        let canonical = query::canonical(asked.parts.uri.query().unwrap_or_default());
        let location = if canonical.is_empty() {
            String::new()
        } else {
            format!("?{canonical}")
        };
        let data = Data {
            action: if explains { Action::Explained } else { Action::Read },
            offset,
            applied: asked.preferences.applied(Honoured::default()),
            content_location: Some(format!("/api/{name}{location}")),
            ..asked.data(&plan, &media, &outcome)
        };
        asked.respond(data, &outcome)
    }

    async fn write(
        &self,
        asked: &Asked<'_>,
        context: &Context<'_>,
        query: &Query,
        relation: &Relation,
        body: Option<&QueryBody>,
        (delivery, media): (Delivery<'_>, MediaType),
    ) -> Result<Response<Body>, Error> {
        let preferences = &asked.preferences;
        let defaults = preferences.missing == Some(Missing::Default);
        let (write, mut action) = match asked.parts.method {
            Method::POST => {
                let resolution = preferences.resolution;
                (Write::Insert { resolution, defaults }, Action::Inserted)
            }
            Method::PUT => (Write::Put, Action::Replaced),
            Method::PATCH => (Write::Update { defaults }, Action::Updated),
            _ => (Write::Delete, Action::Deleted),
        };
        let explains = matches!(delivery, Delivery::Explained(_));
        let whole = explains || preferences.returning == Some(Return::Representation);
        let inserts = matches!(write, Write::Insert { .. });
        let returning = match preferences.returning {
            _ if explains => Returning::Rows(delivery),
            Some(Return::Representation) => Returning::Rows(delivery),
            Some(Return::HeadersOnly) if inserts && !relation.primary_key.is_empty() => Returning::Key,
            _ => Returning::Nothing,
        };
        let started = Instant::now();
        let plan = plan::write(context, query, relation, write, body, returning)?;
        asked.timings.add(Phase::Plan, started);
        let checks = Checks {
            singular: matches!(media, MediaType::Singular { .. }) && write != Write::Put,
            most: preferences
                .most_affected()
                .filter(|_| matches!(write, Write::Update { .. } | Write::Delete)),
        };
        // With rows to deliver, the commit waits until they are encoded; without, everything leaves in one go.
        let end = if whole || checks.are_any() {
            End::CommitAfterRows
        } else {
            End::Commit
        };
        let outcome = self
            .run(asked, query, body.map(QueryBody::text), &plan, &media, checks, end)
            .await?;
        match write {
            _ if explains => action = Action::Explained,
            // Nothing has happened then: the body's key is not the one of the filters.
            Write::Put if outcome.count == 0 => return Err(query::Error::PutPayload.into()),
            Write::Put if outcome.created > 0 && whole => action = Action::Inserted,
            Write::Insert { .. } if plan.tells_created && outcome.created == 0 => action = Action::Merged,
            _ => {}
        }
        let honoured = Honoured {
            resolution: inserts && (!relation.primary_key.is_empty() || query.names_conflict()),
            missing: matches!(write, Write::Insert { .. } | Write::Update { .. }),
            returning: true,
            max_affected: matches!(write, Write::Update { .. } | Write::Delete),
        };
        let counted = matches!(preferences.count, Some(Count::Exact | Count::Estimated));
        let data = Data {
            action,
            body: whole.then(|| outcome.body.clone()),
            total: counted.then_some(outcome.count),
            applied: preferences.applied(honoured),
            location: location(relation, &plan, returning, &outcome),
            ..asked.data(&plan, &media, &outcome)
        };
        asked.respond(data, &outcome)
    }

    /// `/api/rpc/{function}`.
    async fn function(&self, asked: &Asked<'_>, name: &str, body: Incoming) -> Result<Response<Body>, Error> {
        let method = &asked.parts.method;
        let posts = *method == Method::POST;
        if !posts && ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
            return Err(Error::CallMethod(method.clone()));
        }
        let context = asked.context();
        let purpose = if posts { Purpose::Relation } else { Purpose::Call };
        let started = Instant::now();
        let mut query = Query::parse(asked.parts.uri.query().unwrap_or_default(), purpose)?;
        asked.timings.add(Phase::Parse, started);
        if !posts {
            asked.range(&mut query)?;
        }
        let sent = if posts {
            Some(self.argument_of(asked, body).await?)
        } else {
            None
        };
        let keys;
        let mut raw = None;
        let arguments = match sent {
            None => Arguments::Named,
            Some(Argument::Form(fields)) => {
                query.set_arguments(fields);
                Arguments::Named
            }
            Some(Argument::Json(bytes)) => {
                let parsed = if bytes.trim_ascii().is_empty() {
                    QueryBody::empty_object()
                } else {
                    QueryBody::parse(&bytes)?
                };
                keys = match query.columns()? {
                    Some(columns) => columns,
                    None => parsed.keys()?.to_vec(),
                };
                raw = Some((parsed.text().to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
                Arguments::Json { keys: &keys }
            }
            Some(Argument::Rows(rows)) => {
                keys = rows.keys()?.to_vec();
                raw = Some((rows.text().to_owned(), rows.text().to_owned()));
                Arguments::Rows { keys: &keys }
            }
            Some(Argument::Raw(bytes, type_name)) => {
                let text = if type_name == "bytea" {
                    hex(&bytes)
                } else {
                    String::from_utf8_lossy(&bytes).into_owned()
                };
                raw = Some((text.clone(), text));
                Arguments::Raw { type_name }
            }
        };
        let function = plan::function(&context, &query, name, arguments)?;
        if *method == Method::OPTIONS {
            let volatile = function.volatility == Volatility::Volatile;
            return Ok(response::options(if volatile {
                "OPTIONS,POST"
            } else {
                "OPTIONS,GET,HEAD,POST"
            }));
        }
        let result = plan::result(&asked.structure.catalog, function);
        let (delivery, media) = asked.choose(result, Some(function), query.selects_all())?;
        asked.check_preferences()?;
        if asked.preferences.most_affected().is_some() && !function.returns_set {
            return Err(Error::MaxAffectedCall);
        }
        let delivery = if *method == Method::HEAD {
            Delivery::Number
        } else {
            delivery
        };
        let started = Instant::now();
        let mut plan = plan::call(&context, &query, function, arguments, delivery, asked.preferences.count)?;
        asked.timings.add(Phase::Plan, started);
        plan.writes = posts && function.volatility == Volatility::Volatile;
        let unnamed = matches!(&*function.arguments, [only] if only.name.is_empty());
        let body = raw.map(|(list, whole)| if unnamed { whole } else { list });
        let checks = Checks {
            singular: matches!(media, MediaType::Singular { .. }),
            most: asked.preferences.most_affected(),
        };
        let end = if plan.writes { End::CommitAfterRows } else { End::Commit };
        let outcome = self
            .run(asked, &query, body.as_deref(), &plan, &media, checks, end)
            .await?;
        let (_, offset) = query.range();
        out_of_range(offset, outcome.total)?;
        let action = match result {
            _ if plan.rows == Rows::Lines => Action::Explained,
            None => Action::Called,
            Some(_) => Action::Read,
        };
        let honoured = Honoured {
            max_affected: true,
            ..Honoured::default()
        };
        let data = Data {
            action,
            body: result.is_some().then(|| outcome.body.clone()),
            offset,
            applied: asked.preferences.applied(honoured),
            ..asked.data(&plan, &media, &outcome)
        };
        asked.respond(data, &outcome)
    }

    /// `/api/`: the document that describes the API.
    async fn root(&self, asked: &Asked<'_>) -> Result<Response<Body>, Error> {
        let method = &asked.parts.method;
        if *method == Method::OPTIONS {
            return Ok(response::options("OPTIONS,GET,HEAD"));
        }
        if ![Method::GET, Method::HEAD].contains(method) {
            return Err(Error::Method {
                method: method.clone(),
                allow: "OPTIONS, GET, HEAD",
            });
        }
        let dialect = asked.dialect();
        if dialect.openapi == OpenApi::Disabled {
            return Err(Error::NoRoot);
        }
        let media = asked.accepts.iter().find_map(|accepted| match accepted {
            MediaType::OpenApi31 => Some(MediaType::OpenApi31),
            MediaType::OpenApi | MediaType::Json | MediaType::Any => Some(MediaType::OpenApi),
            _ => None,
        });
        let media = media.ok_or_else(|| asked.not_acceptable())?;
        let catalog = &asked.structure.catalog;
        let (mut relations, mut functions): (Vec<_>, Vec<_>) = (
            catalog.relations().iter().collect(),
            catalog.functions().iter().collect(),
        );
        if dialect.openapi == OpenApi::FollowPrivileges {
            let (usable, callable) = self.privileges(asked, &relations, &functions).await?;
            relations = usable
                .iter()
                .filter_map(|place| relations.get(place.checked_sub(1)?).copied())
                .collect();
            functions = callable
                .iter()
                .filter_map(|place| functions.get(place.checked_sub(1)?).copied())
                .collect();
        }
        let asked_host = asked.parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let asked_host = asked
            .parts
            .uri
            .authority()
            .map(|authority| authority.as_str())
            .or(asked_host);
        let url = dialect
            .openapi_url
            .as_deref()
            .and_then(|url| url.parse::<http::Uri>().ok());
        let host = url.as_ref().and_then(|url| url.authority()).map_or_else(
            || asked_host.unwrap_or_default().to_owned(),
            |authority| match (authority.port(), url.as_ref().and_then(http::Uri::scheme_str)) {
                (None, Some("https")) => format!("{authority}:443"),
                (None, _) => format!("{authority}:80"),
                (Some(_), _) => authority.to_string(),
            },
        );
        let description = Description {
            catalog,
            relations,
            functions,
            schema: asked.context().schema,
            scheme: url.as_ref().and_then(http::Uri::scheme_str).unwrap_or(asked.scheme),
            host: &host,
            base_path: url.as_ref().map_or("/api/", |url| match url.path() {
                "" => "/",
                path => path,
            }),
            security: dialect.openapi_security,
        };
        let document = if media == MediaType::OpenApi31 {
            description.v3()
        } else {
            description.v2()
        };
        let body = if *method == Method::HEAD {
            String::new()
        } else {
            document.to_string()
        };
        Ok(response::document(body.into(), &media.content_type(), asked.profile))
    }

    /// The places of the relations and functions that the caller's role may use.
    async fn privileges(
        &self,
        asked: &Asked<'_>,
        relations: &[&Relation],
        functions: &[&Function],
    ) -> Result<(Vec<usize>, Vec<usize>), Error> {
        let sql: Arc<str> = catalog::PRIVILEGES_SQL.into();
        let schemas: Vec<String> = asked.tenant.searched(asked.schema).map(ToString::to_string).collect();
        let relations: Vec<String> = relations.iter().map(|relation| relation.name.to_string()).collect();
        let names = |function: &&Function| -> String {
            let names: Vec<&str> = function.arguments.iter().map(|argument| &*argument.name).collect();
            names.join(",")
        };
        let arguments: Vec<String> = functions.iter().map(names).collect();
        let functions: Vec<String> = functions.iter().map(|function| function.name.to_string()).collect();
        let params = [schemas, relations, functions, arguments].map(|list| Some(Cow::Owned(query::array(&list))));
        let plan = Plan::default();
        let settings = asked.settings(&plan);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        let before: Option<Arc<str>> = asked.pre_request().map(Into::into);
        let call = Call {
            statement: Step {
                sql: &sql,
                params: &params,
            },
            access: Access::Transaction(Transaction {
                writes: false,
                isolation: None,
                settings: &settings,
                before: before.as_ref().map(|sql| Step { sql, params: &[] }),
                after: &[],
                end: End::Commit,
            }),
        };
        let mut found = Vec::new();
        let mut take = |row: crate::pool::Row<'_>| {
            found = row
                .values()
                .map(|value| serde_json::from_slice(value.unwrap_or_default()).unwrap_or_default())
                .collect();
            std::ops::ControlFlow::Continue(())
        };
        let mut lease = asked.tenant.pool(&self.pools).checkout(&self.pools).await?;
        let result = lease.run(&call, &mut take).await;
        lease.finish();
        result.map_err(|source| asked.failed(source))?;
        let mut found = found.into_iter();
        Ok((found.next().unwrap_or_default(), found.next().unwrap_or_default()))
    }

    /// The body of a write.
    async fn rows_of(&self, asked: &Asked<'_>, body: Incoming) -> Result<QueryBody, Error> {
        let (media, given) = asked.content_type();
        let format = match media {
            MediaType::Json => BodyFormat::Json,
            MediaType::Csv => BodyFormat::Csv,
            MediaType::Form => BodyFormat::Form,
            _ => return Err(Error::ContentType(given)),
        };
        let bytes = self.body(body).await?;
        Ok(QueryBody::read(&bytes, format)?)
    }

    /// The body of a call.
    async fn argument_of(&self, asked: &Asked<'_>, body: Incoming) -> Result<Argument, Error> {
        let (media, given) = asked.content_type();
        let type_name = match media {
            MediaType::Json | MediaType::Form | MediaType::Csv => "",
            MediaType::Text => "text",
            MediaType::Xml => "xml",
            MediaType::OctetStream => "bytea",
            _ => return Err(Error::ContentType(given)),
        };
        let bytes = self.body(body).await?;
        Ok(match media {
            MediaType::Json => Argument::Json(bytes),
            MediaType::Form => Argument::Form(QueryBody::fields(&bytes)),
            MediaType::Csv => Argument::Rows(QueryBody::read(&bytes, BodyFormat::Csv)?),
            _ => Argument::Raw(bytes, type_name),
        })
    }

    /// Runs a plan on a connection of the tenant, as the caller's role.
    #[expect(
        clippy::too_many_arguments,
        reason = "what runs, with what, as whom, and how it ends"
    )]
    async fn run(
        &self,
        asked: &Asked<'_>,
        query: &Query,
        body: Option<&str>,
        plan: &Plan,
        media: &MediaType,
        checks: Checks,
        end: End,
    ) -> Result<Outcome, Error> {
        let dialect = &asked.tenant.config().dialect;
        let rolls_back = match (asked.preferences.transaction, dialect.tx_end) {
            (Some(TransactionEnd::Rollback), _) => true,
            (Some(TransactionEnd::Commit), _) => false,
            (None, tx_end) => matches!(tx_end, TxEnd::Rollback | TxEnd::RollbackAllowOverride),
        };
        let settings = asked.settings(plan);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        let before_sql: Option<Arc<str>> = asked.pre_request().map(Into::into);
        let params = plan.params(query, body);
        let response_settings: Arc<str> = query::RESPONSE_SETTINGS.into();
        // Whatever runs no code of the tenant's own cannot have set them.
        let tells = plan.runs_code || before_sql.is_some();
        let planned = plan.planned(query, body);
        let mut after = Vec::new();
        if let Some((sql, params)) = &planned {
            after.push(Step { sql, params });
        }
        if tells {
            after.push(Step {
                sql: &response_settings,
                params: &[],
            });
        }
        let plain = settings.is_empty() && before_sql.is_none() && !plan.runs_code && !plan.writes && after.is_empty();
        let access = if plain {
            Access::Read
        } else {
            Access::Transaction(Transaction {
                writes: plan.writes,
                isolation: isolation(&settings),
                settings: &settings,
                before: before_sql.as_ref().map(|sql| Step { sql, params: &[] }),
                after: &after,
                end: if rolls_back { End::Rollback } else { end },
            })
        };
        let call = Call {
            statement: Step {
                sql: &plan.statement,
                params: &params,
            },
            access,
        };
        let csv = matches!(media, MediaType::Csv);
        let mut collector = Collector::new(plan, csv, MAX_RESPONSE, checks);
        let started = Instant::now();
        let mut lease = asked.tenant.pool(&self.pools).checkout(&self.pools).await?;
        self.metrics.checkout(started.elapsed());
        let result = lease.run(&call, &mut collector).await;
        lease.finish();
        asked.timings.add(Phase::Transaction, started);
        let mut done = result.map_err(|source| asked.failed(source))?;
        if plan.rows == Rows::Nothing {
            collector.count = collector.count.max(done.affected);
        }
        if let Some(failure) = collector.failure.take().or_else(|| checks.failed(collector.count)) {
            return Err(failure);
        }
        let told = if tells {
            done.after.pop().unwrap_or_default()
        } else {
            Vec::new()
        };
        let guess = planned.and_then(|_| done.after.pop()).and_then(planned_rows);
        let mut total = collector.total;
        if let Some(guess) = guess {
            let most = u64::from(asked.tenant.config().limits.max_rows.get());
            total = match total {
                // Few enough to have been counted.
                Some(total) if total <= most => Some(total),
                Some(total) => Some(total.max(guess)),
                None => Some(guess),
            };
        }
        let mut told = told.into_iter();
        let alone = plan.single || matches!(media, MediaType::Singular { .. });
        Ok(Outcome {
            count: if plan.single { 1 } else { collector.count },
            total,
            created: collector.created,
            texts: std::mem::take(&mut collector.texts),
            body: collector.body(alone),
            headers: told.next().flatten(),
            status: told.next().flatten(),
        })
    }
}

/// A body as the argument of a function.
enum Argument {
    Json(Bytes),
    Form(Vec<(String, String)>),
    Rows(QueryBody),
    /// The type that takes it as it is.
    Raw(Bytes, &'static str),
}

impl<'a> Asked<'a> {
    fn context(&self) -> Context<'_> {
        let config = self.tenant.config();
        let dialect = &config.dialect;
        Context {
            catalog: &self.structure.catalog,
            schema: self
                .tenant
                .schemas()
                .nth(self.schema)
                .map_or("", |schema| schema.as_str()),
            max_rows: Some(u64::from(config.limits.max_rows.get())),
            aggregates: dialect.aggregates,
            legacy_names: dialect.legacy_target_names,
            zoned: self.preferences.timezone.is_some(),
        }
    }

    fn dialect(&self) -> &Dialect {
        &self.tenant.config().dialect
    }

    /// The media type of the body, and its name as it was sent.
    fn content_type(&self) -> (MediaType, String) {
        match self.parts.headers.get(CONTENT_TYPE) {
            Some(given) => {
                let given = String::from_utf8_lossy(given.as_bytes()).into_owned();
                let media = MediaType::parse(&given);
                let name = media.to_string();
                (media, name)
            }
            None => (MediaType::Json, String::new()),
        }
    }

    fn check_preferences(&self) -> Result<(), Error> {
        if self.preferences.is_strict() && !self.preferences.unknown.is_empty() {
            return Err(Error::Preferences(self.preferences.unknown.clone()));
        }
        Ok(())
    }

    /// Joins the `Range` header with `limit` and `offset`: what both of them hold.
    fn range(&self, query: &mut Query) -> Result<(), Error> {
        if self.parts.method != Method::GET {
            return Ok(());
        }
        let header = self.parts.headers.get(RANGE).and_then(|value| value.to_str().ok());
        let Some((first, last)) = header.and_then(|text| text.split_once('-')) else {
            return Ok(());
        };
        let (Ok(first), last) = (first.parse::<u64>(), last.parse::<u64>().ok()) else {
            return Ok(());
        };
        const INVERTED: &str =
            "The lower boundary must be lower than or equal to the upper boundary in the Range header.";
        if last.is_some_and(|last| last < first) {
            return Err(query::Error::Range(INVERTED).into());
        }
        let (limit, offset) = query.range();
        if limit == Some(0) {
            return Ok(());
        }
        let end = |start: u64, limit: Option<u64>| limit.map(|limit| start.saturating_add(limit));
        let start = first.max(offset);
        let ends = [last.map(|last| last.saturating_add(1)), end(offset, limit)];
        let stop = ends.into_iter().flatten().min();
        match stop {
            Some(stop) if stop <= start => Err(query::Error::Range(INVERTED).into()),
            stop => {
                query.set_range(stop.map(|stop| stop - start), start);
                Ok(())
            }
        }
    }

    /// How the rows are delivered: the first of what the client takes that there is.
    fn choose(
        &self,
        relation: Option<&Relation>,
        function: Option<&Function>,
        selects_all: bool,
    ) -> Result<(Delivery<'_>, MediaType), Error> {
        let chosen = self.accepts.iter().find_map(|accepted| match accepted {
            MediaType::Plan(of, explain) => {
                self.delivery(of, relation, function, selects_all)?;
                self.dialect()
                    .plan
                    .then(|| (Delivery::Explained(*explain), accepted.clone()))
            }
            accepted => self.delivery(accepted, relation, function, selects_all),
        });
        chosen.ok_or_else(|| self.not_acceptable())
    }

    fn not_acceptable(&self) -> Error {
        let names: Vec<String> = self.accepts.iter().map(ToString::to_string).collect();
        Error::NotAcceptable(names.join(", "))
    }

    fn failed(&self, source: crate::pool::Error) -> Error {
        Error::Pool {
            source,
            authenticated: self.caller.role != self.tenant.anonymous_role(),
        }
    }

    /// The statement that runs before every other, if there is one.
    fn pre_request(&self) -> Option<String> {
        let function = self.dialect().pre_request.as_ref()?;
        Some(query::call_without_arguments(
            function.schema.as_deref(),
            &function.name,
        ))
    }

    fn delivery(
        &self,
        accepted: &MediaType,
        relation: Option<&Relation>,
        function: Option<&Function>,
        selects_all: bool,
    ) -> Option<(Delivery<'_>, MediaType)> {
        match accepted {
            MediaType::Singular { stripped: true } => return Some((Delivery::Stripped, accepted.clone())),
            MediaType::Singular { stripped: false } => return Some((Delivery::Json, accepted.clone())),
            MediaType::Stripped => return Some((Delivery::Stripped, accepted.clone())),
            _ => {}
        }
        let name = accepted.to_string().to_ascii_lowercase();
        let handlers = self.structure.catalog.handlers();
        let of_this = |takes: &Takes| match takes {
            Takes::Relation(name) => selects_all && relation.is_some_and(|relation| *relation.name == **name),
            Takes::Function(name) => selects_all && function.is_some_and(|function| *function.name == **name),
            Takes::Anything => false,
        };
        let mut own = handlers.iter().filter(|handler| of_this(&handler.takes));
        let any = handlers
            .iter()
            .filter(|handler| handler.takes == Takes::Anything && *handler.media_type == *name);
        let custom = own
            .clone()
            .find(|handler| &*handler.media_type == "*/*")
            .or_else(|| own.find(|handler| *handler.media_type == *name))
            .or_else(|| any.clone().next());
        if let Some(handler) = custom {
            return Some((Delivery::Custom(handler), MediaType::parse(&handler.gives)));
        }
        match accepted {
            MediaType::Json | MediaType::Any => Some((Delivery::Json, MediaType::Json)),
            MediaType::Csv => Some((Delivery::Text, MediaType::Csv)),
            MediaType::GeoJson => Some((Delivery::GeoJson, MediaType::GeoJson)),
            _ => None,
        }
    }

    /// What the transaction sets. Nothing for a plain read without a token, which nothing could look at.
    fn settings(&self, plan: &Plan) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        let mut set = |name: &str, value: String| settings.push((name.to_owned(), value));
        let config = self.tenant.config();
        if let Some(path) = self.tenant.search_path(self.schema) {
            set("search_path", path);
        }
        let role = &self.caller.role;
        for (name, value) in self.structure.role_settings(role) {
            set(name, value.to_owned());
        }
        let observed = plan.runs_code || plan.writes || config.dialect.pre_request.is_some();
        if let Some(claims) = &self.caller.claims {
            // The role first: the claims are then set by the role itself, as any custom setting may be.
            set("role", role.clone());
            set("request.jwt.claims", claims.with_role(role));
        }
        if observed {
            set("request.method", self.parts.method.to_string());
            let path = self.parts.uri.path();
            set("request.path", path.strip_prefix("/api").unwrap_or(path).to_owned());
            set("request.headers", headers_as_json(&self.parts.headers));
            set("request.cookies", cookies_as_json(&self.parts.headers));
            for (name, value) in &config.dialect.app_settings {
                set(name, value.to_string());
            }
        }
        if let Some(zone) = &self.preferences.timezone {
            set("timezone", zone.clone());
        }
        for (name, value) in &plan.settings {
            set(name, value.to_string());
        }
        settings
    }

    /// A response's data, but for what depends on what was done.
    fn data<'d>(&'d self, plan: &'d Plan, media: &MediaType, outcome: &Outcome) -> Data<'d> {
        Data {
            action: Action::Read,
            body: Some(outcome.body.clone()),
            content_type: media.content_type(),
            count: outcome.count,
            total: outcome.total,
            offset: 0,
            applied: None,
            profile: self.profile,
            content_location: None,
            location: None,
            legacy_names: &plan.legacy_names,
        }
    }

    fn respond(&self, mut data: Data<'_>, outcome: &Outcome) -> Result<Response<Body>, Error> {
        let started = Instant::now();
        if self.parts.method == Method::HEAD {
            data.body = data.body.map(|_| Bytes::new());
        }
        let mut response = data.into_response();
        response::apply(outcome.headers.as_deref(), outcome.status.as_deref(), &mut response)?;
        self.timings.add(Phase::Response, started);
        Ok(response)
    }
}

/// The schema that the request chooses: its number, and its name if there are several or it was chosen.
fn schema<'t>(tenant: &'t Tenant, parts: &request::Parts) -> Result<(usize, Option<&'t str>), Error> {
    let name = match parts.method {
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE => CONTENT_PROFILE,
        _ => ACCEPT_PROFILE,
    };
    let several = tenant.schemas().nth(1).is_some();
    let Some(chosen) = parts.headers.get(name) else {
        return Ok((0, several.then(|| tenant.config().schema.as_str())));
    };
    let found = tenant
        .schemas()
        .enumerate()
        .find(|(_, schema)| schema.as_str().as_bytes() == chosen.as_bytes());
    match found {
        Some((at, schema)) => Ok((at, Some(schema.as_str()))),
        None => Err(Error::Schema {
            schema: String::from_utf8_lossy(chosen.as_bytes()).into_owned(),
            known: tenant.schemas().map(ToString::to_string).collect(),
        }),
    }
}

fn texts<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// The value of `Allow`.
fn allowed(relation: &Relation) -> String {
    let mut methods = vec!["OPTIONS", "GET", "HEAD"];
    if relation.insertable {
        methods.push("POST");
    }
    if relation.insertable && relation.updatable && !relation.primary_key.is_empty() {
        methods.push("PUT");
    }
    if relation.updatable {
        methods.push("PATCH");
    }
    if relation.deletable {
        methods.push("DELETE");
    }
    methods.join(",")
}

fn out_of_range(offset: u64, total: Option<u64>) -> Result<(), Error> {
    match total {
        Some(total) if offset > total => Err(Error::OutOfRange { offset, total }),
        _ => Ok(()),
    }
}

/// Where the one new row is.
fn location(relation: &Relation, plan: &Plan, returning: Returning<'_>, outcome: &Outcome) -> Option<String> {
    let [row] = outcome.texts.as_slice() else { return None };
    if returning != Returning::Key {
        return None;
    }
    let pairs = plan.output_columns.iter().zip(row);
    let listed: Vec<String> = pairs
        .map(|(column, value)| query::key_filter(&column.name, value.as_deref()))
        .collect();
    Some(format!("/api/{}?{}", query::encoded(&relation.name), listed.join("&")))
}

/// The planner's number of rows, from `EXPLAIN (FORMAT JSON)`.
fn planned_rows(row: Vec<Option<String>>) -> Option<u64> {
    let text = row.into_iter().next().flatten()?;
    let plans: serde_json::Value = serde_json::from_str(&text).ok()?;
    plans.get(0)?.get("Plan")?.get("Plan Rows")?.as_u64()
}

fn isolation(settings: &[(&str, &str)]) -> Option<Isolation> {
    let level = settings
        .iter()
        .rev()
        .find(|(name, _)| *name == "default_transaction_isolation")?;
    match &*level.1.to_ascii_lowercase() {
        "serializable" => Some(Isolation::Serializable),
        "repeatable read" => Some(Isolation::RepeatableRead),
        _ => Some(Isolation::ReadCommitted),
    }
}

fn headers_as_json(headers: &HeaderMap) -> String {
    let mut object = serde_json::Map::new();
    for (name, value) in headers {
        if name != COOKIE {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            object.insert(name.as_str().to_owned(), text.into());
        }
    }
    serde_json::Value::Object(object).to_string()
}

fn cookies_as_json(headers: &HeaderMap) -> String {
    let mut object = serde_json::Map::new();
    for cookie in texts(headers, &COOKIE).flat_map(|value| value.split(';')) {
        if let Some((name, value)) = cookie.trim().split_once('=') {
            object.insert(name.to_owned(), value.into());
        }
    }
    serde_json::Value::Object(object).to_string()
}

/// `bytea` in the hexadecimal form (manual, 8.4.1).
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a `String` does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
