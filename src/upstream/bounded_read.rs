//! Reads from an upstream in small pieces. hyper doubles its buffer after each read that fills it, up to the limit of a
//! head: a stream whose client stalls would hold two or three such buffers. A read that never fills it keeps it small.
//!
//! It holds no bytes: what one read leaves stays in the socket, or in TLS.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

/// The most that one read takes: less than hyper's first buffer, which is 8 KiB.
const MAX_READ: usize = (8 << 10) - 1;

/// A byte stream whose reads are bounded.
#[derive(Debug)]
pub(super) struct BoundedRead<T>(pub(super) T);

impl<T: Read + Unpin> Read for BoundedRead<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() <= MAX_READ {
            return Pin::new(&mut self.0).poll_read(cx, buf);
        }
        // Copied, since a part of hyper's buffer cannot be lent without unsafe code. An event has a few hundred bytes.
        let mut piece = [const { MaybeUninit::uninit() }; MAX_READ];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.0).poll_read(cx, piece.unfilled()))?;
        buf.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for BoundedRead<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_read_takes_little_and_nothing_is_lost() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let sent: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        far.write_all(&sent).await.unwrap();
        drop(far);
        let mut stream = BoundedRead(TokioIo::new(near));
        let mut received = Vec::new();
        loop {
            let mut space = vec![0; 64 << 10];
            let mut buf = ReadBuf::new(&mut space);
            poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, buf.unfilled())).await.unwrap();
            assert!(buf.filled().len() <= MAX_READ);
            if buf.filled().is_empty() {
                break;
            }
            received.extend_from_slice(buf.filled());
        }
        assert!(received == sent, "{} bytes for {}", received.len(), sent.len());
    }
}
