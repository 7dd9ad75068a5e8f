//! What the scripts in `tests/js` need: node, and packages from npm.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// What a refused connection, an unknown name, and so on are called by npm: whoever has no network skips the test.
const NO_NETWORK: [&str; 11] = [
    "EAI_AGAIN",
    "EAI_FAIL",
    "ECONNECTIONTIMEOUT",
    "ECONNREFUSED",
    "ECONNRESET",
    "EHOSTUNREACH",
    "EIDLETIMEOUT",
    "ENETUNREACH",
    "ENOTFOUND",
    "ERR_SOCKET_TIMEOUT",
    "ETIMEDOUT",
];

/// The packages ask for it.
const OLDEST_NODE: u32 = 20;

/// Puts scripts of `tests/js` and the packages into `dir`, or says why that cannot be.
pub async fn install(dir: &Path, scripts: &[&str]) -> Result<(), String> {
    let node = version("node").ok_or("there is no node")?;
    if node < OLDEST_NODE {
        return Err(format!("node {node} is older than {OLDEST_NODE}"));
    }
    version("npm").ok_or("there is no npm")?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js");
    for name in ["package.json", "package-lock.json"].iter().chain(scripts) {
        fs::copy(source.join(name), dir.join(name)).unwrap();
    }
    let mut npm = Command::new("npm");
    npm.arg("ci").arg("--prefix").arg(dir).args([
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--prefer-offline",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--fetch-timeout=20000",
    ]);
    let (status, printed) = run(npm, &dir.join("npm.log"), Duration::from_secs(120)).await;
    if let Some(code) = NO_NETWORK
        .iter()
        .find(|code| printed.contains(&format!(" code {code}")))
    {
        return Err(format!("npm has no network ({code})"));
    }
    assert!(status.success(), "{printed}");
    Ok(())
}

/// Runs a script that was installed into `dir` to its last line, which says how many steps have passed.
pub async fn script(dir: &Path, arguments: &[&str], limit: Duration) {
    let mut node = Command::new("node");
    node.current_dir(dir).args(arguments);
    let (status, printed) = run(node, &dir.join("node.log"), limit).await;
    assert!(status.success(), "{printed}");
    let last = printed.lines().next_back().unwrap_or_default();
    assert!(last.starts_with("ok ") && last.ends_with(" steps"), "{printed}");
}

/// The first number of the version of a program, if there is such a program.
fn version(program: &str) -> Option<u32> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    let (major, _) = version.trim().trim_start_matches('v').split_once('.')?;
    major.parse().ok()
}

/// Runs a command to its end and returns what it printed. One that does not end in time is killed and fails the test.
pub async fn run(mut command: Command, log: &Path, limit: Duration) -> (ExitStatus, String) {
    let file = File::create(log).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file);
    let mut running = Running(command.spawn().unwrap());
    let ended = timeout(limit, async {
        loop {
            if let Some(status) = running.0.try_wait().unwrap() {
                break status;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let printed = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
    assert!(ended.is_ok(), "{command:?} did not end: {printed}");
    (ended.unwrap(), printed)
}

/// A process that is killed when this is dropped, if it still runs.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
