//! What can be wrong with a request on the wire, before anyone has read what it asks for.

use http::StatusCode;

/// Why a request was refused before it reached a handler, or while its body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The head has more bytes than allowed.
    HeadTooLong,
    /// The head or the trailers have more fields than allowed.
    TooManyFields,
    /// The request target is longer than 8 KiB.
    TargetTooLong,
    /// The head did not arrive in time.
    HeadTimeout,
    /// A line ends in LF alone (RFC 9112 section 2.2 lets a recipient accept it; others then read another message).
    BareLf,
    /// A CR that no LF follows (RFC 9112 section 2.2).
    BareCr,
    /// A control character, a tab or a byte above 0x7e in the head or in trailers.
    Byte,
    /// The first line is no request line (RFC 9112 section 3), or its method is longer than 32 bytes.
    RequestLine,
    /// The request target is empty or carries a fragment.
    Target,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A line is no field, or is folded (RFC 9112 section 5).
    Field,
    /// No `Host`, more than one, or one that is no authority (RFC 9112 section 3.2).
    Host,
    /// `Content-Length` twice, or not a plain number below 2^63 (RFC 9112 section 6.3).
    ContentLength,
    /// `Transfer-Encoding` that is not exactly one `chunked`, or on HTTP/1.0 (RFC 9112 section 6.1).
    TransferEncoding,
    /// Both `Content-Length` and `Transfer-Encoding` (RFC 9112 section 6.1).
    LengthAndEncoding,
    /// CONNECT: what follows it is not HTTP.
    Connect,
    /// The chunked body's framing is broken (RFC 9112 section 7.1).
    Chunk,
    /// Trailers that change framing, routing or authentication (RFC 9110 section 6.5.1).
    Trailer,
    /// The connection ended inside the body.
    Truncated,
}

impl Fault {
    /// How metrics and logs call it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::HeadTooLong => "head_too_long",
            Self::TooManyFields => "too_many_fields",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTimeout => "head_timeout",
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::Byte => "byte",
            Self::RequestLine => "request_line",
            Self::Target => "target",
            Self::Version => "version",
            Self::Field => "field",
            Self::Host => "host",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::Connect => "connect",
            Self::Chunk => "chunk",
            Self::Trailer => "trailer",
            Self::Truncated => "truncated",
        }
    }

    /// The status that the peer gets.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::HeadTooLong | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BareLf
            | Self::BareCr
            | Self::Byte
            | Self::RequestLine
            | Self::Target
            | Self::Version
            | Self::Field
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::LengthAndEncoding
            | Self::Connect
            | Self::Chunk
            | Self::Trailer
            | Self::Truncated => StatusCode::BAD_REQUEST,
        }
    }
}
