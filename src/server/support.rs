//! What the tests of this module share: a running server, an answer that tells what happens to it, clients, a scratch directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::throwaway::Throwaway;
use super::tls::{Certificate, CertificateStore};
use super::{Answer, Body, ConnectionInfo, Limits, Listener, Shutdown};

/// Answers by path, and counts: `/hold` waits for a permit of `release`, `/body` gives back the length of the request body,
/// `/covers/HOST` whether the certificate covers HOST, `/big` eight MiB, anything else the HTTP version.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) requests: AtomicUsize,
    /// One permit per `/hold` that has begun.
    pub(super) held: Semaphore,
    /// One permit per `/hold` that was dropped or is done.
    pub(super) over: Arc<Semaphore>,
    pub(super) release: Semaphore,
}

impl Probe {
    /// Waits for a permit and takes it.
    pub(super) async fn wait(semaphore: &Semaphore) {
        soon(semaphore.acquire()).await.unwrap().forget();
    }
}

impl Answer for Probe {
    async fn answer(&self, head: &Parts, body: Incoming, connection: &ConnectionInfo) -> Response<Body> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let text = match head.uri.path() {
            "/hold" => {
                let _over = Over(Arc::clone(&self.over));
                self.held.add_permits(1);
                self.release.acquire().await.unwrap().forget();
                "held".to_owned()
            }
            "/body" => match body.collect().await {
                Ok(body) => body.to_bytes().len().to_string(),
                Err(error) => error.to_string(),
            },
            "/big" => "x".repeat(8 << 20),
            path => match path.strip_prefix("/covers/") {
                Some(host) => connection.tls.as_ref().unwrap().covers(host).to_string(),
                None => format!("{:?}", head.version),
            },
        };
        Response::new(Body::new(Bytes::from(text)))
    }
}

struct Over(Arc<Semaphore>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// A listener that serves a [`Probe`].
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) address: SocketAddr,
    pub(super) probe: Arc<Probe>,
    pub(super) shutdown: Shutdown,
}

impl Serving {
    pub(super) async fn start(limits: Limits) -> Self {
        Self::start_with(limits, None).await
    }

    pub(super) async fn start_tls(limits: Limits, certificates: Arc<CertificateStore>) -> Self {
        Self::start_with(limits, Some(certificates)).await
    }

    async fn start_with(limits: Limits, certificates: Option<Arc<CertificateStore>>) -> Self {
        let mut listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), limits)
            .await
            .unwrap();
        if let Some(certificates) = certificates {
            listener = listener.with_tls(certificates);
        }
        let address = listener.local();
        let shutdown = Shutdown::new();
        let probe = Arc::new(Probe {
            requests: AtomicUsize::new(0),
            held: Semaphore::new(0),
            over: Arc::new(Semaphore::new(0)),
            release: Semaphore::new(0),
        });
        shutdown
            .tasks()
            .spawn(listener.serve(Arc::clone(&probe), shutdown.clone()));
        Self {
            address,
            probe,
            shutdown,
        }
    }

    pub(super) fn requests(&self) -> usize {
        self.probe.requests.load(Ordering::SeqCst)
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` on a new connection and reads until the server closes it.
    pub(super) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The server may have heard enough before all of it is sent.
        let _ = stream.write_all(bytes.as_ref()).await;
        read_to_close(&mut stream).await
    }

    pub(super) async fn http1(&self) -> http1::SendRequest<Empty<Bytes>> {
        http1_over(self.connect().await).await
    }

    pub(super) async fn http2(&self) -> http2::SendRequest<Empty<Bytes>> {
        http2_over(self.connect().await).await
    }

    /// A TLS handshake for `sni`, which may be an address (and is then not sent).
    pub(super) async fn tls(
        &self,
        authority: &Authority,
        sni: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = authority.client();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        soon(TlsConnector::from(Arc::new(config)).connect(name, self.connect().await)).await
    }
}

/// A throw-away CA with one certificate, and clients that trust it.
#[derive(Debug)]
pub(super) struct Authority {
    _directory: Directory,
    pub(super) files: Throwaway,
}

impl Authority {
    pub(super) fn new(hosts: &[&str]) -> Self {
        let directory = Directory::new();
        let files = Throwaway::make(hosts, directory.path()).unwrap();
        Self {
            _directory: directory,
            files,
        }
    }

    pub(super) fn certificate(&self) -> Certificate {
        Certificate::load(&self.files.certificate, &self.files.key).unwrap()
    }

    fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.files.ca).unwrap())
            .unwrap();
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

pub(super) async fn http1_over<S>(stream: S) -> http1::SendRequest<Empty<Bytes>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (send, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio_util::task::TaskTracker::new().spawn(connection);
    send
}

pub(super) async fn http2_over<S>(stream: S) -> http2::SendRequest<Empty<Bytes>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio_util::task::TaskTracker::new().spawn(connection);
    send
}

/// `GET https://a.localhost/path`, as both versions take it.
pub(super) fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://a.localhost{path}"))
        .header("host", "a.localhost")
        .body(Empty::new())
        .unwrap()
}

pub(super) async fn text(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Everything until the other side closes, by FIN or by reset.
pub(super) async fn read_to_close(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Fails the test instead of hanging it.
pub(super) async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), work)
        .await
        .expect("nothing happened for 20 s")
}

/// A directory that goes with its value.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "rowhouse-server-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
