//! The listeners: TLS, HTTP/1.1 and HTTP/2, limits on connections, drain.
