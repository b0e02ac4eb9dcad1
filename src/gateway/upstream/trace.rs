//! The trace that a request belongs to (W3C Trace Context, level 1).
//!
//! What an EHR sends is continued where it is valid, and replaced where it is not; nothing invalid
//! ever reaches the upstream.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::entropy::Entropy;
use crate::entropy::NoEntropy;
use crate::entropy::draw;

/// `traceparent`
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Section 3.3.1.5 wants 512 characters propagated; a longer state is left out as a whole.
const LONGEST_STATE: usize = 512;

const SAMPLED: u8 = 1;

/// One trace. Its id joins what the EHR, the gateway and the upstream log about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    flags: u8,
    state: Option<HeaderValue>,
}

impl Trace {
    /// The trace that `headers` name, or a new one. A new one is marked for recording if `sampled`.
    ///
    /// # Errors
    /// [`NoEntropy`] where a new one was needed.
    pub fn of(
        headers: &HeaderMap,
        sampled: bool,
        entropy: &dyn Entropy,
    ) -> Result<Self, NoEntropy> {
        if let Some((id, flags)) = sole(headers, &TRACEPARENT).and_then(parse) {
            return Ok(Self { id, flags, state: state(headers) });
        }
        let id = u128::from_be_bytes(draw(entropy)?);
        // All zeros names no trace (section 3.2.2.3), and no working source delivers them.
        if id == 0 {
            return Err(NoEntropy);
        }
        Ok(Self { id, flags: u8::from(sampled), state: None })
    }

    /// Whether somebody up the line records this trace.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Writes `traceparent`, with a new span as the parent, and `tracestate`.
    pub(crate) fn write(
        &self,
        headers: &mut HeaderMap,
        entropy: &dyn Entropy,
    ) -> Result<(), NoEntropy> {
        let span = u64::from_be_bytes(draw(entropy)?);
        if span == 0 {
            return Err(NoEntropy);
        }
        let parent = format!("00-{self}-{span:016x}-{:02x}", self.flags);
        if let Ok(parent) = HeaderValue::try_from(parent) {
            headers.insert(TRACEPARENT, parent);
        }
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
        Ok(())
    }
}

/// The trace id in hex, as logs show it.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.id)
    }
}

fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        (_, _) => None,
    }
}

/// Section 3.2: the id and the flags that this version knows.
fn parse(text: &str) -> Option<(u128, u8)> {
    let mut fields = text.splitn(5, '-');
    let version = hex(fields.next()?, 2)?;
    let id = hex(fields.next()?, 32)?;
    let parent = hex(fields.next()?, 16)?;
    let flags = hex(fields.next()?, 2)?;
    let more = fields.next().is_some();
    // A later version may say more behind a dash; version 255 is none.
    let valid = version != 0xff && !(version == 0 && more) && id != 0 && parent != 0;
    valid.then_some((id, u8::try_from(flags).ok()? & SAMPLED))
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let valid = text.len() == digits && text.bytes().all(lower);
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Several fields are one list (section 3.3.1.3).
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut parts = Vec::new();
    for value in headers.get_all(TRACESTATE) {
        parts.push(value.to_str().ok()?.trim());
    }
    parts.retain(|part| !part.is_empty());
    let joined = parts.join(",");
    if joined.is_empty() || joined.len() > LONGEST_STATE {
        return None;
    }
    HeaderValue::try_from(joined).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
        }
        for state in states {
            headers.append(TRACESTATE, HeaderValue::from_str(state).unwrap());
        }
        headers
    }

    fn written(inbound: &HeaderMap, sampled: bool) -> (String, Option<String>) {
        let entropy = SeededEntropy::new(1);
        let mut out = HeaderMap::new();
        Trace::of(inbound, sampled, &entropy).unwrap().write(&mut out, &entropy).unwrap();
        let text = |name| out.get(name).map(|v| v.to_str().unwrap().to_owned());
        (text(TRACEPARENT).unwrap(), text(TRACESTATE))
    }

    #[test]
    fn continues_what_is_valid() {
        for (sent, flags) in [
            (format!("00-{ID}-b7ad6b7169203331-01"), "01"),
            (format!("00-{ID}-b7ad6b7169203331-00"), "00"),
            (format!("00-{ID}-b7ad6b7169203331-ff"), "01"),
            (format!("cc-{ID}-b7ad6b7169203331-01"), "01"),
            (format!("cc-{ID}-b7ad6b7169203331-01-what-ever"), "01"),
        ] {
            let (parent, state) = written(&headers(&[&sent], &["a=1", "b=2"]), false);
            assert!(parent.starts_with(&format!("00-{ID}-")), "{parent}");
            assert!(parent.ends_with(flags) && parent.len() == 55, "{parent}");
            assert!(!parent.contains("b7ad6b7169203331"), "the span is new: {parent}");
            assert_eq!(state.as_deref(), Some("a=1,b=2"));
        }
    }

    #[test]
    fn begins_anew_where_it_is_not() {
        let zero = "0".repeat(32);
        let long = "a".repeat(600);
        for sent in [
            String::new(),
            "x".to_owned(),
            long,
            format!("00-{zero}-b7ad6b7169203331-01"),
            format!("00-{ID}-0000000000000000-01"),
            format!("ff-{ID}-b7ad6b7169203331-01"),
            format!("00-{ID}-b7ad6b7169203331-01-more"),
            format!("00-{ID}-b7ad6b7169203331-01-"),
            format!("00-{}-b7ad6b7169203331-01", ID.to_uppercase()),
            format!("00-{ID}-b7ad6b7169203331"),
            format!("00-{ID}-b7ad6b7169203331-1"),
            format!("00-{ID}-b7ad6b716920333-01"),
            format!("0-{ID}-b7ad6b7169203331-01"),
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            format!(" 00-{ID}-b7ad6b7169203331-01"),
        ] {
            let (parent, state) = written(&headers(&[&sent], &["a=1"]), true);
            assert!(!parent.contains(ID) && parent.ends_with("-01"), "{sent:?}: {parent}");
            assert_eq!((parent.len(), state), (55, None), "{sent:?}");
        }
        let valid = format!("00-{ID}-b7ad6b7169203331-01");
        assert!(!written(&headers(&[&valid, &valid], &[]), false).0.contains(ID));
        assert!(written(&headers(&[], &[]), false).0.ends_with("-00"));
    }

    #[test]
    fn a_state_that_is_too_long_or_no_text_is_left_out() {
        let valid = format!("00-{ID}-b7ad6b7169203331-01");
        for states in [vec!["x".repeat(513)], vec!["x".repeat(300), "y".repeat(300)], vec![]] {
            let states: Vec<&str> = states.iter().map(String::as_str).collect();
            assert_eq!(written(&headers(&[&valid], &states), false).1, None);
        }
        let mut inbound = headers(&[&valid], &[]);
        inbound.insert(TRACESTATE, HeaderValue::from_bytes(b"a=\xff").unwrap());
        assert_eq!(written(&inbound, false).1, None);
    }

    #[derive(Debug)]
    struct Zeros;

    impl Entropy for Zeros {
        fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
            out.fill(0);
            Ok(())
        }
    }

    #[test]
    fn zeros_name_no_trace() {
        assert!(Trace::of(&HeaderMap::new(), false, &Zeros).is_err());
        let trace = Trace::of(&HeaderMap::new(), false, &SeededEntropy::new(1)).unwrap();
        assert!(trace.write(&mut HeaderMap::new(), &Zeros).is_err());
    }
}
