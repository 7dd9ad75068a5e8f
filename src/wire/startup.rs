//! From an open socket to a connection: who it is for, and the proof.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use postgres_protocol::authentication;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::connection::{CancelKey, Connection, Shared};
use super::driver::Driver;
use super::error::{DbError, Error};
use super::reply;

/// Who a connection is for, and what is set on it from the start (manual, 55.2.1).
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The role to log in as.
    pub user: &'a str,
    /// Its password, if the server may ask for one.
    pub password: Option<&'a [u8]>,
    /// The database; that of the user's name if there is none.
    pub database: Option<&'a str>,
    /// Command line arguments for the session, such as `-c search_path=acme`.
    pub options: &'a str,
    /// What `pg_stat_activity` shows.
    pub application_name: &'a str,
    /// What ties the password's proof to an encrypted connection (RFC 5929, `tls-server-end-point`), if that can be.
    pub server_end_point: Option<&'a [u8]>,
    /// Whether a server that does not do so is refused.
    pub must_be_bound: bool,
}

/// Logs in on `socket` and waits until the server takes statements. There is no time limit here.
///
/// Dropping the future drops the socket.
///
/// # Errors
///
/// [`Error::Server`] with what the server says against it, [`Error::Authentication`], and those of a connection.
pub async fn startup<S>(mut socket: S, login: Login<'_>) -> Result<(Connection, Driver<S>), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = BytesMut::new();
    let mut parameters = vec![
        ("client_encoding", "UTF8"),
        ("user", login.user),
        ("application_name", login.application_name),
    ];
    parameters.extend(login.database.map(|database| ("database", database)));
    if !login.options.is_empty() {
        parameters.push(("options", login.options));
    }
    frontend::startup_message(parameters, &mut out).map_err(Error::unsendable)?;
    let mut inbox = Inbox {
        socket: &mut socket,
        received: BytesMut::with_capacity(1 << 12),
    };
    inbox.send(&mut out).await?;
    inbox.authenticate(login, &mut out).await?;
    let cancel_key = inbox.ready().await?;
    let received = inbox.received;
    let shared = Arc::new(Shared::default());
    let connection = Connection::new(Arc::clone(&shared), cancel_key);
    Ok((connection, Driver::new(socket, shared, received)))
}

/// Asks the server, on a `socket` of its own, to stop what runs on the connection of `key`, and waits until it has been
/// asked (manual, 55.2.8). There is no answer; what runs ends soon after, or has ended before.
///
/// # Errors
///
/// Those of the socket.
pub async fn cancel<S>(mut socket: S, key: CancelKey) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = BytesMut::new();
    frontend::cancel_request(key.process_id, key.secret, &mut out);
    socket.write_all(&out).await.map_err(Error::io)?;
    socket.flush().await.map_err(Error::io)?;
    // The postmaster's child closes the socket once it has signalled.
    let mut scratch = [0; 1];
    socket.read(&mut scratch).await.map_err(Error::io)?;
    Ok(())
}

/// No message of a server that means well is longer while it lets somebody in.
const LONGEST: usize = 64 << 10;

/// Authentication requests (manual, 55.7).
const OK: i32 = 0;
const CLEARTEXT_PASSWORD: i32 = 3;
const MD5_PASSWORD: i32 = 5;
const SASL: i32 = 10;
const SASL_CONTINUE: i32 = 11;
const SASL_FINAL: i32 = 12;

const UNBOUND: Error =
    Error::Authentication("the server does not bind it to the connection, and channel_binding=require");

/// One message at a time.
struct Inbox<'s, S> {
    socket: &'s mut S,
    received: BytesMut,
}

/// A message that was taken out.
struct Message {
    tag: u8,
    body: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inbox<'_, S> {
    async fn send(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        self.socket.write_all(out).await.map_err(Error::io)?;
        self.socket.flush().await.map_err(Error::io)?;
        out.clear();
        Ok(())
    }

    /// The next message that is not an error.
    async fn next(&mut self) -> Result<Message, Error> {
        loop {
            if let Some((tag, body, length)) = reply::message(&self.received)? {
                if tag == b'E' {
                    return Err(Error::Server(Arc::new(DbError::parse(body)?)));
                }
                let mut body = self.received.split_to(length);
                body.advance(1 + 4);
                return Ok(Message { tag, body });
            }
            if self.received.len() > LONGEST {
                return Err(Error::Protocol("a message at startup of more than 64 KiB"));
            }
            if self.socket.read_buf(&mut self.received).await.map_err(Error::io)? == 0 {
                return Err(Error::Closed);
            }
        }
    }

    /// The next message, which must be about authentication: its kind and what stands behind that.
    async fn request(&mut self) -> Result<(i32, BytesMut), Error> {
        let mut message = self.next().await?;
        let kind = message.body.try_get_i32().ok().filter(|_| message.tag == b'R');
        let kind = kind.ok_or(Error::Protocol("something else than authentication"))?;
        Ok((kind, message.body))
    }

    async fn authenticate(&mut self, login: Login<'_>, out: &mut BytesMut) -> Result<(), Error> {
        let password = login.password.ok_or(Error::Authentication(
            "the server asks for a password, and there is none",
        ));
        let (kind, body) = self.request().await?;
        if login.must_be_bound && kind != SASL {
            return Err(UNBOUND);
        }
        match kind {
            OK => return Ok(()),
            CLEARTEXT_PASSWORD => {
                frontend::password_message(password?, out).map_err(Error::unsendable)?;
                self.send(out).await?;
            }
            MD5_PASSWORD => {
                let salt = (&*body).try_into().map_err(|_| Error::Protocol("a malformed salt"))?;
                let hash = authentication::md5_hash(login.user.as_bytes(), password?, salt);
                frontend::password_message(hash.as_bytes(), out).map_err(Error::unsendable)?;
                self.send(out).await?;
            }
            SASL => self.scram(&body, login, password?, out).await?,
            _ => {
                return Err(Error::Authentication(
                    "the server asks for a method other than a password",
                ));
            }
        }
        match self.request().await? {
            (OK, _) => Ok(()),
            _ => Err(Error::Protocol("authentication goes on for ever")),
        }
    }

    /// SCRAM-SHA-256 (RFC 7677), bound to the connection if both sides can. The server proves that it knows the
    /// password, too.
    async fn scram(
        &mut self,
        mechanisms: &[u8],
        login: Login<'_>,
        password: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        let offers = |mechanism: &str| {
            mechanisms
                .split(|byte| *byte == 0)
                .any(|name| name == mechanism.as_bytes())
        };
        let (mechanism, binding) = match login.server_end_point {
            Some(end_point) if offers(SCRAM_SHA_256_PLUS) => (
                SCRAM_SHA_256_PLUS,
                ChannelBinding::tls_server_end_point(end_point.to_vec()),
            ),
            _ if login.must_be_bound => return Err(UNBOUND),
            _ if !offers(SCRAM_SHA_256) => return Err(Error::Authentication("the server knows no SCRAM-SHA-256")),
            // A server that did offer it learns from this that somebody has taken the offer out (RFC 5802, section 6).
            Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        };
        let mut scram = ScramSha256::new(password, binding);
        frontend::sasl_initial_response(mechanism, scram.message(), out).map_err(Error::unsendable)?;
        self.send(out).await?;
        let (SASL_CONTINUE, challenge) = self.request().await? else {
            return Err(Error::Protocol("no SCRAM challenge"));
        };
        let refused = |_| Error::Authentication("the server's part of SCRAM is wrong");
        scram.update(&challenge).map_err(refused)?;
        frontend::sasl_response(scram.message(), out).map_err(Error::unsendable)?;
        self.send(out).await?;
        let (SASL_FINAL, proof) = self.request().await? else {
            return Err(Error::Protocol("no SCRAM proof"));
        };
        scram.finish(&proof).map_err(refused)
    }

    /// What the server tells of the connection, until it is ready.
    async fn ready(&mut self) -> Result<CancelKey, Error> {
        let mut cancel_key = CancelKey {
            process_id: 0,
            secret: 0,
        };
        loop {
            let mut message = self.next().await?;
            match message.tag {
                b'K' => {
                    let short = |_| Error::Protocol("a malformed cancel key");
                    cancel_key.process_id = message.body.try_get_i32().map_err(short)?;
                    cancel_key.secret = message.body.try_get_i32().map_err(short)?;
                }
                b'Z' => return Ok(cancel_key),
                b'S' => reply::setting(reply::Body(&message.body), &reply::SETTINGS)?,
                b'N' => {}
                _ => return Err(Error::Protocol("an unknown message at startup")),
            }
        }
    }
}
