//! What is explained is what the authenticator does, and more: every reason at once.

use hookgate::gateway::auth::{
    AudienceRule, AuthReason, Called, Check, Examination, KeySettings, Outcome, Question,
};
use hookgate::names::{ClientId, ServiceId};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::gate::{GREET, Gate, ISSUER, NOW, claims, client, first_failure, inline};
use crate::hostile::{body, from, gate, good, head, rows, signed, with};
use crate::signer::{OURS, THEIRS};

fn came(examination: &Examination, check: Check) -> String {
    let of = |finding: &&hookgate::gateway::auth::Finding| finding.check == check;
    examination.findings.iter().find(of).map_or_else(String::new, |finding| finding.came.clone())
}

fn failed(examination: &Examination) -> Vec<Check> {
    let findings = examination.findings.iter();
    findings.filter(|f| matches!(f.outcome, Outcome::Failed(_))).map(|f| f.check).collect()
}

fn changes(examination: &Examination) -> String {
    examination.findings.iter().flat_map(|f| f.change.clone()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_hostile_token_is_explained_as_it_is_refused() {
    let gate = gate();
    let mut wrong = Vec::new();
    for (what, _, hostile, twin) in rows() {
        let refused = gate.call(&hostile).await.unwrap_err();
        let examination = gate.examine(&hostile).await;
        let (verdict, first) =
            (examination.verdict.as_ref().unwrap_err(), first_failure(&examination));
        if verdict.reason() != refused.reason() || first.as_ref() != Some(refused.reason()) {
            wrong.push(format!("{what}: {:?}, {verdict:?}, {first:?}", refused.reason()));
        }
        for finding in
            examination.findings.iter().filter(|f| matches!(f.outcome, Outcome::Failed(_)))
        {
            assert!(!finding.change.is_empty(), "{what}: nothing to change: {finding:?}");
        }
        let shown = format!("{examination:?}");
        let signature = hostile.rsplit('.').next().unwrap();
        assert!(signature.len() < 10 || !shown.contains(signature), "{what}: {shown}");
        assert!(!shown.contains(['\u{1b}', '\n']), "{what}: {shown}");

        let accepted = gate.call(&twin).await.unwrap();
        let examination = gate.examine(&twin).await;
        let rule = examination.verdict.as_ref().ok();
        if rule != Some(&accepted.audience_rule()) || first_failure(&examination).is_some() {
            wrong.push(format!("{what}: the twin: {examination:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn all_reasons_are_told_at_once() {
    let gate = gate();
    let now = NOW.secs();
    let sent = json!({
        "iss": "orgs", "aud": format!("{GREET}/"), "iat": now + 60, "exp": now + 900, "nbf": now + 90,
        "jti": 7, "tenant": "east", "secret-claim": "s3cret",
    });
    let header = with(with(head("RS256"), "jwk", json!({})), "jku", json!("https://evil.example"));
    let examination = gate.examine(&signed(&header, &sent)).await;
    assert_eq!(
        failed(&examination),
        [
            Check::Header,
            Check::Algorithm,
            Check::KeyUrl,
            Check::TokenId,
            Check::Audience,
            Check::IssuedAt,
            Check::NotBefore,
            Check::Lifetime,
            Check::Tenant,
        ],
        "{examination:#?}"
    );
    assert_eq!(examination.client.as_ref().unwrap().as_str(), "orgs");
    let change = changes(&examination);
    for expected in [
        "write algorithms = [\"ES384\", \"RS384\", \"RS256\"]",
        "write max_lifetime = \"14m\"",
        "write clock_skew = \"1m\" or more",
        "write clock_skew = \"1m 30s\" or more",
        "it differs from the endpoint only in a slash at its end",
        "add it to tenants",
    ] {
        assert!(change.contains(expected), "{expected}\n{change}");
    }
    let shown = format!("{examination:?}");
    assert!(shown.contains("secret-claim") && !shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn the_rule_that_matches_is_named_and_the_one_that_would_is_proposed() {
    let gate = gate();
    assert!(
        came(&gate.examine(&good()).await, Check::Audience).ends_with("by the rule \"endpoint\"")
    );
    let base = json!("https://gw.example.org/cds-services");
    let examination = gate.examine(&from(ISSUER, "aud", base.clone())).await;
    let change = changes(&examination);
    assert!(change.contains("write audience = [\"endpoint\", \"service\", \"base\"]"), "{change}");
    let expected: Vec<String> =
        examination.findings.iter().flat_map(|finding| finding.expected.clone()).collect();
    assert!(expected.contains(&format!("endpoint: {GREET}")), "{expected:?}");
    assert_eq!(
        gate.examine(&from("base", "aud", base)).await.verdict.ok(),
        Some(AudienceRule::Base)
    );
}

#[tokio::test]
async fn an_issuer_that_is_nearly_right_is_recognised_and_examined_by_its_clients_rules() {
    let set = || json!({"keys": [OURS.jwk("ES384", "ES384")]});
    let gate = Gate::open(vec![inline("ehr", ISSUER, set(), "")], KeySettings::default());
    let slash = format!("{ISSUER}/");
    for (sent, how) in [
        (slash.clone(), "a slash or blank at its end"),
        (ISSUER.to_uppercase(), "capital letters"),
        (ISSUER.replace("https", "http"), "http or https"),
    ] {
        let examination = gate.examine(&signed(&head("ES384"), &claims(&sent, NOW.secs()))).await;
        assert_eq!(failed(&examination), [Check::Issuer], "the only client's rules are met");
        assert!(examination.assumed && changes(&examination).contains(how), "{examination:?}");
    }
    // Of several clients one has to be named.
    let gate = Gate::open(
        vec![inline("ehr", ISSUER, set(), ""), inline("b", "b", set(), "tenants = [\"x\"]")],
        KeySettings::default(),
    );
    let token = signed(&head("ES384"), &claims(&slash, NOW.secs()));
    let examination = gate.examine(&token).await;
    assert_eq!(
        (examination.client, came(&gate.examine(&token).await, Check::Expiry).is_empty()),
        (None, false)
    );
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    let (greet, b) = (ServiceId::new("greet").unwrap(), ClientId::new("b").unwrap());
    let question = Question {
        headers: &headers,
        called: &Called::Service(&greet),
        at: NOW,
        assumed: Some(&b),
        live: false,
    };
    assert_eq!(failed(&gate.auth.examine(&question).await), [Check::Issuer, Check::Tenant]);
}

#[tokio::test]
async fn without_a_key_the_rest_is_examined_and_the_verdict_is_left_open() {
    let settings =
        format!("id = \"ehr\"\nissuer = {ISSUER:?}\njwks_url = \"https://ehr.example.org/jwks\"");
    let (auth, _registry) = crate::gate::build(
        vec![client(&settings)],
        KeySettings::default(),
        None,
        &hookgate::clock::ManualClock::new(NOW),
    );
    let auth = auth.unwrap();
    let mut headers = HeaderMap::new();
    let token = from(ISSUER, "aud", json!("sand_man"));
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    let greet = ServiceId::new("greet").unwrap();
    let (called, at) = (Called::Service(&greet), NOW);
    let question = Question { headers: &headers, called: &called, at, assumed: None, live: false };
    let examination = auth.examine(&question).await;
    assert!(examination.keys_unasked);
    assert_eq!(failed(&examination), [Check::Audience]);
    assert!(matches!(
        examination.verdict.unwrap_err().reason(),
        AuthReason::KeysUnavailable { .. }
    ));
}

/// A header or claims set with some members replaced by what does not belong there.
fn spoiled(whole: Value, names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let odd = prop_oneof![
        Just(Value::Null),
        Just(json!("")),
        Just(json!(1)),
        Just(json!([])),
        Just(json!("ES384")),
        Just(json!("RS384")),
        Just(json!("none")),
        Just(json!("orgs")),
        Just(json!(GREET)),
        Just(json!(NOW.secs())),
        Just(json!(NOW.secs() + 3_600)),
        any::<u64>().prop_map(|number| json!(number)),
    ];
    let change = (proptest::sample::select(names), proptest::option::of(odd));
    proptest::collection::vec(change, 0..4).prop_map(move |changes| {
        let mut whole = whole.clone();
        for (name, value) in changes {
            match value {
                Some(value) => whole[name] = value,
                None => drop(whole.as_object_mut().unwrap().remove(name)),
            }
        }
        whole
    })
}

#[test]
fn whatever_is_sent_is_explained_as_the_authenticator_judges_it() {
    const HEADER: &[&str] = &["alg", "kid", "typ", "cty", "jku", "crit", "b64", "jwk", "x5c", "x"];
    const CLAIMS: &[&str] = &["iss", "aud", "exp", "iat", "nbf", "jti", "tenant", "x"];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gate = runtime.block_on(async { gate() });
    let strategy = (
        spoiled(head("ES384"), HEADER),
        spoiled(body(), CLAIMS),
        any::<bool>(),
        proptest::option::of((any::<prop::sample::Index>(), "[ -~]")),
    );
    proptest!(|((header, payload, ours, edit) in strategy)| {
        let keys = if ours { &*OURS } else { &*THEIRS };
        let mut token = keys.token("ES384", &header.to_string(), &payload.to_string());
        if let Some((index, text)) = edit {
            let at = index.index(token.len());
            token.replace_range(at..=at, &text);
        }
        let (called, examined) =
            runtime.block_on(async { (gate.call(&token).await, gate.examine(&token).await) });
        let reason = called.as_ref().err().map(|error| error.reason().clone());
        prop_assert_eq!(&reason, &first_failure(&examined));
        prop_assert_eq!(reason.as_ref(), examined.verdict.as_ref().err().map(|e| e.reason()));
        prop_assert_eq!(called.ok().map(|v| v.audience_rule()), examined.verdict.ok());
    });
}
