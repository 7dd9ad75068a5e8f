//! The console in a real browser: Chromium, led by `tests/js/console.mjs`.
//!
//! It is skipped where there is no node, no Chromium that starts or no network for npm, unless `ROWHOUSE_BROWSER=required`; and
//! with `ROWHOUSE_BROWSER=skip`, which the gate says where all tests run at once, to run it by itself afterwards.
//! `ROWHOUSE_SHOTS=DIR` has it leave pictures of every page there.

#![expect(clippy::print_stderr, reason = "whoever skips a test should say so")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rowhouse::migrate;
use rowhouse::users;
use serde_json::{Map, Value, json};

use crate::support::{EXAMPLE, Street, TempDir, connect, node, until};

/// The example's tenants, and one whose tables have names that nobody should give.
const TENANTS: [&str; 4] = ["adm", "cliente", "cliente2", "odd"];

const ODD: &str = "[tenants.odd]\nhosts = [\"odd.localhost\"]\nhome = \"mylist\"\n";

/// What `migrations/seed` fills, by schema.
const SEEDS: [(&str, &str); 3] = [
    ("public", include_str!("../../migrations/seed/shared.sql")),
    ("cliente", include_str!("../../migrations/seed/cliente.sql")),
    ("cliente2", include_str!("../../migrations/seed/cliente2.sql")),
];

/// Texts that try to be scripts, and tables that are called by them.
const CORPUS: &str = include_str!("../js/hostile.json");
const HOSTILE: &str = include_str!("../js/hostile.sql");

/// What the browser may be called.
const CHROMIUM: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// To show an empty page.
const TRIAL: Duration = Duration::from_secs(60);

/// Other tests run at the same time; alone it takes two minutes or three.
const LIMIT: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_works_in_a_browser() {
    let wishes = |wish| env::var_os("ROWHOUSE_BROWSER").is_some_and(|given| given == wish);
    if wishes("skip") {
        eprintln!("skipped: as ROWHOUSE_BROWSER says");
        return;
    }
    let dir = TempDir::new();
    let chromium = match chromium(dir.path()).await {
        Ok(chromium) => chromium,
        Err(reason) => {
            assert!(!wishes("required"), "the console is not tested: {reason}");
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let mut street = Street::start("", &format!("{EXAMPLE}{ODD}")).await;
    for tenant in &TENANTS[1..] {
        let host = format!("{tenant}.localhost");
        until(Duration::from_secs(10), tenant, async || {
            street.get(&host, "/api/mylist").await.status == 200
        })
        .await;
    }
    fill(&street).await;

    let shots = env::var_os("ROWHOUSE_SHOTS").map(|dir| std::path::absolute(dir).unwrap());
    let config = json!({
        "port": street.edge().address().port(),
        "chromium": chromium,
        "logins": add_users(&street).await,
        "tenants": street.tenants_dir(),
        "shots": shots,
    });
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    node::script(dir.path(), &["console.mjs", "config.json"], LIMIT).await;
    street.stop().await;
}

/// Puts the script and its packages into `dir` and finds the browser, or says why that cannot be.
async fn chromium(dir: &Path) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories = env::split_paths(&path);
    let chromium = directories.find_map(|directory| {
        let mut files = CHROMIUM.iter().map(|name| directory.join(name));
        files.find(|file| file.is_file())
    });
    let chromium = chromium.ok_or("there is no Chromium")?;
    let mut trial = Command::new(&chromium);
    trial.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        "about:blank",
    ]);
    let (status, printed) = node::run(trial, &dir.join("trial.log"), TRIAL).await;
    if !status.success() {
        return Err(format!("Chromium does not start: {printed}"));
    }
    node::install(dir, &["console.mjs", "hostile.json"]).await?;
    Ok(chromium)
}

/// Rows to look at, and the tables of `odd`.
async fn fill(street: &Street) {
    let superuser = street.superuser().await;
    for (schema, rows) in SEEDS {
        let sql = format!("SET search_path = {schema}; {rows}");
        superuser.batch_execute(&sql).await.unwrap();
    }
    superuser
        .execute("SELECT set_config('test.corpus', $1, false)", &[&CORPUS])
        .await
        .unwrap();
    superuser.batch_execute(HOSTILE).await.unwrap();
}

/// A user of each tenant: `{"cliente": {"name": …, "password": …}, …}`.
async fn add_users(street: &Street) -> Map<String, Value> {
    let client = connect(&street.socket_dir(), migrate::EDGE_LOGIN, migrate::EMBEDDED_DATABASE).await;
    users::create_tables(&client).await.unwrap();
    let mut logins = Map::new();
    for tenant in TENANTS {
        let (name, password) = ("ana", format!("the password of {tenant}"));
        users::add(&client, &tenant.parse().unwrap(), name, None, &password)
            .await
            .unwrap();
        logins.insert(tenant.to_owned(), json!({ "name": name, "password": password }));
    }
    logins
}
