//! The tables of users and sessions, and what is asked of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};
use tokio_util::sync::CancellationToken;

use super::password::{hash, hash_in_turn, verify};
use super::session::Token;
use super::throttle::Throttle;
use super::{Error, is_name};
use crate::pool;
use crate::pool::{Cluster, Pools, Startup};
use crate::types::{ClusterId, SchemaName, TenantId};

/// A session ends so long after it began, whatever it does.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// In SQL, whether a session `s` is still good: it is not older than [`LONGEST`], and was used in the last 12 hours.
macro_rules! is_good {
    () => {
        "(s.seen > now() - interval '12 hours' AND s.started > now() - interval '7 days')"
    };
}

/// A session that was good is not looked up again for this long: as long as another edge may serve one that has ended.
const FRESH: Duration = Duration::from_secs(1);

/// While its cluster is down, a session that was good counts for this long: an outage is when the operator has to look.
const OUTAGE: Duration = Duration::from_secs(15 * 60);

/// A connection that was not needed for this long gives its slot back.
const IDLE: Duration = Duration::from_secs(60);

/// The longest wait for a slot of the budget.
const SLOT_WAIT: Duration = Duration::from_secs(2);

/// The longest wait for an answer, with whatever has to be opened for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sessions that are remembered at once.
const MOST_KNOWN: usize = 10_000;

/// A user of a tenant's console.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// Its number in the cluster.
    pub id: i64,
    /// Its name, of one user of the tenant only.
    pub name: String,
    /// The role that everything it does runs as; none is the tenant's user role.
    pub role: Option<String>,
}

/// A user who is signed in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who.
    pub user: User,
    /// Its secret.
    pub token: Token,
}

/// A session as its user sees it in the list of all.
#[derive(Clone, Debug)]
pub struct Open {
    /// When it began, `2026-11-28 09:30`.
    pub started: String,
    /// When it was last used, to a minute.
    pub seen: String,
    /// What the browser called itself.
    pub agent: String,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// Where a tenant's users are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) cluster: &'a Arc<Cluster>,
    pub(crate) pools: &'a Pools,
}

/// Users and sessions of all tenants, each in its own cluster.
#[derive(Debug, Default)]
pub struct Store {
    clients: DashMap<ClusterId, Arc<OnceCell<Arc<Link>>>>,
    known: Mutex<HashMap<[u8; 32], Known>>,
    /// Failed attempts to sign in.
    pub throttle: Throttle,
}

/// A connection as the edge's login.
#[derive(Debug)]
struct Link {
    client: Client,
    used: Mutex<Instant>,
}

#[derive(Clone, Debug)]
struct Known {
    session: Arc<Session>,
    tenant: TenantId,
    checked: Instant,
}

impl Store {
    /// The session of `token` at this tenant, if there is one. It counts as `used` only by who does something: a page that
    /// looks after itself keeps no session alive.
    ///
    /// # Errors
    ///
    /// [`Error::Pool`] and [`Error::Database`], unless it was good a few minutes ago: then that counts.
    pub(crate) async fn session(
        &self,
        place: Place<'_>,
        token: Token,
        used: bool,
    ) -> Result<Option<Arc<Session>>, Error> {
        let digest = token.digest();
        let known = self.known().get(&digest).cloned();
        let known = known.filter(|known| known.tenant == *place.tenant);
        if let Some(known) = known.as_ref().filter(|known| known.checked.elapsed() < FRESH) {
            return Ok(Some(Arc::clone(&known.session)));
        }
        // The session's last use is told to the minute, so that reading pages seldom writes.
        const SQL: &str = concat!(
            "WITH found AS (
                SELECT u.id, u.name, u.role FROM rowhouse.sessions s JOIN rowhouse.users u ON u.id = s.user_id
                WHERE s.token = $1 AND u.tenant = $2 AND ",
            is_good!(),
            "), touched AS (
                UPDATE rowhouse.sessions SET seen = now()
                WHERE token = $1 AND $3 AND seen < now() - interval '1 minute' AND EXISTS (SELECT FROM found)
            ) SELECT id, name, role FROM found"
        );
        let asked = [
            (&digest.as_slice() as Param<'_>, Type::BYTEA),
            (&place.tenant.as_str() as Param<'_>, Type::TEXT),
            (&used as Param<'_>, Type::BOOL),
        ];
        let rows = match self.rows(place, SQL, &asked).await {
            Err(error) if is_outage(&error) && known.as_ref().is_some_and(|known| known.checked.elapsed() < OUTAGE) => {
                return Ok(known.map(|known| known.session));
            }
            rows => rows?,
        };
        let Some(row) = rows.first() else {
            self.known().remove(&digest);
            return Ok(None);
        };
        let session = Arc::new(Session {
            user: user(row)?,
            token,
        });
        self.remember(digest, place.tenant, &session);
        Ok(Some(session))
    }

    /// A new session for who knows the password; none for who does not, after the same time.
    ///
    /// # Errors
    ///
    /// Every [`enum@Error`] but those of new names and passwords.
    pub(crate) async fn sign_in(
        &self,
        place: Place<'_>,
        name: &str,
        password: String,
        agent: &str,
    ) -> Result<Option<Session>, Error> {
        let asked = [
            (&place.tenant.as_str() as Param<'_>, Type::TEXT),
            (&name as Param<'_>, Type::TEXT),
        ];
        // A NUL cannot be in a text of Postgres'; no such user exists.
        let rows = if is_name(name) {
            const SQL: &str = "SELECT id, name, role, password FROM rowhouse.users WHERE tenant = $1 AND name = $2";
            self.rows(place, SQL, &asked).await?
        } else {
            Vec::new()
        };
        let hash = rows.first().map(|row| row.try_get(3)).transpose()?;
        if !verify(password, hash.clone()).await? {
            return Ok(None);
        }
        let (Some(row), Some(hash)) = (rows.first(), hash) else {
            return Ok(None);
        };
        self.begin(place, user(row)?, &hash, agent).await
    }

    /// A new session of a user whose password still has this `hash`: none if it was changed, or the user removed, while it
    /// was being checked.
    async fn begin(&self, place: Place<'_>, user: User, hash: &str, agent: &str) -> Result<Option<Session>, Error> {
        let token = Token::new()?;
        let agent: String = agent.chars().filter(|char| !char.is_control()).take(200).collect();
        // Old ones of the user go, and all but its latest: nobody is signed in at twenty places.
        const SQL: &str = concat!(
            "WITH gone AS (
                DELETE FROM rowhouse.sessions s WHERE s.user_id = $2 AND (NOT ",
            is_good!(),
            " OR s.token NOT IN (
                    SELECT k.token FROM rowhouse.sessions k WHERE k.user_id = $2 ORDER BY k.seen DESC LIMIT 19
                ))
            ) INSERT INTO rowhouse.sessions (token, user_id, agent)
            SELECT $1, u.id, $3 FROM rowhouse.users u WHERE u.id = $2 AND u.password = $4 FOR SHARE
            RETURNING user_id"
        );
        let digest = token.digest();
        let values = [
            (&digest.as_slice() as Param<'_>, Type::BYTEA),
            (&user.id as Param<'_>, Type::INT8),
            (&agent.as_str() as Param<'_>, Type::TEXT),
            (&hash as Param<'_>, Type::TEXT),
        ];
        let begun = self.rows(place, SQL, &values).await?;
        Ok((!begun.is_empty()).then_some(Session { user, token }))
    }

    /// Ends one session.
    ///
    /// # Errors
    ///
    /// [`Error::Pool`], [`Error::Database`].
    pub(crate) async fn sign_out(&self, place: Place<'_>, session: &Session) -> Result<(), Error> {
        let digest = session.token.digest();
        self.known().remove(&digest);
        let asked = [(&digest.as_slice() as Param<'_>, Type::BYTEA)];
        self.rows(place, "DELETE FROM rowhouse.sessions WHERE token = $1", &asked)
            .await?;
        Ok(())
    }

    /// Ends all sessions of a user.
    ///
    /// # Errors
    ///
    /// [`Error::Pool`], [`Error::Database`].
    pub(crate) async fn sign_out_everywhere(&self, place: Place<'_>, session: &Session) -> Result<(), Error> {
        let of_user = |known: &Known| known.tenant == *place.tenant && known.session.user.id == session.user.id;
        self.known().retain(|_, known| !of_user(known));
        let asked = [(&session.user.id as Param<'_>, Type::INT8)];
        const SQL: &str = "DELETE FROM rowhouse.sessions WHERE user_id = $1";
        self.rows(place, SQL, &asked).await?;
        Ok(())
    }

    /// The sessions of a user, the one used last first.
    ///
    /// # Errors
    ///
    /// [`Error::Pool`], [`Error::Database`].
    pub(crate) async fn sessions(&self, place: Place<'_>, session: &Session) -> Result<Vec<Open>, Error> {
        const SQL: &str = "SELECT to_char(started AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
                to_char(seen AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), agent, token = $2
            FROM rowhouse.sessions WHERE user_id = $1 ORDER BY seen DESC LIMIT 100";
        let digest = session.token.digest();
        let asked = [
            (&session.user.id as Param<'_>, Type::INT8),
            (&digest.as_slice() as Param<'_>, Type::BYTEA),
        ];
        let rows = self.rows(place, SQL, &asked).await?;
        let open = rows.iter().map(|row| {
            Ok(Open {
                started: row.try_get(0)?,
                seen: row.try_get(1)?,
                agent: row.try_get(2)?,
                current: row.try_get(3)?,
            })
        });
        open.collect()
    }

    /// Gives a user another password, ends all its sessions and begins a new one. None if `old` is not the password it has.
    ///
    /// # Errors
    ///
    /// Every [`enum@Error`].
    pub(crate) async fn change_password(
        &self,
        place: Place<'_>,
        session: &Session,
        old: String,
        new: String,
        agent: &str,
    ) -> Result<Option<Session>, Error> {
        let asked = [(&session.user.id as Param<'_>, Type::INT8)];
        let rows = self
            .rows(place, "SELECT password FROM rowhouse.users WHERE id = $1", &asked)
            .await?;
        let current: Option<String> = rows.first().map(|row| row.try_get(0)).transpose()?;
        if !verify(old, current.clone()).await? {
            return Ok(None);
        }
        let hash = hash_in_turn(new).await?;
        let asked = [
            (&session.user.id as Param<'_>, Type::INT8),
            (&hash as Param<'_>, Type::TEXT),
            (&current as Param<'_>, Type::TEXT),
        ];
        const SQL: &str = "UPDATE rowhouse.users SET password = $2 WHERE id = $1 AND password = $3 RETURNING id";
        if self.rows(place, SQL, &asked).await?.is_empty() {
            return Ok(None);
        }
        self.sign_out_everywhere(place, session).await?;
        self.begin(place, session.user.clone(), &hash, agent).await
    }

    /// Whether the tenant has any user.
    ///
    /// # Errors
    ///
    /// [`Error::Pool`], [`Error::Database`].
    pub(crate) async fn has_users(&self, place: Place<'_>) -> Result<bool, Error> {
        let asked = [(&place.tenant.as_str() as Param<'_>, Type::TEXT)];
        let rows = self
            .rows(place, "SELECT FROM rowhouse.users WHERE tenant = $1 LIMIT 1", &asked)
            .await?;
        Ok(!rows.is_empty())
    }

    /// Gives back the slots of connections that nobody needs, until `stop`.
    pub async fn janitor(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(IDLE / 6)).await.is_some() {
            self.clients
                .retain(|_, cell| cell.get().is_none_or(|link| !link.is_done()));
        }
        self.clients.clear();
    }

    /// Runs one statement. A table that does not exist holds nothing: nobody has added a user yet.
    async fn rows(&self, place: Place<'_>, sql: &str, params: &[(Param<'_>, Type)]) -> Result<Vec<Row>, Error> {
        let asking = async {
            let link = self.link(place).await?;
            match link.client.query_typed(sql, params).await {
                // The connection is gone: the next one may be better.
                Err(error) if error.code().is_none() => {
                    let is_same =
                        |cell: &Arc<OnceCell<Arc<Link>>>| cell.get().is_some_and(|held| Arc::ptr_eq(held, &link));
                    self.clients.remove_if(place.cluster.id(), |_, cell| is_same(cell));
                    let link = self.link(place).await?;
                    Ok::<_, Error>(link.client.query_typed(sql, params).await?)
                }
                answered => Ok(answered?),
            }
        };
        match timeout(PATIENCE, asking).await {
            Err(_) => Err(Error::Slow),
            Ok(Err(Error::Database(error)))
                if matches!(
                    error.code(),
                    Some(&(SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME))
                ) =>
            {
                Ok(Vec::new())
            }
            Ok(answered) => answered,
        }
    }

    /// The connection to a cluster: opened once, however many ask.
    async fn link(&self, place: Place<'_>) -> Result<Arc<Link>, Error> {
        let cluster = place.cluster;
        self.clients
            .remove_if(cluster.id(), |_, cell| cell.get().is_some_and(|link| link.is_done()));
        let cell = Arc::clone(&self.clients.entry(cluster.id().clone()).or_default());
        let opening = cell.get_or_try_init(async || {
            let startup = Startup::new("console")
                .search_path(std::iter::empty::<&SchemaName>())
                .timeouts(Duration::from_secs(2), Duration::from_secs(1));
            let client = place.pools.admin(cluster, &startup, SLOT_WAIT).await?;
            Ok::<_, Error>(Arc::new(Link {
                client,
                used: Mutex::new(Instant::now()),
            }))
        });
        let link = Arc::clone(opening.await?);
        *link.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(link)
    }

    fn remember(&self, digest: [u8; 32], tenant: &TenantId, session: &Arc<Session>) {
        let mut known = self.known();
        if known.len() >= MOST_KNOWN {
            known.retain(|_, known| known.checked.elapsed() < FRESH);
        }
        let value = Known {
            session: Arc::clone(session),
            tenant: tenant.clone(),
            checked: Instant::now(),
        };
        if known.len() < MOST_KNOWN {
            known.insert(digest, value);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn is_done(&self) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.client.is_closed() || used.elapsed() > IDLE
    }
}

/// Whether nobody can be asked; where only slots are short, somebody could.
fn is_outage(error: &Error) -> bool {
    matches!(
        error,
        Error::Slow
            | Error::Pool(pool::Error::ClusterDown { .. } | pool::Error::ConnectTimeout { .. } | pool::Error::Lost(_))
    )
}

type Param<'a> = &'a (dyn tokio_postgres::types::ToSql + Sync);

fn user(row: &Row) -> Result<User, Error> {
    Ok(User {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        role: row.try_get(2)?,
    })
}

/// Makes the tables, if they are not there. `client` is the edge's login, who owns them; nobody else gets any right.
///
/// # Errors
///
/// [`Error::Database`]; `42501` where the login may create no schema.
pub async fn create_tables(client: &Client) -> Result<(), Error> {
    const SQL: &str = "SET client_min_messages = warning;
        CREATE SCHEMA IF NOT EXISTS rowhouse;
        CREATE TABLE IF NOT EXISTS rowhouse.users (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant text NOT NULL,
            name text NOT NULL,
            role text,
            password text NOT NULL,
            created timestamptz NOT NULL DEFAULT now(),
            UNIQUE (tenant, name)
        );
        CREATE TABLE IF NOT EXISTS rowhouse.sessions (
            token bytea PRIMARY KEY,
            user_id bigint NOT NULL REFERENCES rowhouse.users ON DELETE CASCADE,
            agent text NOT NULL,
            started timestamptz NOT NULL DEFAULT now(),
            seen timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX IF NOT EXISTS sessions_user ON rowhouse.sessions (user_id);";
    // Where it is there already, a login that may create none need not.
    let exists = client
        .query_opt("SELECT 1 WHERE to_regclass('rowhouse.sessions') IS NOT NULL", &[])
        .await?;
    if exists.is_none() {
        client.batch_execute(SQL).await?;
    }
    Ok(())
}

/// Adds a user, or gives the one of that name another password and role, which ends its sessions. `true` if it is new.
///
/// # Errors
///
/// [`Error::Name`], [`Error::Password`], [`Error::Hash`], [`Error::Database`].
pub async fn add(
    client: &Client,
    tenant: &TenantId,
    name: &str,
    role: Option<&str>,
    password: &str,
) -> Result<bool, Error> {
    if !is_name(name) {
        return Err(Error::Name);
    }
    let hash = hash(password)?;
    // A row that was inserted has no older version.
    const SQL: &str = "WITH added AS (
            INSERT INTO rowhouse.users AS u (tenant, name, role, password) VALUES ($1, $2, $3, $4)
            ON CONFLICT (tenant, name) DO UPDATE SET role = excluded.role, password = excluded.password
            RETURNING id, xmax = 0 AS new
        ), ended AS (
            DELETE FROM rowhouse.sessions USING added WHERE user_id = added.id
        ) SELECT new FROM added";
    let row = client.query_one(SQL, &[&tenant.as_str(), &name, &role, &hash]).await?;
    Ok(row.try_get(0)?)
}

/// A user as the command line lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The user.
    pub user: User,
    /// Sessions that may still be good.
    pub sessions: i64,
}

/// The users of a tenant.
///
/// # Errors
///
/// [`Error::Database`].
pub async fn list(client: &Client, tenant: &TenantId) -> Result<Vec<Listed>, Error> {
    const SQL: &str = concat!(
        "SELECT u.id, u.name, u.role,
            (SELECT count(*) FROM rowhouse.sessions s WHERE s.user_id = u.id AND ",
        is_good!(),
        ") FROM rowhouse.users u WHERE u.tenant = $1 ORDER BY u.name"
    );
    let rows = client.query(SQL, &[&tenant.as_str()]).await?;
    let listed = rows.iter().map(|row| {
        Ok(Listed {
            user: user(row)?,
            sessions: row.try_get(3)?,
        })
    });
    listed.collect()
}

/// Removes a user, and with it its sessions. `false` if there is none of that name.
///
/// # Errors
///
/// [`Error::Database`].
pub async fn remove(client: &Client, tenant: &TenantId, name: &str) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM rowhouse.users WHERE tenant = $1 AND name = $2";
    Ok(client.execute(SQL, &[&tenant.as_str(), &name]).await? > 0)
}

/// Adds a user unless there is one of that name, or its password is another: a start that changes nothing ends no session.
///
/// # Errors
///
/// Those of [`add`].
pub async fn add_if_missing(client: &Client, tenant: &TenantId, name: &str, password: &str) -> Result<(), Error> {
    const SQL: &str = "SELECT password FROM rowhouse.users WHERE tenant = $1 AND name = $2";
    let row = client.query_opt(SQL, &[&tenant.as_str(), &name]).await?;
    let hash = row.map(|row| row.try_get(0)).transpose()?;
    if !verify(password.to_owned(), hash).await? {
        add(client, tenant, name, None, password).await?;
    }
    Ok(())
}
