//! The data API: a request in the dialect to a plan, and what comes of it to a response.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ORIGIN};
use http::{HeaderName, Method, Response};
use hyper::body::Incoming;

use crate::catalog::{Relation, Volatility};
use crate::config::TxEnd;
use crate::error::Error;
use crate::pool::End;
use crate::query;
use crate::query::plan::{Arguments, Context, Delivery, Returning, Rows, Write};
use crate::query::{
    Body as QueryBody, BodyFormat, Count, Honoured, MediaType, Missing, Plan, Preferences, Purpose, Query, Return, plan,
};
use crate::response;
use crate::response::{Action, Data, Problem};
use crate::server::Body;
use crate::tenant::Tenant;

use super::asked::{Asked, schema, texts};
use super::collect::Checks;
use super::run::{Outcome, Work};
use super::timing::{Phase, Timings};
use super::{Asking, Caller, Service, serving};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

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

/// Who makes a request, and what its body is.
pub(super) enum Sender {
    /// A client: who it is stands in the head, and the body is still to come.
    Client(Incoming),
    /// Somebody who is signed in to the console, which asks in their name.
    Console(Box<Inside>),
}

/// A request that the console makes.
pub(super) struct Inside {
    pub(super) caller: Caller,
    pub(super) body: Bytes,
    /// Whether there may be more rows than `max_rows`: an export is all there is.
    pub(super) whole: bool,
    /// Whether it may ask for what it does to be undone: a preview.
    pub(super) undone: bool,
}

impl Service {
    /// Answers a request, whose errors are told as its tenant wants them to be.
    pub(super) async fn api(
        &self,
        tenant: &Arc<Tenant>,
        target: Target<'_>,
        asking: Asking<'_>,
        sender: Sender,
    ) -> Response<Body> {
        let dialect = &tenant.config().dialect;
        let head = asking.head;
        if let Some(answer) = response::preflight(&head.method, &head.headers, &dialect.cors_origins) {
            return answer;
        }
        let inside = matches!(sender, Sender::Console(_));
        let answer = self.answer_api(tenant, target, asking, sender).await;
        let mut answer = answer.unwrap_or_else(|error| {
            if inside {
                // A page asks several times, and tells what of it matters: a failure of the tenant's is what a client meets.
                asking.span().in_scope(|| error.log());
                return Problem::from(&error).into_response(true);
            }
            asking.log(&error).into_response(dialect.verbose_errors)
        });
        response::expose(head.headers.get(ORIGIN), &dialect.cors_origins, answer.headers_mut());
        answer
    }

    async fn answer_api(
        &self,
        tenant: &Arc<Tenant>,
        target: Target<'_>,
        asking: Asking<'_>,
        sender: Sender,
    ) -> Result<Response<Body>, Error> {
        serving(tenant)?;
        let dialect = &tenant.config().dialect;
        let head = asking.head;
        let (schema, profile) = schema(tenant, head)?;
        let timings = Timings::new(dialect.server_timing);
        let started = timings.begin();
        let mut decides = matches!(
            dialect.tx_end,
            TxEnd::CommitAllowOverride | TxEnd::RollbackAllowOverride
        );
        let mut whole = false;
        let (caller, body) = match sender {
            Sender::Client(body) => {
                let caller = self.caller(tenant, &head.headers)?;
                timings.add(Phase::Jwt, started);
                // The body is read before a connection is asked for: a slow client holds none.
                let body = match head.method {
                    Method::POST | Method::PUT | Method::PATCH => Box::pin(self.body(body, self.max_body)).await?,
                    _ => Bytes::new(),
                };
                (caller, body)
            }
            Sender::Console(inside) => {
                decides |= inside.undone;
                whole = inside.whole;
                (inside.caller, inside.body)
            }
        };
        let mut asked = Asked {
            tenant,
            caller,
            schema,
            profile,
            preferences: Preferences::parse(texts(&head.headers, &PREFER), decides),
            request: asking,
            accepts: MediaType::accepted(texts(&head.headers, &ACCEPT)),
            whole,
            structure: tenant.structure(schema, &self.pools, &self.catalogs).await?,
            timings,
        };
        let mut answer = self.target(&asked, target, &body).await;
        if let Err(Error::Outdated) = answer {
            // Nothing has run: the schema is not what its catalog says any more.
            let number = asked.structure.number;
            asked.structure = Box::pin(tenant.renewed(schema, number, &self.pools, &self.catalogs)).await?;
            answer = Box::pin(self.target(&asked, target, &body)).await;
        }
        let mut answer = answer?;
        if dialect.server_timing
            && let Ok(timing) = asked.timings.header().parse()
        {
            answer.headers_mut().insert(SERVER_TIMING, timing);
        }
        Ok(answer)
    }

    async fn target(&self, asked: &Asked<'_>, target: Target<'_>, body: &[u8]) -> Result<Response<Body>, Error> {
        // All but reads are boxed, or each of those would carry the room that these need.
        match (target, &asked.dialect().root_function) {
            (Target::Root, Some(name)) => Box::pin(self.function(asked, name, body)).await,
            (Target::Root, None) => Box::pin(self.root(asked)).await,
            (Target::Relation(name), _) => self.relation(asked, name, body).await,
            (Target::Function(name), _) => Box::pin(self.function(asked, name, body)).await,
        }
    }

    /// `/api/{relation}`.
    async fn relation(&self, asked: &Asked<'_>, name: &str, body: &[u8]) -> Result<Response<Body>, Error> {
        let method = &asked.request.head.method;
        let context = asked.context();
        if method == Method::OPTIONS {
            return Ok(response::options(
                &allowed(plan::relation(&context, name)?),
                &asked.dialect().cors_origins,
            ));
        }
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
        let reads = [Method::GET, Method::HEAD].contains(method);
        if !reads && !writes {
            return Err(Error::Method {
                method: method.clone(),
                allow: "OPTIONS, GET, HEAD, POST, PUT, PATCH, DELETE",
            });
        }
        let started = asked.timings.begin();
        let mut query = Query::parse(asked.request.head.uri.query().unwrap_or_default(), Purpose::Relation)?;
        asked.timings.add(Phase::Parse, started);
        if reads {
            asked.range(&mut query)?;
        }
        let body = match *method {
            Method::POST | Method::PUT | Method::PATCH => Some(rows_of(asked, body)?),
            _ => None,
        };
        let relation = plan::relation(&context, name)?;
        let chosen = asked.choose(Some(relation), None, query.selects_all())?;
        if writes {
            asked.check_preferences()?;
            return Box::pin(self.write(asked, &context, &query, relation, body.as_ref(), chosen)).await;
        }
        let head = *method == Method::HEAD;
        let (delivery, media) = chosen;
        let delivery = if head { Delivery::Number } else { delivery };
        let started = asked.timings.begin();
        let number = asked.structure.number;
        let plan = self
            .plans
            .read(&context, number, &query, relation, delivery, asked.preferences.count)?;
        asked.timings.add(Phase::Plan, started);
        asked.check_preferences()?;
        let singular = matches!(media, MediaType::Singular { .. });
        let checks = Checks { singular, most: None };
        let work = Work {
            query: &query,
            body: None,
            plan: &plan,
            media: &media,
            checks,
            end: End::Commit,
            streams: true,
        };
        let outcome = self.run(asked, work).await?;
        let (_, offset) = query.range();
        out_of_range(offset, outcome.total)?;
        let explains = plan.rows == Rows::Lines;
        let data = Data {
            action: if explains { Action::Explained } else { Action::Read },
            offset,
            applied: asked.preferences.applied(Honoured::default()),
            content_location: Some(query::location(
                name,
                asked.request.head.uri.query().unwrap_or_default(),
            )),
            ..asked.data(&plan, &media, &outcome)
        };
        asked.respond(data, outcome)
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
        let (write, mut action) = match asked.request.head.method {
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
        let started = asked.timings.begin();
        let plan = plan::write(context, query, relation, write, body, returning)?;
        asked.timings.add(Phase::Plan, started);
        let most = preferences
            .most_affected()
            .filter(|_| matches!(write, Write::Update { .. } | Write::Delete));
        let checks = Checks {
            singular: matches!(media, MediaType::Singular { .. }) && write != Write::Put,
            // Lines of a plan are no rows.
            most: most.filter(|_| !explains),
        };
        // With rows to deliver, the commit waits until they are encoded; without, everything leaves in one go.
        let end = if explains && most.is_some() {
            // With `analyze` it runs, and nobody can tell how many rows it changes.
            End::Rollback
        } else if whole || checks.are_any() {
            End::CommitAfterRows
        } else {
            End::Commit
        };
        let work = Work {
            query,
            body: body.map(QueryBody::text),
            plan: &plan,
            media: &media,
            checks,
            end,
            streams: false,
        };
        let outcome = self.run(asked, work).await?;
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
        asked.respond(data, outcome)
    }

    /// `/api/rpc/{function}`.
    async fn function(&self, asked: &Asked<'_>, name: &str, body: &[u8]) -> Result<Response<Body>, Error> {
        let method = &asked.request.head.method;
        let posts = *method == Method::POST;
        if !posts && ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
            return Err(Error::CallMethod(method.clone()));
        }
        let context = asked.context();
        let purpose = if posts { Purpose::Relation } else { Purpose::Call };
        let started = asked.timings.begin();
        let mut query = Query::parse(asked.request.head.uri.query().unwrap_or_default(), purpose)?;
        asked.timings.add(Phase::Parse, started);
        if !posts {
            asked.range(&mut query)?;
        }
        let sent = if posts {
            argument_of(asked, body)?
        } else {
            Argument::None
        };
        let keys;
        let arguments = match &sent {
            Argument::None => Arguments::Named,
            Argument::Form(fields) => {
                query.set_arguments(fields.clone());
                Arguments::Named
            }
            Argument::Json { rows, .. } => {
                keys = match query.columns()? {
                    Some(columns) => columns,
                    None => rows.keys()?.to_vec(),
                };
                Arguments::Json { keys: &keys }
            }
            Argument::Rows(rows) => Arguments::Rows { keys: rows.keys()? },
            Argument::Raw { type_name, .. } => Arguments::Raw { type_name },
        };
        let function = plan::function(&context, &query, name, arguments)?;
        if *method == Method::OPTIONS {
            let volatile = function.volatility == Volatility::Volatile;
            let methods = if volatile {
                "OPTIONS,POST"
            } else {
                "OPTIONS,GET,HEAD,POST"
            };
            return Ok(response::options(methods, &asked.dialect().cors_origins));
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
        let started = asked.timings.begin();
        let mut plan = plan::call(&context, &query, function, arguments, delivery, asked.preferences.count)?;
        asked.timings.add(Phase::Plan, started);
        plan.writes = posts && function.volatility == Volatility::Volatile;
        let unnamed = matches!(&*function.arguments, [only] if only.name.is_empty());
        let body = match &sent {
            Argument::None | Argument::Form(_) => None,
            Argument::Json { whole, .. } if unnamed => Some(*whole),
            Argument::Json { rows, .. } | Argument::Rows(rows) => Some(rows.text()),
            Argument::Raw { text, .. } => Some(&**text),
        };
        let checks = Checks {
            singular: matches!(media, MediaType::Singular { .. }),
            most: asked.preferences.most_affected(),
        };
        let end = if plan.writes { End::CommitAfterRows } else { End::Commit };
        let work = Work {
            query: &query,
            body,
            plan: &plan,
            media: &media,
            checks,
            end,
            streams: false,
        };
        let outcome = self.run(asked, work).await?;
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
        asked.respond(data, outcome)
    }
}

/// A body as the argument of a function.
enum Argument<'b> {
    None,
    Json {
        /// As a list of objects.
        rows: QueryBody,
        /// As it was sent.
        whole: &'b str,
    },
    Form(Vec<(String, String)>),
    Rows(QueryBody),
    Raw {
        text: Cow<'b, str>,
        /// The type that takes it as it is.
        type_name: &'static str,
    },
}

/// The body of a write.
fn rows_of(asked: &Asked<'_>, body: &[u8]) -> Result<QueryBody, Error> {
    let (media, given) = asked.content_type();
    let format = match media {
        MediaType::Json => BodyFormat::Json,
        MediaType::Csv => BodyFormat::Csv,
        MediaType::Form => BodyFormat::Form,
        _ => return Err(Error::ContentType(given)),
    };
    Ok(QueryBody::read(body, format)?)
}

/// The body of a call.
fn argument_of<'b>(asked: &Asked<'_>, body: &'b [u8]) -> Result<Argument<'b>, Error> {
    let (media, given) = asked.content_type();
    let raw = |type_name| -> Result<Argument<'b>, Error> {
        let text = QueryBody::utf8(body)?.into();
        Ok(Argument::Raw { text, type_name })
    };
    Ok(match media {
        MediaType::Json if body.trim_ascii().is_empty() => Argument::Json {
            rows: QueryBody::empty_object(),
            whole: "",
        },
        MediaType::Json => Argument::Json {
            rows: QueryBody::parse(body)?,
            whole: QueryBody::utf8(body)?,
        },
        MediaType::Form => Argument::Form(QueryBody::fields(body)?),
        MediaType::Csv => Argument::Rows(QueryBody::read(body, BodyFormat::Csv)?),
        MediaType::Text => raw("text")?,
        MediaType::Xml => raw("xml")?,
        MediaType::OctetStream => Argument::Raw {
            text: hex(body).into(),
            type_name: "bytea",
        },
        _ => return Err(Error::ContentType(given)),
    })
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
