//! Against servers that are none: what they say is written down here.

use std::ops::ControlFlow;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

/// A message of the server.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(4 + body.len()).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn row(values: &[Option<&str>]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            Some(text) => {
                body.extend(i32::try_from(text.len()).unwrap().to_be_bytes());
                body.extend(text.as_bytes());
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    message(b'D', &body)
}

fn error(severity: &str, code: &str) -> Vec<u8> {
    message(
        b'E',
        format!("S{severity}\0V{severity}\0C{code}\0Msaid so\0\0").as_bytes(),
    )
}

fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// Authentication that asks for nothing, and the key to cancel by.
fn welcome() -> Vec<u8> {
    let key = [7_i32.to_be_bytes(), 8_i32.to_be_bytes()].concat();
    [message(b'R', &0_i32.to_be_bytes()), message(b'K', &key), ready()].concat()
}

const LOGIN: Login<'_> = Login {
    user: "edge",
    password: Some(b"secret"),
    database: None,
    options: "",
    application_name: "tests",
    server_end_point: None,
    must_be_bound: false,
};

/// A connection to a server that is played by the test.
async fn connected() -> (Connection, Driver<DuplexStream>, DuplexStream) {
    let (client, mut server) = duplex(1 << 16);
    server.write_all(&welcome()).await.unwrap();
    let (connection, driver) = startup(client, LOGIN).await.unwrap();
    // What the client has said so far.
    let mut length = [0; 4];
    server.read_exact(&mut length).await.unwrap();
    let mut rest = vec![0; i32::from_be_bytes(length) as usize - 4];
    server.read_exact(&mut rest).await.unwrap();
    (connection, driver, server)
}

/// Takes the texts of all rows, up to one that says to stop, or to pause.
#[derive(Debug, Default)]
struct Taken {
    rows: Vec<Vec<Option<String>>>,
    completed: Vec<u64>,
    failed: Vec<String>,
}

impl Replies for Taken {
    fn columns(&mut self, _: &[u32]) {}

    fn row(&mut self, row: Row<'_>) -> ControlFlow<Halt> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let values: Vec<_> = row.values().map(|value| value.map(text)).collect();
        let says = |word| values.iter().flatten().any(|value| value == word);
        let flow = match (says("stop"), says("pause")) {
            (true, _) => ControlFlow::Break(Halt::Stop),
            (_, true) => ControlFlow::Break(Halt::Pause),
            _ => ControlFlow::Continue(()),
        };
        self.rows.push(values);
        flow
    }

    fn complete(&mut self, affected: u64) {
        self.completed.push(affected);
    }

    fn failed(&mut self, error: DbError) {
        self.failed.push(error.code().code().to_owned());
    }
}

fn query() -> Batch {
    let mut batch = Batch::new();
    batch.query("SELECT").unwrap();
    batch
}

fn texts(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

#[tokio::test]
async fn answers_go_to_whom_they_are_for() {
    let (connection, driver, mut server) = connected().await;
    let talk = async {
        let first = connection.send(&query(), Taken::default());
        let dropped = connection.send(&query(), Taken::default());
        let failing = connection.send(&query(), Taken::default());
        let stopping = connection.send(&query(), Taken::default());
        let last = connection.send(&query(), Taken::default());
        drop(dropped);
        let answers = [
            row(&[Some("a"), None]),
            complete("SELECT 1"),
            ready(),
            row(&[Some("nobody's")]),
            complete("SELECT 1"),
            ready(),
            error("ERROR", "22012"),
            ready(),
            row(&[Some("stop")]),
            row(&[Some("more")]),
            complete("SELECT 2"),
            ready(),
            message(b'N', b"SNOTICE\0\0"),
            row(&[Some("b")]),
            complete("INSERT 0 12"),
            ready(),
        ];
        // Byte by byte, so that every message arrives in pieces.
        for byte in answers.concat() {
            server.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let (answer, taken) = first.await.unwrap();
        assert_eq!(answer, Answer::Whole(Status::Idle));
        assert_eq!(
            (&taken.rows, &taken.completed),
            (&vec![vec![Some("a".to_owned()), None]], &vec![1])
        );
        assert_eq!(failing.await.unwrap().1.failed, ["22012"]);
        let (answer, taken) = stopping.await.unwrap();
        assert_eq!((answer, taken.rows), (Answer::Stopped, vec![texts(&["stop"])]));
        let (_, taken) = last.await.unwrap();
        assert_eq!((taken.rows, taken.completed), (vec![texts(&["b"])], vec![12]));
    };
    tokio::select! {
        () = talk => {}
        ended = driver => panic!("{ended:?}"),
    }
}

/// While one has paused, what comes stays in the socket, and in that of the server.
#[tokio::test]
async fn a_pause_holds_the_server_up_until_it_is_over() {
    let (connection, driver, mut server) = connected().await;
    let talk = async {
        let mut sent = connection.send(&query(), Taken::default());
        let next = connection.send(&query(), Taken::default());
        let rows = [row(&[Some("pause")]), row(&[Some("a")]), row(&[Some("pause")])].concat();
        server.write_all(&rows).await.unwrap();
        let (answer, taken) = (&mut sent).await.unwrap();
        assert_eq!((answer, &taken.rows), (Answer::Paused, &vec![texts(&["pause"])]));
        let flood = row(&[Some(&"x".repeat(1000))]).repeat(1000);
        let written = timeout(Duration::from_millis(100), server.write_all(&flood)).await;
        assert!(written.is_err(), "nobody reads");
        connection.resume(&sent, taken);
        let (answer, taken) = (&mut sent).await.unwrap();
        assert_eq!(answer, Answer::Paused);
        assert_eq!(taken.rows, [["pause"], ["a"], ["pause"]].map(|row| texts(&row)));
        drop((sent, next));
        drop(connection);
        // What is left is read to its end, for nobody.
        let mut goodbye = Vec::new();
        server.shutdown().await.unwrap();
        server.read_to_end(&mut goodbye).await.unwrap();
    };
    let (ended, ()) = tokio::join!(driver, talk);
    assert!(matches!(ended, Err(Error::Protocol(_) | Error::Closed)), "{ended:?}");
}

#[tokio::test]
async fn who_has_paused_is_told_of_the_end_when_they_go_on() {
    let (connection, mut driver, mut server) = connected().await;
    let mut sent = connection.send(&query(), Taken::default());
    server.write_all(&row(&[Some("pause")])).await.unwrap();
    let (_, taken) = tokio::select! {
        answer = &mut sent => answer.unwrap(),
        ended = &mut driver => panic!("{ended:?}"),
    };
    drop(driver);
    connection.resume(&sent, taken);
    assert!(matches!(sent.await, Err(Error::Closed)));
}

#[tokio::test]
async fn everybody_is_told_why_a_connection_ended() {
    for (said, expected) in [
        (
            [row(&[Some("half")]), error("FATAL", "57P01")].concat(),
            "FATAL: said so",
        ),
        (Vec::new(), "the server closed the connection"),
        (
            message(b'D', b"\0\x02\0\0"),
            "the server broke the protocol: a message is shorter than what it should hold",
        ),
        (
            message(b'?', b""),
            "the server broke the protocol: an answer to something else than was asked",
        ),
        (
            b"D\xff\xff\xff\xff".to_vec(),
            "the server broke the protocol: a message of negative length",
        ),
        (
            b"D\x7f\xff\xff\xff".to_vec(),
            "the server broke the protocol: a message of more than 256 MiB",
        ),
        (
            [ready(), message(b'D', b"\0\0")].concat(),
            "the server closed the connection",
        ),
    ] {
        let (connection, driver, mut server) = connected().await;
        let (one, two) = (
            connection.send(&query(), Taken::default()),
            connection.send(&query(), Taken::default()),
        );
        server.write_all(&said).await.unwrap();
        server.shutdown().await.unwrap();
        let told = driver.await.unwrap_err().to_string();
        assert_eq!(told, expected);
        let first = one.await;
        assert_eq!(two.await.unwrap_err().to_string(), expected);
        assert!(first.is_ok() == said.starts_with(b"Z"), "{first:?}");
        assert!(connection.is_closed());
        let late = connection.send(&query(), Taken::default()).await;
        assert_eq!(late.unwrap_err().to_string(), expected);
    }
}

fn setting(name: &str, value: &str) -> Vec<u8> {
    message(b'S', format!("{name}\0{value}\0").as_bytes())
}

#[tokio::test]
async fn a_session_whose_values_would_be_misread_is_refused() {
    for (name, value, wanted) in [
        ("client_encoding", "LATIN1", "UTF8"),
        ("integer_datetimes", "off", "on"),
        ("standard_conforming_strings", "off", "on"),
    ] {
        let (client, mut server) = duplex(1 << 16);
        let said = [
            message(b'R', &0_i32.to_be_bytes()),
            setting("server_version", "18.0"),
            setting(name, wanted),
            setting(name, value),
            ready(),
        ];
        server.write_all(&said.concat()).await.unwrap();
        let refused = startup(client, LOGIN).await.map(|_| ()).unwrap_err();
        let expected = format!("the session has {name} = {value}, and must have {wanted}");
        assert_eq!(refused.to_string(), expected);
    }
}

/// Whoever has rows in it by then is told, and nobody comes after.
#[tokio::test]
async fn a_session_that_changes_its_encoding_has_ended() {
    for in_flight in [true, false] {
        let (connection, driver, mut server) = connected().await;
        let send = || connection.send(&query(), Taken::default());
        let sent = in_flight.then(|| [send(), send()]);
        let said = [
            setting("client_encoding", "UTF8"),
            setting("standard_conforming_strings", "off"),
            setting("client_encoding", "LATIN1"),
        ];
        if in_flight {
            server.write_all(&row(&[Some("not what it was")])).await.unwrap();
        }
        server.write_all(&said.concat()).await.unwrap();
        let expected = "the session has client_encoding = LATIN1, and must have UTF8";
        assert_eq!(driver.await.unwrap_err().to_string(), expected);
        for sent in sent.into_iter().flatten() {
            assert_eq!(sent.await.unwrap_err().to_string(), expected);
        }
        assert_eq!(send().await.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn a_driver_that_is_dropped_leaves_nobody_waiting() {
    let (connection, driver, _server) = connected().await;
    let sent = connection.send(&query(), Taken::default());
    drop(driver);
    assert!(matches!(sent.await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_connection_says_goodbye_when_all_is_answered() {
    let (connection, driver, mut server) = connected().await;
    drop(connection.send(&query(), Taken::default()));
    drop(connection);
    let serve = async {
        let mut said = vec![0; query().parts().0.len()];
        server.read_exact(&mut said).await.unwrap();
        server
            .write_all(&[complete("SELECT 0"), ready()].concat())
            .await
            .unwrap();
        let mut goodbye = Vec::new();
        server.read_to_end(&mut goodbye).await.unwrap();
        assert_eq!(goodbye, b"X\0\0\0\x04");
    };
    let (ended, ()) = tokio::join!(driver, serve);
    ended.unwrap();
}

/// 1. The connection is dropped amid a batch, as when its time is up. 2. The server never answers, whatever else it says.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_left_in_the_end() {
    for (may_take, limit) in [(Duration::ZERO, PATIENCE), (3 * PATIENCE, 3 * PATIENCE)] {
        let (connection, driver, mut server) = connected().await;
        connection.outlast(may_take);
        drop(connection.send(&query(), Taken::default()));
        drop(connection);
        let dropped = tokio::time::Instant::now();
        let serve = async {
            loop {
                server.write_all(&message(b'N', b"Mon and on\0\0")).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            ended = timeout(Duration::from_mins(1), driver) => ended.expect("it waits for ever").unwrap(),
            () = serve => {}
        }
        let waited = dropped.elapsed();
        assert!(
            waited >= limit && waited < limit + Duration::from_secs(1),
            "{waited:?}: what is asked to stop has {limit:?}"
        );
    }
}

#[tokio::test]
async fn who_goes_on_and_on_at_login_is_not_listened_to() {
    let (client, mut server) = duplex(1 << 16);
    let talk = async {
        // A message of 200 MB.
        server.write_all(b"R\x0b\xeb\xc2\x00").await.unwrap();
        while server.write_all(&[0; 1024]).await.is_ok() {}
    };
    let (refused, ()) = tokio::join!(async { startup(client, LOGIN).await.map(|_| ()).unwrap_err() }, talk);
    assert_eq!(
        refused.to_string(),
        "the server broke the protocol: a message at startup of more than 64 KiB"
    );
}

/// A socket may keep what it is given until it is told to send it, as an encrypted one does when the system takes no more.
#[tokio::test]
async fn what_a_socket_keeps_back_is_sent() {
    let (client, mut server) = duplex(1 << 16);
    server.write_all(&welcome()).await.unwrap();
    let (connection, driver) = startup(BufStream::new(client), LOGIN).await.unwrap();
    let talk = async {
        let sent = connection.send(&query(), Taken::default());
        let mut said = vec![0; 256];
        while !said.ends_with(query().parts().0) {
            said.truncate(0);
            server.read_buf(&mut said).await.unwrap();
        }
        server
            .write_all(&[complete("SELECT 0"), ready()].concat())
            .await
            .unwrap();
        assert_eq!(sent.await.unwrap().0, Answer::Whole(Status::Idle));
    };
    tokio::select! {
        answered = timeout(Duration::from_secs(5), talk) => answered.unwrap(),
        ended = driver => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn a_password_is_bound_to_an_encrypted_connection_if_both_sides_can() {
    const PLUS: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
    const ALONE: &[u8] = b"SCRAM-SHA-256\0\0";
    for (end_point, offers, mechanism, header) in [
        (
            Some(&b"hash"[..]),
            PLUS,
            "SCRAM-SHA-256-PLUS\0",
            "p=tls-server-end-point,,",
        ),
        (Some(b"hash"), ALONE, "SCRAM-SHA-256\0", "y,,"),
        (None, PLUS, "SCRAM-SHA-256\0", "n,,"),
    ] {
        let (client, mut server) = duplex(1 << 16);
        let body = [&10_i32.to_be_bytes()[..], offers].concat();
        server.write_all(&message(b'R', &body)).await.unwrap();
        server.shutdown().await.unwrap();
        let login = Login {
            server_end_point: end_point,
            ..LOGIN
        };
        assert!(matches!(startup(client, login).await, Err(Error::Closed)));
        let mut said = Vec::new();
        server.read_to_end(&mut said).await.unwrap();
        let said = String::from_utf8_lossy(&said);
        let (_, answer) = said.split_once(mechanism).unwrap();
        // Behind four bytes of length.
        assert!(answer[4..].starts_with(header), "{answer:?}");
    }
}

#[tokio::test]
async fn who_cannot_be_authenticated_to_is_refused() {
    let ask = |kind: i32, more: &[u8]| message(b'R', &[&kind.to_be_bytes()[..], more].concat());
    let wrong_proof = [ask(10, b"SCRAM-SHA-256\0\0"), ask(11, b"r=short,s=AAAA,i=4096")].concat();
    for (said, expected) in [
        (
            ask(7, b""),
            "authentication: the server asks for a method other than a password",
        ),
        (
            ask(10, b"SCRAM-SHA-1\0\0"),
            "authentication: the server knows no SCRAM-SHA-256",
        ),
        (wrong_proof, "authentication: the server's part of SCRAM is wrong"),
        (ask(5, b"ab"), "the server broke the protocol: a malformed salt"),
        (
            message(b'Z', b"I"),
            "the server broke the protocol: something else than authentication",
        ),
        (error("FATAL", "28P01"), "FATAL: said so"),
        ([ask(0, b""), error("FATAL", "22023")].concat(), "FATAL: said so"),
    ] {
        let (client, mut server) = duplex(1 << 16);
        server.write_all(&said).await.unwrap();
        server.shutdown().await.unwrap();
        let refused = startup(client, LOGIN).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    // Whoever is to prove the password to this connection alone does so in no other way.
    let bound = Login {
        server_end_point: Some(b"hash"),
        must_be_bound: true,
        ..LOGIN
    };
    for said in [ask(0, b""), ask(3, b""), ask(5, b"salt"), ask(10, b"SCRAM-SHA-256\0\0")] {
        let (client, mut server) = duplex(1 << 16);
        server.write_all(&said).await.unwrap();
        let refused = startup(client, bound).await.map(|_| ()).unwrap_err();
        assert!(refused.to_string().ends_with("channel_binding=require"), "{refused}");
    }
    let (client, mut server) = duplex(1 << 16);
    server.write_all(&ask(3, b"")).await.unwrap();
    let without = Login {
        password: None,
        ..LOGIN
    };
    let refused = startup(client, without).await.map(|_| ()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "authentication: the server asks for a password, and there is none"
    );
}

proptest! {
    /// Whatever a server says, there is an end to it, and no panic.
    #[test]
    fn no_server_breaks_a_client(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            // Messages that are whole, in a senseless order.
            prop::collection::vec((prop::sample::select(b"1234567ACDEGHIKNRSTVWZdnst".to_vec()),
                prop::collection::vec(any::<u8>(), 0..24)), 0..12)
                .prop_map(|messages| messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect()),
        ],
        startup_too: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (client, mut server) = duplex(1 << 16);
            if !startup_too {
                server.write_all(&welcome()).await.unwrap();
            }
            server.write_all(&bytes).await.unwrap();
            server.shutdown().await.unwrap();
            let talk = async {
                if let Ok((connection, driver)) = startup(client, LOGIN).await {
                    let sent = connection.send(&query(), Taken::default());
                    let _ended = driver.await;
                    let _told = sent.await;
                }
            };
            timeout(Duration::from_secs(10), talk).await.expect("it ends");
        });
    }
}

/// What a server may answer to one batch of one to three synchronisation points.
fn answers(batch: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(answer(batch), 1..=3).prop_map(|parts| parts.concat())
}

/// The same up to one of them: rows of the batch's own number, and whatever else may come.
fn answer(batch: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let own = batch.to_string();
    let row_of = move |word: &str| row(&[Some(&own), Some(word), None]);
    let rows = prop_oneof![8 => Just("x"), 1 => Just("pause"), 1 => Just("stop")].prop_map(row_of);
    let other = prop::sample::select(vec![
        message(b'1', b""),
        message(b'2', b""),
        message(b'3', b""),
        message(b'n', b""),
        message(b'I', b""),
        message(b't', &[0, 1, 0, 0, 0, 25]),
        message(b'T', b"\0\x01a\0\0\0\0\x07\0\x01\0\0\0\x19\xff\xff\0\0\0\0\0\x01"),
        message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhear, hear\0\0"),
        message(b'S', b"application_name\0x\0"),
        message(b'A', b"\0\0\0\x07channel\0payload\0"),
        complete("SELECT 3"),
        error("ERROR", "22012"),
    ]);
    let messages = prop::collection::vec(prop_oneof![3 => rows, 2 => other], 0..12);
    let status = prop::sample::select(b"ITE".to_vec());
    (messages, status).prop_map(|(mut messages, status)| {
        messages.push(message(b'Z', &[status]));
        messages
    })
}

/// What is done to what a server says, somewhere in it.
#[derive(Clone, Debug)]
enum Damage {
    Flip(u8),
    Lose(usize),
    Add(Vec<u8>),
    Repeat(usize),
    End,
}

impl Damage {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            4 => (1_u8..).prop_map(Self::Flip),
            2 => (1_usize..40).prop_map(Self::Lose),
            2 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Self::Add),
            2 => (1_usize..200).prop_map(Self::Repeat),
            1 => Just(Self::End),
        ]
    }

    fn befall(&self, bytes: &mut Vec<u8>, at: prop::sample::Index) {
        if bytes.is_empty() {
            return;
        }
        let at = at.index(bytes.len());
        let until = |length: usize| (at + length).min(bytes.len());
        match self {
            Self::Flip(bits) => bytes[at] ^= bits,
            Self::Lose(length) => drop(bytes.drain(at..until(*length))),
            Self::Add(more) => drop(bytes.splice(at..at, more.iter().copied())),
            Self::Repeat(length) => {
                let again = bytes[at..until(*length)].to_vec();
                bytes.splice(at..at, again);
            }
            Self::End => bytes.truncate(at),
        }
    }
}

type Told = Result<(Answer, Taken), Error>;

/// What became of a batch in the end, pauses aside.
async fn told(connection: &Connection, mut sent: Sent<Taken>) -> Told {
    loop {
        match (&mut sent).await? {
            (Answer::Paused, taken) => connection.resume(&sent, taken),
            told => return Ok(told),
        }
    }
}

/// How many synchronisation points each batch has.
fn points(said: &[Vec<Vec<u8>>]) -> Vec<usize> {
    let points = |messages: &Vec<Vec<u8>>| messages.iter().filter(|message| message[0] == b'Z').count();
    said.iter().map(points).collect()
}

/// Says `bytes` in pieces of these lengths, over and over, to a client with these batches on their way, the last one dropped.
/// What those are told, and the most memory that it took.
fn converse(greeting: &[u8], bytes: &[u8], pieces: &[usize], batches: &[usize]) -> (Vec<Told>, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut outcomes = Vec::new();
    let memory = allocation_counter::measure(|| {
        runtime.block_on(async {
            let (client, mut server) = duplex(1 << 12);
            let talk = async {
                let Ok((connection, driver)) = startup(client, LOGIN).await else {
                    return;
                };
                let send = |points: &usize| {
                    let mut batch = query();
                    (1..*points).for_each(|_| batch.sync());
                    connection.send(&batch, Taken::default())
                };
                let mut sent: Vec<_> = batches.iter().map(send).collect();
                drop(sent.pop());
                let all = futures_util::future::join_all(sent.into_iter().map(|sent| told(&connection, sent)));
                let (_ended, told) = tokio::join!(driver, all);
                assert!(connection.is_closed());
                outcomes = told;
            };
            let says = async {
                let mut said = greeting.to_vec();
                if greeting == welcome() {
                    // Who greets as one should speaks when asked.
                    server.write_all(greeting).await.unwrap();
                    said.clear();
                    let mut heard = Vec::new();
                    let asked = |heard: &[u8]| heard.windows(6).filter(|word| word == b"SELECT").count();
                    while asked(&heard) < batches.len() {
                        assert!(server.read_buf(&mut heard).await.unwrap() > 0);
                    }
                }
                said.extend(bytes);
                let mut rest = &said[..];
                for piece in pieces.iter().cycle() {
                    let (now, later) = rest.split_at(rest.len().min(*piece));
                    // It may have heard enough.
                    if now.is_empty() || server.write_all(now).await.is_err() {
                        break;
                    }
                    rest = later;
                    tokio::task::yield_now().await;
                }
                let _gone = server.shutdown().await;
                let mut scratch = Vec::new();
                let _gone = server.read_to_end(&mut scratch).await;
            };
            let both = async { tokio::join!(talk, says) };
            timeout(Duration::from_secs(10), both).await.expect("it ends");
        });
    });
    (outcomes, memory.bytes_max)
}

/// A client needs its buffers, and what it keeps of what it was told.
fn is_bounded(memory: u64, said: usize) -> bool {
    memory <= (128 << 10) + 64 * said as u64
}

proptest! {
    /// However what is good arrives, each batch has its own answer, those that are dropped, stop or pause among them.
    #[test]
    fn every_batch_has_its_own_answer_however_it_is_cut(
        said in (0_usize..6).prop_flat_map(|count| (0..=count).map(answers).collect::<Vec<_>>()),
        pieces in prop::collection::vec(1_usize..60, 1..8),
    ) {
        let bytes = said.concat().concat();
        let (told, memory) = converse(&welcome(), &bytes, &pieces, &points(&said));
        prop_assert_eq!(told.len(), said.len() - 1);
        for (batch, told) in told.into_iter().enumerate() {
            let (answer, taken) = told.unwrap();
            let own = Some(batch.to_string());
            prop_assert!(taken.rows.iter().all(|row| row[0] == own), "{batch}: {taken:?}");
            let rows = said[batch].iter().filter(|message| message[0] == b'D').count();
            prop_assert!(taken.rows.len() == rows || answer == Answer::Stopped, "{batch}: {taken:?}");
        }
        prop_assert!(is_bounded(memory, bytes.len()), "{memory} bytes");
    }

    /// However it is spoilt, there is no panic, it takes no more memory than there is to remember, and everybody is told
    /// something.
    #[test]
    fn everybody_is_told_something_whatever_is_spoilt(
        greeting in prop::sample::select(vec![
            welcome(),
            [message(b'R', &3_i32.to_be_bytes()), welcome()].concat(),
            [message(b'R', &[5_i32.to_be_bytes(), 7_i32.to_be_bytes()].concat()), welcome()].concat(),
            message(b'R', &[&10_i32.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat()),
        ]),
        said in (0_usize..6).prop_flat_map(|count| (0..=count).map(answers).collect::<Vec<_>>()),
        damages in prop::collection::vec((any::<prop::sample::Index>(), Damage::any()), 1..4),
        spoils_greeting: bool,
        pieces in prop::collection::vec(1_usize..60, 1..8),
    ) {
        let mut greeting = greeting;
        let mut bytes = said.concat().concat();
        for (at, damage) in &damages {
            damage.befall(if spoils_greeting { &mut greeting } else { &mut bytes }, *at);
        }
        let (told, memory) = converse(&greeting, &bytes, &pieces, &points(&said));
        prop_assert!(told.is_empty() || told.len() == said.len() - 1);
        prop_assert!(is_bounded(memory, greeting.len() + bytes.len()), "{memory} bytes");
    }
}
