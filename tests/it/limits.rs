//! How often somebody may come, on a clock that only the test moves.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hookgate::demo::server::json;
use reqwest::Response;

use crate::harness::{
    Ehr, Extra, Refused, SERVICE, Scene, hook_body, logged_once, outcome, page, problem, refused,
    request_id,
};

fn limits(lines: &str) -> Extra {
    Extra { tables: format!("[limits]\n{lines}\n"), ..Extra::default() }
}

async fn call(scene: &Scene) -> Response {
    scene.post(&scene.endpoint(), hook_body()).await
}

/// A call from another address of this machine.
async fn call_from(scene: &Scene, last: u8, token: &str) -> Response {
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_der(&scene.certificate).unwrap()])
        .local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
        .build()
        .unwrap();
    let request = client.post(scene.endpoint()).bearer_auth(token);
    request.header("content-type", "application/json").body(hook_body()).send().await.unwrap()
}

const fn limited(reason: &'static str) -> Refused {
    outcome(429, "limited", reason)
}

#[tokio::test]
async fn a_bucket_refills_to_the_millisecond_and_the_waiting_is_told() {
    let scene = Scene::new(&limits("client = { per_minute = 6, burst = 2 }")).await;
    let pass = async || assert_eq!(call(&scene).await.status(), 200);
    let wait =
        async || refused(call(&scene).await, limited("limit-client"), "client").await.unwrap();
    pass().await;
    pass().await;
    assert_eq!(wait().await, "10");
    scene.advance(Duration::from_millis(9_999));
    assert_eq!(wait().await, "1");
    scene.advance(Duration::from_millis(1));
    pass().await;
    assert_eq!(wait().await, "10");
    scene.advance(Duration::from_secs(3600));
    pass().await;
    pass().await;
    assert_eq!(wait().await, "10", "who was away long has a burst, not an hour's worth");
    assert_eq!(scene.service.arrivals().len(), 5);
    let refusals = "hookgate_limit_checks_total{limit=\"client\",outcome=\"refused\"}";
    assert_eq!(scene.sample(refusals).await, 4);
}

#[tokio::test]
async fn who_is_told_to_wait_keeps_the_token() {
    let scene = Scene::new(&limits("client = { per_minute = 6, burst = 1 }")).await;
    assert_eq!(call(&scene).await.status(), 200);
    let token = scene.token(&scene.endpoint());
    for _ in 0..3 {
        let response = scene.post_with(&scene.endpoint(), &token, hook_body()).await;
        refused(response, limited("limit-client"), "wait").await;
    }
    scene.advance(Duration::from_secs(10));
    let response = scene.post_with(&scene.endpoint(), &token, hook_body()).await;
    assert_eq!(response.status(), 200);
    scene.advance(Duration::from_secs(10));
    let response = scene.post_with(&scene.endpoint(), &token, hook_body()).await;
    refused(response, outcome(401, "unauthorized", "replayed"), "spent now").await;
}

#[tokio::test]
async fn each_client_has_its_own_and_may_have_other_figures() {
    let (second, third) = (Ehr::new("second"), Ehr::new("third"));
    let more = "limit = { client = { per_minute = 1, burst = 3 } }";
    let lists = format!("{}{}", second.inline(""), third.inline(more));
    let extra = Extra { lists, ..limits("client = { per_minute = 1, burst = 1 }") };
    let scene = Scene::new(&extra).await;
    let url = scene.endpoint();
    let by = async |ehr: &Ehr| {
        let response = scene.post_with(&url, &ehr.token(&scene, &url), hook_body()).await;
        response.status().as_u16()
    };
    assert_eq!(call(&scene).await.status(), 200);
    assert_eq!(call(&scene).await.status(), 429);
    assert_eq!([by(&second).await, by(&second).await], [200, 429]);
    let third = [by(&third).await, by(&third).await, by(&third).await, by(&third).await];
    assert_eq!(third, [200, 200, 200, 429]);
}

#[tokio::test]
async fn one_busy_service_does_not_use_up_the_others() {
    let scene = Scene::new(&limits(
        "client_service = { per_minute = 1, burst = 2 }\nclient = { per_minute = 1, burst = 4 }",
    ))
    .await;
    let other = format!("{}/cds-services/other", scene.public_url);
    let by = async |url: &str| scene.post(url, hook_body()).await;
    for _ in 0..2 {
        assert_eq!(by(&scene.endpoint()).await.status(), 200);
    }
    for _ in 0..3 {
        refused(by(&scene.endpoint()).await, limited("limit-client-service"), "busy").await;
    }
    // Its feedback is the same service's.
    let feedback = scene.post(&scene.feedback(), "{\"feedback\":[]}").await;
    refused(feedback, limited("limit-client-service"), "feedback").await;
    for _ in 0..2 {
        assert_eq!(by(&other).await.status(), 200, "the refused ones were not counted");
    }
    let third = format!("{}/cds-services/third", scene.public_url);
    refused(by(&third).await, limited("limit-client"), "all four are used").await;
    assert!(scene.endpoint().ends_with(SERVICE));
}

#[tokio::test]
async fn an_address_that_keeps_failing_is_refused_before_its_token_is_looked_at() {
    let scene = Scene::new(&limits("failing_address = { per_minute = 6, burst = 3 }")).await;
    for _ in 0..50 {
        assert_eq!(call(&scene).await.status(), 200, "who does not fail uses nothing of it");
        scene.advance(Duration::from_millis(100));
    }
    let bad = async || scene.post_with(&scene.endpoint(), "x", hook_body()).await;
    for _ in 0..3 {
        refused(bad().await, outcome(401, "unauthorized", "token-malformed"), "bad").await;
    }
    let failing = limited("limit-failing-address");
    assert_eq!(refused(bad().await, failing, "bad").await.unwrap(), "10");
    let good = scene.token(&scene.endpoint());
    let response = scene.post_with(&scene.endpoint(), &good, hook_body()).await;
    refused(response, failing, "good, from the same address").await;
    // Whoever else there is, and whatever else it asks.
    let elsewhere = call_from(&scene, 2, &scene.token(&scene.endpoint())).await;
    assert_eq!(elsewhere.status(), 200);
    let open = scene.http().get(format!("{}/open/AAAA", scene.public_url));
    let response = open.try_clone().unwrap().send().await.unwrap();
    refused(response, problem(429, "limited", "limit-failing-address"), "open").await;
    let response = open.header("accept", "text/html").send().await.unwrap();
    refused(response, page(429, "limited", "limit-failing-address"), "open, a person").await;
    scene.advance(Duration::from_secs(10));
    let response = scene.post_with(&scene.endpoint(), &good, hook_body()).await;
    assert_eq!(response.status(), 200, "it was refused before it was spent");
    refused(bad().await, outcome(401, "unauthorized", "token-malformed"), "one more guess").await;
    refused(bad().await, failing, "and no other").await;
}

/// A refusal that is no failure of the token's does not count as one.
#[tokio::test]
async fn only_bad_tokens_are_failures() {
    let scene = Scene::new(&limits("failing_address = { per_minute = 1, burst = 1 }")).await;
    let url = scene.endpoint();
    for body in ["", "[]", "{}"] {
        assert_eq!(scene.post(&url, body).await.status(), 400);
    }
    scene.service.plays(|_| json(401, String::new()));
    assert_eq!(call(&scene).await.status(), 401, "the service's own");
    assert_eq!(scene.http().get(&url).send().await.unwrap().status(), 405);
    scene.service.plays(|_| json(200, "{\"cards\":[]}".to_owned()));
    assert_eq!(call(&scene).await.status(), 200);
}

#[tokio::test]
async fn an_address_may_come_so_often_whatever_it_wants() {
    let scene = Scene::new(&limits("address = { per_minute = 60, burst = 3 }")).await;
    let url = format!("{}/.well-known/jwks.json", scene.public_url);
    for _ in 0..3 {
        assert_eq!(scene.http().get(&url).send().await.unwrap().status(), 200);
    }
    let response = scene.http().get(&url).send().await.unwrap();
    refused(response, problem(429, "limited", "limit-address"), "keys").await;
    refused(call(&scene).await, limited("limit-address"), "a call").await;
    let response = call_from(&scene, 2, &scene.token(&scene.endpoint())).await;
    assert_eq!(response.status(), 200, "another address");
    scene.advance(Duration::from_secs(1));
    assert_eq!(call(&scene).await.status(), 200);
}

/// What a caller says about its address counts only where a proxy that is trusted says it.
#[tokio::test]
async fn nobody_chooses_the_address_that_is_limited() {
    let scene = Scene::new(&limits("address = { per_minute = 1, burst = 2 }")).await;
    let from = async |address: &str| {
        let url = format!("{}/.well-known/jwks.json", scene.public_url);
        let request = scene.http().get(url).header("x-forwarded-for", address);
        let response = request.header("forwarded", format!("for={address}")).send().await.unwrap();
        let line = logged_once(&request_id(&response), address);
        assert_eq!(line["address"], "127.0.0.1");
        response.status().as_u16()
    };
    assert_eq!(
        [from("192.0.2.1").await, from("192.0.2.2").await, from("192.0.2.3").await],
        [200, 200, 429]
    );
}

#[tokio::test]
async fn observing_lets_everything_pass_and_counts_what_would_not() {
    let scene = Scene::new(&limits(
        "mode = \"observe\"\nclient = { per_minute = 1, burst = 2 }\n\
         failing_address = { per_minute = 1, burst = 1 }",
    ))
    .await;
    for _ in 0..5 {
        assert_eq!(call(&scene).await.status(), 200);
    }
    let checks = |limit: &str, outcome: &str| {
        format!("hookgate_limit_checks_total{{limit=\"{limit}\",outcome=\"{outcome}\"}}")
    };
    assert_eq!(scene.sample(&checks("client", "observed")).await, 3);
    assert_eq!(scene.sample(&checks("client", "refused")).await, 0);
    for _ in 0..3 {
        let response = scene.post_with(&scene.endpoint(), "x", hook_body()).await;
        assert_eq!(response.status(), 401);
    }
    assert_eq!(scene.sample(&checks("failing_address", "observed")).await, 2);
}
