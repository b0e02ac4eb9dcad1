//! The header by which a load balancer says where a connection comes from: the PROXY protocol, version 2
//! (haproxy.org, `doc/proxy-protocol.txt`).
//!
//! It is read to its last byte and not one further: what follows is the client's.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What every header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// Addresses take at most 216 bytes; some balancers add a few hundred about the client's TLS.
const LONGEST: usize = 4096;

/// Why a header was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderFault {
    /// The connection does not begin with one.
    #[error(
        "the connection does not begin with a PROXY protocol header; have the balancer send version 2"
    )]
    Missing,
    /// It is of version 1, the one in text.
    #[error(
        "the PROXY protocol header is of version 1; have the balancer send version 2 (send-proxy-v2)"
    )]
    Version1,
    /// It says that it is longer than any honest one.
    #[error("the PROXY protocol header is longer than 4 KiB")]
    TooLong,
    /// It cannot be read, or is about no TCP connection.
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    /// The connection ended within it.
    #[error("the connection ended within its PROXY protocol header")]
    Cut,
}

/// Reads the header off `stream`. The client's address; nothing where the balancer speaks for itself (its
/// health checks), or for a client without an IP address.
///
/// # Errors
/// [`HeaderFault`]
pub(crate) async fn read<S>(stream: &mut S) -> Result<Option<SocketAddr>, HeaderFault>
where
    S: AsyncRead + Unpin,
{
    let mut header = Vec::with_capacity(FIXED);
    while header.len() < FIXED {
        more(stream, &mut header, FIXED).await?;
        // What is no header is not waited for: it may be complete, and shorter than one.
        begins_as_one(&header)?;
    }
    let length = match header.as_slice() {
        [.., high, low] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(HeaderFault::Malformed),
    };
    let whole = FIXED.saturating_add(length);
    if whole > LONGEST {
        return Err(HeaderFault::TooLong);
    }
    while header.len() < whole {
        more(stream, &mut header, whole).await?;
    }
    let config = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };
    let (read, _) = ProxyHeader::parse(&header, config).map_err(|_| HeaderFault::Malformed)?;
    match read.proxied_address() {
        None => Ok(None),
        Some(about) => match about.protocol {
            Protocol::Stream => Ok(Some(about.source)),
            Protocol::Datagram => Err(HeaderFault::Malformed),
        },
    }
}

/// Reads up to `whole` bytes in all.
async fn more<S>(stream: &mut S, header: &mut Vec<u8>, whole: usize) -> Result<(), HeaderFault>
where
    S: AsyncRead + Unpin,
{
    let missing = u64::try_from(whole.saturating_sub(header.len())).unwrap_or_default();
    match stream.take(missing).read_buf(header).await {
        Ok(0) | Err(_) => Err(HeaderFault::Cut),
        Ok(_) => Ok(()),
    }
}

fn begins_as_one(header: &[u8]) -> Result<(), HeaderFault> {
    if header.iter().zip(SIGNATURE).all(|(found, expected)| found == expected) {
        Ok(())
    } else if header.iter().zip(b"PROXY ").all(|(found, expected)| found == expected) {
        Err(HeaderFault::Version1)
    } else {
        Err(HeaderFault::Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x34, 1, 187];

    /// What is read, and what is left for the client, with the bytes coming in `pieces`.
    async fn cut(bytes: &[u8], piece: usize) -> (Result<Option<SocketAddr>, HeaderFault>, Vec<u8>) {
        let (mut ours, mut theirs) = tokio::io::duplex(piece);
        let sent = bytes.to_vec();
        let sending = tokio::spawn(async move {
            let _ = theirs.write_all(&sent).await;
        });
        let read = read(&mut ours).await;
        let mut left = Vec::new();
        if read.is_ok() {
            ours.read_to_end(&mut left).await.unwrap();
        }
        drop(ours);
        sending.await.unwrap();
        (read, left)
    }

    #[tokio::test]
    async fn says_where_the_client_is_and_leaves_the_rest() {
        let ipv6: Vec<u8> = {
            let client: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
            [client.octets().as_slice(), &[0; 16], &[0x12, 0x34, 1, 187]].concat()
        };
        let with_more = [IPV4.as_slice(), &[3, 0, 4, 1, 2, 3, 4, 0x20, 0, 1, 0]].concat();
        let large = [IPV4.as_slice(), &[0; LONGEST - FIXED - 12]].concat();
        let client = Some("192.0.2.7:4660".parse().unwrap());
        for (header, expected) in [
            (header(0x21, 0x11, &IPV4), client),
            (header(0x21, 0x21, &ipv6), Some("[2001:db8::7]:4660".parse().unwrap())),
            (header(0x21, 0x11, &with_more), client),
            (header(0x21, 0x11, &large), client),
            // The balancer's own health check; whatever else it says does not count.
            (header(0x20, 0x00, &[]), None),
            (header(0x20, 0x11, &IPV4), None),
            // No IP address: a UNIX socket, something unknown.
            (header(0x21, 0x31, &[b'/'; 216]), None),
            (header(0x21, 0x00, &[]), None),
            (header(0x21, 0x00, &IPV4), None),
        ] {
            for piece in [1, 7, 65_536] {
                let bytes = [header.as_slice(), b"\x16\x03\x01 hello"].concat();
                let (read, left) = cut(&bytes, piece).await;
                assert_eq!(read, Ok(expected), "{header:02x?}");
                assert_eq!(left, b"\x16\x03\x01 hello", "{header:02x?}");
            }
        }
    }

    #[tokio::test]
    async fn takes_nothing_else() {
        let mut huge = header(0x21, 0x11, &IPV4);
        huge[14..16].copy_from_slice(&[0xff, 0xff]);
        let mut bent = header(0x21, 0x11, &IPV4);
        bent[11] = b'\r';
        let whole = header(0x21, 0x11, &IPV4);
        for (bytes, fault) in [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n".to_vec(), HeaderFault::Version1),
            (b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), HeaderFault::Missing),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), HeaderFault::Missing),
            (b"\r\n\r\nGET".to_vec(), HeaderFault::Missing),
            (bent, HeaderFault::Missing),
            (huge, HeaderFault::TooLong),
            (header(0x21, 0x11, &[0; LONGEST - FIXED + 1]), HeaderFault::TooLong),
            (whole[..3].to_vec(), HeaderFault::Cut),
            (whole[..15].to_vec(), HeaderFault::Cut),
            (whole[..27].to_vec(), HeaderFault::Cut),
            (Vec::new(), HeaderFault::Cut),
            (header(0x21, 0x11, &IPV4[..11]), HeaderFault::Malformed),
            (header(0x21, 0x21, &IPV4), HeaderFault::Malformed),
            (header(0x21, 0x31, &[0; 215]), HeaderFault::Malformed),
            (header(0x11, 0x11, &IPV4), HeaderFault::Malformed),
            (header(0x31, 0x11, &IPV4), HeaderFault::Malformed),
            (header(0x22, 0x11, &IPV4), HeaderFault::Malformed),
            (header(0x21, 0x41, &IPV4), HeaderFault::Malformed),
            (header(0x21, 0x13, &IPV4), HeaderFault::Malformed),
            (header(0x21, 0x12, &IPV4), HeaderFault::Malformed),
        ] {
            for piece in [1, 65_536] {
                assert_eq!(cut(&bytes, piece).await.0, Err(fault), "{bytes:02x?}");
            }
        }
    }
}
