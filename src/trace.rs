//! The trace that a request belongs to (W3C Trace Context, level 1).
//!
//! What an EHR sends is continued where it is valid, and replaced where it is not; nothing invalid
//! ever reaches the upstream. The gateway's own part of a trace has a span of its own, and so has each call
//! to an upstream.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::entropy::{Entropy, NoEntropy, draw};

/// `traceparent`
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Section 3.3.1.5 wants 512 characters propagated; a longer state is left out as a whole.
const LONGEST_STATE: usize = 512;
/// Section 3.3.1.1.
const MOST_MEMBERS: usize = 32;
/// Section 3.3.1.3.1.
const LONGEST_KEY: usize = 256;
/// Section 3.3.1.3.2.
const LONGEST_VALUE: usize = 256;

const SAMPLED: u8 = 1;

/// Names a trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Names a span in its trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

/// Which part of the traces that begin here is recorded. A trace that began elsewhere is recorded where it says
/// so: else it would have holes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling(f64);

/// One request's place in its trace. The trace's id joins what the EHR, the gateway and the upstream log about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    id: TraceId,
    parent: Option<SpanId>,
    span: SpanId,
    flags: u8,
    state: Option<HeaderValue>,
}

impl TraceId {
    /// As it is sent.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    /// A new one.
    ///
    /// # Errors
    /// [`NoEntropy`] where the source of randomness failed.
    pub fn new(entropy: &dyn Entropy) -> Result<Self, NoEntropy> {
        // All zeros name no span (section 3.2.2.4), and no working source delivers them.
        match u64::from_be_bytes(draw(entropy)?) {
            0 => Err(NoEntropy),
            id => Ok(Self(id)),
        }
    }

    /// As it is sent.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl Sampling {
    /// None.
    pub const NEVER: Self = Self(0.0);

    /// This part, from 0 to 1.
    pub const fn new(part: f64) -> Self {
        Self(part)
    }

    /// By the id, so that whoever samples the same way records the same traces. The ids' last bytes are the random
    /// ones where a system has narrower ids of its own.
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than the leading digits")]
    fn takes(self, id: TraceId) -> bool {
        let last = u64::try_from(id.0 & u128::from(u64::MAX)).unwrap_or_default();
        (last as f64) < self.0 * (u64::MAX as f64)
    }
}

impl Trace {
    /// The trace that `headers` name, or a new one, of which `sampling` says whether it is recorded; with a new
    /// span in it.
    ///
    /// # Errors
    /// [`NoEntropy`]
    pub fn of(
        headers: &HeaderMap,
        sampling: Sampling,
        entropy: &dyn Entropy,
    ) -> Result<Self, NoEntropy> {
        let span = SpanId::new(entropy)?;
        if let Some((id, parent, flags)) = sole(headers, &TRACEPARENT).and_then(parse) {
            return Ok(Self { id, parent: Some(parent), span, flags, state: state(headers) });
        }
        let id = TraceId(u128::from_be_bytes(draw(entropy)?));
        // All zeros name no trace (section 3.2.2.3), and no working source delivers them.
        if id.0 == 0 {
            return Err(NoEntropy);
        }
        let flags = u8::from(sampling.takes(id));
        Ok(Self { id, parent: None, span, flags, state: None })
    }

    /// The same trace, in which a new span is the child of this one.
    ///
    /// # Errors
    /// [`NoEntropy`]
    pub fn child(&self, entropy: &dyn Entropy) -> Result<Self, NoEntropy> {
        let span = SpanId::new(entropy)?;
        Ok(Self { span, parent: Some(self.span), ..self.clone() })
    }

    /// Names it.
    pub const fn id(&self) -> TraceId {
        self.id
    }

    /// The span that this one came from, where it came from one.
    pub const fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// Its span.
    pub const fn span(&self) -> SpanId {
        self.span
    }

    /// Whether the trace is recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Writes `traceparent`, with this span as the parent, and `tracestate`.
    pub fn write(&self, headers: &mut HeaderMap) {
        let parent = format!("00-{}-{}-{:02x}", self.id, self.span, self.flags);
        if let Ok(parent) = HeaderValue::try_from(parent) {
            headers.insert(TRACEPARENT, parent);
        }
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// In hex, as logs show it.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// In hex, as traces show it.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        (_, _) => None,
    }
}

/// Section 3.2: the ids and the flags that this version knows.
fn parse(text: &str) -> Option<(TraceId, SpanId, u8)> {
    let mut fields = text.splitn(5, '-');
    let version = hex(fields.next()?, 2)?;
    let id = hex(fields.next()?, 32)?;
    let parent = u64::try_from(hex(fields.next()?, 16)?).ok()?;
    let flags = hex(fields.next()?, 2)?;
    let more = fields.next().is_some();
    // A later version may say more behind a dash; version 255 is none.
    let valid = version != 0xff && !(version == 0 && more) && id != 0 && parent != 0;
    valid.then_some((TraceId(id), SpanId(parent), u8::try_from(flags).ok()? & SAMPLED))
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let valid = text.len() == digits && text.bytes().all(lower);
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Several fields are one list (section 3.3.1.3). A list that is not as it should be is left out as a whole: what
/// stands in it is for others to read, and must not be something else to them.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut members = Vec::new();
    for value in headers.get_all(TRACESTATE) {
        members.extend(value.to_str().ok()?.split(',').map(|member| member.trim_matches(OWS)));
    }
    members.retain(|member| !member.is_empty());
    let joined = members.join(",");
    let sound = !members.is_empty()
        && members.len() <= MOST_MEMBERS
        && joined.len() <= LONGEST_STATE
        && members.iter().all(|member| is_member(member));
    sound.then(|| HeaderValue::try_from(joined).ok()).flatten()
}

const OWS: [char; 2] = [' ', '\t'];

/// `key=value`, both as sections 3.3.1.3.1 and 3.3.1.3.2 want them.
fn is_member(text: &str) -> bool {
    let Some((key, value)) = text.split_once('=') else { return false };
    let begins = |name: &str| {
        name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let goes_on = |b: u8| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'*' | b'/')
    };
    let mut names = key.splitn(2, '@');
    let is_key =
        key.len() <= LONGEST_KEY && names.all(|name| begins(name) && name.bytes().all(goes_on));
    let is_value = (1..=LONGEST_VALUE).contains(&value.len())
        && value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b',' && b != b'=');
    is_key && is_value
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
        let sampling = Sampling::new(if sampled { 1.0 } else { 0.0 });
        let mut out = HeaderMap::new();
        let trace = Trace::of(inbound, sampling, &entropy).unwrap();
        assert_eq!(trace.is_sampled(), trace.child(&entropy).unwrap().is_sampled());
        trace.child(&entropy).unwrap().write(&mut out);
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
    fn a_state_that_is_none_is_left_out() {
        let valid = format!("00-{ID}-b7ad6b7169203331-01");
        let long = |name: &str| format!("{name}={}", "x".repeat(256));
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        for states in [
            vec![long("a"), long("b")],
            vec![format!("a={}", "x".repeat(257))],
            vec![many.join(",")],
            vec!["a".to_owned()],
            vec!["a=".to_owned()],
            vec!["=b".to_owned()],
            vec!["A=b".to_owned()],
            vec!["a=b=c".to_owned()],
            vec!["a@b@c=d".to_owned()],
            vec!["a=1".to_owned(), "<script>".to_owned()],
            vec![" , ".to_owned()],
            vec![],
        ] {
            let states: Vec<&str> = states.iter().map(String::as_str).collect();
            assert_eq!(written(&headers(&[&valid], &states), false).1, None);
        }
        let mut inbound = headers(&[&valid], &[]);
        inbound.insert(TRACESTATE, HeaderValue::from_bytes(b"a=\xff").unwrap());
        assert_eq!(written(&inbound, false).1, None);
    }

    #[test]
    fn members_are_kept_as_they_are() {
        let valid = format!("00-{ID}-b7ad6b7169203331-01");
        for (states, kept) in [
            (vec!["congo=t61rcWkgMzE"], "congo=t61rcWkgMzE"),
            (
                vec!["fw529a3039@dt=FfffffeB;0;0", "rojo=00f067aa0ba902b7"],
                "fw529a3039@dt=FfffffeB;0;0,rojo=00f067aa0ba902b7",
            ),
            (vec!["a=1 ,\tb_-*/=~ !,"], "a=1,b_-*/=~ !"),
        ] {
            assert_eq!(written(&headers(&[&valid], &states), false).1.as_deref(), Some(kept));
        }
    }

    #[test]
    fn a_part_of_the_new_ones_is_taken() {
        let entropy = SeededEntropy::new(7);
        let taken = |part| {
            let sampling = Sampling::new(part);
            let all = (0..400).map(|_| Trace::of(&HeaderMap::new(), sampling, &entropy).unwrap());
            all.filter(Trace::is_sampled).count()
        };
        assert_eq!((taken(0.0), taken(1.0)), (0, 400));
        let half = taken(0.5);
        assert!((150..250).contains(&half), "{half}");
    }

    #[test]
    fn a_child_names_its_parent() {
        let entropy = SeededEntropy::new(1);
        let valid = format!("00-{ID}-b7ad6b7169203331-01");
        let trace = Trace::of(&headers(&[&valid], &[]), Sampling::NEVER, &entropy).unwrap();
        assert_eq!(trace.id().to_string(), ID);
        assert_eq!(trace.parent().unwrap().to_string(), "b7ad6b7169203331");
        let child = trace.child(&entropy).unwrap();
        assert_eq!((child.parent(), child.id()), (Some(trace.span()), trace.id()));
        assert_ne!(child.span(), trace.span());
        let new = Trace::of(&HeaderMap::new(), Sampling::NEVER, &entropy).unwrap();
        assert_eq!(new.parent(), None);
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
    fn zeros_name_no_trace_and_no_span() {
        let none = HeaderMap::new();
        assert!(Trace::of(&none, Sampling::NEVER, &Zeros).is_err());
        let trace = Trace::of(&none, Sampling::NEVER, &SeededEntropy::new(1)).unwrap();
        assert!(trace.child(&Zeros).is_err());
    }
}
