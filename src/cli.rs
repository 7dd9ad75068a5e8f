//! The command line: what each command does, what it prints, and with which status it ends.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what a command line is for"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Parser, Subcommand};

use crate::config;
use crate::config::{Config, Endpoint, Live};
use crate::demo;
use crate::demo::Login;
use crate::edge::{Aside, Edge, Options, StartError};
use crate::embedded;
use crate::identity;
use crate::identity::Key;
use crate::migrate;
use crate::server::throwaway::Throwaway;
use crate::server::{Signal, Signals};
use crate::tenant::permits_role;
use crate::trace;
use crate::types::TenantId;
use crate::users;

/// Routes HTTP by Host to per-tenant PostgreSQL pools and answers straight from the database.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The directory of rowhouse.toml and tenants/*.toml.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "config",
        env = "ROWHOUSE_CONFIG"
    )]
    config: PathBuf,
    /// How log lines on standard error are written; what is logged: ROWHOUSE_LOG=info.
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: trace::Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the example on a private Postgres: nothing to set up, Ctrl-C stops all of it.
    Demo {
        #[command(flatten)]
        listen: Listen,
        /// Where the private Postgres keeps its data [default: .rowhouse/pg].
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// HTTPS as well, with a throw-away certificate authority.
        #[arg(long)]
        tls: bool,
        /// Address of HTTPS, with --tls.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443", requires = "tls")]
        tls_listen: SocketAddr,
    },
    /// Serves the tenants of the configuration.
    Serve {
        #[command(flatten)]
        listen: Listen,
    },
    /// Checks every configuration file; status 1 if there is any mistake.
    Check,
    /// Signs a token for a tenant and prints it.
    Token {
        /// The tenant's id.
        #[arg(long, value_name = "ID")]
        tenant: TenantId,
        /// The role that the token names [default: the tenant's user role].
        #[arg(long)]
        role: Option<String>,
        /// How long it is good for.
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        ttl: Duration,
    },
    /// Adds, lists and removes who may sign in to a tenant's console.
    User {
        #[command(subcommand)]
        command: UserCommand,
        /// Data directory of an embedded cluster, where it is not the configured one: .rowhouse/pg is the demo's.
        #[arg(long, global = true, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Prints the JSON Schema of a configuration file, for editors.
    Schema {
        /// Which file.
        #[arg(value_enum)]
        file: SchemaFile,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Adds a user and prints its password; one of that name gets a new password, and its sessions end.
    Add {
        /// The tenant's id.
        #[arg(long, value_name = "ID")]
        tenant: TenantId,
        /// The user's name.
        name: String,
        /// The role that everything it does runs as [default: the tenant's user role].
        #[arg(long)]
        role: Option<String>,
        /// Take the first line of standard input for the password, instead of making one.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Lists the users of a tenant, and how many sessions each has.
    List {
        /// The tenant's id.
        #[arg(long, value_name = "ID")]
        tenant: TenantId,
    },
    /// Removes a user; its sessions end within a second.
    Remove {
        /// The tenant's id.
        #[arg(long, value_name = "ID")]
        tenant: TenantId,
        /// The user's name.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Listen {
    /// Address of HTTP, instead of `[server] listen`.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address of the operator's endpoints, instead of `[server] operator_listen`.
    #[arg(long, value_name = "ADDRESS")]
    operator_listen: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SchemaFile {
    /// rowhouse.toml
    Rowhouse,
    /// tenants/*.toml
    Tenants,
}

/// The status for what is missing on this machine, as opposed to 1 for what went wrong.
const EXIT_MISSING: u8 = 2;

/// Runs the command and returns its exit status: 0 done, 1 failed, 2 wrong usage or no Postgres programs.
pub fn run(arguments: Arguments) -> ExitCode {
    let Arguments {
        command,
        config,
        log_format,
    } = arguments;
    match command {
        Command::Check => check(&config),
        Command::Token { tenant, role, ttl } => token(&config, &tenant, role, ttl),
        Command::User { command, data } => block_on(user(config, command, data)),
        Command::Schema { file } => {
            let schema = match file {
                SchemaFile::Rowhouse => config::schema::rowhouse(),
                SchemaFile::Tenants => config::schema::tenants(),
            };
            print!("{}", config::schema::pretty(&schema));
            ExitCode::SUCCESS
        }
        Command::Serve { listen } => {
            // The migration library tells of every file of every tenant: one line per tenant set is enough.
            trace::start(log_format, "info,refinery_core=warn");
            let options = Options {
                config_dir: config,
                listen: listen.listen,
                operator_listen: listen.operator_listen,
                ..Options::default()
            };
            block_on(serve(options))
        }
        Command::Demo {
            listen,
            data,
            tls,
            tls_listen,
        } => {
            trace::start(log_format, "warn");
            block_on(run_demo(config, listen, data, tls.then_some(tls_listen)))
        }
    }
}

/// Runs `future` on the runtime of the edge: one thread per core.
fn block_on(future: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => failed(&format!("cannot start the runtime: {error}")),
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("rowhouse: {message}");
    ExitCode::FAILURE
}

fn not_started(error: &StartError) -> ExitCode {
    match error {
        StartError::Config(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
        StartError::Embedded(embedded::Error::NoBinaries(missing)) => {
            eprintln!("{missing}");
            ExitCode::from(EXIT_MISSING)
        }
        other => failed(&other.to_string()),
    }
}

/// Starts an edge, unless a signal says stop before it is ready: then whatever was started ends with this.
async fn start(options: Options, signals: &mut Signals) -> Result<Edge, ExitCode> {
    let stop = async { while signals.next().await != Signal::Stop {} };
    tokio::select! {
        started = Edge::start(options) => started.map_err(|error| not_started(&error)),
        () = stop => {
            eprintln!("rowhouse: stopped before it was ready");
            Err(ExitCode::SUCCESS)
        }
    }
}

async fn serve(options: Options) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("cannot listen for signals: {error}")),
    };
    match start(options, &mut signals).await {
        Ok(edge) => {
            tracing::info!(listen = %edge.address(), operator = %edge.operator_address(), "serving");
            finished(edge.run(signals).await)
        }
        Err(status) => status,
    }
}

fn finished(clean: bool) -> ExitCode {
    if clean {
        ExitCode::SUCCESS
    } else {
        failed("stopped before every request had finished")
    }
}

async fn run_demo(config_dir: PathBuf, listen: Listen, data: Option<PathBuf>, tls: Option<SocketAddr>) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("cannot listen for signals: {error}")),
    };
    let config = match load(&config_dir) {
        Ok(config) => config,
        Err(errors) => return not_started(&StartError::Config(errors)),
    };
    let data = data.unwrap_or_else(|| embedded::default_data_dir(Path::new(".")));
    if let Some(parent) = data.parent().filter(|parent| !parent.as_os_str().is_empty())
        && let Err(error) = std::fs::create_dir_all(parent)
    {
        return failed(&format!("{}: {error}", parent.display()));
    }
    let key = match (&config.server.jwt_secret, demo::key(&data)) {
        (Some(own), _) => own.clone(),
        (None, Ok(made)) => made,
        (None, Err(error)) => return failed(&error.to_string()),
    };
    let mut certificate = None;
    if tls.is_some() {
        let hosts: Vec<_> = config
            .tenants
            .values()
            .flat_map(|tenant| tenant.hosts.iter().map(|host| host.as_str()))
            .collect();
        match Throwaway::make(hosts, &data.with_extension("tls")) {
            Ok(made) => certificate = Some(made),
            Err(error) => return failed(&error.to_string()),
        }
    }
    let certificates = certificate.as_ref().map(|made| config::Certificate {
        cert: made.certificate.clone(),
        key: made.key.clone(),
    });
    let options = Options {
        config_dir,
        listen: listen.listen,
        operator_listen: listen.operator_listen,
        data: Some(data),
        tls: tls.map(|address| (address, certificates.into_iter().collect())),
        jwt_secret: Some(key.clone()),
        ..Options::default()
    };
    let edge = match start(options, &mut signals).await {
        Ok(edge) => edge,
        Err(status) => return status,
    };
    for (id, cluster) in edge.clusters() {
        let embedded = config
            .clusters
            .get(id)
            .is_some_and(|cluster| matches!(cluster.endpoint, Endpoint::Embedded { .. }));
        if embedded && let Err(error) = demo::seed(&config, &edge.service().pools, cluster).await {
            edge.stop(Duration::ZERO).await;
            return failed(&error.to_string());
        }
    }
    let logins = match demo::logins(&config, &edge, &key).await {
        Ok(logins) => logins,
        Err(error) => {
            edge.stop(Duration::ZERO).await;
            return failed(&error.to_string());
        }
    };
    print_welcome(&edge, &config, &key, &logins, certificate.as_ref());
    finished(edge.run(signals).await)
}

/// What a newcomer can do next, in lines that work when they are pasted.
fn print_welcome(
    edge: &Edge,
    config: &Config,
    key: &config::Secret,
    logins: &[Login],
    certificate: Option<&Throwaway>,
) {
    let address = edge.address();
    let port = address.port();
    let reachable = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let browsable = |tenant: &config::Tenant| {
        let host = tenant
            .hosts
            .iter()
            .find(|host| host.as_str().ends_with("localhost"))
            .or_else(|| tenant.hosts.first());
        host.map(ToString::to_string).unwrap_or_default()
    };
    println!(
        "Rowhouse {} on {address}, with a private Postgres. Ctrl-C stops both.\n",
        env!("CARGO_PKG_VERSION")
    );
    println!("In a browser:");
    for tenant in config.tenants.values() {
        let what = if tenant.is_operator() {
            "the operator: all tenants"
        } else {
            "a tenant: its own list"
        };
        println!("  http://{}:{port}/   {what}", browsable(tenant));
    }
    println!("\nTheir consoles, to see and change what is behind them:");
    for login in logins {
        if let Some(tenant) = config.tenants.get(&login.tenant) {
            let (host, Login { name, password, .. }) = (browsable(tenant), login);
            println!("  http://{host}:{port}/admin/   user {name}, password {password}");
        }
    }
    println!("\nOn the command line:");
    // The README's lines are about this one.
    let example = config.tenants.values().find(|tenant| tenant.id.as_str() == "cliente");
    let example = example.or_else(|| config.tenants.values().find(|tenant| !tenant.is_operator()));
    if let Some(tenant) = example {
        let host = tenant.hosts.first().map(ToString::to_string).unwrap_or_default();
        let home = tenant.home.as_deref().unwrap_or("mylist");
        println!("  curl -H 'Host: {host}' 'http://{reachable}/api/{home}?checkbox=is.false&order=due&limit=3'");
        match demo::token(key, &tenant.id, now()) {
            Ok(token) => {
                println!("  TOKEN={token}");
                println!(
                    "  curl -H 'Host: {host}' -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \
                     -H 'Prefer: return=representation' -d '{{\"text\":\"try Rowhouse\"}}' 'http://{reachable}/api/{home}'"
                );
            }
            Err(error) => eprintln!("rowhouse: no token: {error}"),
        }
        println!("  curl http://{}/status", edge.operator_address());
        if let (Some(made), Some(tls)) = (certificate, edge.tls_address()) {
            let tls_port = tls.port();
            println!(
                "  curl --cacert {} --resolve {host}:{tls_port}:127.0.0.1 'https://{host}:{tls_port}/api/{home}?limit=1'",
                made.ca.display()
            );
        }
    }
    println!("\nTokens for a day (they may write):");
    for tenant in config.tenants.values() {
        if let Ok(token) = demo::token(key, &tenant.id, now()) {
            println!("  {}: {token}", tenant.id);
        }
    }
    if !config.tenants.keys().any(|id| id.as_str() == "acme") {
        println!("\nA fourth tenant: put config/tenants/acme.toml there while this runs:");
        println!("  [tenants.acme]\n  hosts = [\"acme.localhost\"]\n  home = \"mylist\"\n");
    }
    if let Some(tenant) = example {
        println!("ready http://{}:{port}/", browsable(tenant));
    }
}

fn check(dir: &Path) -> ExitCode {
    match load(dir) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}");
            }
            if config.failed.is_empty() {
                println!(
                    "{}: {} tenants on {} clusters, no mistakes",
                    dir.display(),
                    config.tenants.len(),
                    config.clusters.len()
                );
                return ExitCode::SUCCESS;
            }
            eprintln!("{}", config.report());
            ExitCode::FAILURE
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}

fn token(dir: &Path, tenant: &TenantId, role: Option<String>, ttl: Duration) -> ExitCode {
    let config = match load(dir) {
        Ok(config) => config,
        Err(errors) => return not_started(&StartError::Config(errors)),
    };
    let Some(tenant) = config.tenants.get(tenant) else {
        return failed(&format!(
            "no tenant {tenant} in {}: there are {}",
            dir.display(),
            ids(&config)
        ));
    };
    let key = match (&tenant.jwt_secret, &config.server.jwt_secret) {
        _ if tenant.jwks.is_some() => {
            return failed("the tenant's tokens are checked by its JWK Set: sign them where their private key is");
        }
        (Some(own), _) => Key::Tenant(own.clone()),
        (None, Some(server)) => Key::Server(server.clone()),
        (None, None) => {
            return failed(
                "no key to sign with: set jwt_secret_env or jwt_secret_file under [server] or [tenants.ID] \
                 (the demo prints tokens of its own)",
            );
        }
    };
    let role = role.unwrap_or_else(|| migrate::user_role(&tenant.id).to_string());
    match identity::sign(&key, &tenant.id, &role, ttl, now()) {
        Ok(token) => {
            println!("{token}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error.to_string()),
    }
}

async fn user(dir: PathBuf, command: UserCommand, data: Option<PathBuf>) -> ExitCode {
    let config = match load(&dir) {
        Ok(config) => config,
        Err(errors) => return not_started(&StartError::Config(errors)),
    };
    let (UserCommand::Add { tenant, .. } | UserCommand::List { tenant } | UserCommand::Remove { tenant, .. }) =
        &command;
    let Some(tenant) = config.tenants.get(tenant) else {
        return failed(&format!(
            "no tenant {tenant} in {}: there are {}",
            dir.display(),
            ids(&config)
        ));
    };
    // What can be said before anything is started.
    if let UserCommand::Add { name, role, .. } = &command {
        if !users::is_name(name) {
            return failed(&users::Error::Name.to_string());
        }
        if role.is_none() && !tenant.managed {
            return failed("the tenant is not managed, so it has no user role of its own: write --role");
        }
        if role.as_ref().is_some_and(|role| !permits_role(tenant, role)) {
            return failed("the tenant's file permits no such role: see roles in docs/operations.md");
        }
    }
    let aside = match Aside::connect(&config, tenant, data).await {
        Ok(aside) => aside,
        Err(error) => return not_started(&error),
    };
    let done = change_users(&aside, tenant, command).await;
    aside.close().await;
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => failed(&message),
    }
}

async fn change_users(aside: &Aside, tenant: &config::Tenant, command: UserCommand) -> Result<(), String> {
    let client = &aside.client;
    users::create_tables(client).await.map_err(|error| {
        format!(
            "the schema rowhouse cannot be made in cluster {}: {error}. As its owner run: CREATE SCHEMA rowhouse AUTHORIZATION \"LOGIN\", \
             with the user of the cluster's url",
            tenant.cluster
        )
    })?;
    let failed = |error: users::Error| error.to_string();
    match command {
        UserCommand::Add {
            name,
            role,
            password_stdin,
            ..
        } => {
            let password = if password_stdin {
                let mut line = String::new();
                std::io::stdin()
                    .read_line(&mut line)
                    .map_err(|error| error.to_string())?;
                line.trim_end_matches(['\r', '\n']).to_owned()
            } else {
                users::new_password().map_err(failed)?
            };
            let new = users::add(client, &tenant.id, &name, role.as_deref(), &password)
                .await
                .map_err(failed)?;
            let what = if new {
                "added"
            } else {
                "changed, its sessions have ended"
            };
            println!("user {name} of {}: {what}", tenant.id);
            if !password_stdin {
                println!("password: {password}");
            }
        }
        UserCommand::List { .. } => {
            for user in users::list(client, &tenant.id).await.map_err(failed)? {
                let role = user.user.role.as_deref().unwrap_or("(the tenant's user role)");
                println!("{}\t{role}\t{} sessions", user.user.name, user.sessions);
            }
        }
        UserCommand::Remove { name, .. } => {
            if !users::remove(client, &tenant.id, &name).await.map_err(failed)? {
                return Err(format!("{} has no user {name}", tenant.id));
            }
            println!("user {name} of {}: removed", tenant.id);
        }
    }
    Ok(())
}

/// The tenants there are, the first few by name.
fn ids(config: &Config) -> String {
    const NAMED: usize = 10;
    let named: Vec<_> = config.tenants.keys().take(NAMED).map(ToString::to_string).collect();
    match config.tenants.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn load(dir: &Path) -> Result<Config, config::Errors> {
    Config::load(dir, &|name| std::env::var(name).ok(), &Live::new())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
