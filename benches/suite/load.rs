//! The clients: each has a connection, and sends its next request when it has the answer to the last.
//!
//! A closed loop, so a server that is slow is asked less, and latencies are those of the requests that were sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Result;
use crate::traffic::{Exchange, Traffic};

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Microseconds of the answers that count.
    pub(crate) latencies: Histogram<u64>,
    /// Good answers.
    pub(crate) answered: u64,
    /// All others, by their status; 0 for a connection that broke.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Good answers with another body than expected: another tenant's rows, for example.
    pub(crate) wrong: u64,
    pub(crate) elapsed: Duration,
}

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            // Up to a minute, with three digits.
            latencies: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            answered: 0,
            refused: BTreeMap::new(),
            wrong: 0,
            elapsed: Duration::ZERO,
        })
    }

    /// Returns whether it was a good one.
    fn note(&mut self, exchange: &Exchange, answer: Answer<'_>, latency: Duration) -> bool {
        if !(200..300).contains(&answer.status) {
            *self.refused.entry(answer.status).or_default() += 1;
            return false;
        }
        self.answered += 1;
        if !answer.body.starts_with(&exchange.expected) {
            self.wrong += 1;
        }
        if exchange.counts {
            self.latencies.saturating_record(latency.as_micros() as u64);
        }
        true
    }
}

/// `clients` clients for so long, each with a `pause` before every request. All are connected before the clock runs.
pub(crate) async fn drive(
    address: SocketAddr,
    traffic: &Arc<Traffic>,
    clients: usize,
    time: Duration,
    pause: Duration,
) -> Result<Tally> {
    let connected = try_join_all((0..clients).map(|_| Client::connect(address))).await?;
    let tally = Arc::new(Mutex::new(Tally::new()?));
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for (n, mut client) in connected.into_iter().enumerate() {
        let (traffic, tally) = (Arc::clone(traffic), Arc::clone(&tally));
        // Not all in the same moment.
        let first = begun + pause * n as u32 / clients as u32;
        running.spawn(async move { client.run(&traffic, &tally, first, begun + time, pause).await });
    }
    while let Some(client) = running.join_next().await {
        client??;
    }
    let mut tally = lock(&tally).clone();
    tally.elapsed = begun.elapsed();
    Ok(tally)
}

/// One request on a connection of its own. Its body must start as expected.
pub(crate) async fn ask(address: SocketAddr, exchange: &Exchange) -> Result<Vec<u8>> {
    let mut client = Client::connect(address).await?;
    client.first_answer(exchange).await
}

/// Free at all times but a moment: everything is on one thread.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection.
pub(crate) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer in a client's buffer.
#[derive(Clone, Copy)]
struct Answer<'a> {
    status: u16,
    body: &'a [u8],
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            address,
            stream,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    async fn run(
        &mut self,
        traffic: &Traffic,
        tally: &Mutex<Tally>,
        first: Instant,
        end: Instant,
        pause: Duration,
    ) -> Result<()> {
        let mut next = first;
        while Instant::now() < end {
            if !pause.is_zero() {
                sleep_until(next).await;
            }
            let exchange = traffic.next();
            let begun = Instant::now();
            next = begun + pause;
            let broken = match self.exchange(exchange).await {
                Ok(answer) => {
                    let good = lock(tally).note(exchange, answer, begun.elapsed());
                    if !good {
                        sleep(BACK_OFF).await;
                    }
                    continue;
                }
                Err(broken) => broken,
            };
            *lock(tally).refused.entry(0).or_default() += 1;
            *self = Self::connect(self.address).await.map_err(|_| broken)?;
        }
        Ok(())
    }

    /// One answer, which must be a good one and start as expected.
    pub(crate) async fn first_answer(&mut self, exchange: &Exchange) -> Result<Vec<u8>> {
        let answer = self.exchange(exchange).await?;
        if answer.status / 100 == 2 && answer.body.starts_with(&exchange.expected) {
            return Ok(answer.body.to_vec());
        }
        Err(format!(
            "status {} and {:?} for {:?}",
            answer.status,
            String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]),
            String::from_utf8_lossy(&exchange.request)
        )
        .into())
    }

    /// Asks, and goes away.
    pub(crate) async fn leave(&mut self, exchange: &Exchange) -> Result<()> {
        Ok(self.stream.write_all(&exchange.request).await?)
    }

    async fn exchange(&mut self, exchange: &Exchange) -> Result<Answer<'_>> {
        self.stream.write_all(&exchange.request).await?;
        self.buffer.clear();
        let head = loop {
            self.read().await?;
            if let Some(head) = Head::find(&self.buffer)? {
                break head;
            }
        };
        while self.buffer.len() < head.length + head.body {
            self.read().await?;
        }
        Ok(Answer {
            status: head.status,
            body: &self.buffer[head.length..],
        })
    }

    async fn read(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}

/// What a response's head says.
struct Head {
    status: u16,
    /// Bytes of the head, and of the body behind it.
    length: usize,
    body: usize,
}

impl Head {
    /// Reads no more than these servers send: a status, and how long the body is.
    fn find(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..end])?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .ok_or("no status")?;
        let status = status.parse()?;
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse())
        });
        let body = match length {
            Some(length) => length?,
            None if status == 204 => 0,
            None => return Err(format!("an answer {status} without Content-Length").into()),
        };
        Ok(Some(Self {
            status,
            length: end + 4,
            body,
        }))
    }
}

/// What a client waits after a refusal. Without it, refusals would be all that is measured.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What a client's buffer starts with. It grows with the answers.
const BUFFER: usize = 16 * 1024;
