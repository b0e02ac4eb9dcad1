//! The stream between TLS and hyper that lets only sound HTTP/1 through.
//!
//! A head goes on once all of it was judged; a body goes on as it comes and turns into an error where
//! it is broken. Instead of a head at fault hyper gets one of the guard's own, so that the answer stands
//! in its place behind those to earlier requests; [`Exchanges`] tells the service not to pass it on.
//! After a fault nothing more is read.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::doors::exchanges::Exchanges;
use crate::doors::fault::Fault;
use crate::doors::framing::chunks::Chunks;
use crate::doors::framing::deadline::Deadline;
use crate::doors::framing::head::{self, Length, MAX_REQUEST_LINE};
use crate::doors::framing::section::{Bounds, Section};
use crate::doors::metrics::Closed;

/// What hyper reads in place of a head at fault. Only the place of its answer matters.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: invalid\r\nConnection: close\r\n\r\n";
/// One TLS record.
const READ: usize = 16 * 1024;
/// How long to take in what a peer still sends after its last answer. Closing over unread bytes makes
/// TCP reset the connection, and the peer loses the answer (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// How much and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For heads and trailers.
    pub(crate) bounds: Bounds,
    /// From a head's first byte to its last.
    pub(crate) header_timeout: Duration,
    /// For the first byte of a head, and for the peer to take a byte of an answer.
    pub(crate) idle_timeout: Duration,
}

/// Guards the connection `io`.
#[derive(Debug)]
pub(crate) struct Guard<S> {
    io: S,
    limits: Limits,
    exchanges: Arc<Exchanges>,
    /// What was read and not yet passed on.
    buffer: BytesMut,
    /// So many bytes of it are sound.
    sound: usize,
    place: Place,
    /// Heads passed on.
    heads: u64,
    head: Deadline,
    idle: Deadline,
    write: Deadline,
    linger: Deadline,
    is_shut: bool,
}

/// Where in the stream the first byte stands that is not known to be sound.
#[derive(Debug)]
enum Place {
    /// Before or in a head.
    Head {
        section: Section,
        empty_line: bool,
    },
    /// In a body of which so many bytes are to come.
    Body {
        left: u64,
    },
    Chunked(Chunks),
    /// Behind a fault.
    Refused,
}

impl Place {
    const HEAD: Self = Self::Head { section: Section::EMPTY, empty_line: false };
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Guards a connection on which nothing was read yet.
    pub(crate) fn new(io: S, limits: Limits, exchanges: Arc<Exchanges>) -> Self {
        Self {
            io,
            limits,
            exchanges,
            buffer: BytesMut::new(),
            sound: 0,
            place: Place::HEAD,
            heads: 0,
            head: Deadline::default(),
            idle: Deadline::default(),
            write: Deadline::default(),
            linger: Deadline::default(),
            is_shut: false,
        }
    }

    /// Judges what is in the buffer. Says whether that led anywhere.
    fn judge(&mut self) -> Result<bool, Fault> {
        if self.buffer.is_empty() {
            return Ok(false);
        }
        match &mut self.place {
            Place::Head { section, empty_line } => {
                let end = section.scan(&self.buffer, self.limits.bounds);
                if section.first_line().is_some_and(|line| line > MAX_REQUEST_LINE) {
                    return Err(head::overlong(&self.buffer));
                }
                let Some(end) = end? else { return Ok(false) };
                if section.is_empty() {
                    // RFC 9112 section 2.2: one empty line before a request is forgiven.
                    if *empty_line {
                        return Err(Fault::RequestLine);
                    }
                    self.buffer.advance(end);
                    self.place = Place::Head { section: Section::EMPTY, empty_line: true };
                    return Ok(true);
                }
                self.place = match head::check(self.buffer.get(..end).unwrap_or_default())? {
                    Length::Known(0) => Place::HEAD,
                    Length::Known(left) => Place::Body { left },
                    Length::Chunked => Place::Chunked(Chunks::new()),
                };
                self.sound = end;
                self.heads = self.heads.saturating_add(1);
                self.head.rest();
                Ok(true)
            }
            Place::Body { left } => {
                let here = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX).min(*left);
                self.sound = usize::try_from(here).unwrap_or(usize::MAX);
                self.took(here);
                Ok(true)
            }
            Place::Chunked(chunks) => {
                let found = chunks.follow(&self.buffer, self.limits.bounds)?;
                self.sound = found.sound;
                if found.ended {
                    self.place = Place::HEAD;
                }
                Ok(found.sound > 0)
            }
            Place::Refused => Ok(false),
        }
    }

    /// `bytes` of the body went on.
    fn took(&mut self, bytes: u64) {
        if let Place::Body { left } = &mut self.place {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.place = Place::HEAD;
            }
        }
    }

    /// Refuses the request that is being read, and all that follows it.
    fn refuse(&mut self, fault: Fault) -> io::Result<()> {
        let in_head = matches!(self.place, Place::Head { .. });
        self.place = Place::Refused;
        self.buffer.clear();
        if !in_head {
            self.exchanges.refuse(self.heads, fault);
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault.as_str()));
        }
        self.heads = self.heads.saturating_add(1);
        self.exchanges.refuse(self.heads, fault);
        self.buffer.extend_from_slice(STAND_IN);
        self.sound = STAND_IN.len();
        Ok(())
    }

    /// Hands over what is sound.
    fn give(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.sound.min(out.remaining());
        out.put_slice(self.buffer.get(..count).unwrap_or_default());
        self.buffer.advance(count);
        self.sound = self.sound.saturating_sub(count);
        if self.buffer.is_empty() {
            // An idle connection holds no buffer.
            self.buffer = BytesMut::new();
        }
    }

    /// Reads more into the buffer. Says how much: nothing at the end of the stream.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let mut read = ReadBuf::uninit(&mut space);
        match ready!(Pin::new(&mut self.io).poll_read(cx, &mut read)) {
            Ok(()) => {
                self.buffer.extend_from_slice(read.filled());
                Poll::Ready(Ok(read.filled().len()))
            }
            // Without TLS's own goodbye. Bodies say their length, so nothing can be cut unseen.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            Err(e) => Poll::Ready(Err(e)),
        }
    }

    /// A long body is read straight into hyper's buffer; what the peer sends is copied once less.
    fn pass_body(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        let count = out.filled().len().saturating_sub(before);
        self.took(u64::try_from(count).unwrap_or(u64::MAX));
        Poll::Ready(Ok(count))
    }

    /// Nothing to read: how long may that last?
    fn waited_too_long(&mut self, cx: &mut Context<'_>) -> Option<TooLong> {
        if !matches!(self.place, Place::Head { .. }) {
            return None;
        }
        if !self.buffer.is_empty() {
            self.idle.rest();
            return self
                .head
                .is_over(cx, self.limits.header_timeout, None)
                .then_some(TooLong::Head);
        }
        if self.heads != self.exchanges.ended() {
            self.idle.rest();
            return None;
        }
        let leaving = self.exchanges.leaving();
        let latest = leaving.map(|(by, _)| by);
        if !self.idle.is_over(cx, self.limits.idle_timeout, latest) {
            return None;
        }
        self.exchanges.close(leaving.map_or(Closed::Idle, |(_, reason)| reason));
        Some(TooLong::Idle)
    }

    /// Whether the peer takes what is written; an error where it has not for too long.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.write.rest();
        } else if self.write.is_over(cx, self.limits.idle_timeout, None) {
            self.exchanges.close(Closed::WriteStalled);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }
}

/// Which wait was too long.
enum TooLong {
    Head,
    Idle,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.sound > 0 {
                this.give(out);
                return Poll::Ready(Ok(()));
            }
            match this.judge() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(fault) => {
                    this.refuse(fault)?;
                    continue;
                }
            }
            let wanted = u64::try_from(out.remaining()).unwrap_or(u64::MAX);
            let (read, direct) = match this.place {
                // No end of the stream either: hyper would give up the request that is still being
                // answered.
                Place::Refused => return Poll::Pending,
                Place::Body { left } if wanted <= left => (this.pass_body(cx, out), true),
                Place::Body { .. } | Place::Head { .. } | Place::Chunked(_) => {
                    (this.fill(cx), false)
                }
            };
            match read {
                Poll::Ready(Ok(0)) if matches!(this.place, Place::Head { .. }) => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(0)) => this.refuse(Fault::Truncated)?,
                Poll::Ready(Ok(_)) if direct => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => this.idle.rest(),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => match this.waited_too_long(cx) {
                    None => return Poll::Pending,
                    Some(TooLong::Idle) => return Poll::Ready(Ok(())),
                    Some(TooLong::Head) => this.refuse(Fault::HeadTimeout)?,
                },
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.watch_write(cx, done)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.io).poll_write_vectored(cx, bytes);
        this.watch_write(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.io).poll_flush(cx);
        // hyper has tried to read while it waited for the answer, and does not try again before more
        // comes. With the answer out, the wait for the next request begins.
        if done.is_ready() && this.waited_too_long(cx).is_some() {
            cx.waker().wake_by_ref();
        }
        this.watch_write(cx, done)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            let done = Pin::new(&mut this.io).poll_shutdown(cx);
            ready!(this.watch_write(cx, done))?;
            this.is_shut = true;
        }
        if matches!(this.place, Place::Head { .. }) && this.buffer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        loop {
            this.buffer.clear();
            match this.fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) if !this.linger.is_over(cx, LINGER, None) => {}
                Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
                Poll::Pending if this.linger.is_over(cx, LINGER, None) => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
