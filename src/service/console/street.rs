//! The operator's tenants: what they do, and what can be done to them. What is shown is what `/status` tells.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use tracing::info;

use crate::config::AnonymousAccess;
use crate::error::Error;
use crate::identity;
use crate::identity::Key;
use crate::migrate;
use crate::pages;
use crate::pages::console::{
    AskFirst, Bar, ClusterLine, Fact, FailureLine, Frame, Limit, Live, Part, SlowLine, Street, StreetLine, TenantLive,
    TenantPage,
};
use crate::pages::words::{Words, fill};
use crate::pages::{Chart, ChartWords, Series};
use crate::percent::encode;
use crate::response;
use crate::router;
use crate::server::Body;
use crate::service::status::{PoolStates, RateStatus};
use crate::service::unix_time;
use crate::tenant::{State, Tenant, permits_role};
use crate::traffic::Rate;
use crate::users::Session;
use crate::views::Sent;

use super::{PART, Service, Visit, host, see_other};

/// Tenants on one page.
const PAGE: usize = 100;

/// Hosts of a tenant that are shown in its line.
const HOSTS: usize = 2;

impl Service {
    /// All tenants.
    pub(super) async fn street(&self, visit: &Visit<'_>) -> Result<Response<Body>, Error> {
        let query = visit.parameter("q").unwrap_or_default().trim().to_lowercase();
        let page = visit.parameter("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        let live = self.live(visit, &query, page);
        if visit.head().headers.contains_key(PART) {
            return Ok(response::console(StatusCode::OK, live.render_part()));
        }
        let notice = visit.notice();
        let page = Street {
            frame: Frame {
                notice: notice.as_deref(),
                ..visit.frame(&[], Part::Street, "")
            },
            query: &query,
            live_href: address(&query, live.page.0),
            live,
        };
        Ok(response::console(StatusCode::OK, page.render()))
    }

    /// The part of the street that changes by itself.
    fn live<'w>(&self, visit: &Visit<'_>, query: &str, page: u64) -> Live<'w> {
        let words = visit.words;
        let pools = self.pool_states();
        let matches = |tenant: &Arc<Tenant>| {
            let config = tenant.config();
            query.is_empty()
                || config.id.as_str().contains(query)
                || tenant.state().as_str() == query
                || words.of_state(&state(&tenant.state())).to_lowercase() == query
                || config.hosts.iter().any(|host| host.as_str().contains(query))
        };
        // Those in trouble first, then those with most to do.
        let mut found: Vec<(bool, u64, Arc<Tenant>)> = self
            .registry
            .tenants()
            .into_iter()
            .filter(matches)
            .map(|tenant| {
                let well = tenant.is_live() && self.trouble_of(&tenant).is_none();
                let rate = self.history.now(&tenant.config().id);
                let rank = rate.map_or(0, |rate| rank(rate.requests_per_second));
                (well, u64::MAX - rank, tenant)
            })
            .collect();
        found.sort_by_key(|(well, rank, _)| (*well, *rank));
        let total = found.len() as u64;
        let pages = total.div_ceil(PAGE as u64).max(1);
        let page = page.clamp(1, pages);
        let first = usize::try_from(page - 1).unwrap_or(usize::MAX).saturating_mul(PAGE);
        let tenants = found.iter().skip(first).take(PAGE);
        let now = self.history.edge_now().map(RateStatus::from);
        let clusters: Vec<ClusterLine> = self
            .cluster_status()
            .map(|(id, status)| ClusterLine {
                id,
                bar: Bar {
                    value: status.in_use,
                    most: status.budget,
                },
                shared: status.shared,
                waiting: status.waiting,
                trouble: status.reason,
            })
            .collect();
        let of_clusters = |of: fn(&ClusterLine) -> u64| clusters.iter().map(of).sum::<u64>();
        let slots = format!(
            "{} / {}",
            of_clusters(|cluster| cluster.bar.value.into()),
            of_clusters(|cluster| cluster.bar.most.into())
        );
        let waiting = of_clusters(|cluster| cluster.waiting as u64).to_string();
        let mut facts = vec![fact(words.tenants, self.registry.tenants().len().to_string())];
        facts.extend(facts_of(now, words));
        facts.extend([fact(words.connections, slots), fact(words.waiting, waiting)]);
        let edge = self.history.edge();
        let charts = Charts {
            rates: edge.iter().map(|point| Some(point.as_ref()?.rate)).collect(),
            connections: edge.iter().map(|point| Some(point.as_ref()?.slots.into())).collect(),
            waiting: Some(edge.iter().map(|point| Some(point.as_ref()?.waiting.into())).collect()),
        };
        Live {
            words,
            facts,
            charts: charts.drawn(words),
            clusters,
            config_errors: self.config_errors(),
            tenants: tenants.map(|(_, _, tenant)| self.line(visit, tenant, &pools)).collect(),
            total,
            searched: !query.is_empty(),
            page: (page, pages),
            previous_href: (page > 1).then(|| address(query, page - 1)),
            next_href: (page < pages).then(|| address(query, page + 1)),
        }
    }

    fn line(&self, visit: &Visit<'_>, tenant: &Tenant, pools: &PoolStates) -> StreetLine {
        let status = self.tenant_status(tenant, pools);
        let rate = status.rate;
        StreetLine {
            id: tenant.config().id.to_string(),
            state: state(&tenant.state()),
            reason: status.reason,
            more_hosts: status.hosts.len().saturating_sub(HOSTS),
            hosts: links(visit, status.hosts.iter().take(HOSTS)),
            cluster: status.cluster,
            requests: per_second(rate.map(|rate| rate.requests_per_second)),
            errors: per_second(rate.map(|rate| rate.errors_per_second)),
            p50: milliseconds(rate.and_then(|rate| rate.p50_ms)),
            p99: milliseconds(rate.and_then(|rate| rate.p99_ms)),
            connections: (status.connections, status.idle, status.waiting),
            catalog: status.catalog,
            pending: status.migrations_pending,
        }
    }

    /// `/admin/tenants/{id}` and what can be done there.
    pub(super) async fn street_tenant(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        id: &str,
        action: &str,
        sent: Option<&Sent>,
    ) -> Result<Response<Body>, Error> {
        let tenant = id.parse().ok().and_then(|id| self.registry.tenant(&id));
        let tenant = tenant.ok_or(router::Error::InvalidPath)?;
        let words = visit.words;
        let back = format!("/admin/tenants/{id}");
        let (about, button) = match (action, sent) {
            ("", None) => return Ok(self.tenant_page(visit, &tenant, None)),
            ("token", Some(sent)) => {
                let (token, ttl) = self.token(&tenant, sent)?;
                info!(
                    tenant = id,
                    user = session.user.name,
                    role = sent.get("role"),
                    "the operator signed a token"
                );
                let good = humantime::format_duration(ttl).to_string();
                let about = fill(words.token_for, &[sent.get("role"), &good]);
                return Ok(self.tenant_page(visit, &tenant, Some((token, about))));
            }
            ("drain", _) => (words.drain_about, words.drain),
            ("resume", _) => (words.resume_about, words.resume),
            ("close-idle", _) => (words.close_idle_about, words.close_idle),
            _ => return Err(router::Error::InvalidPath.into()),
        };
        if sent.is_none() {
            return Ok(ask_first(
                visit,
                fill(words.sure_do, &[id, button]),
                about,
                button,
                back,
            ));
        }
        info!(tenant = id, user = session.user.name, action, "the operator acts");
        match action {
            "drain" => {
                // Whoever drains the console's own tenant could not come back to resume it.
                if tenant.config().is_operator() || !self.registry.pause(&tenant.config().id) {
                    return Ok(see_other(&back));
                }
                self.pools.close_idle(&tenant.config().id);
                Ok(see_other(&format!("{back}?_done=drained")))
            }
            "resume" => {
                self.registry.resume(&tenant.config().id);
                Ok(see_other(&format!("{back}?_done=resumed")))
            }
            _ => {
                let closed = self.pools.close_idle(&tenant.config().id);
                Ok(see_other(&format!("{back}?_done=closed&_n={closed}")))
            }
        }
    }

    /// Has the configuration read again, after it was asked whether that is meant.
    pub(super) async fn street_reload(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        sent: bool,
    ) -> Result<Response<Body>, Error> {
        let words = visit.words;
        if !sent {
            let question = format!("{}?", words.reload);
            return Ok(ask_first(
                visit,
                question,
                words.reload_about,
                words.reload,
                "/admin/".to_owned(),
            ));
        }
        info!(user = session.user.name, action = "reload", "the operator acts");
        self.control.shutdown.reload().notify_one();
        Ok(see_other("/admin/?_done=reloaded"))
    }

    fn tenant_page(&self, visit: &Visit<'_>, tenant: &Tenant, token: Option<(String, String)>) -> Response<Body> {
        let live = self.tenant_live(visit.words, tenant);
        if visit.head().headers.contains_key(PART) {
            return response::console(StatusCode::OK, live.render_part());
        }
        let config = tenant.config();
        let notice = visit.notice();
        let hosts: Vec<String> = config.hosts.iter().map(ToString::to_string).collect();
        let page = TenantPage {
            frame: Frame {
                notice: notice.as_deref(),
                ..visit.frame(&[], Part::Street, "")
            },
            id: config.id.as_str(),
            live,
            limits: limits(tenant),
            file: format!("{}:{}", config.file.display(), config.line),
            hosts: links(visit, hosts.iter()),
            schema: config.schema.to_string(),
            cluster: config.cluster.to_string(),
            drained: self.registry.is_paused(&config.id),
            can_drain: tenant.is_live() && !config.is_operator(),
            roles: self.signing_key(tenant).map(|_| roles(tenant)).unwrap_or_default(),
            token,
        };
        response::console(StatusCode::OK, page.render())
    }

    fn tenant_live(&self, words: &'static Words, tenant: &Tenant) -> TenantLive {
        let status = self.tenant_status(tenant, &self.pool_states());
        let points = self.history.tenant(&tenant.config().id);
        let charts = Charts {
            rates: points.iter().map(|point| Some(point.as_ref()?.rate)).collect(),
            connections: points.iter().map(|point| Some(point.as_ref()?.held.into())).collect(),
            waiting: None,
        };
        let traffic = tenant.traffic(&self.metrics);
        let migrations = match status.migrations_pending {
            0 => words.none_f.to_owned(),
            number => number.to_string(),
        };
        let catalog = status.catalog.map(|number| number.to_string());
        let mut facts = facts_of(status.rate, words).to_vec();
        facts.extend([
            fact(words.connections, status.connections.to_string()),
            fact(words.idle, status.idle.to_string()),
            fact(words.waiting, status.waiting.to_string()),
            fact(words.catalog, catalog.unwrap_or_else(|| "—".to_owned())),
            fact(words.migrations, fill(words.pending, &[&migrations])),
        ]);
        TenantLive {
            words,
            state: state(&tenant.state()),
            reason: status.reason,
            facts,
            charts: charts.drawn(words),
            slowest: traffic
                .slowest(unix_time())
                .into_iter()
                .map(|slow| SlowLine {
                    shape: slow.shape,
                    times: slow.times,
                    longest: milliseconds(Some(in_milliseconds(slow.longest))),
                })
                .collect(),
            failures: traffic
                .failures()
                .into_iter()
                .map(|failure| FailureLine {
                    at: moment(failure.at),
                    request: format!("{} {}", failure.method, failure.path),
                    status: failure.status,
                    code: failure.code,
                    id: failure.request_id,
                })
                .collect(),
        }
    }

    /// What tokens of a tenant are signed with here.
    fn signing_key(&self, tenant: &Tenant) -> Option<Key> {
        let config = tenant.config();
        match (&config.jwks, &config.jwt_secret, &self.server_key) {
            (Some(_), _, _) => None, // a JWK that verifies need not be one that signs
            (None, Some(own), _) => Some(Key::Tenant(own.clone())),
            (None, None, Some(server)) => Some(Key::Server(server.clone())),
            (None, None, None) => None,
        }
    }

    fn token(&self, tenant: &Tenant, sent: &Sent) -> Result<(String, Duration), Error> {
        let config = tenant.config();
        let role = sent.get("role");
        if !permits_role(config, role) {
            return Err(Error::RoleNotPermitted(role.to_owned()));
        }
        let key = self.signing_key(tenant).ok_or(identity::Error::NoKey)?;
        let ttl: u64 = sent.get("ttl").parse().unwrap_or(3600);
        let ttl = Duration::from_secs(ttl.clamp(60, 30 * 24 * 60 * 60));
        Ok((identity::sign(&key, &config.id, role, ttl, unix_time())?, ttl))
    }
}

/// An hour of figures.
struct Charts {
    rates: Vec<Option<Rate>>,
    connections: Vec<Option<f64>>,
    waiting: Option<Vec<Option<f64>>>,
}

impl Charts {
    fn drawn(&self, words: &'static Words) -> Vec<(&'static str, String)> {
        let axis = ChartWords {
            from: words.from_hour,
            to: words.to_now,
            latest: words.latest,
            highest: words.highest,
        };
        let draw =
            |label: &'static str, unit, first: (&str, &[Option<f64>]), second: Option<(&str, &[Option<f64>])>| {
                let series = |(name, points)| Series { name, points };
                let chart = Chart {
                    label,
                    unit,
                    first: series(first),
                    second: second.map(series),
                    words: axis,
                    width: 420,
                    height: 120,
                };
                (label, chart.to_string())
            };
        let of = |of: fn(Rate) -> Option<f64>| -> Vec<Option<f64>> {
            self.rates.iter().map(|rate| rate.and_then(of)).collect()
        };
        vec![
            draw(
                words.chart_requests,
                "/s",
                ("", &of(|rate| Some(rate.requests_per_second))),
                Some((words.chart_errors, &of(|rate| Some(rate.errors_per_second)))),
            ),
            draw(
                words.chart_latency,
                "ms",
                (words.half, &of(|rate| rate.p50.map(in_milliseconds))),
                Some((words.most, &of(|rate| rate.p99.map(in_milliseconds)))),
            ),
            draw(
                words.chart_slots,
                "",
                ("", &self.connections),
                self.waiting.as_ref().map(|waiting| (words.waiting, &**waiting)),
            ),
        ]
    }
}

fn fact(word: &'static str, value: String) -> Fact<'static> {
    Fact { word, value }
}

/// How requests go now.
fn facts_of(rate: Option<RateStatus>, words: &'static Words) -> [Fact<'static>; 4] {
    [
        fact(words.requests_s, per_second(rate.map(|rate| rate.requests_per_second))),
        fact(words.errors_s, per_second(rate.map(|rate| rate.errors_per_second))),
        fact(words.half, milliseconds(rate.and_then(|rate| rate.p50_ms))),
        fact(words.most, milliseconds(rate.and_then(|rate| rate.p99_ms))),
    ]
}

fn ask_first(visit: &Visit<'_>, question: String, about: &str, button: &str, back: String) -> Response<Body> {
    let page = AskFirst {
        frame: visit.frame(&[], Part::Street, ""),
        question,
        about,
        action: visit.head().uri.path().to_owned(),
        button,
        back,
    };
    response::console(StatusCode::OK, page.render())
}

/// The address of a page of the street.
fn address(query: &str, page: u64) -> String {
    let mut address = String::from("/admin/");
    let mut mark = '?';
    if !query.is_empty() {
        address.push_str("?q=");
        encode(query, &mut address);
        mark = '&';
    }
    if page > 1 {
        address.push_str(&format!("{mark}page={page}"));
    }
    address
}

/// The addresses of hosts, with the port that the operator came by.
fn links<'h>(visit: &Visit<'_>, hosts: impl Iterator<Item = &'h String>) -> Vec<(String, String)> {
    let own = host(visit.head());
    let port = own
        .rsplit_once(':')
        .map(|(_, port)| port)
        .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    hosts
        .map(|host| (host.clone(), format!("//{host}{port}/admin/")))
        .collect()
}

fn state(state: &State) -> pages::State {
    match state {
        State::Live => pages::State::Live,
        State::Onboarding => pages::State::Onboarding,
        State::Failed { .. } => pages::State::Failed,
        State::Draining => pages::State::Draining,
    }
}

fn roles(tenant: &Tenant) -> Vec<String> {
    let config = tenant.config();
    let mut roles = Vec::new();
    if config.managed {
        roles.push(migrate::user_role(&config.id).to_string());
        roles.push(migrate::anonymous_role(&config.id).to_string());
    }
    let named = config.roles.iter().chain(&config.anonymous_role);
    roles.extend(named.map(ToString::to_string).filter(|role| role != "*"));
    roles.dedup();
    roles
}

fn limits(tenant: &Tenant) -> Vec<Limit> {
    let limits = &tenant.config().limits;
    let time = |time: Duration| humantime::format_duration(time).to_string();
    let anonymous = match limits.anonymous {
        AnonymousAccess::None => "none",
        AnonymousAccess::Read => "read",
        AnonymousAccess::Write => "write",
    };
    let limit = |key, value| Limit { key, value };
    vec![
        limit("pool_max", limits.pool_max.to_string()),
        limit("pool_min", limits.pool_min.to_string()),
        limit("weight", limits.weight.to_string()),
        limit("checkout_timeout", time(limits.checkout_timeout)),
        limit("statement_timeout", time(limits.statement_timeout)),
        limit("lock_timeout", time(limits.lock_timeout)),
        limit("idle_timeout", time(limits.idle_timeout)),
        limit("max_rows", limits.max_rows.to_string()),
        limit("anonymous", anonymous.to_owned()),
    ]
}

fn in_milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// For sorting: a thousandth of a request a second counts.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is no more than a counter in ten seconds"
)]
fn rank(requests_per_second: f64) -> u64 {
    (requests_per_second * 1000.0) as u64
}

/// A rate as it is shown; nothing without requests.
fn per_second(rate: Option<f64>) -> String {
    match rate {
        None => "—".to_owned(),
        Some(rate) if rate >= 100.0 => format!("{rate:.0}"),
        Some(rate) => format!("{rate:.1}"),
    }
}

fn milliseconds(time: Option<f64>) -> String {
    match time {
        None => "—".to_owned(),
        Some(time) if time >= 1000.0 => format!("{:.1} s", time / 1000.0),
        Some(time) if time >= 100.0 => format!("{time:.0} ms"),
        Some(time) => format!("{time:.1} ms"),
    }
}

/// `2026-11-28 09:30:05`, UTC.
fn moment(unix: u64) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_secs(unix);
    humantime::format_rfc3339_seconds(at)
        .to_string()
        .replace('T', " ")
        .replace('Z', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [None, Some(0.04), Some(12.34), Some(1234.5)].map(per_second),
            ["—", "0.0", "12.3", "1234"]
        );
        assert_eq!(
            [None, Some(0.52), Some(250.4), Some(4412.0)].map(milliseconds),
            ["—", "0.5 ms", "250 ms", "4.4 s"]
        );
        assert_eq!(moment(1_795_900_000), "2026-11-28 21:06:40");
        assert_eq!(
            (address("", 1), address("a b", 2)),
            ("/admin/".to_owned(), "/admin/?q=a%20b&page=2".to_owned())
        );
    }
}
