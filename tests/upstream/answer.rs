//! What becomes of what an upstream answers.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hookgate::gateway::upstream::{Settings, UpstreamError, UpstreamErrors, Way};
use hookgate::units::ByteSize;
use http::{HeaderMap, HeaderName};

use crate::rig::{Gateway, Server, data, json, service, settings};

/// The answer in short: status and body, or the error's name.
async fn outcome(bytes: &[u8], own: impl FnOnce(Settings) -> Settings) -> String {
    let server = Server::answering(bytes, true).await;
    let gateway = Gateway::with(&[own(settings(&server.url()))], None);
    let outcome = match gateway.hook().await {
        Ok(answer) => {
            let body = String::from_utf8_lossy(answer.body());
            format!("{} {body}", answer.status().as_u16())
        }
        Err(error) => {
            assert!(!error.surely_not_processed(), "{error}");
            name(&error).to_owned()
        }
    };
    assert_eq!(server.seen().len(), 1, "a hook is sent once");
    outcome.trim().to_owned()
}

fn name(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::Late(_) => "late",
        UpstreamError::Broken(_) => "broken",
        UpstreamError::NotHttp(_) => "not http",
        UpstreamError::TooLarge => "too large",
        UpstreamError::Encoded(_) => "encoded",
        UpstreamError::Redirect(_) => "redirect",
        UpstreamError::Unreachable(_) => "unreachable",
        UpstreamError::Tls(_) => "tls",
        UpstreamError::Unknown(_)
        | UpstreamError::Unaddressable
        | UpstreamError::Entropy(_)
        | UpstreamError::Unsigned(_)
        | UpstreamError::Overloaded
        | UpstreamError::Open { .. }
        | UpstreamError::Returned(_) => "other",
    }
}

#[tokio::test]
async fn what_is_http_and_what_is_not() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let table: &[(&str, &str)] = &[
        // Framing.
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "200 {}"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
            "200 {}",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: late\r\n\r\n",
            "200 {}",
        ),
        ("HTTP/1.0 200 OK\r\n\r\n{\"cards\":[]}", "200 {\"cards\":[]}"),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "200 {}"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "204"),
        ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", "200"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", "broken"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{}", "broken"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", "broken"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n", "not http"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x", "not http"),
        ("HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}", "not http"),
        ("HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 2\r\n\r\n{}", "not http"),
        ("HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 2\r\n\r\n{}", "not http"),
        ("HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\n{}", "not http"),
        ("HTTP/1.1 200 OK\r\nx: y\r\n", "broken"),
        ("HTTP/1.1 20", "broken"),
        ("", "broken"),
        ("SSH-2.0-OpenSSH_9.9\r\n", "not http"),
        ("{\"cards\":[]}", "not http"),
        ("HTTP/3 200 OK\r\n\r\n", "not http"),
        ("\u{16}\u{3}\u{3}\0\u{7a}\u{2}\0\0", "not http"),
        (&many, "not http"),
        (&long, "not http"),
        // Interim answers are passed over.
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "200 {}"),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "200 {}",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "not http",
        ),
        // Statuses.
        ("HTTP/1.1 201 Created\r\nlocation: /x\r\ncontent-length: 2\r\n\r\n{}", "201 {}"),
        ("HTTP/1.1 412 Precondition Failed\r\ncontent-length: 1\r\n\r\nx", "412"),
        ("HTTP/1.1 503 Busy\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n", "503"),
        ("HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n", "not http"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "redirect",
        ),
        ("HTTP/1.1 307 Temporary\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", "redirect"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", "redirect"),
        // Encodings.
        ("HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\n{}", "encoded"),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\ncontent-length: 2\r\n\r\n{}", "encoded"),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}", "encoded"),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: 2\r\n\r\n{}", "200 {}"),
    ];
    for (bytes, expected) in table {
        let shown = &bytes[..bytes.len().min(120)];
        assert_eq!(&outcome(bytes.as_bytes(), |s| s).await, expected, "{shown:?}");
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn with_body(fields: &str, body: &[u8]) -> Vec<u8> {
    let mut out =
        format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

#[tokio::test]
async fn size_is_bounded_packed_and_unpacked() {
    let small = |s| Settings { max_answer: ByteSize::kib(64), ..s };
    let fits = vec![b' '; 64 * 1024];
    let over = vec![b' '; 64 * 1024 + 1];
    let close = [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".as_slice(), &over].concat();
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999999\r\n\r\n{}";
    let packed = "content-encoding: gzip\r\n";
    for (bytes, expected) in [
        (with_body("", &fits), "200"),
        (with_body("", &over), "too large"),
        (close, "too large"),
        (announced.to_vec(), "too large"),
        (with_body(packed, &gzip(&fits)), "200"),
        (with_body(packed, &gzip(&over)), "too large"),
        (with_body(packed, &gzip(&vec![0; 40 << 20])), "too large"),
        (with_body(packed, &gzip(b"{\"cards\":[]}")), "200 {\"cards\":[]}"),
    ] {
        assert_eq!(outcome(&bytes, small).await, expected);
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_off_at_the_cap() {
    let server = Server::start(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
        let chunk = vec![b'x'; 64 * 1024];
        // Ends when the gateway closes.
        while tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &chunk).await.is_ok() {}
    })
    .await;
    let error = Gateway::new(&server.url()).hook().await.unwrap_err();
    assert_eq!(name(&error), "too large");
}

#[tokio::test]
async fn stack_traces_stay_inside() {
    let head = data("cerner-500-stacktrace-html.headers.txt");
    let body = data("cerner-500-stacktrace-html.body");
    assert!(String::from_utf8_lossy(&body).contains("/srv/cds-services-tutorial/index.js"));
    let head = String::from_utf8(head).unwrap();
    let head = head.replace("\r\n", "\n").trim_end().replace('\n', "\r\n");
    let length = format!("Content-Length: {}", body.len());
    let head = head.replace("Content-Length: 1369", &length);
    assert!(head.contains(&length));
    let bytes = [head.as_bytes(), b"\r\n\r\n", &body].concat();
    for errors in [UpstreamErrors::Mask, UpstreamErrors::Pass] {
        let server = Server::answering(bytes.clone(), false).await;
        let own = Settings { upstream_errors: errors, ..settings(&server.url()) };
        let answer = Gateway::with(&[own], None).hook().await.unwrap();
        assert_eq!(answer.status(), 500);
        assert!(answer.masked() && answer.body().is_empty());
        assert!(answer.headers().is_empty(), "{:?}", answer.headers());
    }
}

#[tokio::test]
async fn an_operation_outcome_passes_where_the_operator_says_so() {
    let bytes = "HTTP/1.1 412 Precondition Failed\r\ncontent-type: application/fhir+json\r\n\
                 content-length: 36\r\n\r\n{\"resourceType\":\"OperationOutcome\" }";
    let pass = |s| Settings { upstream_errors: UpstreamErrors::Pass, ..s };
    let shown = outcome(bytes.as_bytes(), pass).await;
    assert_eq!(shown, "412 {\"resourceType\":\"OperationOutcome\" }");
    assert_eq!(outcome(bytes.as_bytes(), |s| s).await, "412");
}

#[tokio::test]
async fn only_what_is_listed_comes_back() {
    const PASSES: [(&str, &str); 9] = [
        ("content-type", "text/html; charset=utf-8"),
        ("content-language", "de"),
        ("cache-control", "max-age=60"),
        ("vary", "Accept-Language"),
        ("age", "3"),
        ("etag", "W/\"1ac\""),
        ("expires", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("retry-after", "9"),
    ];
    const STAYS: [(&str, &str); 27] = [
        ("server", "nginx"),
        ("x-powered-by", "Express"),
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("set-cookie", "a=b"),
        ("set-cookie2", "a=b"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("trailer", "x"),
        ("proxy-authenticate", "Basic"),
        ("www-authenticate", "Bearer realm=\"upstream\""),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-headers", "x"),
        ("access-control-allow-methods", "x"),
        ("access-control-expose-headers", "x"),
        ("location", "/x"),
        ("content-location", "/x"),
        ("link", "<https://secret.example/?t=1>"),
        ("refresh", "0; url=https://secret.example/"),
        ("content-security-policy", "default-src 'none'"),
        ("strict-transport-security", "max-age=1"),
        ("alt-svc", "h3=\":443\""),
        ("x-hookgate-client", "x"),
        ("x-request-id", "upstream"),
        ("content-md5", "x"),
    ];
    let mut fields = String::new();
    for (name, value) in PASSES.iter().chain(&STAYS) {
        fields.push_str(&format!("{name}: {value}\r\n"));
    }
    let server = Server::answering(with_body(&fields, b"{}"), true).await;
    let answer = Gateway::new(&server.url()).hook().await.unwrap();
    let came: Vec<_> =
        answer.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    let mut came_sorted = came.clone();
    came_sorted.sort_unstable();
    let mut expected = PASSES.to_vec();
    expected.sort_unstable();
    assert_eq!(came_sorted, expected);

    let named = format!("connection: etag\r\n{fields}");
    let server = Server::answering(with_body(&named, b"{}"), true).await;
    let answer = Gateway::new(&server.url()).hook().await.unwrap();
    assert!(answer.etag().is_none(), "connection says it is for this hop");
}

#[tokio::test]
async fn an_unpacked_body_is_not_what_was_tagged() {
    let fields = "etag: \"x\"\r\ncontent-encoding: gzip\r\n";
    let server = Server::answering(with_body(fields, &gzip(b"{}")), true).await;
    let answer = Gateway::new(&server.url()).discover().await.unwrap();
    assert_eq!(answer.body().as_ref(), b"{}");
    assert!(answer.etag().is_none());
    assert!(!answer.headers().contains_key("content-encoding"));
}

#[tokio::test]
async fn real_answers_come_through() {
    for (name, way) in [
        ("sbx-discovery", Way::Discovery),
        ("cerner-patient-view-texthtml-absolute-link", Way::Hook(&service())),
    ] {
        let head = String::from_utf8(data(&format!("{name}.headers.txt"))).unwrap();
        let head = head.replace("\r\n", "\n").trim_end().replace('\n', "\r\n");
        let body = data(&format!("{name}.body"));
        let server = Server::answering([head.as_bytes(), b"\r\n\r\n", &body].concat(), false).await;
        let gateway = Gateway::new(&server.url());
        let answer = gateway.call_with("legacy", way, &json(), Bytes::new()).await.unwrap();
        assert_eq!(answer.body().as_ref(), body, "{name}");
        let names: Vec<_> = answer.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "etag"], "{name}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there() {
    let gateway = Gateway::new("http://127.0.0.1:1");
    let error = gateway
        .call_with("other", Way::Discovery, &HeaderMap::new(), Bytes::new())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no upstream is called other");
    assert!(error.surely_not_processed());
}
