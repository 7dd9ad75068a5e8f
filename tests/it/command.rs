//! The program as it is called: exit statuses, what it prints, and what is left when it is gone.

#![expect(clippy::panic, reason = "a failed test says what it met")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::{KEY, Street, TempDir};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

fn rowhouse(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowhouse"));
    command
        .arg("--config")
        .arg(config)
        .env_remove("ROWHOUSE_CONFIG")
        .env_remove("ROWHOUSE_LOG")
        .stdin(Stdio::null());
    command
}

fn example() -> PathBuf {
    Path::new(REPOSITORY).join("config")
}

/// A configuration of one tenant with a file `acme.toml` of `tenants` and a key for tokens.
fn configuration(dir: &Path, tenants: &str) -> PathBuf {
    let config = dir.join("config");
    fs::create_dir_all(config.join("tenants")).unwrap();
    let key = std::str::from_utf8(KEY).unwrap();
    let toml = format!("[server]\njwt_secret = \"{key}\"\n[clusters.main]\nembedded = true\n");
    let path = config.join("rowhouse.toml");
    fs::write(&path, toml).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(config.join("tenants/acme.toml"), tenants).unwrap();
    config
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_status(output: &Output, status: i32) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}{err}");
}

#[test]
fn check_is_content_with_the_example() {
    let output = rowhouse(&example()).arg("check").output().unwrap();
    assert_status(&output, 0);
    assert!(text(&output.stdout).contains("3 tenants"), "{output:?}");
}

#[test]
fn check_names_file_line_and_column_of_a_mistake() {
    let dir = TempDir::new();
    let config = configuration(
        dir.path(),
        "[tenants.acme]\nhosts = [\"acme.localhost\"]\n  hoem = \"x\"\n",
    );
    let output = rowhouse(&config).arg("check").output().unwrap();
    assert_status(&output, 1);
    let errors = text(&output.stderr);
    assert!(errors.contains("tenants/acme.toml:3:3: "), "{errors}");
    assert!(errors.contains("did you mean `home`?"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_added_listed_and_removed_whether_an_edge_runs_or_not() {
    let mut street = Street::example().await;
    let user = |arguments: &[&str], input: &str| {
        let mut command = rowhouse(&street.dir().join("config"));
        command.arg("user").args(arguments).args(["--tenant", "cliente"]);
        command.arg("--data").arg(street.dir().join("pg"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let sign_in = async |password: &str| {
        let form = format!("name=ana&password={password}");
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let reply = street
            .send("POST", "cliente.localhost", "/admin/sign-in", &headers, &form)
            .await;
        reply.status
    };
    // While the edge runs: a password is made and printed, or taken.
    let added = user(&["add", "ana"], "");
    assert_status(&added, 0);
    let printed = text(&added.stdout);
    let password = printed
        .lines()
        .find_map(|line| line.strip_prefix("password: "))
        .unwrap();
    assert_eq!(sign_in(password).await, 303);
    let changed = user(&["add", "ana", "--password-stdin"], "another one\n");
    assert_status(&changed, 0);
    assert!(!text(&changed.stdout).contains("another one"), "{changed:?}");
    assert_eq!(sign_in(password).await, 403);
    assert_eq!(sign_in("another+one").await, 303);
    let listed = user(&["list"], "");
    assert!(
        text(&listed.stdout).starts_with("ana\t") && text(&listed.stdout).contains("1 sessions"),
        "{listed:?}"
    );
    for (arguments, says) in [
        (&["add", " ana"][..], "a name has 1 to 100 characters"),
        (&["add", "rui", "--role", "postgres"], "permits no such role"),
        (
            &["add", "rui", "--password-stdin"],
            "a password has 8 characters at least",
        ),
        (&["remove", "rui"], "cliente has no user rui"),
    ] {
        let refused = user(arguments, "short\n");
        assert_status(&refused, 1);
        assert!(text(&refused.stderr).contains(says), "{refused:?}");
    }
    // And without one: the command starts the server and stops it.
    street.stop().await;
    let user = |arguments: &[&str]| {
        let mut command = rowhouse(&street.dir().join("config"));
        command.arg("user").args(arguments).args(["--tenant", "cliente"]);
        command.arg("--data").arg(street.dir().join("pg")).output().unwrap()
    };
    assert!(text(&user(&["list"]).stdout).starts_with("ana\t"));
    assert_status(&user(&["remove", "ana"]), 0);
    let listed = user(&["list"]);
    assert_status(&listed, 0);
    assert_eq!(text(&listed.stdout), "");
    assert!(!street.dir().join("pg/postmaster.pid").exists());
}

#[tokio::test]
async fn token_prints_one_that_the_edge_takes() {
    let dir = TempDir::new();
    let config = configuration(dir.path(), "[tenants.cliente]\nhosts = [\"cliente.localhost\"]\n");
    let output = rowhouse(&config)
        .args(["token", "--tenant", "cliente"])
        .output()
        .unwrap();
    assert_status(&output, 0);
    let printed = text(&output.stdout);
    assert_eq!(printed.lines().count(), 1, "{printed}");

    let street = Street::example().await;
    let authorization = format!("Bearer {}", printed.trim());
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    let body = r#"{"text":"signed on the command line"}"#;
    let reply = street
        .send("POST", "cliente.localhost", "/api/mylist", &headers, body)
        .await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let reply = street
        .send("POST", "cliente2.localhost", "/api/mylist", &headers, body)
        .await;
    assert_eq!(reply.status, 401, "{reply:?}");

    let output = rowhouse(&config)
        .args(["token", "--tenant", "nobody"])
        .output()
        .unwrap();
    assert_status(&output, 1);
    assert!(text(&output.stderr).contains("there are cliente"), "{output:?}");
}

#[test]
fn missing_programs_end_the_demo_with_what_to_install() {
    let dir = TempDir::new();
    let output = rowhouse(&example())
        .args([
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--operator-listen",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(dir.path().join("pg"))
        .env("PGBIN", "/nonexistent")
        .output()
        .unwrap();
    assert_status(&output, 2);
    let errors = text(&output.stderr);
    assert!(errors.contains("install"), "{errors}");
    assert!(errors.contains("/nonexistent"), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn the_demo_serves_and_ctrl_c_leaves_nothing_behind() {
    let dir = TempDir::new();
    let data = dir.path().join("pg");
    let mut demo = Demo::start(&data);
    let answer = demo.get("cliente.localhost", "/api/mylist?limit=3&select=text");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(answer.matches("\"text\":").count(), 3, "{answer}");
    let page = demo.get("cliente2.localhost", "/");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("</html>"), "{page}");
    assert!(
        servers(&data) > 0,
        "the demo's Postgres was not found, so that its end cannot be"
    );

    demo.signal("INT");
    let status = demo.process.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(servers(&data), 0, "Postgres outlived its edge");
    let mut rest = String::new();
    demo.output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "nothing follows the line that says ready");
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_edge_leaves_no_postgres() {
    let dir = TempDir::new();
    let data = dir.path().join("pg");
    let mut demo = Demo::start(&data);
    assert!(servers(&data) > 0);
    demo.signal("KILL");
    demo.process.wait().unwrap();
    let killed = Instant::now();
    while servers(&data) > 0 {
        assert!(killed.elapsed() < Duration::from_secs(5), "Postgres is still there");
        sleep(Duration::from_millis(20));
    }
}

/// A demo that is ready. Killed when it is dropped, if it still runs.
struct Demo {
    process: Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Demo {
    fn start(data: &Path) -> Self {
        let mut process = rowhouse(&example())
            .args([
                "demo",
                "--listen",
                "127.0.0.1:0",
                "--operator-listen",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut printed = String::new();
        let ready = loop {
            let from = printed.len();
            assert_ne!(output.read_line(&mut printed).unwrap(), 0, "it ended with: {printed}");
            if let Some(url) = printed[from..].strip_prefix("ready http://") {
                break url.trim_end().to_owned();
            }
        };
        let port = ready
            .strip_suffix('/')
            .and_then(|url| url.rsplit_once(':'))
            .and_then(|(_, port)| port.parse().ok());
        Self {
            process,
            output,
            port: port.unwrap_or_else(|| panic!("no port in {ready:?}")),
        }
    }

    fn get(&self, host: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let port = self.port;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, pid.as_str()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// How many processes name the data directory on their command line: the postmaster does.
fn servers(data: &Path) -> usize {
    let output = Command::new("ps").args(["-A", "-ww", "-o", "args"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let data = data.to_str().unwrap();
    text(&output.stdout)
        .lines()
        .filter(|line| line.contains("postgres") && line.contains(data) && !line.contains("rowhouse --config"))
        .count()
}
