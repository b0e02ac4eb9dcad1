//! A block of lines that an empty line ends: a head, or trailers.

use crate::doors::fault::Fault;

/// How much a block may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes, line ends included.
    pub(crate) bytes: usize,
    /// Lines, without the empty one.
    pub(crate) lines: u16,
}

/// How far a block has been read. Each byte is looked at once, however they arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    at: usize,
    line: usize,
    lines: u16,
    after_cr: bool,
}

impl Section {
    /// Before the first byte.
    pub(crate) const EMPTY: Self = Self { at: 0, line: 0, lines: 0, after_cr: false };

    /// Reads on. `bytes` begins where the block begins, and has grown since the last time. Says where
    /// the block ends, the empty line included, once it does.
    ///
    /// # Errors
    /// A line end that is not CR LF, a byte that is neither visible ASCII nor a blank, too much of
    /// either. A tab is refused too: it is legal, nobody sends it, and readers differ about it.
    pub(crate) fn scan(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Option<usize>, Fault> {
        let fresh = bytes.get(self.at..).unwrap_or_default();
        for byte in fresh.iter().take(bounds.bytes.saturating_sub(self.at)) {
            self.at = self.at.saturating_add(1);
            match (*byte, self.after_cr) {
                (b'\n', true) if self.line == 0 => return Ok(Some(self.at)),
                (b'\n', true) => self.end_line(bounds)?,
                (b'\n', false) => return Err(Fault::BareLf),
                (_, true) => return Err(Fault::BareCr),
                (b'\r', false) => self.after_cr = true,
                (b' '..=b'~', false) => self.line = self.line.saturating_add(1),
                (_, false) => return Err(Fault::Byte),
            }
        }
        if self.at >= bounds.bytes { Err(Fault::HeadTooLong) } else { Ok(None) }
    }

    /// Whether no line but the empty one was seen.
    pub(crate) const fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// The length of the line that has begun, where it is the first.
    pub(crate) const fn first_line(&self) -> Option<usize> {
        if self.lines == 0 { Some(self.line) } else { None }
    }

    fn end_line(&mut self, bounds: Bounds) -> Result<(), Fault> {
        self.lines = self.lines.saturating_add(1);
        self.line = 0;
        self.after_cr = false;
        if self.lines > bounds.lines { Err(Fault::TooManyFields) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 40, lines: 3 };

    /// However the bytes are cut, the same comes out.
    fn scan(text: &[u8]) -> Result<Option<usize>, Fault> {
        let (mut at_once, mut piecewise) = (Section::EMPTY, Section::EMPTY);
        let whole = at_once.scan(text, BOUNDS);
        let mut found = Ok(None);
        for end in 0..=text.len() {
            found = piecewise.scan(&text[..end], BOUNDS);
            if !matches!(found, Ok(None)) {
                break;
            }
        }
        assert_eq!(whole, found, "{text:?}");
        whole
    }

    #[test]
    fn finds_the_empty_line() {
        assert_eq!(scan(b"a: b\r\nc: d\r\n\r\nbody"), Ok(Some(14)));
        assert_eq!(scan(b"\r\n"), Ok(Some(2)));
        for more in ["", "a", "a\r", "a\r\n", "a\r\n\r"] {
            assert_eq!(scan(more.as_bytes()), Ok(None), "{more:?}");
        }
    }

    #[test]
    fn refuses_every_other_line_end_byte_and_size() {
        for (text, fault) in [
            (&b"a\nb"[..], Fault::BareLf),
            (b"a\r\n\n", Fault::BareLf),
            (b"\n", Fault::BareLf),
            (b"a\rb", Fault::BareCr),
            (b"a\r\r\n", Fault::BareCr),
            (b"a\r\n\rb", Fault::BareCr),
            (b"a\0", Fault::Byte),
            (b"a\tb", Fault::Byte),
            (b"a\x0bb", Fault::Byte),
            (b"a\x7f", Fault::Byte),
            (b"a\x80", Fault::Byte),
            ("ä".as_bytes(), Fault::Byte),
            (b"1\r\n2\r\n3\r\n4\r\n", Fault::TooManyFields),
            (&[b'a'; 41], Fault::HeadTooLong),
        ] {
            assert_eq!(scan(text), Err(fault), "{text:?}");
        }
        let mut largest = vec![b'a'; 36];
        largest.extend_from_slice(b"\r\n\r\n");
        assert_eq!(scan(&largest), Ok(Some(40)));
        largest.insert(0, b'a');
        assert_eq!(scan(&largest), Err(Fault::HeadTooLong));
    }
}
