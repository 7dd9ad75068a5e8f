//! Servers that are no Postgres but say that they are: what they do costs their own tenants an answer, and nobody else.

#![expect(clippy::panic, clippy::print_stderr, reason = "a failed test says what it met")]

use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use rowhouse::edge::Edge;
use rowhouse::migrate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Reply, TempDir, over_address, over_url, server_beside_the_edge, until};

/// What a server does that means no good.
#[derive(Clone, Copy, Debug)]
enum Malice {
    /// It has the client hash a password for hours.
    Iterations,
    /// It never gets to the end of a message while the client logs in.
    LongWelcome,
    /// Notices without end while the client logs in.
    NoticesAtLogin,
    /// Settings without end, each of another name, while the client logs in.
    SettingsAtLogin,
    /// An error that has no SQLSTATE, in answer to a statement.
    NoState,
    /// A row that is said to be 2 GiB long, and goes on for ever.
    LongRow,
    /// Notices without end in answer to a statement.
    Notices,
    /// Settings without end, each of another name, in answer to a statement.
    Settings,
    /// Rows that nobody has asked for, without end.
    Rows,
    /// Nothing, once the client has logged in.
    Silence,
}

const ALL: [Malice; 10] = [
    Malice::Iterations,
    Malice::LongWelcome,
    Malice::NoticesAtLogin,
    Malice::SettingsAtLogin,
    Malice::NoState,
    Malice::LongRow,
    Malice::Notices,
    Malice::Settings,
    Malice::Rows,
    Malice::Silence,
];

impl Malice {
    /// Serves for ever; gives the port.
    async fn serve(self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(async move { self.talk(client).await.err() });
            }
        });
        port
    }

    async fn talk(self, mut client: TcpStream) -> io::Result<()> {
        let length = client.read_u32().await? as usize;
        let mut startup = vec![0; length - 4];
        client.read_exact(&mut startup).await?;
        let ask = |kind: i32, more: &[u8]| message(b'R', &[&kind.to_be_bytes()[..], more].concat());
        match self {
            Self::Iterations => {
                client.write_all(&ask(10, b"SCRAM-SHA-256\0\0")).await?;
                let first = String::from_utf8_lossy(&said(&mut client).await?.1).into_owned();
                let nonce = first.rsplit("r=").next().unwrap_or_default().to_owned();
                let challenge = format!("r={nonce}x,s=AAAAAAAAAAAAAAAAAAAAAA==,i=2147483647");
                client.write_all(&ask(11, challenge.as_bytes())).await?;
                said(&mut client).await.map(drop)
            }
            Self::LongWelcome => {
                client.write_all(b"R\x0f\xff\xff\xff").await?;
                flood(&mut client, |_| vec![0; 1024]).await.map(|never| match never {})
            }
            Self::NoticesAtLogin | Self::SettingsAtLogin => {
                client.write_all(&ask(0, b"")).await?;
                flood(&mut client, self.chatter()).await.map(|never| match never {})
            }
            _ => {
                let key = message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]);
                client
                    .write_all(&[ask(0, b""), key, message(b'Z', b"I")].concat())
                    .await?;
                self.answer(client).await
            }
        }
    }

    /// Once the client has logged in, and asked where it is.
    async fn answer(self, mut client: TcpStream) -> io::Result<()> {
        asked(&mut client).await?;
        if let Self::Silence = self {
            return said(&mut client).await.map(drop); // it gives up, and says so
        }
        // Where it is, is what it wants to hear: the name of its schema and of its role.
        let name = format!("{self:?}").to_lowercase();
        let columns = [(25_i32, "a\0"), (25, "b\0")].map(|(oid, name)| {
            let more = [&[0; 6][..], &oid.to_be_bytes(), &[0xff; 6], &[0; 2]].concat();
            [name.as_bytes(), &more].concat()
        });
        let values = [&*name, "nobody"].map(|value| [&length(value.len()), value.as_bytes()].concat());
        let two = 2_u16.to_be_bytes();
        let answer = [
            message(b'1', b""),
            message(b'T', &[&two[..], &columns.concat()].concat()),
            message(b'2', b""),
            message(b'D', &[&two[..], &values.concat()].concat()),
            message(b'C', b"SELECT 1\0"),
            message(b'Z', b"I"),
        ];
        client.write_all(&answer.concat()).await?;
        asked(&mut client).await?;
        match self {
            Self::NoState => {
                let error = message(b'E', b"SERROR\0Mno state\0\0");
                client.write_all(&[error, message(b'Z', b"I")].concat()).await?;
                asked(&mut client).await
            }
            Self::LongRow => {
                client.write_all(b"D\x7f\xff\xff\xff\0\x01\x7f\xff\xff\0").await?;
                flood(&mut client, |_| vec![b'x'; 1024])
                    .await
                    .map(|never| match never {})
            }
            _ => flood(&mut client, self.chatter()).await.map(|never| match never {}),
        }
    }

    /// One message after the other.
    fn chatter(self) -> impl FnMut(u64) -> Vec<u8> {
        move |number| match self {
            Self::Settings | Self::SettingsAtLogin => message(b'S', format!("x.{number}\0y\0").as_bytes()),
            Self::Rows => message(b'D', &[0, 1, 0, 0, 0, 1, b'x']),
            _ => message(
                b'N',
                format!("SNOTICE\0VNOTICE\0C00000\0M{number:0>900}\0\0").as_bytes(),
            ),
        }
    }
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap().to_be_bytes()
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &length(body.len() + 4), body].concat()
}

/// The client's next message.
async fn said(client: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let tag = client.read_u8().await?;
    let length = client.read_u32().await? as usize;
    let mut body = vec![0; length - 4];
    client.read_exact(&mut body).await?;
    Ok((tag, body))
}

/// All of the client's messages up to the next point of synchronisation.
async fn asked(client: &mut TcpStream) -> io::Result<()> {
    while !matches!(said(client).await?.0, b'S' | b'Q') {}
    Ok(())
}

/// Says on and on, some 30 MB a second: enough to fill a memory, and not so much that nothing else gets on.
async fn flood(client: &mut TcpStream, mut next: impl FnMut(u64) -> Vec<u8>) -> io::Result<Infallible> {
    let mut number = 0;
    loop {
        let mut bytes = Vec::with_capacity(66 << 10);
        while bytes.len() < 64 << 10 {
            bytes.extend(next(number));
            number += 1;
        }
        client.write_all(&bytes).await?;
        sleep(Duration::from_millis(2)).await;
    }
}

/// The program itself, so that its memory is its own. Killed when it is dropped.
struct Program {
    process: Child,
    port: u16,
}

impl Program {
    fn start(config: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port.local_addr().unwrap().port();
        let process = Command::new(env!("CARGO_BIN_EXE_rowhouse"))
            .arg("--config")
            .arg(config)
            .args(["serve", "--operator-listen", "127.0.0.1:0", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port }
    }

    async fn get(&self, tenant: &str, path: &str) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let port = self.port;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {tenant}.localhost:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        Ok(Reply::read(&mut stream).await)
    }

    /// The most memory it has ever had, in kB.
    #[cfg(target_os = "linux")]
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[cfg(not(target_os = "linux"))]
    fn peak(&self) -> u64 {
        0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Each is a cluster of its own, and a neighbour of all of them is on a real one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malicious_server_costs_its_own_tenants_alone() {
    let dir = TempDir::new();
    let postgres = server_beside_the_edge(&dir).await;
    let mut clusters = String::from("[defaults]\nstatement_timeout = \"1s\"\n");
    let mut tenants = String::new();
    for malice in ALL {
        let name = format!("{malice:?}").to_lowercase();
        let port = malice.serve().await;
        writeln!(
            clusters,
            "[clusters.{name}]\nurl = \"postgres://nobody:secret@127.0.0.1:{port}/app\"\nbudget = 4"
        )
        .unwrap();
        writeln!(
            tenants,
            "[tenants.{name}]\nhosts = [\"{name}.localhost\"]\ncluster = \"{name}\"\nmanaged = false\n\
             anonymous_role = \"nobody\""
        )
        .unwrap();
    }
    let config = over_url(dir.path(), &postgres, migrate::EDGE_LOGIN, &clusters).config_dir;
    fs::set_permissions(config.join("rowhouse.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(config.join("tenants/malicious.toml"), tenants).unwrap();
    let edge = Program::start(&config);
    until(Duration::from_secs(30), "the edge", async || {
        let reply = edge.get("cliente", "/api/mylist").await;
        reply.is_ok_and(|reply| reply.status == 200)
    })
    .await;
    let before = edge.peak();
    let attacked = join_all(ALL.map(async |malice| {
        let name = format!("{malice:?}").to_lowercase();
        // Twice: what the first one has left must not be in the way of the second.
        for _ in 0..2 {
            let asked = Instant::now();
            let reply = timeout(Duration::from_secs(15), edge.get(&name, "/api/things")).await;
            let reply = reply.unwrap_or_else(|_| panic!("{malice:?}: no answer")).unwrap();
            assert!(matches!(reply.status, 500 | 503 | 504), "{malice:?}: {reply:?}");
            eprintln!(
                "{malice:?}: {} {} after {:?}",
                reply.status,
                reply.body,
                asked.elapsed()
            );
        }
    }));
    let neighbour = async {
        let (mut served, mut longest) = (0_u32, Duration::ZERO);
        loop {
            let asked = Instant::now();
            let reply = edge.get("cliente", "/api/mylist").await.unwrap();
            assert_eq!((reply.status, &*reply.body), (200, "[]"), "{reply:?}");
            served += 1;
            longest = longest.max(asked.elapsed());
            if served > 10 {
                assert!(longest < Duration::from_secs(2), "a neighbour waited {longest:?}");
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = attacked => {}
        () = neighbour => {}
    }
    let more = edge.peak() - before;
    eprintln!("{before} kB, {more} kB more");
    assert!(more < 160 << 10, "{more} kB more than {before}");
}

/// A server that takes the login and says nothing more is not waited for at the start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_starts_beside_a_server_that_says_nothing() {
    let dir = TempDir::new();
    let port = Malice::Silence.serve().await;
    let options = over_address(dir.path(), &format!("nobody@127.0.0.1:{port}/app"), "");
    let started = timeout(Duration::from_secs(20), Edge::start(options)).await;
    let edge = started.expect("it does not start").unwrap();
    edge.stop(Duration::from_secs(1)).await;
}
