//! Requests and answers that were recorded from published clients and services.

use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::Response;
use http_body_util::Full;

/// A file of `tests/data`; what is packed is unpacked.
fn published(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    if !name.ends_with(".gz") {
        return bytes;
    }
    let mut plain = Vec::new();
    GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
    plain
}

/// The body of a recorded request.
pub(crate) fn published_request(name: &str) -> String {
    String::from_utf8(published(&format!("requests/{name}"))).unwrap()
}

/// The body of a recorded answer.
pub(crate) fn published_response(name: &str) -> String {
    String::from_utf8(published(&format!("responses/{name}.body"))).unwrap()
}

/// A recorded answer as its service sent it, status line and fields included. Those of the connection
/// are left to this connection.
pub(crate) fn replayed(name: &str) -> Response<Full<Bytes>> {
    let head = String::from_utf8(published(&format!("responses/{name}.headers.txt"))).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut answer = Response::builder().status(status);
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        let of_the_connection = ["connection", "keep-alive", "content-length"];
        if !of_the_connection.contains(&name.to_ascii_lowercase().as_str()) {
            answer = answer.header(name, value.trim());
        }
    }
    answer.body(Full::new(Bytes::from(published(&format!("responses/{name}.body"))))).unwrap()
}
