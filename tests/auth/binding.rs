//! Tokens that must come with their client's certificate.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookgate::client_certificate::ClientCertificate;
use hookgate::gateway::auth::{AuthReason, ClaimFault, KeySettings};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::gate::{Gate, claims, inline};
use crate::signer::OURS;

const BOUND: &str = "https://bound.example.org";
const OTHER: &str = "https://other.example.org";
const FREE: &str = "https://free.example.org";

fn certificate(name: &str) -> ClientCertificate {
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    ClientCertificate::read(made.der()).unwrap()
}

/// Two clients that are bound, one to two names and one to another, and one that is not.
fn gate() -> Gate {
    let client = |id: &str, issuer: &str, names: &str| {
        inline(id, issuer, OURS.set(), &format!("certificates = [{names}]"))
    };
    let clients = vec![
        client("bound", BOUND, "\"dns:new.example\", \"dns:old.example\""),
        client("other", OTHER, "\"dns:other.example\""),
        client("free", FREE, ""),
    ];
    Gate::open(clients, KeySettings::default())
}

async fn reason(
    gate: &Gate,
    token: &str,
    certificate: Option<&ClientCertificate>,
) -> Option<AuthReason> {
    gate.call_over(token, certificate).await.err().map(|error| error.reason().clone())
}

#[tokio::test]
async fn a_client_calls_with_its_own_certificate_and_with_nobody_elses() {
    let gate = gate();
    let [new, old, other, nobody] =
        ["new.example", "old.example", "other.example", "nobody.example"].map(certificate);
    let missing = || Some(AuthReason::CertificateMissing);
    for (issuer, shown, good) in [
        (BOUND, &new, true),
        (BOUND, &old, true),
        (BOUND, &other, false),
        (BOUND, &nobody, false),
        (OTHER, &other, true),
        (OTHER, &new, false),
        (FREE, &nobody, true),
        (FREE, &new, false),
        (FREE, &other, false),
    ] {
        let token = gate.token(&OURS, issuer, "ES384", "ES384");
        let found = reason(&gate, &token, Some(shown)).await;
        assert_eq!(found.is_none(), good, "{issuer} {shown}: {found:?}");
        if let Some(found) = found {
            assert!(matches!(&found, AuthReason::Certificate(_)), "{found:?}");
            assert!(found.proves_sender());
            // The name that came is told, so that the right one can be configured.
            assert!(found.to_string().contains(&shown.to_string()[..16]), "{found}");
        }
    }
    for (issuer, expected) in [(BOUND, missing()), (OTHER, missing()), (FREE, None)] {
        let token = gate.token(&OURS, issuer, "ES384", "ES384");
        assert_eq!(reason(&gate, &token, None).await, expected, "{issuer}");
    }
}

#[tokio::test]
async fn one_certificate_may_be_that_of_several_clients() {
    let client = |id: &str, issuer: &str| {
        inline(id, issuer, OURS.set(), "certificates = [\"dns:hub.example\"]")
    };
    let clients = vec![client("one", BOUND), client("two", OTHER)];
    let gate = Gate::open(clients, KeySettings::default());
    let hub = certificate("hub.example");
    for issuer in [BOUND, OTHER] {
        let token = gate.token(&OURS, issuer, "ES384", "ES384");
        assert_eq!(reason(&gate, &token, Some(&hub)).await, None);
    }
}

/// RFC 8705 section 3.1.
#[tokio::test]
async fn a_token_that_names_a_certificate_comes_with_that_one_alone() {
    let gate = gate();
    let (own, other) = (certificate("mine.example"), certificate("else.example"));
    let hash = URL_SAFE_NO_PAD.encode(own.fingerprint());
    let missing = || Some(AuthReason::CertificateMissing);
    let token = |confirmation: Value| {
        use hookgate::clock::Clock;
        let mut claims = claims(FREE, gate.clock.now().secs());
        claims["cnf"] = confirmation;
        let header = json!({"alg": "ES384", "kid": "ES384"});
        OURS.token("ES384", &header.to_string(), &claims.to_string())
    };
    let confirmed = token(json!({ "x5t#S256": hash }));
    assert_eq!(reason(&gate, &confirmed, Some(&own)).await, None);
    assert_eq!(reason(&gate, &confirmed, None).await, missing());
    let found = reason(&gate, &confirmed, Some(&other)).await;
    assert!(matches!(found, Some(AuthReason::Certificate(_))), "{found:?}");
    for unlike in [hash.to_lowercase(), format!("{hash}="), String::new()] {
        let found = reason(&gate, &token(json!({ "x5t#S256": unlike })), Some(&own)).await;
        assert!(matches!(found, Some(AuthReason::Certificate(_))), "{unlike}: {found:?}");
    }
    let malformed = AuthReason::Claim { claim: "cnf", fault: ClaimFault::Type };
    for wrong in [json!("x"), json!([]), json!({"x5t#S256": 1}), json!({"x5t#S256": null})] {
        let token = token(wrong);
        assert_eq!(reason(&gate, &token, Some(&own)).await, Some(malformed.clone()), "{token}");
        // Whoever asks why is told the same.
        let examined = gate.examine(&token).await;
        assert_eq!(crate::gate::first_failure(&examined), Some(malformed.clone()));
    }
    // Other methods say nothing here.
    assert_eq!(reason(&gate, &token(json!({"jkt": "x"})), None).await, None);
}
