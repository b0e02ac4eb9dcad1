//! Why the system refuses an address to listen on, said so that somebody can mend it.

use std::io::{Error, ErrorKind};

/// What is wrong, and what to do about it.
pub fn why(refusal: &Error) -> String {
    let advice = [
        (ErrorKind::AddrInUse, "`ss -ltnp` says who has it: stop that, or write another port"),
        (
            ErrorKind::PermissionDenied,
            "ports below 1024 are for root: let systemd's socket open it, give CAP_NET_BIND_SERVICE, or write \
             another port",
        ),
        (
            ErrorKind::AddrNotAvailable,
            "no interface of this machine has that address: write one that is its own, or 0.0.0.0 for all",
        ),
    ];
    let known = advice.iter().find(|(kind, _)| *kind == refusal.kind());
    known.map_or_else(|| refusal.to_string(), |(_, advice)| format!("{refusal}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn says_what_to_do() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = TcpListener::bind(holder.local_addr().unwrap()).unwrap_err();
        assert!(why(&taken).contains("`ss -ltnp`"), "{}", why(&taken));
        // TEST-NET-1 (RFC 5737): nobody's.
        let foreign = TcpListener::bind("192.0.2.1:0").unwrap_err();
        assert!(why(&foreign).contains("0.0.0.0"), "{}", why(&foreign));
        assert!(why(&Error::from(ErrorKind::PermissionDenied)).contains("CAP_NET_BIND_SERVICE"));
        assert_eq!(why(&Error::other("else")), "else");
    }
}
