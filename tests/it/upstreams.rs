//! What a service behind the gateway is told, and what becomes of its answers.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use hookgate::clock::Clock;
use hookgate::demo::server::json;
use http_body_util::Full;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use crate::harness::{
    Extra, HOOK_INSTANCE, ISSUER, SERVICE, Scene, card_with_link, hook_body, logged_once, outcome,
    refused, request_id,
};

#[tokio::test]
async fn an_answer_that_should_be_cards_and_cannot_be_read_does_not_pass() {
    let scene = Scene::new(&Extra::default()).await;
    let huge = format!("{{\"cards\":[],\"x\":\"{}\"}}", "x".repeat(4 * 1024 * 1024));
    for (what, body, reason) in [
        ("a page", "<html>patient Adams</html>".to_owned(), "cards-json"),
        ("half of it", "{\"cards\":[".to_owned(), "cards-json"),
        ("nothing", String::new(), "cards-json"),
        ("no cards", "{}".to_owned(), "cards-missing"),
        ("a list", "[]".to_owned(), "cards-missing"),
        ("null", "{\"cards\":null}".to_owned(), "cards-missing"),
        ("cards of another type", "{\"cards\":{}}".to_owned(), "cards-missing"),
        ("links of another type", "{\"cards\":[{\"links\":{}}]}".to_owned(), "cards-member-type"),
        ("cards twice", "{\"cards\":[],\"cards\":[]}".to_owned(), "cards-member"),
        (
            "a link twice",
            "{\"cards\":[{\"links\":[{\"url\":\"https://a/\",\"url\":\"https://b/\"}]}]}"
                .to_owned(),
            "cards-member",
        ),
        ("too much", huge, "upstream-too-large"),
    ] {
        scene.service.plays(move |_| json(200, body.clone()));
        let response = scene.post(&scene.endpoint(), hook_body()).await;
        refused(response, outcome(502, "upstream-unreadable", reason), what).await;
    }
}

#[tokio::test]
async fn packed_cards_are_unpacked_and_rewritten() {
    let scene = Scene::new(&Extra::default()).await;
    let packed = |body: String, encoding: &'static str| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(body.as_bytes()).unwrap();
        let mut answer = json(200, String::new()).map(|_| Full::new(gzip.finish().unwrap().into()));
        answer.headers_mut().insert("content-encoding", encoding.parse().unwrap());
        answer
    };
    scene.service.plays(move |_| packed(card_with_link("https://app.example/"), "gzip"));
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("content-encoding"));
    let answer: Value = response.json().await.unwrap();
    let link = answer["cards"][0]["links"][0]["url"].as_str().unwrap();
    assert!(link.starts_with(&scene.public_url), "{link}");
    let sent = scene.service.arrivals().last().unwrap().headers["accept-encoding"].clone();
    assert_eq!(sent, "identity", "it was not asked for");

    for (what, encoding) in [("not what it says", "br"), ("packed twice", "gzip, gzip")] {
        scene.service.plays(move |_| packed("{\"cards\":[]}".to_owned(), encoding));
        let response = scene.post(&scene.endpoint(), hook_body()).await;
        refused(response, outcome(502, "upstream-unreadable", "upstream-encoded"), what).await;
    }
    scene.service.plays(|_| {
        let mut answer = json(200, "{\"cards\":[]}".to_owned());
        answer.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        answer
    });
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    refused(response, outcome(502, "upstream-unreadable", "upstream-encoded"), "plain").await;
    let bomb = format!("{{\"cards\":[],\"x\":\"{}\"}}", " ".repeat(5 * 1024 * 1024));
    scene.service.plays(move |_| packed(bomb.clone(), "gzip"));
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    refused(response, outcome(502, "upstream-unreadable", "upstream-too-large"), "bomb").await;
}

#[tokio::test]
async fn statuses_of_the_service_pass_and_say_nothing_of_its_making() {
    let scene = Scene::new(&Extra::default()).await;
    for status in [400_u16, 401, 403, 404, 409, 412, 415, 418, 422, 429, 500, 503] {
        scene.service.plays(move |_| {
            let mut answer = json(status, "{\"error\":\"/srv/index.js\"}".to_owned());
            answer.headers_mut().insert("retry-after", "7".parse().unwrap());
            answer.headers_mut().insert("www-authenticate", "Basic realm=x".parse().unwrap());
            answer
        });
        let response = scene.post(&scene.endpoint(), hook_body()).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["retry-after"], "7", "{status}");
        let challenges = response.headers().get_all("www-authenticate").iter().count();
        assert_eq!(challenges, usize::from(status == 401), "{status}");
        let line = logged_once(&request_id(&response), "status");
        assert_eq!(line["reason"], "upstream-status", "{status}: {line}");
        let body = response.text().await.unwrap();
        assert!(!body.contains("srv") && body.contains("OperationOutcome"), "{status}: {body}");
    }
    for (status, body) in [(412_u16, ""), (404, ""), (204, "")] {
        scene.service.plays(move |_| json(status, body.to_owned()));
        let response = scene.post(&scene.endpoint(), hook_body()).await;
        assert_eq!(response.status(), status);
        assert!(response.bytes().await.unwrap().is_empty(), "{status}");
    }
    for status in [301_u16, 302, 303, 307, 308, 304] {
        scene.service.plays(move |_| {
            let mut answer = json(status, String::new());
            answer.headers_mut().insert("location", "https://evil.example/".parse().unwrap());
            answer
        });
        let response = scene.post(&scene.endpoint(), hook_body()).await;
        assert!(!response.headers().contains_key("location"));
        let expected = outcome(502, "upstream-unreadable", "upstream-redirect");
        refused(response, expected, "redirect").await;
    }
}

#[tokio::test]
async fn a_service_that_is_late_or_away_is_told_from_one_that_answers_wrongly() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    // Bound and not listening: refused, and nobody else gets the port meanwhile.
    let away = TcpSocket::new_v4().unwrap();
    away.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let rude = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let urls = [silent.local_addr(), away.local_addr(), rude.local_addr()].map(Result::unwrap);
    let mut lists = String::new();
    // Only who never answers is to be late.
    for ((id, patience), address) in
        [("silent", "2s"), ("away", "60s"), ("rude", "60s")].iter().zip(urls)
    {
        lists += &format!(
            "[[upstream]]\nid = \"{id}\"\nurl = \"http://{address}\"\n\
             connect_timeout = \"{patience}\"\nresponse_timeout = \"{patience}\"\n\
             [[service]]\nid = \"{id}\"\nupstream = \"{id}\"\n"
        );
    }
    let rudely = tokio::spawn(async move {
        while let Ok((mut stream, _)) = rude.accept().await {
            let mut some = [0; 1024];
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
        }
    });
    let scene = Scene::new(&Extra { lists, ..Extra::default() }).await;
    for (id, expected) in [
        ("silent", outcome(504, "upstream-late", "upstream-late-head")),
        ("away", outcome(502, "upstream-unreachable", "upstream-unreachable")),
        ("rude", outcome(502, "upstream-unreadable", "upstream-not-http")),
    ] {
        let url = format!("{}/cds-services/{id}", scene.public_url);
        refused(scene.post(&url, hook_body()).await, expected, id).await;
    }
    rudely.abort();
    drop(silent);
}

/// Who is calling is said by the gateway alone, whatever the caller says about it.
#[tokio::test]
async fn who_is_calling_cannot_be_forged() {
    let client = "tenants = [\"clinic-a\"]".to_owned();
    let scene = Scene::new(&Extra { client, ..Extra::default() }).await;
    let with_tenant =
        |url: &str| scene.token_with(url, |claims| claims["tenant"] = "clinic-a".into());
    let forged = [
        "X-Hookgate-Client",
        "x-hookgate-client",
        "X_Hookgate_Client",
        "x-hookgate_client",
        "X-HOOKGATE-TENANT",
        "X_HOOKGATE_ISSUER",
        "x_hookgate_hook_instance",
        "x-hookgate-anything",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "Forwarded",
        "X-Real-IP",
        "X-Request-Id",
        "X_Request_Id",
        "Cookie",
        "Proxy-Authorization",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-Client-Cert",
    ];
    let card = scene
        .post_with(&scene.endpoint(), &with_tenant(&scene.endpoint()), hook_body())
        .await
        .json::<Value>()
        .await
        .unwrap();
    let id = card["cards"][0]["uuid"].as_str().unwrap();
    let feedback = format!("{{\"feedback\":[{{\"card\":\"{id}\",\"outcome\":\"overridden\"}}]}}");
    for (url, body) in [(scene.endpoint(), hook_body()), (scene.feedback(), feedback)] {
        let mut request = scene.http().post(&url).bearer_auth(with_tenant(&url));
        for name in forged {
            request = request.header(name, "forged");
        }
        let request = request.header("content-type", "application/json").body(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        let id = request_id(&response);
        let arrivals = scene.service.arrivals();
        let arrived = &arrivals.last().unwrap().headers;
        let said = |name: &str| {
            let all: Vec<_> = arrived.get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
            all.join("|")
        };
        for (name, value) in [
            ("x-hookgate-client", "ehr"),
            ("x-hookgate-issuer", ISSUER),
            ("x-hookgate-tenant", "clinic-a"),
            ("x-hookgate-hook-instance", HOOK_INSTANCE),
            ("x-request-id", &id),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", &scene.authority()),
            ("forwarded", &format!("for=127.0.0.1;host=\"{}\";proto=https", scene.authority())),
        ] {
            assert_eq!(said(name), value, "{name} at {url}");
        }
        for (name, value) in arrived {
            assert!(value != "forged", "{name} arrived at {url}");
        }
        let mut names: Vec<_> = arrived.keys().map(|n| n.as_str().replace('_', "-")).collect();
        let before = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), before, "two spellings of one name: {arrived:?}");
    }
}

#[tokio::test]
async fn the_token_goes_on_only_where_the_operator_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "s3cret-of-the-service\n").unwrap();
    let bearer = format!("authorization = \"bearer\"\nsecret_file = \"{}\"", secret.display());
    std::fs::write(directory.path().join("basic"), "user:word\n").unwrap();
    let basic = format!(
        "authorization = \"basic\"\nsecret_file = \"{}\"",
        directory.path().join("basic").display()
    );
    for (upstream, expected) in [
        (String::new(), None),
        ("authorization = \"strip\"".to_owned(), None),
        ("authorization = \"forward\"".to_owned(), Some("as it came")),
        (bearer, Some("Bearer s3cret-of-the-service")),
        (basic, Some("Basic dXNlcjp3b3Jk")),
    ] {
        let scene = Scene::new(&Extra { upstream: upstream.clone(), ..Extra::default() }).await;
        let token = scene.token(&scene.endpoint());
        let response = scene.post_with(&scene.endpoint(), &token, hook_body()).await;
        assert_eq!(response.status(), 200, "{upstream}");
        let sent = format!("Bearer {token}");
        let expected = expected.map(|value| if value == "as it came" { &sent } else { value });
        let arrived = scene.service.arrivals()[0].headers.clone();
        let arrived = arrived.get("authorization").map(|value| value.to_str().unwrap());
        assert_eq!(arrived, expected, "{upstream}");
    }
}

#[tokio::test]
async fn a_reissued_token_is_for_the_service_and_verifies_with_the_published_keys() {
    let upstream = "authorization = \"reissue\"".to_owned();
    let scene = Scene::new(&Extra { upstream, ..Extra::default() }).await;
    scene.cards().await;
    scene.cards().await;
    let url = format!("{}/.well-known/jwks.json", scene.public_url);
    let answer = scene.http().get(url).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/jwk-set+json");
    let text = answer.text().await.unwrap();
    assert!(!text.contains("\"d\""), "a private key is published: {text}");
    let set: JwkSet = serde_json::from_str(&text).unwrap();
    let mut ids = Vec::new();
    for arrived in scene.service.arrivals() {
        let header = arrived.headers["authorization"].to_str().unwrap();
        let token = header.strip_prefix("Bearer ").unwrap();
        let head = jsonwebtoken::decode_header(token).unwrap();
        let jwk = set.find(&head.kid.unwrap()).unwrap();
        let mut rules = Validation::new(head.alg);
        // The scene has its own time.
        (rules.validate_exp, rules.validate_nbf) = (false, false);
        let audience = format!("{}/cds-services/{SERVICE}", scene.service.url());
        rules.set_audience(&[&audience]);
        rules.set_issuer(&[&scene.public_url]);
        rules.set_required_spec_claims(&["aud", "iss", "exp"]);
        let key = DecodingKey::from_jwk(jwk).unwrap();
        let claims: Value = jsonwebtoken::decode(token, &key, &rules).unwrap().claims;
        assert_eq!(claims["sub"], "ehr");
        let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert_eq!(iat, scene.clock.now().secs());
        assert_eq!(exp - iat, 60);
        ids.push(claims["jti"].as_str().unwrap().to_owned());
        rules.set_audience(&["https://other.example"]);
        assert!(jsonwebtoken::decode::<Value>(token, &key, &rules).is_err());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_service_is_asked_after_its_health_while_the_gateway_serves() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let lists = format!(
        "[[upstream]]\nid = \"asked\"\nurl = \"http://{address}/r4\"\nhealth = {{ path = \"/healthz\", timeout = \"1m\" }}\n\
         [[service]]\nid = \"*\"\nupstream = \"asked\"\n"
    );
    let _scene = Scene::new(&Extra { lists, ..Extra::default() }).await;
    let asked = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    };
    let head = tokio::time::timeout(std::time::Duration::from_secs(60), asked).await.unwrap();
    assert!(head.starts_with("GET /healthz HTTP/1.1\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("authorization"), "{head}");
}
