//! An EHR's tokens and bodies, made before anything is measured.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::read::GzDecoder;
use hookgate::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::signer::OURS;

pub(crate) const PUBLIC_URL: &str = "https://hookgate.example.org";
pub(crate) const ENDPOINT: &str = "https://hookgate.example.org/cds-services/patient-greeting";
pub(crate) const SERVICE: &str = "patient-greeting";
pub(crate) const ISSUER: &str = "https://ehr.example.org/fhir";

/// A client with one key of each algorithm, under the algorithm's name.
pub(crate) fn client() -> Value {
    json!({
        "id": "ehr", "issuer": ISSUER, "jwks": OURS.set(),
        "algorithms": ["RS384", "ES384", "ES256"],
    })
}

/// A token that no call has used.
pub(crate) fn fresh(alg: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let jti = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemClock::new().now().secs();
    let header = json!({"alg": alg, "typ": "JWT", "kid": alg});
    let claims = json!({
        "iss": ISSUER, "aud": ENDPOINT, "iat": now, "exp": now + 300, "jti": format!("jti-{jti}"),
    });
    OURS.token(alg, &header.to_string(), &claims.to_string())
}

/// Recorded `patient-view` calls, the prefetch from none to a whole chart.
pub(crate) fn requests() -> [(&'static str, Bytes); 3] {
    let mut chart = Vec::new();
    let packed = include_bytes!("../../tests/data/requests/sandbox-patient-view-1863k.json.gz");
    GzDecoder::new(packed.as_slice()).read_to_end(&mut chart).unwrap();
    let small = include_bytes!("../../tests/data/requests/sandbox-patient-view-0.4k.json");
    let usual = include_bytes!("../../tests/data/requests/sandbox-patient-view-13k.json");
    [
        ("0.4 KB", Bytes::from_static(small)),
        ("13 KB", Bytes::from_static(usual)),
        ("1.9 MB", chart.into()),
    ]
}

/// `count` cards, each with a link and three ids.
pub(crate) fn cards(count: usize) -> String {
    let card = json!({
        "uuid": "7cdad318-9995-40b9-b5c7-e0caf1656146",
        "summary": "Now seeing: Daniel Adams", "indicator": "info",
        "detail": "The patient's last three readings are above the target that was agreed upon in March.",
        "source": {"label": "Greeter", "url": "https://greeter.example.org/about"},
        "links": [{
            "label": "Open", "type": "absolute",
            "url": "https://greeter.example.org/app?session=s3cr3t-4711#greeting",
        }],
        "suggestions": [
            {"label": "Wave", "uuid": "bd37e682-4110-44be-b4b7-cf28d7ea258f"},
            {"label": "Nod", "uuid": "bd37e682-4110-44be-b4b7-cf28d7ea2590"},
        ],
    });
    json!({"cards": vec![card; count]}).to_string()
}
