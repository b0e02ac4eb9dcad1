//! The tokens of a JSON text (RFC 8259 sections 2, 6 and 7), checked byte by byte.

/// Objects and arrays inside one another, the outermost included. FHIR resources stay below 30;
/// what is deeper than this is made to exhaust somebody's stack.
pub const MAX_DEPTH: u32 = 128;

/// Why a text is not the JSON that may pass. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// RFC 8259 section 8.1: text between systems is UTF-8.
    #[error("not UTF-8 at byte {at}")]
    Encoding {
        /// Offset of the first byte that does not belong.
        at: usize,
    },
    /// RFC 8259 section 8.1 forbids sending a byte order mark; some parsers skip it, others fail.
    #[error("starts with a byte order mark")]
    ByteOrderMark,
    /// The grammar does not allow what stands there, or the text ends.
    #[error("not JSON at byte {at}")]
    Syntax {
        /// Offset of the byte that does not belong.
        at: usize,
    },
    /// More than [`MAX_DEPTH`] levels.
    #[error("nested deeper than {MAX_DEPTH} levels at byte {at}")]
    TooDeep {
        /// Offset of the bracket that is one too many.
        at: usize,
    },
    /// A `\u` escape that is half of a surrogate pair, in a string that has to be understood.
    #[error("a string that ends before byte {at} escapes half of a surrogate pair")]
    Surrogate {
        /// Offset of the string's end.
        at: usize,
    },
}

/// A stretch of the text: offsets of its first byte and of the byte after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    /// The stretch of `text` that this span names.
    pub fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// A position in a text that moves forward over whole tokens.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Stands at the beginning of `text`.
    pub const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The whole text.
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// Offset of the byte ahead.
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Moves over the one byte that [`Self::past_blanks`] showed.
    pub const fn advance(&mut self) {
        self.at += 1;
    }

    /// Moves over the string whose opening quote is ahead, and says whether it holds an escape.
    ///
    /// # Errors
    /// [`JsonError::Syntax`]
    pub fn past_string(&mut self) -> Result<bool, JsonError> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.past_plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.past_escape()?;
                }
                Some(0x20..) => self.at += 1,
                Some(_) | None => return Err(self.wrong()),
            }
        }
    }

    /// Moves on, eight bytes at a time, to the next quote, backslash or control character, or so far
    /// that fewer than eight bytes are left.
    fn past_plain(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        // The high bit of each byte that is zero; above the first such byte it may be set wrongly.
        let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        while let Some(eight) = self.rest().first_chunk::<8>() {
            let word = u64::from_le_bytes(*eight);
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            let found = control | zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c));
            if found != 0 {
                // At most 7, so no cast can lose anything.
                self.at += usize::try_from(found.trailing_zeros() / 8).unwrap_or_default();
                return;
            }
            self.at += 8;
        }
    }

    fn past_escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.wrong());
                    }
                    self.at += 1;
                }
            }
            Some(_) | None => return Err(self.wrong()),
        }
        Ok(())
    }

    /// Moves over a number of any size and precision.
    ///
    /// # Errors
    /// [`JsonError::Syntax`]
    pub fn past_number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.past_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.past_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.past_digits()?;
        }
        Ok(())
    }

    fn past_digits(&mut self) -> Result<(), JsonError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.wrong());
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    /// Moves over `word`: `true`, `false` or `null`.
    ///
    /// # Errors
    /// [`JsonError::Syntax`]
    pub fn past_word(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.rest().starts_with(word) {
            return Err(self.wrong());
        }
        self.at += word.len();
        Ok(())
    }

    /// Moves over white space and shows the byte ahead.
    pub fn past_blanks(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other,
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The byte ahead does not belong.
    pub const fn wrong(&self) -> JsonError {
        JsonError::Syntax { at: self.at }
    }
}
