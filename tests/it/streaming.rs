//! Answers that are larger than memory should hold: they are sent while their rows come, and wait for nobody for ever.

#![expect(clippy::panic, clippy::print_stderr, reason = "a failed test says what it met")]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rowhouse::embedded;
use rowhouse::embedded::Postgres;
use rowhouse::migrate;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;

use crate::support::{Street, TempDir, connect, make_edge_login, over_url, until};

const TENANTS: &str = r#"
[tenants.one]
hosts = ["one.localhost"]
managed = false
schema = "one"
anonymous_role = "stream_anon"
pool_max = 32
max_rows = 1000000000
statement_timeout = "60s"

[tenants.two]
hosts = ["two.localhost"]
managed = false
schema = "two"
anonymous_role = "stream_anon"
max_rows = 1000000000
statement_timeout = "2s"
"#;

const SQL: &str = r#"
CREATE ROLE stream_anon;
GRANT stream_anon TO rowhouse_edge;
CREATE SCHEMA one;
CREATE SCHEMA two;
CREATE TABLE one.lines (id int PRIMARY KEY, word text, note text, at timestamptz, share numeric, tags text[]);
INSERT INTO one.lines SELECT n, repeat('word', 25), CASE WHEN n % 7 > 0 THEN repeat(n || E' "é\\, \n', n % 40) END,
    '2026-01-01'::timestamptz + n * interval '1 minute', n / 7.0, ARRAY[n::text, NULL, 'b c'] FROM generate_series(1, 30000) AS n;
CREATE VIEW one.endless AS SELECT generate_series(1, 100000000) AS id, repeat('x', 1000) AS text;
CREATE VIEW two.endless AS SELECT * FROM one.endless;
CREATE VIEW one.failing AS SELECT id, 1 / (200000 - id) AS quotient, repeat('x', 20) AS text
    FROM (SELECT generate_series(1, 10000000) AS id) AS numbers;
CREATE VIEW one.telling AS SELECT id, set_config('response.headers', '[{"X-Told": "late"}]', true) AS set, repeat('x', 1000) AS text
    FROM (SELECT generate_series(1, 10000) AS id) AS numbers;
CREATE FUNCTION one.numbers() RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT repeat(''x'', 1000) FROM generate_series(1, 10000)';
GRANT USAGE ON SCHEMA one, two TO stream_anon;
GRANT SELECT ON ALL TABLES IN SCHEMA one, two TO stream_anon;
"#;

async fn street() -> Street {
    let street = Street::with_budget(40, "", TENANTS).await;
    street.superuser().await.batch_execute(SQL).await.unwrap();
    street
}

/// An answer of HTTP/1.1, read until the server closes.
struct Answer {
    head: String,
    body: Vec<u8>,
    /// Whether it has its last chunk, or its whole length.
    whole: bool,
}

impl Answer {
    fn is_streamed(&self) -> bool {
        self.head.contains("transfer-encoding: chunked")
    }
}

async fn ask(street: &Street, host: &str, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(street.edge().address()).await.unwrap();
    let request = format!("GET /api/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn get(street: &Street, host: &str, path: &str, headers: &str) -> Answer {
    rest(ask(street, host, path, headers).await).await
}

async fn rest(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _closed_or_reset = timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let sent = &bytes[end + 4..];
    if head.contains("transfer-encoding: chunked") {
        let (body, whole) = unchunked(sent);
        return Answer { head, body, whole };
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let whole = length.is_some_and(|length| length.parse() == Ok(sent.len()));
    Answer {
        head,
        body: sent.to_vec(),
        whole,
    }
}

/// What the chunks hold, and whether there is the last one.
fn unchunked(mut sent: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = sent.windows(2).position(|window| window == b"\r\n") else {
            return (body, false);
        };
        let length = std::str::from_utf8(&sent[..line]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        let Some(chunk) = sent.get(line + 2..line + 2 + length) else {
            return (body, false);
        };
        if length == 0 {
            return (body, true);
        }
        body.extend_from_slice(chunk);
        sent = sent.get(line + 4 + length..).unwrap_or_default();
    }
}

/// How many statements run on schemas of ours.
async fn running(superuser: &Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND usename = 'rowhouse_edge' AND query ~ 'endless|failing'";
    superuser.query_one(sql, &[]).await.unwrap().get(0)
}

async fn all_idle(street: &Street, tenant: &str) -> bool {
    let status = street.status().await;
    let tenant = &status["tenants"][tenant];
    tenant["connections"] == tenant["idle"]
}

async fn counted(street: &Street, tenant: &str, status: &str) -> u64 {
    let text = street.operator("/metrics").await.body;
    let name = format!("rowhouse_requests_total{{tenant=\"{tenant}\",status=\"{status}\"}} ");
    let count = text.lines().find_map(|line| line.strip_prefix(&name));
    count.map_or(0, |count| count.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_is_that_of_sql_byte_for_byte() {
    let street = street().await;
    let superuser = street.superuser().await;
    superuser.batch_execute("SET timezone = 'UTC'").await.unwrap();
    let text = async |sql: &str| -> String { superuser.query_one(sql, &[]).await.unwrap().get(0) };
    for (path, accept, expected) in [
        (
            "lines?order=id",
            "application/json",
            "SELECT '[' || string_agg(row_to_json(t)::text, ',' ORDER BY id) || ']' FROM one.lines AS t",
        ),
        (
            "lines?order=id",
            "application/vnd.pgrst.array+json;nulls=stripped",
            "SELECT '[' || string_agg(json_strip_nulls(row_to_json(t))::text, ',' ORDER BY id) || ']' FROM one.lines AS t",
        ),
        (
            "lines?select=id,word&order=id",
            "text/csv",
            "SELECT E'id,word\\n' || string_agg(id || ',' || word, E'\\n' ORDER BY id) FROM one.lines",
        ),
    ] {
        let before = counted(&street, "one", "2xx").await;
        let expected = text(expected).await;
        let answer = get(&street, "one.localhost", path, &format!("Accept: {accept}\r\n")).await;
        assert!(answer.head.starts_with("http/1.1 200"), "{}", answer.head);
        assert!(answer.is_streamed() && answer.whole, "{accept}: {}", answer.head);
        assert!(!answer.head.contains("content-range"), "{}", answer.head);
        assert!(answer.head.contains("x-request-id"), "{}", answer.head);
        assert_eq!(answer.body.len(), expected.len(), "{accept}");
        assert!(answer.body == expected.as_bytes(), "{accept}");
        assert_eq!(counted(&street, "one", "2xx").await, before + 1);
    }
    until(Duration::from_secs(2), "every connection coming back", async || {
        all_idle(&street, "one").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_depends_on_all_rows_or_is_small_is_sent_whole() {
    let street = street().await;
    for (path, headers, range) in [
        ("lines?limit=1000", "", "0-999/*"),
        ("lines", "Prefer: count=exact\r\n", "0-29999/30000"),
        ("lines", "Prefer: count=planned\r\n", "0-29999/"),
        ("rpc/numbers", "", "0-9999/*"),
    ] {
        let answer = get(&street, "one.localhost", path, headers).await;
        assert!(!answer.is_streamed() && answer.whole, "{path}: {}", answer.head);
        assert!(
            answer.head.contains(&format!("content-range: {range}")),
            "{path}: {}",
            answer.head
        );
    }
    // Without chunks, an answer that breaks off looks like one that does not.
    let reply = street
        .raw(b"GET /api/lines HTTP/1.0\r\nHost: one.localhost\r\n\r\n")
        .await;
    assert_eq!(reply.header("content-range"), Some("0-29999/*"), "{}", reply.head);
    assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()));
    let answer = get(&street, "one.localhost", "endless", "Prefer: count=planned\r\n").await;
    assert!(answer.head.starts_with("http/1.1 500"), "{}", answer.head);
    assert!(String::from_utf8_lossy(&answer.body).contains("response_too_large"));
}

/// 1. A statement is known to be short, by small pages of its relation, and goes on a lane.
/// 2. Then all of the relation is asked for, by the same statement.
#[tokio::test(flavor = "multi_thread")]
async fn what_outgrows_a_lane_runs_alone() {
    let street = street().await;
    let expected = get(&street, "one.localhost", "lines?order=id", "").await.body;
    for _ in 0..3 {
        for _ in 0..12 {
            let reply = street.get("one.localhost", "/api/lines?order=id&limit=1").await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        let large = get(&street, "one.localhost", "lines?order=id", "");
        let small = join_all((1..=20).map(|_| street.get("one.localhost", "/api/lines?order=id&limit=1&select=id")));
        let (large, small) = tokio::join!(large, small);
        assert!(
            large.is_streamed() && large.whole && large.body == expected,
            "{}",
            large.head
        );
        for reply in small {
            assert_eq!(reply.json(), json!([{ "id": 1 }]), "{reply:?}");
        }
    }
}

/// Division by zero at row 200,000; and a header that code sets while rows are read.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_amid_its_rows_breaks_off() {
    let street = street().await;
    let answer = get(&street, "one.localhost", "failing", "").await;
    assert!(answer.head.starts_with("http/1.1 200"), "{}", answer.head);
    assert!(answer.is_streamed() && !answer.whole, "{}", answer.head);
    assert!(!answer.body.ends_with(b"]"));

    let stream = TcpStream::connect(street.edge().address()).await.unwrap();
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let asking = async {
        let request = |path: &str| {
            hyper::Request::get(format!("http://one.localhost/api/{path}"))
                .body(Empty::<Bytes>::new())
                .unwrap()
        };
        let mut response = send.send_request(request("failing")).await.unwrap();
        assert_eq!(response.status(), 200);
        let error = loop {
            match response.frame().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("it ended well"),
            }
        };
        // The stream alone is broken: INTERNAL_ERROR, and others go on.
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("internal error"), "{cause}");
        let response = send.send_request(request("lines?order=id")).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"[{") && body.ends_with(b"}]"));
    };
    tokio::select! {
        () = asking => {}
        ended = connection => panic!("{ended:?}"),
    }

    let answer = get(&street, "one.localhost", "telling", "").await;
    assert!(answer.is_streamed() && !answer.whole, "{}", answer.head);
    let answer = get(&street, "one.localhost", "telling?limit=10", "").await;
    assert!(answer.head.contains("x-told: late"), "{}", answer.head);

    assert_eq!(counted(&street, "one", "broken").await, 3);
    // Postgres has said that it failed: the connections are good.
    until(Duration::from_secs(2), "every connection coming back", async || {
        all_idle(&street, "one").await
    })
    .await;
    assert_eq!(street.status().await["tenants"]["one"]["connections"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_amid_its_answer_takes_the_statement_with_it() {
    let street = street().await;
    let superuser = street.superuser().await;
    let leave = async |number: usize| {
        let mut stream = ask(&street, "one.localhost", "endless", "").await;
        let mut some = vec![0; 100 << 10];
        // Some leave amid the first piece, some while rows wait for them.
        for _ in 0..(number % 4) * 10 + 1 {
            let _read = stream.read_exact(&mut some).await.unwrap();
        }
        if number.is_multiple_of(2) {
            sleep(Duration::from_millis(300)).await;
        }
    };
    join_all((0..12).map(leave)).await;
    until(Duration::from_secs(3), "the end of the statements", async || {
        running(&superuser).await == 0
    })
    .await;
    until(Duration::from_secs(3), "every connection coming back", async || {
        all_idle(&street, "one").await
    })
    .await;
    assert_eq!(counted(&street, "one", "broken").await, 12);
    let reply = street.get("one.localhost", "/api/lines?id=eq.1&select=id").await;
    assert_eq!(reply.json(), json!([{ "id": 1 }]), "{reply:?}");
}

/// Its `statement_timeout` bounds an answer in any case: 2 s, and 250 ms for the edge.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_a_connection_no_longer_than_its_statement_may_take() {
    let street = street().await;
    let superuser = street.superuser().await;
    let asked = Instant::now();
    let mut stream = ask(&street, "two.localhost", "endless", "").await;
    let _byte = stream.read_u8().await.unwrap();
    assert_eq!(running(&superuser).await, 1);
    let reading = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            let _byte = stream.read_u8().await.unwrap();
        }
    };
    let ended = until(Duration::from_secs(4), "the end of the statement", async || {
        running(&superuser).await == 0
    });
    tokio::select! {
        () = ended => {}
        () = reading => unreachable!("it never ends"),
    }
    let took = asked.elapsed();
    assert!(took < Duration::from_millis(3500), "{took:?}");
    until(Duration::from_secs(1), "the slot", async || {
        all_idle(&street, "two").await
    })
    .await;
    let rest = async {
        let mut bytes = Vec::new();
        let _closed_or_reset = stream.read_to_end(&mut bytes).await;
        bytes
    };
    let bytes = timeout(Duration::from_secs(30), rest).await.unwrap();
    assert!(!bytes.ends_with(b"0\r\n\r\n"), "it looks whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_amid_an_answer_breaks_it_off() {
    let street = street().await;
    let superuser = street.superuser().await;
    // The server of the tests is not durable: what was committed of late would be gone after its end.
    superuser.batch_execute("CHECKPOINT").await.unwrap();
    for kill in [false, true] {
        let mut stream = ask(&street, "one.localhost", "endless", "").await;
        let _some = stream.read_exact(&mut vec![0; 4 << 20]).await.unwrap();
        if kill {
            let pid = street.postgres_pid().to_string();
            let killed = Command::new("kill").args(["-QUIT", &pid]).status().unwrap();
            assert!(killed.success());
        } else {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'endless' AND usename = 'rowhouse_edge'";
            let _rows = superuser.query(sql, &[]).await.unwrap();
        }
        let mut rest = Vec::new();
        let ended = async {
            let _closed_or_reset = stream.read_to_end(&mut rest).await;
        };
        timeout(Duration::from_secs(20), ended).await.unwrap();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks whole");
        until(Duration::from_secs(15), "the service after that", async || {
            street.get("one.localhost", "/api/lines?id=eq.1&select=id").await.status == 200
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_that_nobody_reads_delay_no_one_else() {
    let street = street().await;
    let superuser = street.superuser().await;
    let mut stalled = Vec::new();
    for _ in 0..12 {
        let mut stream = ask(&street, "one.localhost", "endless", "").await;
        let _byte = stream.read_u8().await.unwrap();
        stalled.push(stream);
    }
    for _ in 0..8 {
        let reply = street.get("one.localhost", "/api/lines?id=eq.7&select=id").await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'";
    until(Duration::from_secs(20), "everything being full", async || {
        superuser.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 12
    })
    .await;
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Instant::now();
        let replies = join_all((0..16).map(|_| street.get("one.localhost", "/api/lines?id=eq.7&select=id"))).await;
        for reply in replies {
            assert_eq!(reply.json(), json!([{ "id": 7 }]), "{reply:?}");
        }
        longest = longest.max(asked.elapsed());
    }
    assert!(longest < Duration::from_millis(750), "a short one waited {longest:?}");
    drop(stalled);
}

/// The program itself, so that its memory is its own. 300 MB by one client, and then twenty that do not read at first.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_answer() {
    let dir = TempDir::new();
    let mut options = embedded::Options::new(dir.path().join("pg"));
    options.durable = false;
    let postgres = Postgres::start(options).unwrap();
    make_edge_login(&postgres).await;
    let superuser = connect(postgres.socket_dir(), "postgres", migrate::EMBEDDED_DATABASE).await;
    superuser.batch_execute(SQL).await.unwrap();
    let config = over_url(dir.path(), &postgres, migrate::EDGE_LOGIN, "").config_dir;
    let file = config.join("rowhouse.toml");
    let text = fs::read_to_string(&file).unwrap().replace("budget = 8", "budget = 30");
    fs::write(&file, text).unwrap();
    fs::write(config.join("tenants/both.toml"), TENANTS).unwrap();

    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let process = Command::new(env!("CARGO_BIN_EXE_rowhouse"))
        .arg("--config")
        .arg(&config)
        .args([
            "serve",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--operator-listen",
            "127.0.0.1:0",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let edge = Process(process);
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET /api/{path} HTTP/1.1\r\nHost: one.localhost:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    until(Duration::from_secs(10), "the edge", async || {
        TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
    let read = async |mut stream: TcpStream| {
        let (mut read, mut buffer) = (0, vec![0; 64 << 10]);
        let mut end = Vec::new();
        loop {
            let length = stream.read(&mut buffer).await.unwrap();
            if length == 0 {
                assert!(end.ends_with(b"]\r\n0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&end));
                return read;
            }
            read += length;
            end.extend_from_slice(&buffer[length.saturating_sub(64)..length]);
            end.drain(..end.len().saturating_sub(64));
        }
    };
    read(ask("endless?limit=5000").await).await;
    let idle = edge.memory("VmRSS");
    let asked = Instant::now();
    let bytes = read(ask("endless?limit=295000").await).await;
    assert!(bytes > 300_000_000, "{bytes}");
    let one = edge.memory("VmHWM").saturating_sub(idle);
    eprintln!("{bytes} bytes in {:?}: {idle} kB and {one} more", asked.elapsed());
    assert!(one <= 64 << 10, "{one} kB more than {idle}");

    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = ask("endless?limit=30000").await;
        let _byte = stream.read_u8().await.unwrap();
        streams.push(stream);
    }
    join_all(streams.into_iter().map(read)).await;
    let twenty = edge.memory("VmHWM").saturating_sub(idle);
    eprintln!("20 at once: {twenty} kB more");
    assert!(twenty <= 160 << 10, "{twenty} kB more than {idle}");
}

/// Killed when it is dropped.
struct Process(Child);

impl Process {
    /// A figure of `/proc/PID/status`, in kB.
    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
