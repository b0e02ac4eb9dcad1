//! One walk over a JSON text (RFC 8259), checking all of it and keeping positions.
//!
//! Why not serde_json, which the rest of the crate uses: its `RawValue` and `IgnoredAny` skip a value
//! without any limit on its depth, positions have to be won back from pointers, and reading a level
//! at a time means scanning it again. Skipping with a separate count of the brackets takes three times
//! as long as this walk. serde_json still decodes strings, and the tests hold both to the same
//! language.

use std::borrow::Cow;

use crate::json::token::{Cursor, JsonError, MAX_DEPTH, Span};

/// What a value is, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or `-`
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// A member's name and where it begins.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The name, decoded: `"u\u0072l"` is `url`.
    pub name: Cow<'a, str>,
    /// Offset of the name's opening quote: where the member begins.
    pub start: usize,
}

/// A string value.
#[derive(Clone, Debug)]
pub struct Text<'a> {
    /// Its meaning, escapes decoded.
    pub decoded: Cow<'a, str>,
    /// Where it stands, quotes included.
    pub span: Span,
}

/// A position in a text that moves forward over whole values only.
#[derive(Debug)]
pub struct Scanner<'a> {
    cursor: Cursor<'a>,
    depth: u32,
}

impl<'a> Scanner<'a> {
    /// Stands before the only value in `body`.
    ///
    /// # Errors
    /// [`JsonError::Encoding`], [`JsonError::ByteOrderMark`].
    pub fn new(body: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(body)
            .map_err(|wrong| JsonError::Encoding { at: wrong.valid_up_to() })?;
        if text.starts_with('\u{feff}') {
            return Err(JsonError::ByteOrderMark);
        }
        Ok(Self { cursor: Cursor::new(text), depth: 0 })
    }

    /// The whole text, for which the spans are valid.
    pub const fn text(&self) -> &'a str {
        self.cursor.text()
    }

    /// What the value ahead is.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] where no value can begin.
    pub fn kind(&mut self) -> Result<Kind, JsonError> {
        match self.cursor.past_blanks() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) | None => Err(self.cursor.wrong()),
        }
    }

    /// Reads the object ahead, calling `member` before each value. A value that `member` does not
    /// move over is skipped.
    ///
    /// # Errors
    /// [`JsonError`], also where the value ahead is no object; and what `member` returns.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Member<'a>) -> Result<(), E>,
    ) -> Result<Span, E> {
        let start = self.enter(b'{')?;
        if self.cursor.past_blanks() == Some(b'}') {
            return Ok(self.leave(start));
        }
        loop {
            self.cursor.past_blanks();
            let name = self.string()?;
            self.colon()?;
            self.cursor.past_blanks();
            let value = self.cursor.at();
            member(self, Member { name: name.decoded, start: name.span.start })?;
            if self.cursor.at() == value {
                self.skip()?;
            }
            match self.cursor.past_blanks() {
                Some(b',') => self.cursor.advance(),
                Some(b'}') => return Ok(self.leave(start)),
                Some(_) | None => return Err(self.cursor.wrong().into()),
            }
        }
    }

    /// Reads the array ahead, calling `element` with its number before each value. A value that
    /// `element` does not move over is skipped.
    ///
    /// # Errors
    /// [`JsonError`], also where the value ahead is no array; and what `element` returns.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<Span, E> {
        let start = self.enter(b'[')?;
        if self.cursor.past_blanks() == Some(b']') {
            return Ok(self.leave(start));
        }
        for number in 0.. {
            self.cursor.past_blanks();
            let value = self.cursor.at();
            element(self, number)?;
            if self.cursor.at() == value {
                self.skip()?;
            }
            match self.cursor.past_blanks() {
                Some(b',') => self.cursor.advance(),
                Some(b']') => break,
                Some(_) | None => return Err(self.cursor.wrong().into()),
            }
        }
        Ok(self.leave(start))
    }

    /// Reads the string ahead.
    ///
    /// # Errors
    /// [`JsonError`], also where the value ahead is no string.
    pub fn string(&mut self) -> Result<Text<'a>, JsonError> {
        if self.cursor.past_blanks() != Some(b'"') {
            return Err(self.cursor.wrong());
        }
        let start = self.cursor.at();
        let escaped = self.cursor.past_string()?;
        let span = Span { start, end: self.cursor.at() };
        let decoded = if escaped {
            let decoded = serde_json::from_str(span.of(self.cursor.text()));
            Cow::Owned(decoded.map_err(|_| JsonError::Surrogate { at: span.end })?)
        } else {
            let inside = Span { start: start.saturating_add(1), end: span.end.saturating_sub(1) };
            Cow::Borrowed(inside.of(self.cursor.text()))
        };
        Ok(Text { decoded, span })
    }

    /// Moves over the value ahead, whatever it is, checking all of it.
    ///
    /// # Errors
    /// [`JsonError`]
    pub fn skip(&mut self) -> Result<Span, JsonError> {
        self.cursor.past_blanks();
        let start = self.cursor.at();
        let outside = self.depth;
        // One bit for each level that was entered here, the innermost lowest: is it an object?
        // There are as many bits as levels.
        let mut objects: u128 = 0;
        loop {
            if let Some(object) = self.past_scalar_or_into()? {
                objects = (objects << 1) | u128::from(object);
                if object {
                    self.past_name()?;
                }
                continue;
            }
            loop {
                if self.depth == outside {
                    return Ok(Span { start, end: self.cursor.at() });
                }
                let object = objects & 1 == 1;
                match self.cursor.past_blanks() {
                    Some(b',') => {
                        self.cursor.advance();
                        if object {
                            self.past_name()?;
                        }
                        break;
                    }
                    Some(b'}') if object => self.close(),
                    Some(b']') if !object => self.close(),
                    Some(_) | None => return Err(self.cursor.wrong()),
                }
                objects >>= 1;
            }
        }
    }

    /// Only white space may be left.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] where more follows.
    pub fn finish(mut self) -> Result<(), JsonError> {
        match self.cursor.past_blanks() {
            None => Ok(()),
            Some(_) => Err(self.cursor.wrong()),
        }
    }

    /// Moves over a scalar or an empty object or array (`None`), or into one that is not empty: is it
    /// an object?
    fn past_scalar_or_into(&mut self) -> Result<Option<bool>, JsonError> {
        match self.cursor.past_blanks() {
            Some(b'"') => self.cursor.past_string().map(|_| None),
            Some(open @ (b'{' | b'[')) => {
                let object = open == b'{';
                self.enter(open)?;
                if self.cursor.past_blanks() == Some(if object { b'}' } else { b']' }) {
                    self.close();
                    return Ok(None);
                }
                Ok(Some(object))
            }
            Some(b'-' | b'0'..=b'9') => self.cursor.past_number().map(|()| None),
            Some(b't') => self.cursor.past_word(b"true").map(|()| None),
            Some(b'f') => self.cursor.past_word(b"false").map(|()| None),
            Some(b'n') => self.cursor.past_word(b"null").map(|()| None),
            Some(_) | None => Err(self.cursor.wrong()),
        }
    }

    fn past_name(&mut self) -> Result<(), JsonError> {
        if self.cursor.past_blanks() != Some(b'"') {
            return Err(self.cursor.wrong());
        }
        self.cursor.past_string()?;
        self.colon()
    }

    fn colon(&mut self) -> Result<(), JsonError> {
        if self.cursor.past_blanks() != Some(b':') {
            return Err(self.cursor.wrong());
        }
        self.cursor.advance();
        Ok(())
    }

    fn enter(&mut self, open: u8) -> Result<usize, JsonError> {
        if self.cursor.past_blanks() != Some(open) {
            return Err(self.cursor.wrong());
        }
        let start = self.cursor.at();
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep { at: start });
        }
        self.depth += 1;
        self.cursor.advance();
        Ok(start)
    }

    const fn close(&mut self) {
        self.cursor.advance();
        self.depth = self.depth.saturating_sub(1);
    }

    const fn leave(&mut self, start: usize) -> Span {
        self.close();
        Span { start, end: self.cursor.at() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Span, JsonError> {
        let mut scan = Scanner::new(text.as_bytes())?;
        let span = scan.skip()?;
        scan.finish()?;
        Ok(span)
    }

    #[test]
    fn accepts_all_of_the_grammar() {
        for text in [
            "null",
            " true ",
            "false",
            "0",
            "-0",
            "1E+400",
            "0.10",
            "123456789012345678901234567890",
            "\"\"",
            r#""\"\\\/\b\f\n\r\t\u00e9\ud834\udd1e\ud800""#,
            "\"a quite long text without any escape in it\"",
            "[]",
            "[ ]",
            "{}",
            "\t{ }\r\n",
            r#"[1,[2,{"a":[{}]}],{"b":{"c":null}}]"#,
            r#"{"a":1,"a":2}"#,
        ] {
            let span = check(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(span.of(text), text.trim());
        }
    }

    #[test]
    fn says_where_it_went_wrong() {
        for (text, at) in [
            ("", 0),
            ("  ", 2),
            ("nul", 0),
            ("NaN", 0),
            ("-Infinity", 1),
            ("+1", 0),
            (".5", 0),
            ("1.", 2),
            ("1e", 2),
            ("01", 1),
            ("1 2", 2),
            ("'a'", 0),
            ("\"a", 2),
            ("\"a\nb\"", 2),
            ("\"1234567\u{1f}9\"", 8),
            (r#""\x""#, 2),
            (r#""\u12g4""#, 5),
            ("[1,]", 3),
            ("[,1]", 1),
            ("[1 2]", 3),
            ("[1}", 2),
            ("{\"a\":1]", 6),
            ("{\"a\"}", 4),
            ("{\"a\":}", 5),
            ("{\"a\":1,}", 7),
            ("{a:1}", 1),
            ("{1:1}", 1),
            ("[1", 2),
            ("{\"a\":1", 6),
            ("// no\n1", 0),
            ("1\u{a0}", 1),
        ] {
            assert_eq!(check(text), Err(JsonError::Syntax { at }), "{text:?}");
        }
        assert_eq!(check("\u{feff}1"), Err(JsonError::ByteOrderMark));
        let wrong = Scanner::new(b"[\"ab\xff\"]").map(|_| ());
        assert_eq!(wrong, Err(JsonError::Encoding { at: 4 }));
    }

    #[test]
    fn the_depth_is_limited_on_every_way() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check(&deep(128)).is_ok());
        assert_eq!(check(&deep(129)), Err(JsonError::TooDeep { at: 128 }));
        assert_eq!(check(&"[{\"a\":".repeat(100_000)), Err(JsonError::TooDeep { at: 64 * 6 }));

        let visited = |text: &str| {
            let mut scan = Scanner::new(text.as_bytes())?;
            scan.object(|scan, _| scan.array(|_, _| Ok::<(), JsonError>(())).map(|_| ()))
        };
        assert!(visited(&format!("{{\"a\":[{}]}}", deep(126))).is_ok());
        let too_deep = visited(&format!("{{\"a\":[{}]}}", deep(127)));
        assert_eq!(too_deep, Err(JsonError::TooDeep { at: 132 }));
    }

    #[test]
    fn visits_members_and_elements_and_skips_what_is_left_alone() {
        let text = r#" { "a" : [ 1 , "two" , {} ] , "\u0062" : { "c" : 2 } } "#;
        let mut scan = Scanner::new(text.as_bytes()).unwrap();
        let mut met = Vec::new();
        let whole = scan
            .object(|scan, member| {
                if scan.kind()? == Kind::Array {
                    scan.array(|scan, number| {
                        if number == 1 {
                            met.push(scan.string()?.decoded.into_owned());
                        }
                        Ok::<(), JsonError>(())
                    })?;
                }
                met.push(format!("{}@{}", member.name, member.start));
                Ok::<(), JsonError>(())
            })
            .unwrap();
        scan.finish().unwrap();
        assert_eq!(met, ["two", "a@3", "b@30"]);
        assert_eq!(whole.of(text), text.trim());
    }

    #[test]
    fn half_a_surrogate_pair_matters_only_where_it_is_read() {
        let text = r#"{"a":"\ud800"}"#;
        assert!(check(text).is_ok());
        let mut scan = Scanner::new(text.as_bytes()).unwrap();
        let read = scan.object(|scan, _| scan.string().map(|_| ()));
        assert_eq!(read, Err(JsonError::Surrogate { at: 13 }));
    }
}
