//! A Postgres that is played: as much of its protocol as the pool speaks, over streams in memory, and a record of what it
//! must never see. What happens at it is a matter of its seed.
//!
//! A backend counts from its startup message until its process has ended, which is when its socket closes. Statements are
//! a kind and a name (`read a`); their parameters say whose they are, for which request, and what becomes of them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::pool::lock;

/// What the edge logs in as.
pub(super) const LOGIN: &str = "edge";

/// When a statement is ended by the server.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);

/// What may become of a connection that is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// Nobody listens.
    Unreachable,
    /// 53300.
    Full,
    /// 57P03.
    StartingUp,
    /// 28000.
    NoSuchRole,
    /// It says nothing until the client gives up.
    Silent,
    /// It closes without a word.
    Closes,
    /// It comes out in another schema.
    Elsewhere,
}

/// What becomes of a statement, as its last parameter has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It answers.
    Good,
    /// It fails, after its time.
    Fails,
    /// It answers, and no statement is prepared any more.
    Forgets,
    /// The connection dies in the midst of its rows.
    Dies,
    /// It dies when what was written is committed, and nobody has been told.
    DiesCommitted,
    /// It leaves a transaction open, if it has a lease: nothing that shares a connection can.
    Opens,
}

impl Fate {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Fails => "fails",
            Self::Forgets => "forgets",
            Self::Dies => "dies",
            Self::DiesCommitted => "dies committed",
            Self::Opens => "opens",
        }
    }
}

pub(super) struct Server {
    state: Mutex<State>,
    tasks: TaskTracker,
    /// The longest that a backend takes to come up, and to end.
    latency: Duration,
}

struct State {
    seed: u64,
    last: i32,
    backends: BTreeMap<i32, Backend>,
    /// How many there may be.
    budget: usize,
    faults: VecDeque<Fault>,
    /// Tenants whose schema is gone.
    missing: HashSet<String>,
    /// How often a request's write was committed.
    committed: HashMap<u64, u32>,
    violations: Vec<String>,
    /// What has happened, in short.
    trace: Vec<String>,
}

struct Backend {
    signals: Arc<Signals>,
    /// The request whose statement runs, and whether its connection ends if its client leaves.
    running: Option<(u64, bool)>,
    /// Who had it alone has left in the midst of it: it is for nobody any more.
    left_by: Option<u64>,
}

#[derive(Default)]
struct Signals {
    cancel: Notify,
    end: Notify,
}

impl Server {
    pub(super) fn new(seed: u64, budget: u32, latency: Duration) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                seed,
                last: 0,
                backends: BTreeMap::new(),
                budget: budget as usize,
                faults: VecDeque::new(),
                missing: HashSet::new(),
                committed: HashMap::new(),
                violations: Vec::new(),
                trace: Vec::new(),
            }),
            tasks: TaskTracker::new(),
            latency,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A socket to it.
    pub(super) fn accept(self: &Arc<Self>) -> io::Result<DuplexStream> {
        let mut state = self.lock();
        if state.faults.front() == Some(&Fault::Unreachable) {
            state.faults.pop_front();
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        drop(state);
        let (client, server) = duplex(1 << 16);
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            // Whoever is at the other end may have gone at any time.
            let _gone = this.serve(server).await;
        });
        Ok(client)
    }

    /// A number from 0 to 1.
    pub(super) fn chance(&self) -> f64 {
        let mut state = self.lock();
        // SplitMix64.
        state.seed = state.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = state.seed;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from((number ^ (number >> 31)) >> 32).unwrap();
        f64::from(high) / f64::from(u32::MAX)
    }

    fn some_time(&self) -> Duration {
        self.latency.mul_f64(0.1 + 0.9 * self.chance())
    }

    pub(super) fn backends(&self) -> usize {
        self.lock().backends.len()
    }

    pub(super) fn will(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// Has a tenant's schema be gone, or come back.
    pub(super) fn lose_schema(&self, tenant: &str, gone: bool) {
        let mut state = self.lock();
        match gone {
            true => state.missing.insert(tenant.to_owned()),
            false => state.missing.remove(tenant),
        };
    }

    /// Ends one of its backends.
    pub(super) fn end_one(&self, which: usize) {
        let state = self.lock();
        let count = state.backends.len();
        if let Some(backend) = state.backends.values().nth(which % count.max(1)) {
            backend.signals.end.notify_one();
        }
    }

    /// A client has left before its request was answered.
    pub(super) fn is_left_by(&self, request: u64) {
        for backend in self.lock().backends.values_mut() {
            if backend.running == Some((request, true)) {
                backend.left_by = Some(request);
            }
        }
    }

    /// How often the write of a request was committed.
    pub(super) fn committed(&self, request: u64) -> u32 {
        self.lock().committed.get(&request).copied().unwrap_or(0)
    }

    /// Puts what must not be on record.
    pub(super) fn violated(&self, what: String) {
        self.lock().violations.push(what);
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
    }

    /// Waits until all that was said to it is done.
    pub(super) async fn quiet(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn serve(self: &Arc<Self>, mut socket: DuplexStream) -> io::Result<()> {
        let length = socket.read_u32().await? as usize;
        let mut message = vec![0; length - 4];
        socket.read_exact(&mut message).await?;
        let mut message = &*message;
        if message.get_i32() == CANCEL {
            let process_id = message.get_i32();
            sleep(self.some_time()).await;
            if let Some(backend) = self.lock().backends.get(&process_id) {
                backend.signals.cancel.notify_waiters();
            }
            return Ok(());
        }
        let is_for = Whom::of(&String::from_utf8_lossy(message));
        let fault = self.lock().faults.pop_front();
        if fault == Some(Fault::Full) {
            sleep(self.some_time()).await;
            return socket.write_all(&error("FATAL", "53300")).await;
        }
        let signals = Arc::<Signals>::default();
        let process_id = self.begin(&signals);
        let mut session = Session::new(self, process_id, is_for, socket, fault == Some(Fault::Elsewhere));
        let ended = tokio::select! {
            biased;
            () = signals.end.notified() => {
                if !session.is_writing {
                    session.out.extend(error("FATAL", "57P01"));
                    let _gone = session.flush().now_or_never();
                }
                Ok(())
            }
            ended = session.live(fault, &signals) => ended,
        };
        // It has said its last word, and its process has still to end.
        sleep(self.some_time()).await;
        self.lock().backends.remove(&process_id);
        drop(session);
        ended
    }

    fn begin(&self, signals: &Arc<Signals>) -> i32 {
        let mut state = self.lock();
        state.last += 1;
        let process_id = state.last;
        let backend = Backend {
            signals: Arc::clone(signals),
            running: None,
            left_by: None,
        };
        state.backends.insert(process_id, backend);
        let (count, budget) = (state.backends.len(), state.budget);
        if count > budget {
            state
                .violations
                .push(format!("{count} backends with a budget of {budget}"));
        }
        process_id
    }
}

/// Whom a connection is opened for: by its role a tenant, or nobody yet.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Whom {
    role: Option<String>,
    schema: String,
}

impl Whom {
    fn of(startup: &str) -> Self {
        let words = startup.split(['\0', ' ']);
        let mut whom = Self {
            role: None,
            schema: String::new(),
        };
        for word in words {
            match word.split_once('=') {
                Some(("role", role)) => whom.role = Some(role.to_owned()),
                Some(("search_path", path)) => whom.schema = first_of(path),
                _ => {}
            }
        }
        whom
    }
}

/// The first schema of a search path.
fn first_of(path: &str) -> String {
    let first = path.split(',').next().unwrap_or_default();
    first.trim_matches(['"', '\\']).to_owned()
}

/// One backend.
struct Session<'s> {
    server: &'s Server,
    process_id: i32,
    is_for: Whom,
    /// Whether it has come out in another schema than asked for.
    elsewhere: bool,
    socket: DuplexStream,
    received: BytesMut,
    out: BytesMut,
    is_writing: bool,
    statements: HashMap<String, Prepared>,
    portals: HashMap<String, Bound>,
    block: Option<Block>,
    /// An error skips what comes before the next synchronisation point.
    skips: bool,
    /// Who it is to the end of the transaction.
    guise: Guise,
    /// Whose batch it is, since the last synchronisation point.
    batch_of: Option<u64>,
    /// It will not live to tell what it has done.
    dies: bool,
    /// Who had the connection alone last: until their transaction ends nobody else is to be heard of.
    transaction_of: Option<u64>,
}

/// What was set for the transaction.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Guise {
    role: Option<String>,
    schema: Option<String>,
}

#[derive(Clone)]
struct Prepared {
    sql: String,
    by: Guise,
}

#[derive(Clone)]
struct Bound {
    statement: Prepared,
    params: Vec<String>,
}

/// What is between `BEGIN` and its end.
#[derive(Default)]
struct Block {
    writes: bool,
    failed: bool,
    written: Vec<u64>,
    dies: bool,
}

/// How an `Execute` ended.
enum Ran {
    Well,
    Badly(&'static str),
}

impl<'s> Session<'s> {
    fn new(server: &'s Server, process_id: i32, is_for: Whom, socket: DuplexStream, elsewhere: bool) -> Self {
        Self {
            server,
            process_id,
            is_for,
            elsewhere,
            socket,
            received: BytesMut::new(),
            out: BytesMut::new(),
            is_writing: false,
            statements: HashMap::new(),
            portals: HashMap::new(),
            block: None,
            skips: false,
            guise: Guise::default(),
            batch_of: None,
            dies: false,
            transaction_of: None,
        }
    }

    async fn live(&mut self, fault: Option<Fault>, signals: &Signals) -> io::Result<()> {
        if fault == Some(Fault::Silent) {
            let _until_it_gives_up = self.socket.read(&mut [0]).await;
            return Ok(());
        }
        sleep(self.server.some_time()).await;
        match fault {
            Some(Fault::Closes) => return Ok(()),
            Some(Fault::StartingUp) => self.out.extend(error("FATAL", "57P03")),
            Some(Fault::NoSuchRole) => self.out.extend(error("FATAL", "28000")),
            _ => {
                let key = [self.process_id.to_be_bytes(), 1_i32.to_be_bytes()].concat();
                self.out.extend(message(b'R', &0_i32.to_be_bytes()));
                for (name, value) in [
                    ("client_encoding", "UTF8"),
                    ("integer_datetimes", "on"),
                    ("server_encoding", "UTF8"),
                    ("standard_conforming_strings", "on"),
                ] {
                    self.out.extend(message(b'S', format!("{name}\0{value}\0").as_bytes()));
                }
                self.out.extend(message(b'K', &key));
                self.out.extend(message(b'Z', b"I"));
                self.flush().await?;
                return self.talk(signals).await;
            }
        }
        self.flush().await
    }

    async fn talk(&mut self, signals: &Signals) -> io::Result<()> {
        loop {
            let (tag, body) = self.next().await?;
            match tag {
                b'X' => return Ok(()),
                b'Q' => {
                    self.query(&body);
                    if self.dies {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                    self.synchronise().await?;
                }
                b'S' => self.synchronise().await?,
                _ if self.skips => {}
                b'P' => self.parse(body),
                b'D' => self.describe(body),
                b'B' => self.bind(body),
                b'C' => {
                    self.statements.remove(&text(&mut &body[1..]));
                    self.out.extend(message(b'3', b""));
                }
                b'E' => {
                    let mut body = &*body;
                    match self.bound(&text(&mut body)) {
                        Some(bound) => match self.execute(&bound, signals).await? {
                            Ran::Well => {}
                            Ran::Badly(code) => self.fail(code),
                        },
                        None => self.fail("34000"),
                    }
                }
                _ => self.violated(&format!("a message {:?}", char::from(tag))),
            }
        }
    }

    /// The next message, once it is whole.
    async fn next(&mut self) -> io::Result<(u8, BytesMut)> {
        loop {
            if let Some(length) = whole(&self.received) {
                let mut message = self.received.split_to(length);
                let tag = message.get_u8();
                message.advance(4);
                return Ok((tag, message));
            }
            if self.socket.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.is_writing = true;
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        self.is_writing = false;
        Ok(())
    }

    async fn synchronise(&mut self) -> io::Result<()> {
        self.skips = false;
        self.batch_of = None;
        if self.block.is_none() {
            self.end_transaction();
        }
        let status = match &self.block {
            None => b"I",
            Some(block) if block.failed => b"E",
            Some(_) => b"T",
        };
        self.out.extend(message(b'Z', status));
        self.flush().await
    }

    fn end_transaction(&mut self) {
        self.portals.clear();
        self.guise = Guise::default();
        self.transaction_of = None;
    }

    /// Statements of the edge's own, without parameters and without rows.
    fn query(&mut self, body: &[u8]) {
        let text = text(&mut &*body).to_ascii_lowercase();
        for statement in text.split(';') {
            let mut words = statement.split_whitespace();
            let verb = words.next().unwrap_or_default();
            let failed = self.block.as_ref().is_some_and(|block| block.failed);
            match verb {
                "commit" | "rollback" => {
                    let block = self.block.take().filter(|block| verb == "commit" && !block.failed);
                    self.dies = block.as_ref().is_some_and(|block| block.dies);
                    let mut state = self.server.lock();
                    for request in block.map(|block| block.written).unwrap_or_default() {
                        *state.committed.entry(request).or_default() += 1;
                    }
                    drop(state);
                    self.end_transaction();
                }
                _ if failed => return self.fail("25P02"),
                "begin" => {
                    let block = Block {
                        writes: words.any(|word| word == "write"),
                        ..Block::default()
                    };
                    if self.block.replace(block).is_some() {
                        self.violated("a transaction in a transaction");
                    }
                }
                "reset" | "set" => {}
                other => self.violated(&format!("a query that is {other:?}")),
            }
            self.out.extend(message(b'C', &[verb.as_bytes(), b"\0"].concat()));
        }
    }

    fn parse(&mut self, body: BytesMut) {
        let mut body = &*body;
        let (name, sql) = (text(&mut body), text(&mut body));
        let by = self.guise.clone();
        if self.statements.insert(name, Prepared { sql, by }).is_some() {
            self.violated("a statement of a name that there is");
        }
        self.out.extend(message(b'1', b""));
    }

    fn describe(&mut self, body: BytesMut) {
        let Some(statement) = self.statements.get(&text(&mut &body[1..])) else {
            return self.fail("26000");
        };
        let columns = match Kind::of(&statement.sql) {
            Kind::Whereabouts => 2,
            Kind::Configure { settings, says_schema } => settings + usize::from(says_schema),
            Kind::Asked { .. } => COLUMNS,
        };
        self.out.extend(message(b't', &0_u16.to_be_bytes()));
        let mut rows = BytesMut::new();
        rows.put_u16(u16::try_from(columns).unwrap());
        for _ in 0..columns {
            rows.put_slice(b"c\0");
            rows.put_slice(&[0; 6]);
            rows.put_u32(25); // text
            rows.put_slice(&[0; 8]);
        }
        self.out.extend(message(b'T', &rows));
    }

    fn bind(&mut self, body: BytesMut) {
        let (portal, statement, params) = bind_of(&body);
        let Some(statement) = self.statements.get(&statement).cloned() else {
            return self.fail("26000");
        };
        self.portals.insert(portal, Bound { statement, params });
        self.out.extend(message(b'2', b""));
    }

    fn bound(&mut self, portal: &str) -> Option<Bound> {
        self.portals.get(portal).cloned()
    }

    fn fail(&mut self, code: &'static str) {
        let process_id = self.process_id;
        self.server.lock().trace.push(format!("{process_id}: {code}"));
        self.out.extend(error("ERROR", code));
        self.skips = true;
        if let Some(block) = &mut self.block {
            block.failed = true;
        }
    }

    async fn execute(&mut self, bound: &Bound, signals: &Signals) -> io::Result<Ran> {
        if self.block.as_ref().is_some_and(|block| block.failed) {
            return Ok(Ran::Badly("25P02"));
        }
        match Kind::of(&bound.statement.sql) {
            Kind::Whereabouts => {
                let schema = self.found(&self.is_for.schema);
                let role = self.is_for.role.clone().unwrap_or_else(|| LOGIN.to_owned());
                self.row(&[schema.as_deref(), Some(&role)]);
            }
            Kind::Configure { settings, says_schema } => {
                for setting in bound.params.chunks(2) {
                    match (&*setting[0], &setting[1]) {
                        ("role", role) => self.guise.role = Some(role.clone()),
                        ("search_path", path) => self.guise.schema = Some(first_of(path)),
                        _ => {}
                    }
                }
                let mut row: Vec<Option<&str>> = vec![Some(""); settings];
                let schema = self.found(self.guise.schema.as_ref().unwrap_or(&self.is_for.schema));
                row.extend(says_schema.then_some(schema.as_deref()));
                self.row(&row);
            }
            Kind::Asked { kind } => return self.answer(kind, bound, signals).await,
        }
        self.complete(1);
        Ok(Ran::Well)
    }

    /// Where names are found.
    fn found(&self, schema: &str) -> Option<String> {
        match self.server.lock().missing.contains(schema) {
            true => None,
            false if self.elsewhere => Some("public".to_owned()),
            false => Some(schema.to_owned()),
        }
    }

    /// Runs what a client has asked for.
    async fn answer(&mut self, kind: &str, bound: &Bound, signals: &Signals) -> io::Result<Ran> {
        let [tenant, request, micros, rows, fate] = &*bound.params else {
            self.violated("a statement without its parameters");
            return Ok(Ran::Badly("08P01"));
        };
        let (request, micros, rows): (u64, u64, usize) =
            (request.parse().unwrap(), micros.parse().unwrap(), rows.parse().unwrap());
        self.check_owner(kind, tenant, request, bound);
        let is_alone = kind != "read";
        // What is alike for all goes on where it runs for all.
        let ends_with_client = is_alone && (kind != "alike" || self.is_for.role.is_some());
        if let Some(backend) = self.server.lock().backends.get_mut(&self.process_id) {
            backend.running = Some((request, ends_with_client));
        }
        let ran = self.take_time(Duration::from_micros(micros), signals).await;
        if is_alone {
            self.check_alone(request);
        }
        if let Ran::Well = ran {
            for number in 0..rows {
                let (request, number) = (request.to_string(), number.to_string());
                self.row(&[Some(tenant), Some(&request), Some(&number), Some(&"x".repeat(1000))]);
                if self.out.len() > 8 << 10 {
                    self.flush().await?;
                }
                if fate == Fate::Dies.text() {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
        if let Some(backend) = self.server.lock().backends.get_mut(&self.process_id) {
            backend.running = None;
        }
        match ran {
            Ran::Well if fate == Fate::Fails.text() => return Ok(Ran::Badly("22012")),
            Ran::Well => {}
            ran => return Ok(ran),
        }
        // Only a tenant's own code could, and none of that runs on shared connections.
        if fate == Fate::Forgets.text() && self.is_for.role.is_some() {
            self.statements.clear();
        }
        if fate == Fate::Opens.text() && kind == "lease" {
            self.block.get_or_insert_default();
            self.transaction_of = Some(request);
        }
        if kind == "write" {
            match &mut self.block {
                Some(block) if block.writes => {
                    block.written.push(request);
                    block.dies = fate == Fate::DiesCommitted.text();
                }
                _ => {
                    self.violated("a write that is not in a transaction for writing");
                }
            }
        }
        self.complete(rows);
        Ok(Ran::Well)
    }

    async fn take_time(&self, time: Duration, signals: &Signals) -> Ran {
        tokio::select! {
            biased;
            () = signals.cancel.notified() => Ran::Badly("57014"),
            () = sleep(STATEMENT_TIMEOUT), if time > STATEMENT_TIMEOUT => Ran::Badly("57014"),
            () = sleep(time) => Ran::Well,
        }
    }

    /// A statement runs for whom the connection is, on its own, and nobody else's is mixed with it.
    fn check_owner(&mut self, kind: &str, tenant: &str, request: u64, bound: &Bound) {
        let state = self.server.lock();
        let left_by = state.backends.get(&self.process_id).and_then(|backend| backend.left_by);
        drop(state);
        let process_id = self.process_id;
        self.server
            .lock()
            .trace
            .push(format!("{process_id}: {kind} of {tenant} for {request}"));
        if let Some(left_by) = left_by {
            self.violated(&format!("request {request} behind {left_by}, whose client had left"));
        }
        let is_it = match &self.is_for.role {
            Some(role) => role == tenant && self.guise.role.as_deref().is_none_or(|role| role == tenant),
            // A shared one is who the transaction says.
            None => self.guise.role.as_deref() == Some(tenant) && self.guise.schema.as_deref() == Some(tenant),
        };
        if !is_it {
            let (is_for, guise) = (&self.is_for, &self.guise);
            self.violated(&format!(
                "request {request} of {tenant} on a connection for {is_for:?} as {guise:?}"
            ));
        }
        if self.is_for.role.is_none() && kind != "alike" && bound.statement.by != self.guise {
            let by = &bound.statement.by;
            self.violated(&format!("request {request} of {tenant} by a plan of {by:?}"));
        }
        let batch_of = *self.batch_of.get_or_insert(request);
        let transaction_of = match self.block {
            Some(_) => *self.transaction_of.get_or_insert(request),
            None => request,
        };
        if batch_of != request || transaction_of != request {
            self.violated(&format!(
                "request {request} in the batch of {batch_of} or the transaction of {transaction_of}"
            ));
        }
    }

    /// Nobody else has said anything so far.
    fn check_alone(&mut self, request: u64) {
        while let Some(Ok(1..)) = self.socket.read_buf(&mut self.received).now_or_never() {}
        let mut rest = &*self.received;
        while let Some(length) = whole(rest) {
            let (message, after) = rest.split_at(length);
            rest = after;
            if message[0] != b'B' {
                continue;
            }
            let (_, statement, params) = bind_of(&message[5..]);
            let statement = self.statements.get(&statement);
            let is_asked = statement.is_some_and(|statement| matches!(Kind::of(&statement.sql), Kind::Asked { .. }));
            if is_asked && params[1] != request.to_string() {
                self.violated(&format!("request {} behind {request}, which is alone", params[1]));
            }
        }
    }

    fn row(&mut self, values: &[Option<&str>]) {
        let mut body = BytesMut::new();
        body.put_u16(u16::try_from(values.len()).unwrap());
        for value in values {
            match value {
                Some(value) => {
                    body.put_u32(u32::try_from(value.len()).unwrap());
                    body.put_slice(value.as_bytes());
                }
                None => body.put_i32(-1),
            }
        }
        self.out.extend(message(b'D', &body));
    }

    fn complete(&mut self, rows: usize) {
        self.out.extend(message(b'C', format!("SELECT {rows}\0").as_bytes()));
    }

    fn violated(&self, what: &str) {
        self.server.violated(format!("backend {}: {what}", self.process_id));
    }
}

/// What a statement is.
enum Kind<'a> {
    Whereabouts,
    Configure { settings: usize, says_schema: bool },
    Asked { kind: &'a str },
}

impl<'a> Kind<'a> {
    fn of(sql: &'a str) -> Self {
        let settings = sql.matches("set_config(").count();
        let says_schema = sql.contains("current_schema()");
        match settings {
            0 if says_schema => Self::Whereabouts,
            0 => Self::Asked {
                kind: sql.split(' ').next().unwrap_or_default(),
            },
            _ => Self::Configure { settings, says_schema },
        }
    }
}

/// Of what a client asks for: the tenant, the request, the row's number, and something long.
const COLUMNS: usize = 4;

/// In the place of a protocol version.
const CANCEL: i32 = 80_877_102;

/// How long the first message is, if it is whole.
fn whole(received: &[u8]) -> Option<usize> {
    let length = received.get(1..5)?.try_into().map(u32::from_be_bytes).unwrap();
    let length = 1 + length as usize;
    (received.len() >= length).then_some(length)
}

/// A text that ends in a NUL.
fn text(body: &mut &[u8]) -> String {
    let end = body.iter().position(|byte| *byte == 0).unwrap();
    let text = String::from_utf8_lossy(&body[..end]).into_owned();
    *body = &body[end + 1..];
    text
}

/// Portal, statement and parameters of a `Bind`.
fn bind_of(mut body: &[u8]) -> (String, String, Vec<String>) {
    let (portal, statement) = (text(&mut body), text(&mut body));
    let formats = usize::from(body.get_u16());
    body.advance(2 * formats);
    let params = (0..body.get_u16()).map(|_| {
        let length = body.get_u32() as usize;
        let (param, rest) = body.split_at(length);
        body = rest;
        String::from_utf8_lossy(param).into_owned()
    });
    let params = params.collect();
    (portal, statement, params)
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + body.len()).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn error(severity: &str, code: &str) -> Vec<u8> {
    message(
        b'E',
        format!("S{severity}\0V{severity}\0C{code}\0Msaid so\0\0").as_bytes(),
    )
}
