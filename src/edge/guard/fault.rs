//! What the guard refuses a message for.

/// Why a message is refused. What is said here is for the log: callers are told the status only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not `method SP target SP HTTP/1.0` or `HTTP/1.1` (RFC 9112 section 3).
    #[error("the request line is malformed")]
    RequestLine,
    /// What a client of another protocol says first, one that would not understand an answer.
    #[error("this is no request of HTTP/1")]
    NoRequest,
    /// A target of another form than a path or an `http` URI, or with a byte that neither may hold
    /// (RFC 9112 section 3.2).
    #[error("the request target is malformed")]
    Target,
    /// A line that ends in a bare LF, or holds a bare CR or another control (RFC 9112 section 2.2).
    #[error("a line holds a bare CR, a bare LF or another control")]
    Control,
    /// A field without a name, with white space around it, or folded (RFC 9112 section 5).
    #[error("a header field is malformed")]
    Field,
    /// `Content-Length` twice, not a plain number, or beside `Transfer-Encoding`
    /// (RFC 9112 section 6.3).
    #[error("the length of the body is ambiguous")]
    Length,
    /// A `Transfer-Encoding` other than one `chunked`, or in HTTP/1.0 (RFC 9112 section 6.1).
    #[error("a transfer encoding other than `chunked`")]
    TransferEncoding,
    /// The head is larger than `[limits] header_bytes`, has more fields than `[limits] headers`, or
    /// its target is larger than hyper takes.
    #[error("the head is too large")]
    HeadTooLarge,
    /// A chunk's size, extension or end is malformed, or there is too much of it
    /// (RFC 9112 section 7.1).
    #[error("the chunked body is malformed")]
    Chunk,
    /// A trailer is malformed, or there are too many (RFC 9112 section 7.1.2).
    #[error("the trailers are malformed")]
    Trailer,
}
