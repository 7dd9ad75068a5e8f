//! What the console asks the data API, and what that answers.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;

use crate::error::Error;
use crate::pages::console::Part;
use crate::percent::encode;
use crate::router;
use crate::server::Body;
use crate::service::api::{Inside, Sender, Target};
use crate::service::{Asking, Service, host};
use crate::views::form::{Said, Values};

use super::{Room, Visit};

/// The most bytes of an answer of the API that a page is made of.
pub(super) const MOST_BYTES: usize = 8 << 20;

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A request to the data API.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) relation: &'a str,
    /// From the `?` on.
    pub(super) query: &'a str,
    pub(super) accept: &'a str,
    pub(super) prefer: &'a str,
    /// JSON.
    pub(super) body: Bytes,
    /// Whether all rows shall come.
    pub(super) whole: bool,
    /// Whether `prefer` may say `tx=rollback`, so that what it does is undone at its end.
    pub(super) undone: bool,
}

impl<'a> Ask<'a> {
    pub(super) fn get(relation: &'a str, query: &'a str) -> Self {
        Self {
            method: Method::GET,
            relation,
            query,
            accept: "application/json",
            prefer: "",
            body: Bytes::new(),
            whole: false,
            undone: false,
        }
    }
}

/// What the data API answered.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) async fn collect(answer: Response<Body>, limit: usize) -> Result<Self, Error> {
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
    pub(super) fn refusal(&self, visit: &Visit<'_>, room: &Room, name: &str) -> Response<Body> {
        let relations = room.navigation(visit.tenant);
        let frame = visit.frame(&relations, Part::Data, name);
        visit.failure(frame, self.status, &self.said().text(), None)
    }

    pub(super) fn is_good(&self) -> bool {
        self.status.is_success()
    }

    /// What it said of a failure.
    pub(super) fn said(&self) -> Said {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Said {
            message: self.status.to_string(),
            ..Said::default()
        })
    }

    /// The total of `Content-Range`.
    pub(super) fn total(&self) -> Option<u64> {
        let range = self.headers.get(http::header::CONTENT_RANGE)?.to_str().ok()?;
        range.rsplit_once('/')?.1.parse().ok()
    }

    /// Rows of JSON.
    pub(super) fn rows(&self) -> Vec<Values> {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Service {
    /// One request of the data API, as whoever is signed in.
    pub(super) async fn ask(&self, visit: &Visit<'_>, ask: Ask<'_>) -> Result<Response<Body>, Error> {
        let mut uri = String::from("/api/");
        encode(ask.relation, &mut uri);
        uri.push_str(ask.query);
        let request = Request::builder()
            .version(visit.head().version)
            .method(ask.method)
            .uri(uri)
            .header(HOST, host(visit.head()))
            .header(ACCEPT, ask.accept)
            .header(CONTENT_TYPE, "application/json")
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
    pub(super) async fn reply(&self, visit: &Visit<'_>, ask: Ask<'_>) -> Result<Reply, Error> {
        Reply::collect(self.ask(visit, ask).await?, MOST_BYTES).await
    }
}
