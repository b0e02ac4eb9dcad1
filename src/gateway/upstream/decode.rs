//! Undoing an encoding that was not asked for.
//!
//! The gateway asks for `identity`. Services that compress all the same are read, under the same cap
//! as everybody: what is larger when unpacked is refused before it is.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::gateway::upstream::error::UpstreamError;

/// Unpacked between two looks at the cap; other tasks have their turn in between.
const STEP: usize = 64 * 1024;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
}

/// RFC 9110 section 8.4.1. Several codings on top of each other are refused: nobody means it.
fn coding(headers: &HeaderMap) -> Result<Coding, UpstreamError> {
    let mut found = Coding::Identity;
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = value.to_str().map_err(|_| UpstreamError::Encoded("in no known way"))?;
        for name in text.split(',').map(|name| name.trim().to_ascii_lowercase()) {
            let one = match name.as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                _ => return Err(UpstreamError::Encoded("neither with gzip nor with deflate")),
            };
            if found != Coding::Identity {
                return Err(UpstreamError::Encoded("more than once"));
            }
            found = one;
        }
    }
    Ok(found)
}

/// A body as it was before it was packed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) body: Bytes,
    /// It is not what came over the wire.
    pub(crate) changed: bool,
}

/// Unpacks `body`, up to `cap` bytes.
///
/// # Errors
/// [`UpstreamError::Encoded`] where that cannot be done, [`UpstreamError::TooLarge`] beyond the cap.
pub(crate) async fn decode(
    headers: &HeaderMap,
    body: Bytes,
    cap: usize,
) -> Result<Decoded, UpstreamError> {
    let coding = coding(headers)?;
    if body.is_empty() {
        return Ok(Decoded { body, changed: false });
    }
    let packed: &[u8] = &body;
    let unpacked = match coding {
        Coding::Identity => return Ok(Decoded { body, changed: false }),
        Coding::Gzip => unpack(MultiGzDecoder::new(packed), cap).await?,
        // "deflate" means zlib; some servers leave its two bytes of header out.
        Coding::Deflate if is_zlib(packed) => unpack(ZlibDecoder::new(packed), cap).await?,
        Coding::Deflate => unpack(DeflateDecoder::new(packed), cap).await?,
    };
    Ok(Decoded { body: Bytes::from(unpacked), changed: true })
}

/// RFC 1950 section 2.2: method 8, and a multiple of 31.
fn is_zlib(packed: &[u8]) -> bool {
    match packed {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        [] | [_] => false,
    }
}

async fn unpack(mut decoder: impl Read, cap: usize) -> Result<Vec<u8>, UpstreamError> {
    let mut out = Vec::new();
    let mut step = vec![0; STEP];
    loop {
        let read = decoder
            .read(&mut step)
            .map_err(|_| UpstreamError::Encoded("and what it holds cannot be unpacked"))?;
        let Some(chunk) = step.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok(out);
        };
        if out.len().saturating_add(read) > cap {
            return Err(UpstreamError::TooLarge);
        }
        out.extend_from_slice(chunk);
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    async fn decoded(names: &[&str], body: Vec<u8>, cap: usize) -> Result<Vec<u8>, String> {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(CONTENT_ENCODING, HeaderValue::from_str(name).unwrap());
        }
        let decoded = decode(&headers, Bytes::from(body), cap).await;
        decoded.map(|d| d.body.to_vec()).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn reads_what_it_can() {
        let text = b"{\"cards\":[]}".repeat(20_000);
        let two = [gzip(&text), gzip(b"tail")].concat();
        for (names, body) in [
            (vec![], text.clone()),
            (vec!["identity"], text.clone()),
            (vec!["gzip"], gzip(&text)),
            (vec!["GZIP"], gzip(&text)),
            (vec!["x-gzip, identity"], gzip(&text)),
            (vec!["deflate"], zlib(&text)),
            (vec!["deflate"], raw(&text)),
        ] {
            assert_eq!(decoded(&names, body, 1 << 20).await.unwrap(), text, "{names:?}");
        }
        let both = decoded(&["gzip"], two, 1 << 20).await.unwrap();
        assert!(both.ends_with(b"tail"));
        assert_eq!(decoded(&["gzip"], vec![], 10).await.unwrap(), b"");
        assert_eq!(decoded(&["gzip"], gzip(b""), 10).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn refuses_the_rest() {
        let whole = gzip(b"some text that is long enough");
        let cut = whole[..whole.len() - 9].to_vec();
        let mut wrong_sum = whole.clone();
        let at = wrong_sum.len() - 8;
        wrong_sum[at] ^= 1;
        for (names, body) in [
            (vec!["br"], vec![1, 2, 3]),
            (vec!["zstd"], vec![1, 2, 3]),
            (vec!["gzip, gzip"], gzip(&whole)),
            (vec!["gzip", "deflate"], whole.clone()),
            (vec!["gzip"], b"plain".to_vec()),
            (vec!["gzip"], cut),
            (vec!["gzip"], wrong_sum),
            (vec!["gzip"], [whole.clone(), b"junk".to_vec()].concat()),
            (vec!["deflate"], b"plain".to_vec()),
            (vec!["deflate"], vec![0x78]),
            (vec!["gzip\u{e4}"], whole.clone()),
            (vec!["br"], vec![]),
        ] {
            let error = decoded(&names, body, 1 << 20).await.unwrap_err();
            assert!(error.contains("is encoded"), "{names:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_bomb_does_not_go_off() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100_000);
        assert!(decoded(&["gzip"], bomb, 1 << 20).await.unwrap_err().contains("too large"));
        assert!(decoded(&["gzip"], gzip(&[7; 100]), 99).await.is_err());
        assert_eq!(decoded(&["gzip"], gzip(&[7; 100]), 100).await.unwrap(), [7; 100]);
    }
}
