//! What the edge is compared with: a small HTTP server over the same tables, as a process of its own.
//!
//! As careful as one can be: statements stay prepared, no checkout pings, rows are encoded by the same code. It reads no
//! query string, checks no token and no permission (it is the superuser): only the tenancy, or who makes the JSON, differs.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use bb8::{ManageConnection, Pool, PooledConnection};
use bb8_postgres::PostgresConnectionManager;
use bytes::Bytes;
use futures_util::{TryStreamExt as _, future};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rowhouse::encode::{Column, JsonRows};
use rowhouse::migrate::EMBEDDED_DATABASE;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, NoTls, Statement};
use tokio_util::task::TaskTracker;

use crate::Result;
use crate::statements;

/// The first argument of the program when it is this server.
pub(crate) const COMMAND: &str = "baseline";

/// What kind of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// One pool for all tenants, and `SET search_path` before each statement.
    Set,
    /// The same, but that both leave together.
    SetTogether,
    /// A pool for each tenant.
    Own,
    /// No database: every answer is the same.
    Hello,
}

impl Kind {
    /// As the command line has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::SetTogether => "set-together",
            Self::Own => "own",
            Self::Hello => "hello",
        }
    }
}

/// The rest of the command line.
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    #[arg(long)]
    pub(crate) kind: Kind,
    /// What its connections call themselves.
    #[arg(long)]
    pub(crate) application: String,
    #[arg(long)]
    pub(crate) socket_dir: PathBuf,
    #[arg(long)]
    pub(crate) port: u16,
    /// Connections, all tenants together.
    #[arg(long)]
    pub(crate) connections: u32,
    /// The tenants' names, parted by commas. Each is a schema, and the first label of a host.
    #[arg(long, value_delimiter = ',')]
    pub(crate) tenants: Vec<String>,
}

/// Serves until standard input ends, which it does with the suite.
pub(crate) fn main(arguments: Arguments) -> Result<()> {
    let (end, ended) = oneshot::channel();
    thread::spawn(move || {
        _ = io::stdin().read(&mut [0]);
        // Nobody waits for it if the server has failed.
        _ = end.send(());
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            served = serve(arguments) => served,
            _ = ended => Ok(()),
        }
    })
}

async fn serve(arguments: Arguments) -> Result<()> {
    let backend = Arc::new(Backend::connect(&arguments).await?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(
        io::stderr(),
        r#"{{"level":"INFO","listen":"{}"}}"#,
        listener.local_addr()?
    )?;
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let backend = Arc::clone(&backend);
        let service = service_fn(move |request| {
            let backend = Arc::clone(&backend);
            async move { Ok::<_, Infallible>(backend.answer(request).await) }
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// Who answers.
struct Backend {
    kind: Kind,
    /// One for all, or one for each tenant.
    pools: Vec<Pool<Manager>>,
    /// The number of a tenant, by its host.
    tenants: HashMap<String, usize>,
    /// `SET search_path` of each tenant.
    switches: Vec<String>,
    columns: Arc<[Column]>,
}

impl Backend {
    async fn connect(arguments: &Arguments) -> Result<Self> {
        let switch = |name: &String| format!("SET search_path = {name}, public");
        let switches: Vec<_> = arguments.tenants.iter().map(switch).collect();
        let (pools, each) = match arguments.kind {
            Kind::Set | Kind::SetTogether => (1, arguments.connections),
            Kind::Own => (switches.len(), arguments.connections / switches.len() as u32),
            Kind::Hello => (0, 0),
        };
        let pools = switches
            .iter()
            .take(pools)
            .map(|first| Manager::pool(arguments, first, each.max(1)));
        let hosts = arguments.tenants.iter().enumerate();
        Ok(Self {
            kind: arguments.kind,
            pools: future::try_join_all(pools).await?,
            tenants: hosts.map(|(n, name)| (format!("{name}.example.com"), n)).collect(),
            switches,
            columns: statements::columns().into(),
        })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, body) = match self.body(request).await {
            Ok(body) => (StatusCode::OK, body),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into()),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    async fn body(&self, request: Request<Incoming>) -> Result<Bytes> {
        if self.kind == Kind::Hello {
            return Ok(Bytes::from_static(b"hello world"));
        }
        let host = request.headers().get(HOST).ok_or("no host")?.to_str()?;
        let tenant = *self.tenants.get(host).ok_or("an unknown host")?;
        let path = request.uri().path();
        let (what, number) = path[1..].split_once('/').unwrap_or_else(|| (&path[1..], "0"));
        let number: i64 = number.parse()?;
        match what {
            "key" => self.rows(tenant, |known| &known.by_key, &[number, MAX_ROWS]).await,
            "list" => self.rows(tenant, |known| &known.list, &[number]).await,
            "json" => self.document(tenant, number).await,
            "visit" => {
                let body = request.into_body().collect().await?.to_bytes();
                self.insert(tenant, std::str::from_utf8(&body)?).await
            }
            _ => Err("an unknown path".into()),
        }
    }

    async fn rows(
        &self,
        tenant: usize,
        statement: impl Fn(&Connection) -> &Statement,
        params: &[i64],
    ) -> Result<Bytes> {
        let connection = self.checkout(tenant).await?;
        let rows = connection.client.query_raw(statement(&connection), params);
        let mut rows = pin!(self.switched(&connection, tenant, rows).await?);
        let mut json = JsonRows::new(Arc::clone(&self.columns), 0);
        while let Some(row) = rows.try_next().await? {
            json.row((0..row.len()).map(|n| row.get::<_, Option<Raw<'_>>>(n).map(|raw| raw.0)))?;
        }
        Ok(json.finish())
    }

    async fn document(&self, tenant: usize, rows: i64) -> Result<Bytes> {
        let connection = self.checkout(tenant).await?;
        let params: [&(dyn ToSql + Sync); 1] = [&rows];
        let row = connection.client.query_one(&connection.document, &params);
        let row = self.switched(&connection, tenant, row).await?;
        Ok(Bytes::copy_from_slice(row.get::<_, Raw<'_>>(0).0))
    }

    async fn insert(&self, tenant: usize, text: &str) -> Result<Bytes> {
        let connection = self.checkout(tenant).await?;
        let params: [&(dyn ToSql + Sync); 1] = [&text];
        let inserted = connection.client.execute(&connection.insert, &params);
        self.switched(&connection, tenant, inserted).await?;
        Ok(Bytes::new())
    }

    async fn checkout(&self, tenant: usize) -> Result<PooledConnection<'_, Manager>> {
        let pool = if self.kind == Kind::Own { tenant } else { 0 };
        Ok(self.pools[pool].get().await?)
    }

    /// `statement`, with the tenant's search path if that is not the connection's own.
    async fn switched<T>(
        &self,
        connection: &Connection,
        tenant: usize,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        let switch = connection.client.batch_execute(&self.switches[tenant]);
        match self.kind {
            Kind::Set => {
                switch.await?;
                Ok(statement.await?)
            }
            Kind::SetTogether => {
                // Both are polled, and so sent, before either is waited for.
                let (switched, done) = future::join(switch, statement).await;
                switched?;
                Ok(done?)
            }
            Kind::Own | Kind::Hello => Ok(statement.await?),
        }
    }
}

/// What the edge says for `LIMIT` when the request does not: its `max_rows`.
const MAX_ROWS: i64 = 1000;

/// A value as Postgres sends it, whatever its type.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, value: &'a [u8]) -> Result<Self> {
        Ok(Raw(value))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Makes connections that keep their statements.
struct Manager {
    postgres: PostgresConnectionManager<NoTls>,
    /// Where the statements are prepared. They follow the search path from there: Postgres plans anew when it differs.
    first: String,
}

struct Connection {
    client: Client,
    by_key: Statement,
    list: Statement,
    document: Statement,
    insert: Statement,
}

impl Manager {
    async fn pool(arguments: &Arguments, first: &str, connections: u32) -> Result<Pool<Self>> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&arguments.socket_dir).port(arguments.port);
        config
            .user("postgres")
            .dbname(EMBEDDED_DATABASE)
            .application_name(&arguments.application);
        let manager = Self {
            postgres: PostgresConnectionManager::new(config, NoTls),
            first: first.to_owned(),
        };
        let pool = Pool::builder()
            .max_size(connections)
            .min_idle(Some(connections))
            .test_on_check_out(false);
        Ok(pool.build(manager).await?)
    }
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = tokio_postgres::Error;

    async fn connect(&self) -> Result<Connection, tokio_postgres::Error> {
        let client = self.postgres.connect().await?;
        client.batch_execute(&self.first).await?;
        let prepared = [
            statements::BY_KEY,
            statements::LIST,
            statements::LIST_AS_JSON,
            statements::INSERT,
        ];
        let [by_key, list, document, insert] = prepared.map(|sql| client.prepare(sql));
        Ok(Connection {
            by_key: by_key.await?,
            list: list.await?,
            document: document.await?,
            insert: insert.await?,
            client,
        })
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), tokio_postgres::Error> {
        self.postgres.is_valid(&mut connection.client).await
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.client.is_closed()
    }
}
