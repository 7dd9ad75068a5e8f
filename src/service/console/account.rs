//! Signing in and out, and what a user can do about the own account.

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Incoming;

use crate::error::Error;
use crate::pages::console::{Account, Frame, OpenSession, Part, SendAgain, SignIn};
use crate::pages::words::fill;
use crate::percent::encode;
use crate::response;
use crate::server::Body;
use crate::service::Service;
use crate::users;
use crate::users::Session;
use crate::views::Sent;

use super::{PART, Visit, role, see_other, users_failed};

/// The most bytes of the form to sign in with, which anybody may send.
const SIGN_IN_BYTES: usize = 256 << 10;

impl Service {
    pub(super) async fn sign_in(&self, visit: &Visit<'_>, body: Incoming) -> Result<Response<Body>, Error> {
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

    /// The way of who is not signed in: to the form that asks for it, with what a form that `may_wait` held.
    pub(super) async fn ask_to_sign_in(
        &self,
        visit: &Visit<'_>,
        body: Incoming,
        may_wait: bool,
    ) -> Result<Response<Body>, Error> {
        let headers = &visit.head().headers;
        let is_form = headers
            .get(CONTENT_TYPE)
            .is_some_and(|given| given.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        if visit.is_post() && is_form && may_wait {
            // What was written is not lost: it is sent again once somebody has signed in.
            let sent = self.form(body, SIGN_IN_BYTES).await?;
            let replay = Replay::of(visit, &sent);
            let mut page = sign_in_page(visit, "", "", Some(visit.words.ended), false, Some(&replay));
            *page.status_mut() = StatusCode::UNAUTHORIZED;
            return Ok(page);
        }
        let is_script =
            headers.contains_key(PART) || headers.get(ACCEPT).is_some_and(|accept| accept == "application/json");
        if visit.is_post() || is_script {
            return Ok(response::html(StatusCode::UNAUTHORIZED, visit.words.sign_in.to_owned()));
        }
        let mut to = String::from("/admin/sign-in?next=");
        encode(visit.address(), &mut to);
        Ok(see_other(&to))
    }

    pub(super) async fn sign_out(&self, visit: &Visit<'_>, session: &Session) -> Result<Response<Body>, Error> {
        let place = self.place(visit.tenant);
        self.users.sign_out(place, session).await.map_err(users_failed)?;
        Ok(signed_out(visit))
    }

    pub(super) async fn account(
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

    pub(super) async fn change_password(
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

fn with_session(visit: &Visit<'_>, mut response: Response<Body>, session: &Session) -> Response<Body> {
    if let Ok(cookie) = HeaderValue::from_str(&visit.cookie().set(&session.token, users::LONGEST.as_secs())) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

pub(super) fn signed_out(visit: &Visit<'_>) -> Response<Body> {
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
        Self {
            action: visit.address().to_owned(),
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
