//! The body of an answer on its way to the client, and what is still to come of a request's body once it is
//! answered. Frames pass as they are; nothing is held back.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use super::visit::Finish;
use crate::{
    access_record::End,
    fault::{Fault, Kind},
    rewrite,
    upstream::{CutError, Download, UploadWatch},
};

/// How much of a request's body is read after an early answer, in bytes.
const REST_BYTES: u64 = 1 << 20;
/// How long it is read.
const REST_TIME: Duration = Duration::from_secs(2);

/// How long the body of a call of our own API may take.
const CALL_TIME: Duration = Duration::from_secs(10);

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// Nothing, or bytes of our own.
    Own(Option<Bytes>, Option<Finish>),
    /// An upstream's answer.
    Relay(Box<Relay>),
}

/// An upstream's answer on its way.
#[derive(Debug)]
pub struct Relay {
    download: Download,
    trailers: bool,
    /// The request's body, if it may still be coming.
    watch: Option<UploadWatch>,
    tasks: TaskTracker,
    finish: Option<Finish>,
    /// Why it is cut, told once all that came before is written.
    cut: Option<CutError>,
}

impl Relay {
    fn end(&mut self, cut: Option<&CutError>) {
        read_rest_of(&self.tasks, self.watch.take());
        match (self.finish.take(), cut) {
            (Some(finish), Some(error)) => finish.cut(error),
            (Some(finish), None) => finish.end(End::Complete),
            (None, _) => {}
        }
    }
}

impl Body {
    /// Our own bytes.
    pub(super) fn own(bytes: impl Into<Bytes>) -> Self {
        Self::Own(Some(bytes.into()), None)
    }

    /// An upstream's answer.
    pub(super) fn relay(
        download: Download,
        trailers: bool,
        watch: Option<UploadWatch>,
        tasks: TaskTracker,
    ) -> Self {
        Self::Relay(Box::new(Relay { download, trailers, watch, tasks, finish: None, cut: None }))
    }

    /// No bytes.
    pub(super) fn empty() -> Self {
        Self::Own(None, None)
    }

    /// Says who is told of the end.
    pub(super) fn set_finish(&mut self, told: Finish) {
        match self {
            Self::Own(None, _) => told.end(End::Complete),
            Self::Own(Some(_), finish) => *finish = Some(told),
            Self::Relay(relay) if relay.download.is_end_stream() => {
                relay.finish = Some(told);
                relay.end(None);
            }
            Self::Relay(relay) => relay.finish = Some(told),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = CutError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        match self.get_mut() {
            Self::Own(bytes, finish) => {
                let Some(bytes) = bytes.take() else { return Poll::Ready(None) };
                if let Some(mut finish) = finish.take() {
                    finish.sent(bytes.len());
                    finish.end(End::Complete);
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Relay(relay) => relay.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes, _) => bytes.is_none(),
            Self::Relay(relay) => relay.cut.is_none() && relay.download.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes, _) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Relay(relay) => relay.download.size_hint(),
        }
    }
}

impl Relay {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        if let Some(error) = self.cut.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            match std::task::ready!(Pin::new(&mut self.download).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let (Some(data), Some(finish)) = (frame.data_ref(), &mut self.finish) {
                        finish.sent(data.len());
                    }
                    let unwanted = frame.is_trailers() && !self.trailers;
                    let frame = match frame.into_trailers() {
                        Ok(trailers) => Frame::trailers(rewrite::trailers(&trailers)),
                        Err(frame) => frame,
                    };
                    // With a known length nobody may ask again after the last byte.
                    if self.download.is_end_stream() {
                        self.end(None);
                    }
                    if !unwanted {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(Err(error)) => {
                    self.end(Some(&error));
                    // hyper drops what it has not written yet, the head too, once a body fails. Told to wait,
                    // it writes that first.
                    self.cut = Some(error);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {
                    self.end(None);
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// The whole body of a call of our own API, which has a limit. What is not read stays to be read.
pub(super) async fn collect(incoming: &mut Option<Incoming>, limit: usize) -> Result<Bytes, Fault> {
    let too_large =
        || Fault::new(Kind::BodyTooLarge, format!("The request's body is larger than {limit} bytes"));
    let Some(body) = incoming else { return Ok(Bytes::new()) };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let all = async {
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let broken = |_| Fault::new(Kind::MalformedRequest, "The request's body broke off");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if all.len() + data.len() > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    };
    let slow = |_| Fault::new(Kind::BodyTimeout, "The request's body did not arrive in time");
    let all = tokio::time::timeout(CALL_TIME, all).await.map_err(slow)??;
    *incoming = None;
    Ok(all)
}

/// Reads what a client still sends after an early answer, within bounds: closing at once would reset the
/// connection under the answer.
pub(super) fn read_rest(tasks: &TaskTracker, rest: Incoming) {
    if !rest.is_end_stream() {
        tasks.spawn(read(rest));
    }
}

/// The same, of a body whose upload is over.
pub(super) fn read_rest_of(tasks: &TaskTracker, upload: Option<UploadWatch>) {
    if let Some(rest) = upload.and_then(|upload| upload.take_rest()) {
        read_rest(tasks, rest);
    }
}

async fn read(mut rest: Incoming) {
    let mut left = REST_BYTES;
    let all = async {
        while let Some(Ok(frame)) = rest.frame().await {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(bytes) {
                Some(fewer) => left = fewer,
                None => return,
            }
        }
    };
    // Past the time the connection is closed on it; there is nobody to tell.
    let _ = tokio::time::timeout(REST_TIME, all).await;
}
