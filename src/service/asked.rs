//! A request of the data API, before its plan: who asks, for what, and what of the answers that there are.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderName, Method, Response, request};

use crate::catalog::{Function, Handler, Relation, Takes};
use crate::config::Dialect;
use crate::error::Error;
use crate::query;
use crate::query::plan::{Context, Delivery};
use crate::query::{MediaType, Plan, Preferences, Query};
use crate::response;
use crate::response::{Action, Data};
use crate::server::Body;
use crate::tenant::{Structure, Tenant};

use super::run::{Outcome, Runner};
use super::timing::{Phase, Timings};
use super::{Asking, Caller};

const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");

/// All that is known of a request before its plan.
pub(super) struct Asked<'a> {
    pub(super) tenant: &'a Arc<Tenant>,
    pub(super) caller: Caller,
    /// The number of the schema, and its name if there are several.
    pub(super) schema: usize,
    pub(super) profile: Option<&'a str>,
    pub(super) preferences: Preferences,
    pub(super) accepts: Vec<MediaType>,
    /// Whether the answer may have more rows than `max_rows`.
    pub(super) whole: bool,
    pub(super) structure: Arc<Structure>,
    pub(super) timings: Timings,
    pub(super) request: Asking<'a>,
}

impl<'a> Asked<'a> {
    pub(super) fn context(&self) -> Context<'_> {
        let config = self.tenant.config();
        let dialect = &config.dialect;
        Context {
            catalog: &self.structure.catalog,
            schema: self
                .tenant
                .schemas()
                .nth(self.schema)
                .map_or("", |schema| schema.as_str()),
            max_rows: (!self.whole).then(|| u64::from(config.limits.max_rows.get())),
            aggregates: dialect.aggregates,
            legacy_names: dialect.legacy_target_names,
            zoned: self.preferences.timezone.is_some(),
        }
    }

    pub(super) fn dialect(&self) -> &Dialect {
        &self.tenant.config().dialect
    }

    /// The media type of the body, and its name as it was sent.
    pub(super) fn content_type(&self) -> (MediaType, String) {
        match self.request.head.headers.get(CONTENT_TYPE) {
            Some(given) => {
                let given = String::from_utf8_lossy(given.as_bytes()).into_owned();
                let media = MediaType::parse(&given);
                let name = media.to_string();
                (media, name)
            }
            None => (MediaType::Json, String::new()),
        }
    }

    pub(super) fn check_preferences(&self) -> Result<(), Error> {
        if self.preferences.is_strict() && !self.preferences.unknown.is_empty() {
            return Err(Error::Preferences(self.preferences.unknown.clone()));
        }
        Ok(())
    }

    /// Joins the `Range` header with `limit` and `offset`: what both of them hold.
    pub(super) fn range(&self, query: &mut Query) -> Result<(), Error> {
        if self.request.head.method != Method::GET {
            return Ok(());
        }
        let header = self.request.head.headers.get(RANGE);
        let header = header.and_then(|value| value.to_str().ok());
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
    pub(super) fn choose(
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

    pub(super) fn not_acceptable(&self) -> Error {
        let names: Vec<String> = self.accepts.iter().map(ToString::to_string).collect();
        Error::NotAcceptable(names.join(", "))
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
        if let Some(handler) = self.handler(accepted, relation, function, selects_all) {
            return Some((Delivery::Custom(handler), MediaType::parse(&handler.gives)));
        }
        match accepted {
            MediaType::Json | MediaType::Any => Some((Delivery::Json, MediaType::Json)),
            MediaType::Csv => Some((Delivery::Text, MediaType::Csv)),
            MediaType::GeoJson => Some((Delivery::GeoJson, MediaType::GeoJson)),
            _ => None,
        }
    }

    /// The tenant's own handler of a media type.
    fn handler(
        &self,
        accepted: &MediaType,
        relation: Option<&Relation>,
        function: Option<&Function>,
        selects_all: bool,
    ) -> Option<&Handler> {
        let handlers = self.structure.catalog.handlers();
        if handlers.is_empty() {
            return None;
        }
        let name = accepted.to_string().to_ascii_lowercase();
        let of_this = |takes: &Takes| match takes {
            Takes::Relation(name) => selects_all && relation.is_some_and(|relation| *relation.name == **name),
            Takes::Function(name) => selects_all && function.is_some_and(|function| *function.name == **name),
            Takes::Anything => false,
        };
        let mut own = handlers.iter().filter(|handler| of_this(&handler.takes));
        let mut any = handlers
            .iter()
            .filter(|handler| handler.takes == Takes::Anything && *handler.media_type == *name);
        own.clone()
            .find(|handler| &*handler.media_type == "*/*")
            .or_else(|| own.find(|handler| *handler.media_type == *name))
            .or_else(|| any.next())
    }

    /// A response's data, but for what depends on what was done.
    pub(super) fn data<'d>(&'d self, plan: &'d Plan, media: &MediaType, outcome: &Outcome) -> Data<'d> {
        Data {
            action: Action::Read,
            body: Some(outcome.body.clone()),
            content_type: media.content_type(),
            count: outcome.streamed.is_none().then_some(outcome.count),
            total: outcome.total,
            offset: 0,
            applied: None,
            profile: self.profile,
            content_location: None,
            location: None,
            legacy_names: &plan.legacy_names,
        }
    }

    pub(super) fn respond(&self, mut data: Data<'_>, outcome: Outcome) -> Result<Response<Body>, Error> {
        let started = self.timings.begin();
        if self.request.head.method == Method::HEAD {
            data.body = data.body.map(|_| Bytes::new());
        }
        let mut response = data.into_response();
        if let Some(streamed) = outcome.streamed {
            *response.body_mut() = streamed;
        }
        response::apply(outcome.headers.as_deref(), outcome.status.as_deref(), &mut response)?;
        self.timings.add(Phase::Response, started);
        Ok(response)
    }

    /// Who has statements run for it.
    pub(super) fn runner(&self) -> Runner<'_> {
        Runner {
            tenant: self.tenant,
            structure: &self.structure,
            caller: &self.caller,
            schema: self.schema,
            head: self.request.head,
            timezone: self.preferences.timezone.as_deref(),
        }
    }
}

/// The schema that the request chooses: its number, and its name if there are several or it was chosen.
pub(super) fn schema<'t>(tenant: &'t Tenant, parts: &request::Parts) -> Result<(usize, Option<&'t str>), Error> {
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

/// The values of a header that are text.
pub(super) fn texts<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}
