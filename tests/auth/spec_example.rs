//! The token that is printed in the CDS Hooks specification, 1.0 to 3.0.

use hookgate::clock::{ManualClock, UnixTime};
use hookgate::gateway::auth::{AuthReason, Called, ClientSettings, KeySettings};
use hookgate::names::ServiceId;

use crate::gate::{Gate, NOW, inline};

const TOKEN: &str = include_str!("../data/jwks/cds-hooks-spec-example.jwt");
const SET: &str = include_str!("../data/jwks/cds-hooks-spec-example.jwks.json");

fn client(more: &str) -> ClientSettings {
    let more = format!(
        "jku = [\"https://fhir-ehr.example.com/jwk_uri\"]\naudience = [\"https://cds.example.org/cds-services/some-service\"]\n{more}"
    );
    inline("spec", "https://fhir-ehr.example.com/", serde_json::from_str(SET).unwrap(), &more)
}

async fn verdict(more: &str, at: UnixTime) -> Option<AuthReason> {
    let gate =
        Gate::open_at(vec![client(more)], KeySettings::default(), None, ManualClock::new(at));
    let service = ServiceId::new("some-service").unwrap();
    let called = Called::Service(&service);
    match gate.call_of(&[&format!("Bearer {TOKEN}")], &called).await {
        Ok(verified) => {
            assert_eq!(verified.tenant().unwrap().as_str(), "2ddd6c3a-8e9a-44c6-a305-52111ad302a2");
            assert_eq!(verified.jti(), "ee22b021-e1b7-4611-ba5b-8eec6a33ac1e");
            assert_eq!(verified.kid(), "example-kid");
            assert_eq!(verified.keep_until(), UnixTime::from_secs(1_422_568_860 + 30));
            None
        }
        Err(error) => Some(error.reason().clone()),
    }
}

#[tokio::test]
async fn is_accepted_in_its_own_time_and_refused_in_ours() {
    let raised = "allow_public_test_keys = true\nmax_lifetime = \"30914h\"";
    let then = UnixTime::from_secs(1_311_280_970);
    assert_eq!(verdict(raised, then).await, None);
    assert_eq!(verdict(raised, UnixTime::from_secs(1_422_568_889)).await, None);
    assert_eq!(
        verdict(raised, UnixTime::from_secs(1_422_568_890)).await,
        Some(AuthReason::Expired)
    );
    assert_eq!(verdict(raised, NOW).await, Some(AuthReason::Expired));
    assert_eq!(
        verdict(raised, UnixTime::from_secs(1_311_280_939)).await,
        Some(AuthReason::IssuedInFuture)
    );
    let capped = "allow_public_test_keys = true";
    assert_eq!(verdict(capped, then).await, Some(AuthReason::Lifetime));
}
