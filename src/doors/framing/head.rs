//! A request's head, judged as RFC 9112 allows a server to judge it at its strictest.

use std::mem::MaybeUninit;

use http::uri::Authority;
use httparse::{EMPTY_HEADER, Header, Request, Status};

use crate::doors::fault::Fault;

/// The longest request target (RFC 9112 section 3 recommends to take 8000 bytes).
const MAX_TARGET: usize = 8 * 1024;
/// No method that the gateway serves has more than 7.
const MAX_METHOD: usize = 32;
/// Method, target, version and the blanks between them.
pub(crate) const MAX_REQUEST_LINE: usize = MAX_METHOD + MAX_TARGET + 10;
/// As many fields as the setting, a `u8`, can allow.
const MAX_FIELDS: usize = 255;

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many bytes; none where the head says nothing.
    Known(u64),
    /// It says itself.
    Chunked,
}

/// Judges a whole head, from the request line to the empty line, whose bytes and lines
/// [`Section`](crate::doors::framing::section::Section) has let pass.
///
/// # Errors
/// The first fault found.
pub(crate) fn check(head: &[u8]) -> Result<Length, Fault> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields).map_err(fault)? {
        Status::Complete(end) if end == head.len() => {}
        Status::Complete(_) | Status::Partial => return Err(Fault::Field),
    }
    let method = request.method.unwrap_or_default();
    if method.len() > MAX_METHOD {
        return Err(Fault::RequestLine);
    }
    if method == "CONNECT" {
        return Err(Fault::Connect);
    }
    check_target(request.path.unwrap_or_default())?;
    let at_least_1_1 = match request.version {
        Some(0) => false,
        Some(1) => true,
        Some(_) | None => return Err(Fault::Version),
    };
    body_length(request.headers, at_least_1_1)
}

/// What is wrong with a request line that is longer than [`MAX_REQUEST_LINE`], of which `line` is the
/// beginning.
pub(crate) fn overlong(line: &[u8]) -> Fault {
    let method = line.iter().take_while(|byte| **byte != b' ').count();
    if method > MAX_METHOD { Fault::RequestLine } else { Fault::TargetTooLong }
}

/// Judges trailers, from their first line to the empty line.
///
/// # Errors
/// No fields, or some that must not come late: a reader that merges trailers into the head would see
/// another request than one that drops them (RFC 9110 section 6.5.1).
pub(crate) fn check_trailers(trailers: &[u8]) -> Result<(), Fault> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(trailers, &mut fields).map_err(fault)? {
        Status::Complete((_, fields)) if fields.iter().any(|field| is_late(field.name)) => {
            Err(Fault::Trailer)
        }
        Status::Complete((end, _)) if end == trailers.len() => Ok(()),
        Status::Complete(_) | Status::Partial => Err(Fault::Field),
    }
}

fn fault(error: httparse::Error) -> Fault {
    match error {
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            Fault::Field
        }
        httparse::Error::TooManyHeaders => Fault::TooManyFields,
        httparse::Error::Version => Fault::Version,
        httparse::Error::Token | httparse::Error::Status => Fault::RequestLine,
    }
}

/// A fragment is refused here because hyper cuts it off, and nobody after it can tell.
fn check_target(target: &str) -> Result<(), Fault> {
    if target.len() > MAX_TARGET {
        return Err(Fault::TargetTooLong);
    }
    if target.is_empty() || target.contains('#') { Err(Fault::Target) } else { Ok(()) }
}

fn body_length(fields: &[Header<'_>], at_least_1_1: bool) -> Result<Length, Fault> {
    let (mut length, mut encoding, mut host) = (None, None, None);
    for field in fields {
        if is(field, "content-length") {
            once(&mut length, field, Fault::ContentLength)?;
        } else if is(field, "transfer-encoding") {
            once(&mut encoding, field, Fault::TransferEncoding)?;
        } else if is(field, "host") {
            once(&mut host, field, Fault::Host)?;
        } else if is(field, "content_length") || is(field, "transfer_encoding") {
            // CGI-like readers take `_` for `-`.
            return Err(Fault::Field);
        }
    }
    match host {
        Some(host) => check_host(host)?,
        None if at_least_1_1 => return Err(Fault::Host),
        None => {}
    }
    match (length, encoding) {
        (Some(_), Some(_)) => Err(Fault::LengthAndEncoding),
        (None, Some(coding)) if at_least_1_1 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Length::Chunked)
        }
        (None, Some(_)) => Err(Fault::TransferEncoding),
        (Some(digits), None) => number(digits).map(Length::Known).ok_or(Fault::ContentLength),
        (None, None) => Ok(Length::Known(0)),
    }
}

const fn is(field: &Header<'_>, name: &str) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

fn once<'a>(seen: &mut Option<&'a [u8]>, field: &Header<'a>, twice: Fault) -> Result<(), Fault> {
    if seen.replace(field.value).is_some() { Err(twice) } else { Ok(()) }
}

/// RFC 9112 section 3.2: a value that is no `uri-host [ ":" port ]` is answered with 400.
fn check_host(host: &[u8]) -> Result<(), Fault> {
    match Authority::try_from(host) {
        Ok(authority) if !authority.host().is_empty() && !host.contains(&b'@') => Ok(()),
        Ok(_) | Err(_) => Err(Fault::Host),
    }
}

/// Digits only, no leading zero, below 2^63: nobody reads it as another number.
fn number(digits: &[u8]) -> Option<u64> {
    let canonical = match digits {
        [] => false,
        [b'0', rest @ ..] => rest.is_empty(),
        digits => digits.iter().all(u8::is_ascii_digit),
    };
    let number = std::str::from_utf8(digits).ok().filter(|_| canonical)?;
    number.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok())
}

fn is_late(name: &str) -> bool {
    const LATE: [&str; 26] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "content_length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "max-forwards",
        "origin",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "transfer_encoding",
    ];
    let lower = name.to_ascii_lowercase();
    LATE.contains(&lower.as_str()) || lower == "upgrade" || lower.starts_with("x-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &str) -> Result<Length, Fault> {
        check(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn reads_a_sound_head() {
        assert_eq!(fields(""), Ok(Length::Known(0)));
        assert_eq!(fields("content-length: 0\r\n"), Ok(Length::Known(0)));
        assert_eq!(fields("Content-Length:5\r\n"), Ok(Length::Known(5)));
        assert_eq!(
            fields("Content-Length: 9223372036854775807\r\n"),
            Ok(Length::Known((1 << 63) - 1))
        );
        assert_eq!(fields("Transfer-Encoding: Chunked\r\n"), Ok(Length::Chunked));
        assert_eq!(check(b"GET / HTTP/1.0\r\n\r\n"), Ok(Length::Known(0)));
        for host in ["a.example", "a.example:8443", "127.0.0.1", "[::1]:80", "A_b"] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(check(head.as_bytes()), Ok(Length::Known(0)), "{host}");
        }
    }

    #[test]
    fn refuses_ambiguous_lengths() {
        for length in [
            "",
            "+5",
            "-5",
            "5,5",
            "5, 5",
            "5 5",
            "0x5",
            "5.0",
            "05",
            "00",
            "1e1",
            "5;",
            "\"5\"",
            "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            let found = fields(&format!("Content-Length: {length}\r\n"));
            assert_eq!(found, Err(Fault::ContentLength), "{length}");
        }
        let both = "Content-Length: 5\r\n";
        assert_eq!(fields(&both.repeat(2)), Err(Fault::ContentLength));
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(fields(both), Err(Fault::LengthAndEncoding));
        assert_eq!(fields("content_length: 5\r\n"), Err(Fault::Field));
    }

    #[test]
    fn refuses_every_encoding_but_one() {
        for coding in [
            "",
            "xchunked",
            "chunked, chunked",
            "chunked,",
            ",chunked",
            "gzip, chunked",
            "identity",
            "identity, chunked",
            "chunked, identity",
            "chunked;q=1",
            "\"chunked\"",
            "chunke",
            "chunked x",
            "chun ked",
            "'chunked'",
            "chunked;",
            "cow",
            "x, chunked",
            "deflate",
            "compress",
            "trailers",
            "null",
            "chunked\"",
            "=chunked",
            "{chunked}",
        ] {
            let found = fields(&format!("Transfer-Encoding: {coding}\r\n"));
            assert_eq!(found, Err(Fault::TransferEncoding), "{coding}");
        }
        let twice = "Transfer-Encoding: chunked\r\n".repeat(2);
        assert_eq!(fields(&twice), Err(Fault::TransferEncoding));
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(check(old), Err(Fault::TransferEncoding));
        for name in ["Transfer-Encoding ", " Transfer-Encoding", "Transfer Encoding"] {
            assert_eq!(fields(&format!("{name}: chunked\r\n")), Err(Fault::Field), "{name:?}");
        }
        assert_eq!(fields("Transfer_Encoding: chunked\r\n"), Err(Fault::Field));
        assert_eq!(fields("X: y\r\n Transfer-Encoding: chunked\r\n"), Err(Fault::Field));
    }

    #[test]
    fn refuses_request_lines_and_hosts() {
        let long = "x".repeat(MAX_TARGET);
        for (head, fault) in [
            ("GET /\r\n\r\n".to_owned(), Fault::RequestLine),
            ("GET / HTTP/0.9\r\n\r\n".to_owned(), Fault::Version),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(), Fault::Version),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), Fault::Version),
            ("GET / http/1.1\r\nHost: a\r\n\r\n".to_owned(), Fault::Version),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n".to_owned(), Fault::Field),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fault::RequestLine),
            ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fault::Version),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fault::RequestLine),
            (" GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fault::RequestLine),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fault::Target),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fault::Connect),
            (format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "X".repeat(33)), Fault::RequestLine),
            (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), Fault::TargetTooLong),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), Fault::Host),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(), Fault::Host),
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(), Fault::Host),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), Fault::Host),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), Fault::Host),
            ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".to_owned(), Fault::Host),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".to_owned(), Fault::Host),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(), Fault::Host),
            ("GET / HTTP/1.1\r\nHost: a?b\r\n\r\n".to_owned(), Fault::Host),
            ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n".to_owned(), Fault::Host),
            ("GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n".to_owned(), Fault::Field),
            ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n".to_owned(), Fault::Field),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n".to_owned(), Fault::Field),
        ] {
            assert_eq!(check(head.as_bytes()), Err(fault), "{head:?}");
        }
    }

    #[test]
    fn trailers_may_not_change_the_request() {
        assert_eq!(check_trailers(b"Digest: x\r\n\r\n"), Ok(()));
        assert_eq!(check_trailers(b"\r\n"), Ok(()));
        for name in
            ["Authorization", "HOST", "content-length", "Transfer-Encoding", "X-Hookgate-Client"]
        {
            let trailers = format!("Digest: x\r\n{name}: y\r\n\r\n");
            assert_eq!(check_trailers(trailers.as_bytes()), Err(Fault::Trailer), "{name}");
        }
        assert_eq!(check_trailers(b"Digest\r\n\r\n"), Err(Fault::Field));
        assert_eq!(check_trailers(b"A: b\r\n c\r\n\r\n"), Err(Fault::Field));
    }
}
