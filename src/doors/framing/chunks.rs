//! A chunked body (RFC 9112 section 7.1), followed byte by byte.

use crate::doors::fault::Fault;
use crate::doors::framing::head;
use crate::doors::framing::section::{Bounds, Section};

/// Eight hexadecimal digits reach 4 GiB, above any body that is let through.
const MAX_DIGITS: u8 = 8;
/// Extensions carry nothing here; a longer one is padding or an attack.
const MAX_EXTENSION: u8 = 128;

/// Where in the body the bytes have got to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Size { digits: u8, size: u64 },
    Extension { length: u8, size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers(Section),
}

/// What [`Chunks::follow`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Followed {
    /// So many bytes from the start belong to the body and are sound.
    pub(crate) sound: usize,
    /// Whether the body ends with them.
    pub(crate) ended: bool,
}

impl Chunks {
    /// Before the first chunk.
    pub(crate) const fn new() -> Self {
        Self { place: Place::NEXT }
    }

    /// Reads on. `bytes` begins after what was sound the last time.
    ///
    /// # Errors
    /// Any departure from the grammar: sizes with signs, blanks, `0x` or more than 8 digits,
    /// extensions that hide a line end, data that is not as long as announced, trailers that
    /// [`head::check_trailers`] refuses.
    pub(crate) fn follow(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Followed, Fault> {
        let mut sound = 0_usize;
        loop {
            let rest = bytes.get(sound..).unwrap_or_default();
            if let Place::Trailers(section) = &mut self.place {
                let Some(end) = section.scan(rest, bounds)? else {
                    return Ok(Followed { sound, ended: false });
                };
                head::check_trailers(rest.get(..end).unwrap_or_default())?;
                return Ok(Followed { sound: sound.saturating_add(end), ended: true });
            }
            let Some(byte) = rest.first() else {
                return Ok(Followed { sound, ended: false });
            };
            let (next, taken) = self.place.after(*byte, rest.len())?;
            self.place = next;
            sound = sound.saturating_add(taken);
        }
    }
}

impl Place {
    const NEXT: Self = Self::Size { digits: 0, size: 0 };

    /// The place after `byte`, the first of `available`, and how many of them that takes.
    fn after(self, byte: u8, available: usize) -> Result<(Self, usize), Fault> {
        let next = match (self, byte) {
            (Self::Data { left }, _) => return Ok(data(left, available)),
            (Self::Size { digits: 1.., size }, b'\r') | (Self::Extension { size, .. }, b'\r') => {
                Self::SizeLf { size }
            }
            (Self::Size { digits: 1.., size }, b';') => Self::Extension { length: 0, size },
            (Self::Size { digits, size }, byte) => Self::digit(digits, size, byte)?,
            (Self::Extension { length, size }, b' '..=b'~') if length < MAX_EXTENSION => {
                Self::Extension { length: length.saturating_add(1), size }
            }
            (Self::SizeLf { size: 0 }, b'\n') => Self::Trailers(Section::EMPTY),
            (Self::SizeLf { size }, b'\n') => Self::Data { left: size },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::NEXT,
            (
                Self::Extension { .. }
                | Self::SizeLf { .. }
                | Self::DataCr
                | Self::DataLf
                | Self::Trailers(_),
                _,
            ) => return Err(Fault::Chunk),
        };
        Ok((next, 1))
    }

    fn digit(digits: u8, size: u64, byte: u8) -> Result<Self, Fault> {
        let value = char::from(byte).to_digit(16).filter(|_| digits < MAX_DIGITS);
        let value = value.ok_or(Fault::Chunk)?;
        Ok(Self::Size { digits: digits.saturating_add(1), size: (size << 4) | u64::from(value) })
    }
}

fn data(left: u64, available: usize) -> (Place, usize) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(available);
    let left = left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
    (if left == 0 { Place::DataCr } else { Place::Data { left } }, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 64, lines: 4 };

    /// However the bytes are cut, the same comes out.
    fn follow(text: &[u8]) -> Result<Followed, Fault> {
        let whole = Chunks::new().follow(text, BOUNDS);
        let (mut chunks, mut start) = (Chunks::new(), 0);
        let mut piecewise = Ok(Followed { sound: 0, ended: false });
        for end in 1..=text.len() {
            piecewise = chunks.follow(&text[start..end], BOUNDS).map(|found| {
                start += found.sound;
                Followed { sound: start, ended: found.ended }
            });
            if !matches!(piecewise, Ok(Followed { ended: false, .. })) {
                break;
            }
        }
        assert_eq!(whole, piecewise, "{:?}", String::from_utf8_lossy(text));
        whole
    }

    #[test]
    fn follows_to_the_end_and_not_beyond() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "a;x=y; z=\"1 2\"\r\n0123456789\r\n00A\r\n0123456789\r\n000\r\n\r\n",
            "1;\r\na\r\n0;last\r\nDigest: x\r\n\r\n",
        ] {
            let stream = format!("{body}GET / HTTP/1.1\r\n");
            let expected = Ok(Followed { sound: body.len(), ended: true });
            assert_eq!(follow(stream.as_bytes()), expected, "{body:?}");
        }
        let cut = Ok(Followed { sound: 6, ended: false });
        assert_eq!(follow(b"5\r\nhel"), cut);
        let held = Ok(Followed { sound: 3, ended: false });
        assert_eq!(follow(b"0\r\nDigest: x\r\n"), held, "trailers go on whole or not at all");
    }

    #[test]
    fn refuses_every_departure() {
        for (body, fault) in [
            ("\r\n", Fault::Chunk),
            ("+5\r\n", Fault::Chunk),
            ("-5\r\n", Fault::Chunk),
            ("0x5\r\n", Fault::Chunk),
            (" 5\r\n", Fault::Chunk),
            ("5 \r\n", Fault::Chunk),
            ("5 ;a\r\n", Fault::Chunk),
            ("5\t\r\n", Fault::Chunk),
            ("g\r\n", Fault::Chunk),
            ("5_0\r\n", Fault::Chunk),
            ("000000005\r\n", Fault::Chunk),
            ("100000000\r\n", Fault::Chunk),
            ("FFFFFFFFFFFFFFFF1\r\n", Fault::Chunk),
            (";a\r\n", Fault::Chunk),
            ("5\nhello\r\n", Fault::Chunk),
            ("5\rhello\r\n", Fault::Chunk),
            ("5\r\r\nhello", Fault::Chunk),
            ("5;a\nhello", Fault::Chunk),
            ("5;a\rb\r\nhello", Fault::Chunk),
            ("5;a\tb\r\nhello", Fault::Chunk),
            ("5;\0\r\nhello", Fault::Chunk),
            ("5;\u{e4}\r\nhello", Fault::Chunk),
            ("5\r\nhello0\r\n\r\n", Fault::Chunk),
            ("5\r\nhello\n0\r\n\r\n", Fault::Chunk),
            ("5\r\nhello\r0\r\n\r\n", Fault::Chunk),
            ("5\r\nhello\rX0\r\n\r\n", Fault::Chunk),
            ("5\r\nhelloX\n0\r\n\r\n", Fault::Chunk),
            ("5\r\nhello!\r\n0\r\n\r\n", Fault::Chunk),
            ("5\r\nhell\r\n0\r\n\r\n", Fault::Chunk),
            ("5\r\nhello\r\n\r\n", Fault::Chunk),
            ("0\r\nX\n\r\n", Fault::BareLf),
            ("0\n\n", Fault::Chunk),
            ("0\r\n\n", Fault::BareLf),
            ("0\r\nHost: b\r\n\r\n", Fault::Trailer),
            ("0\r\nGET / HTTP/1.1\r\n\r\n", Fault::Field),
            ("0\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\n\r\n", Fault::TooManyFields),
        ] {
            assert_eq!(follow(body.as_bytes()), Err(fault), "{body:?}");
        }
        let padded = format!("5;{}\r\nhello", "a".repeat(129));
        assert_eq!(follow(padded.as_bytes()), Err(Fault::Chunk));
    }
}
