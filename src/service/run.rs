//! A statement on a connection of the tenant: as whom it runs, what it can see of the request, and how it ends.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, Version};

use crate::config::TxEnd;
use crate::error::Error;
use crate::pool::{Access, Begun, Call, Done, End, Isolation, Rows, Step, Transaction};
use crate::query;
use crate::query::plan::Rows as Kind;
use crate::query::{MediaType, Plan, Query, TransactionEnd};
use crate::server::Body;
use crate::tenant::{Structure, Tenant};
use crate::users::Cookie;

use super::asked::Asked;
use super::collect::{Checks, Collector};
use super::console::FORM_KEY;
use super::stream::Streaming;
use super::timing::Phase;
use super::{Caller, MAX_RESPONSE, Service};

/// Who has a statement run, and for which request.
#[derive(Clone, Copy)]
pub(super) struct Runner<'a> {
    pub(super) tenant: &'a Arc<Tenant>,
    pub(super) structure: &'a Structure,
    pub(super) caller: &'a Caller,
    /// The number of the schema.
    pub(super) schema: usize,
    pub(super) head: &'a Parts,
    pub(super) timezone: Option<&'a str>,
}

/// What runs.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) statement: Step<'a>,
    pub(super) after: &'a [Step<'a>],
    /// Settings for the transaction.
    pub(super) settings: &'a [(Box<str>, Box<str>)],
    /// Whether functions of the tenant's own may run, which look at the request.
    pub(super) runs_code: bool,
    pub(super) writes: bool,
    pub(super) end: End,
}

impl<'a> Job<'a> {
    /// A statement that only reads, and runs no code of the tenant's.
    pub(super) fn read(statement: Step<'a>) -> Self {
        Self {
            statement,
            after: &[],
            settings: &[],
            runs_code: false,
            writes: false,
            end: End::Commit,
        }
    }
}

/// A plan, and what it runs with.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) query: &'a Query,
    pub(super) body: Option<&'a str>,
    pub(super) plan: &'a Plan,
    pub(super) media: &'a MediaType,
    pub(super) checks: Checks,
    pub(super) end: End,
    /// Whether its rows are a list, and nothing in front of them depends on those that come later.
    pub(super) streams: bool,
}

/// What came of a plan.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) body: Bytes,
    /// Instead of `body`, and without a count: its rows still come.
    pub(super) streamed: Option<Body>,
    pub(super) count: u64,
    pub(super) total: Option<u64>,
    pub(super) created: u64,
    pub(super) texts: Vec<Vec<Option<String>>>,
    pub(super) headers: Option<String>,
    pub(super) status: Option<String>,
}

impl Service {
    /// Runs a statement on a connection of the tenant, as the caller's role. What `rows` made comes back with what it has
    /// taken.
    pub(super) async fn execute<R: Rows>(
        &self,
        runner: Runner<'_>,
        job: Job<'_>,
        rows: impl Fn() -> R,
    ) -> Result<(Done, R), Error> {
        Ok(self.begin(runner, job, rows).await?.whole().await?)
    }

    /// The same up to where the rows pause.
    async fn begin<R: Rows>(&self, runner: Runner<'_>, job: Job<'_>, rows: impl Fn() -> R) -> Result<Begun<R>, Error> {
        let before = runner.before();
        let before: Vec<_> = before.iter().map(|sql| Step { sql, params: &[] }).collect();
        let observed = job.runs_code || job.writes || !before.is_empty();
        let settings = runner.settings(observed, job.settings);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
        let isolation = isolation(&settings);
        let access = if !observed && isolation.is_none() && job.after.is_empty() && job.end == End::Commit {
            Access::Read { settings: &settings }
        } else {
            Access::Transaction(Transaction {
                writes: job.writes,
                isolation,
                settings: &settings,
                before: &before,
                after: job.after,
                end: job.end,
            })
        };
        let call = Call {
            statement: job.statement,
            access,
        };
        let pool = runner.tenant.pool(&self.pools);
        let waited = |time| self.metrics.checkout(time);
        let result = pool.begin(&self.pools, &call, rows, waited).await;
        result.map_err(|source| Error::Pool {
            source,
            authenticated: runner.caller.role != *runner.tenant.anonymous_role(),
        })
    }

    /// Runs a plan of the data API.
    pub(super) async fn run(&self, asked: &Asked<'_>, work: Work<'_>) -> Result<Outcome, Error> {
        let Work {
            query,
            body,
            plan,
            media,
            checks,
            end,
            streams,
        } = work;
        let dialect = asked.dialect();
        let rolls_back = match (asked.preferences.transaction, dialect.tx_end) {
            (Some(TransactionEnd::Rollback), _) => true,
            (Some(TransactionEnd::Commit), _) => false,
            (None, tx_end) => matches!(tx_end, TxEnd::Rollback | TxEnd::RollbackAllowOverride),
        };
        let params = plan.params(query, body);
        let response_settings: Arc<str> = query::RESPONSE_SETTINGS.into();
        // Whatever runs no code of the tenant's own cannot have set them.
        let tells = plan.runs_code || dialect.pre_request.is_some();
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
        let job = Job {
            statement: Step {
                sql: &plan.statement,
                params: &params,
            },
            after: &after,
            settings: &plan.settings,
            runs_code: plan.runs_code,
            writes: plan.writes,
            end: if rolls_back { End::Rollback } else { end },
        };
        let csv = matches!(media, MediaType::Csv);
        let alone = plan.single || matches!(media, MediaType::Singular { .. });
        let lists = match plan.rows {
            Kind::Objects | Kind::Values | Kind::Whole => !alone,
            Kind::Text => csv,
            Kind::Document | Kind::Number | Kind::Lines | Kind::Nothing => false,
        };
        let streams = streams
            && lists
            && job.end == End::Commit
            // All rows there are would be in the head.
            && !plan.tells_total
            && planned.is_none()
            // It may say something of the response whatever is read.
            && dialect.pre_request.is_none()
            // Of a version without chunks nobody could tell an answer that broke off from a whole one.
            && asked.request.head.version >= Version::HTTP_11;
        let collector = || {
            let collector = Collector::new(plan, csv, MAX_RESPONSE, checks);
            Box::new(if streams { collector.streaming() } else { collector })
        };
        let started = asked.timings.begin();
        let begun = self.begin(asked.runner(), job, collector).await;
        asked.timings.add(Phase::Transaction, started);
        let (mut done, mut collector) = match begun? {
            Begun::Whole(done, collector) => (done, collector),
            Begun::Running(mut running) => {
                let first = running.rows().first(plan);
                let streaming = Streaming {
                    tenant: Arc::clone(asked.tenant),
                    metrics: Arc::clone(&self.metrics),
                    began: asked.request.began,
                    tells,
                };
                return Ok(Outcome {
                    streamed: Some(self.streams.begin(asked.request.span(), streaming, first, running)),
                    ..Outcome::default()
                });
            }
        };
        if plan.rows == Kind::Nothing {
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
        Ok(Outcome {
            count: if plan.single { 1 } else { collector.count },
            total,
            created: collector.created,
            texts: std::mem::take(&mut collector.texts),
            body: collector.body(plan, alone),
            streamed: None,
            headers: told.next().flatten(),
            status: told.next().flatten(),
        })
    }
}

impl<'a> Runner<'a> {
    /// The statements that run before every other, if there are any.
    fn before(&self) -> Vec<Arc<str>> {
        let Some(function) = &self.tenant.config().dialect.pre_request else {
            return Vec::new();
        };
        let call = query::call_without_arguments(function.schema.as_deref(), &function.name);
        let mut before = vec![call.into()];
        // Names without a schema mean the same after it, whatever it has set.
        if self.tenant.search_path(self.schema).is_none() {
            before.push("SET LOCAL search_path TO DEFAULT".into());
        }
        before
    }

    /// What the transaction sets. Nothing for a plain read without a token, which nothing could look at.
    fn settings(&self, observed: bool, own: &'a [(Box<str>, Box<str>)]) -> Vec<(&'a str, Cow<'a, str>)> {
        let mut settings: Vec<(&str, Cow<'_, str>)> = Vec::new();
        let mut set = |name, value: Cow<'a, str>| settings.push((name, value));
        if let Some(path) = self.tenant.search_path(self.schema) {
            set("search_path", path.into());
        }
        let role = &*self.caller.role;
        for (name, value) in self.structure.role_settings(role) {
            set(name, value.into());
        }
        if let Some(claims) = &self.caller.claims {
            // The role first: the claims are then set by the role itself, as any custom setting may be.
            set("role", role.into());
            set("request.jwt.claims", claims.with_role(role));
        }
        if observed {
            let path = self.head.uri.path();
            set("request.method", self.head.method.as_str().into());
            set("request.path", path.strip_prefix("/api").unwrap_or(path).into());
            set("request.headers", headers_as_json(&self.head.headers).into());
            set("request.cookies", cookies_as_json(&self.head.headers).into());
            for (name, value) in &self.tenant.config().dialect.app_settings {
                set(name, (&**value).into());
            }
        }
        if let Some(zone) = self.timezone {
            set("timezone", zone.into());
        }
        for (name, value) in own {
            set(name, (&**value).into());
        }
        settings
    }
}

/// The planner's number of rows, from `EXPLAIN (FORMAT JSON)`.
fn planned_rows(row: Vec<Option<String>>) -> Option<u64> {
    let text = row.into_iter().next().flatten()?;
    let plans: serde_json::Value = serde_json::from_str(&text).ok()?;
    plans.get(0)?.get("Plan")?.get("Plan Rows")?.as_u64()
}

/// What `default_transaction_isolation` of a role or function says.
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
        if name != COOKIE && name != FORM_KEY {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            object.insert(name.as_str().to_owned(), text.into());
        }
    }
    serde_json::Value::Object(object).to_string()
}

fn cookies_as_json(headers: &HeaderMap) -> String {
    let mut object = serde_json::Map::new();
    for cookie in super::asked::texts(headers, &COOKIE).flat_map(|value| value.split(';')) {
        // The secret of a session of the console is nothing for the tenant's own code.
        if let Some((name, value)) = cookie.trim().split_once('=').filter(|(name, _)| !Cookie::is_ours(name)) {
            object.insert(name.to_owned(), value.into());
        }
    }
    serde_json::Value::Object(object).to_string()
}
