//! What a response carries: all of it at once, or pieces as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::activity::{Activity, Answering};

/// What a response carries.
#[derive(Debug)]
pub struct Body(Carried);

#[derive(Debug)]
enum Carried {
    Whole(Full<Bytes>),
    Pieces(Pieces),
}

/// Pieces on their way. How many there are is for who sends them to limit.
#[derive(Debug)]
struct Pieces {
    received: UnboundedReceiver<Piece>,
    ended: bool,
    activity: Option<Arc<Activity>>,
    /// While there is no piece, it is not the client who is slow.
    waiting: Option<Answering>,
}

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    End,
}

/// Where the pieces of a body go. Dropped without an [`end`](Self::end), the body breaks off where it is: what the client
/// has got is not taken for the whole.
#[derive(Debug)]
pub struct Feed(UnboundedSender<Piece>);

/// A body that breaks off: HTTP/1.1 closes the connection before the last chunk, HTTP/2 resets the stream.
#[derive(Debug, thiserror::Error)]
#[error("the answer breaks off")]
pub struct Broken;

impl Body {
    /// All of it.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self(Carried::Whole(Full::new(bytes)))
    }

    /// A body whose pieces, and whose length, are not known yet. When it is dropped, because the client has gone,
    /// [`Feed::closed`] tells.
    #[must_use]
    pub fn in_pieces() -> (Feed, Self) {
        let (feed, received) = unbounded_channel();
        let pieces = Pieces {
            received,
            ended: false,
            activity: None,
            waiting: None,
        };
        (Feed(feed), Self(Carried::Pieces(pieces)))
    }

    /// Whether all of it is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.0, Carried::Whole(_))
    }

    /// The request goes on being answered while pieces are waited for.
    pub(super) fn attend(&mut self, answering: Answering) {
        if let Carried::Pieces(pieces) = &mut self.0 {
            pieces.activity = Some(Arc::clone(answering.activity()));
            pieces.waiting = Some(answering);
        }
    }
}

impl Default for Body {
    /// Nothing.
    fn default() -> Self {
        Self(Carried::Whole(Full::default()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.get_mut().0 {
            Carried::Whole(bytes) => Pin::new(bytes).poll_frame(cx).map_err(|infallible| match infallible {}),
            Carried::Pieces(pieces) => pieces.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Carried::Whole(bytes) => bytes.is_end_stream(),
            Carried::Pieces(pieces) => pieces.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Carried::Whole(bytes) => bytes.size_hint(),
            Carried::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Pieces {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.received.poll_recv(cx);
        if polled.is_pending() {
            if self.waiting.is_none() {
                self.waiting = self.activity.as_ref().map(Activity::begin);
            }
            return Poll::Pending;
        }
        self.waiting = None;
        Poll::Ready(match ready!(polled) {
            Some(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => Some(Err(Broken)),
        })
    }
}

impl Feed {
    /// One more piece. Nobody takes it if the client has gone.
    pub fn piece(&self, bytes: Bytes) {
        let _gone = self.0.send(Piece::Data(bytes));
    }

    /// There are no more.
    pub fn end(self) {
        let _gone = self.0.send(Piece::End);
    }

    /// Waits until nobody takes pieces any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn pieces_come_in_order_and_have_an_end() {
        let (feed, body) = Body::in_pieces();
        assert!(!body.is_whole());
        feed.piece(Bytes::from_static(b"one "));
        feed.piece(Bytes::from_static(b"two"));
        feed.end();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "one two");
    }

    #[tokio::test]
    async fn what_is_not_ended_is_broken() {
        let (feed, mut body) = Body::in_pieces();
        feed.piece(Bytes::from_static(b"one"));
        drop(feed);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn who_waits_for_pieces_is_not_idle() {
        let activity = Arc::new(Activity::default());
        let (feed, mut body) = Body::in_pieces();
        body.attend(activity.begin());
        let quiet = |seen: &mut _| activity.is_quiet(seen, 1);
        let mut seen = Default::default();
        let _first = quiet(&mut seen);
        assert!(!quiet(&mut seen), "no piece yet");
        feed.piece(Bytes::from_static(b"one"));
        let _piece = body.frame().await.unwrap().unwrap();
        let _ended = quiet(&mut seen);
        assert!(quiet(&mut seen), "the piece is the client's to take");
        assert!(futures_util::FutureExt::now_or_never(body.frame()).is_none());
        let _began = quiet(&mut seen);
        assert!(!quiet(&mut seen), "the next one is not there");
    }
}
