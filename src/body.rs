//! Bodies: read whole, under a cap, a deadline and a ceiling for the sum of all that are held.
//!
//! A request's body is complete before anything else happens with it, so that its declared length is
//! verified and a stalled or broken one never opens the upstream.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName};
use http_body::Body;
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::units::{ByteSize, Period};

/// Limits on request bodies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The largest body taken. Prefetched charts of 2 MB are seen in practice.
    pub max_size: ByteSize,
    /// How long a body may take from its first to its last byte.
    pub timeout: Period,
    /// The sum of all bodies held at one time; beyond it calls are refused with 503.
    pub max_held: ByteSize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_size: ByteSize::mib(8), timeout: Period::secs(10), max_held: ByteSize::mib(512) }
    }
}

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than [`Settings::max_size`].
    #[error("the body is larger than allowed")]
    TooLarge,
    /// Not complete within [`Settings::timeout`].
    #[error("the body did not arrive in time")]
    TooSlow,
    /// It ended early, was framed wrongly, or its trailers carry what only a head may.
    #[error("the body is broken")]
    Broken,
    /// Too many bodies are held already.
    #[error("too many bytes are held")]
    Overloaded,
}

/// Takes bodies in.
#[derive(Debug)]
pub struct Intake {
    max_size: usize,
    timeout: Duration,
    room: Arc<Semaphore>,
}

/// A whole body, and its place under the ceiling, which it gives back when dropped.
#[derive(Debug)]
pub struct Held {
    bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// The body's bytes as they came.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

const KIB: usize = 1024;

/// Fields that decide about a request and hence never stand in a trailer (RFC 9110 section 6.5.1).
const NOT_IN_TRAILERS: [HeaderName; 5] =
    [AUTHORIZATION, COOKIE, CONTENT_LENGTH, HOST, TRANSFER_ENCODING];

impl Intake {
    /// An intake with these limits.
    pub fn new(settings: &Settings) -> Self {
        let room = settings.max_held.bytes().div_ceil(KIB).min(Semaphore::MAX_PERMITS);
        Self {
            max_size: settings.max_size.bytes(),
            timeout: settings.timeout.get(),
            room: Arc::new(Semaphore::new(room)),
        }
    }

    /// Reads `body` to its end.
    ///
    /// # Errors
    /// [`BodyError`]; what had been read is dropped.
    pub async fn read<B>(&self, headers: &HeaderMap, body: B) -> Result<Held, BodyError>
    where
        B: Body<Data = Bytes> + Send,
    {
        if declared_length(headers).is_some_and(|length| length > self.max_size) {
            return Err(BodyError::TooLarge);
        }
        tokio::time::timeout(self.timeout, self.collect(body))
            .await
            .unwrap_or(Err(BodyError::TooSlow))
    }

    async fn collect<B>(&self, body: B) -> Result<Held, BodyError>
    where
        B: Body<Data = Bytes> + Send,
    {
        let mut body = std::pin::pin!(body);
        let (mut pieces, mut length, mut place) = (Vec::new(), 0_usize, None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyError::Broken)?;
            match frame.into_data() {
                Ok(piece) => {
                    length = length.saturating_add(piece.len());
                    if length > self.max_size {
                        return Err(BodyError::TooLarge);
                    }
                    self.make_room(&mut place, length)?;
                    pieces.push(piece);
                }
                Err(frame) => refuse_forbidden(frame.trailers_ref())?,
            }
        }
        Ok(Held { bytes: join(pieces, length), _place: place })
    }

    fn make_room(
        &self,
        place: &mut Option<OwnedSemaphorePermit>,
        length: usize,
    ) -> Result<(), BodyError> {
        let have = place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = length.div_ceil(KIB).saturating_sub(have);
        let missing = u32::try_from(missing).map_err(|_| BodyError::TooLarge)?;
        if missing == 0 {
            return Ok(());
        }
        let more = Arc::clone(&self.room)
            .try_acquire_many_owned(missing)
            .map_err(|_| BodyError::Overloaded)?;
        match place {
            Some(place) => place.merge(more),
            None => *place = Some(more),
        }
        Ok(())
    }
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn refuse_forbidden(trailers: Option<&HeaderMap>) -> Result<(), BodyError> {
    let found = trailers.is_some_and(|t| NOT_IN_TRAILERS.iter().any(|name| t.contains_key(name)));
    if found { Err(BodyError::Broken) } else { Ok(()) }
}

/// One piece is passed on as it is; several are copied once.
fn join(mut pieces: Vec<Bytes>, length: usize) -> Bytes {
    if pieces.len() < 2 {
        return pieces.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(length);
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn intake(max_size: u64, max_held: u64) -> Intake {
        let timeout = Period::millis(50);
        let (max_size, max_held) = (ByteSize::kib(max_size), ByteSize::kib(max_held));
        Intake::new(&Settings { max_size, timeout, max_held })
    }

    type Frames = Vec<Result<Frame<Bytes>, &'static str>>;

    fn frames(frames: Frames) -> impl Body<Data = Bytes, Error = &'static str> + Send {
        StreamBody::new(futures_util::stream::iter(frames))
    }

    fn data(length: usize) -> Result<Frame<Bytes>, &'static str> {
        Ok(Frame::data(Bytes::from(vec![b'x'; length])))
    }

    #[tokio::test]
    async fn takes_whole_bodies_in_one_piece_or_several() {
        let intake = intake(4, 64);
        let none = HeaderMap::new();
        let one = intake.read(&none, Full::new(Bytes::from_static(b"abc"))).await.unwrap();
        assert_eq!(one.bytes().as_ref(), b"abc");
        let many = intake.read(&none, frames(vec![data(1000), data(1000)])).await.unwrap();
        assert_eq!(many.bytes().len(), 2000);
    }

    #[tokio::test]
    async fn refuses_what_is_too_large_declared_or_not() {
        let intake = intake(1, 64);
        let mut declared = HeaderMap::new();
        declared.insert(CONTENT_LENGTH, "1025".parse().unwrap());
        let body = Full::new(Bytes::new());
        assert_eq!(intake.read(&declared, body).await.unwrap_err(), BodyError::TooLarge);
        let body = frames(vec![data(1000), data(25)]);
        assert_eq!(intake.read(&HeaderMap::new(), body).await.unwrap_err(), BodyError::TooLarge);
    }

    #[tokio::test]
    async fn refuses_what_breaks_off_or_stalls() {
        let intake = intake(4, 64);
        let none = HeaderMap::new();
        let body = frames(vec![data(10), Err("reset")]);
        assert_eq!(intake.read(&none, body).await.unwrap_err(), BodyError::Broken);
        let stalled =
            StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(intake.read(&none, stalled).await.unwrap_err(), BodyError::TooSlow);
    }

    #[tokio::test]
    async fn refuses_trailers_that_would_be_credentials() {
        let intake = intake(4, 64);
        for (name, good) in [("x-checksum", true), ("authorization", false), ("host", false)] {
            let mut trailers = HeaderMap::new();
            trailers.insert(HeaderName::from_static(name), "x".parse().unwrap());
            let body = frames(vec![data(10), Ok(Frame::trailers(trailers))]);
            assert_eq!(intake.read(&HeaderMap::new(), body).await.is_ok(), good, "{name}");
        }
    }

    #[tokio::test]
    async fn holds_no_more_than_the_ceiling_and_takes_again_when_room_is_made() {
        let intake = intake(4, 4);
        let none = HeaderMap::new();
        let first = intake.read(&none, frames(vec![data(3000)])).await.unwrap();
        let body = frames(vec![data(3000)]);
        assert_eq!(intake.read(&none, body).await.unwrap_err(), BodyError::Overloaded);
        drop(first);
        assert!(intake.read(&none, frames(vec![data(3000)])).await.is_ok());
    }
}
