//! The status page as an operator's browser and scripts meet it.

use std::time::Duration;

use hookgate::app::{Ambient, App};
use hookgate::config::Config;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use crate::harness::{Extra, SERVICE, Scene, all_lines, hook_body};

fn on_disk() -> Extra {
    Extra { disk: true, ..Extra::default() }
}

/// An operator's browser, at the page.
struct Operator {
    http: reqwest::Client,
    page: String,
}

impl Operator {
    fn at(scene: &Scene) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        Self { http: http.build().unwrap(), page: scene.admin().to_owned() }
    }

    async fn page(&self) -> String {
        let answer = self.http.get(&self.page).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }

    async fn status(&self) -> Value {
        let answer = self.http.get(format!("{}/status.json", self.page)).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        answer.json().await.unwrap()
    }

    async fn mark(&self) -> String {
        let page = self.page().await;
        let (_, rest) = page.split_once("name=\"mark\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    /// A form with these fields, as the page's own would be sent.
    fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.http
            .post(format!("{}{path}", self.page))
            .header("origin", &self.page)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(fields.join("&"))
    }

    /// Presses a button, and gives what the page then says of it.
    async fn press(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let mark = self.mark().await;
        let fields = [&[("mark", mark.as_str())], fields].concat();
        let answer = self.form(path, &fields).send().await.unwrap();
        assert_eq!(answer.status(), 303, "{}", answer.text().await.unwrap());
        let back = answer.headers()["location"].to_str().unwrap().to_owned();
        let page = self.http.get(format!("{}{back}", self.page)).send().await.unwrap();
        let page = page.text().await.unwrap();
        let (_, notice) = page.split_once("role=\"status\"").expect("a notice");
        notice.split("</div>").next().unwrap().to_owned()
    }
}

async fn refused(answer: RequestBuilder) -> (u16, String) {
    let answer: Response = answer.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn the_page_and_its_json_say_how_everything_stands() {
    let scene = Scene::new(&on_disk()).await;
    scene.outlast_the_skew();
    let operator = Operator::at(&scene);
    let cards = scene.cards().await;
    let link = cards["cards"][0]["links"][0]["url"].as_str().unwrap();
    let open = || scene.http().get(link).header("sec-fetch-mode", "navigate").send();
    assert_eq!(open().await.unwrap().status(), 303);
    assert_eq!(open().await.unwrap().status(), 410);
    let used = scene.token(&scene.endpoint());
    for expected in [200, 401] {
        let answer = scene.post_with(&scene.endpoint(), &used, hook_body()).await;
        assert_eq!(answer.status(), expected);
    }
    scene.advance(Duration::from_secs(120));
    scene.cards().await;

    let status = operator.status().await;
    assert_eq!(status["readiness"]["ready"], true, "{status:#}");
    let client = &status["clients"][0];
    assert_eq!((&client["id"], &client["usable"]), (&"ehr".into(), &true.into()), "{client:#}");
    assert_eq!(client["kids"], serde_json::json!(["key-1"]));
    assert!(client["age_seconds"].is_u64() && client["next_refresh_seconds"].is_u64());
    let service = &status["services"][0];
    assert_eq!(service["id"], SERVICE, "{status:#}");
    assert_eq!((&service["upstream"], &service["calls"]), (&"legacy".into(), &3.into()));
    assert_eq!(status["upstreams"][0]["id"], "legacy");
    let links = &status["links"];
    assert_eq!((&links["minted"], &links["opened"]), (&3.into(), &1.into()), "{links:#}");
    assert_eq!((&links["refused_twice"], &links["expired"]), (&1.into(), &0.into()));
    let refusals = &status["refusals"];
    let minute = |list: &Value, place: usize| list[place].as_u64().unwrap();
    assert_eq!(minute(&refusals["requests"], 59), 1, "{refusals:#}");
    assert_eq!(minute(&refusals["requests"], 57), 5, "{refusals:#}");
    let reasons: Vec<(&str, u64)> = refusals["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of_it| (of_it["reason"].as_str().unwrap(), minute(&of_it["minutes"], 57)))
        .collect();
    assert_eq!(reasons, [("link-spent", 1), ("replayed", 1)]);
    assert_eq!(status["store"]["backend"], "disk");
    assert!(status["store"]["entries"].as_u64().unwrap() >= 4, "{status:#}");
    let kinds: Vec<&Value> =
        status["keys"]["held"].as_array().unwrap().iter().map(|key| &key["kind"]).collect();
    assert_eq!(kinds, ["seal", "sign"]);
    let effective = status["configuration"]["effective"].as_str().unwrap();
    assert!(effective.contains("max_lifetime = \"5m\""), "{effective}");

    let page = operator.page().await;
    for shown in ["<strong>hookgate</strong>", "key-1", "replayed", "link-spent", "Effective"] {
        assert!(page.contains(shown), "{shown}");
    }
    let token = link.rsplit('/').next().unwrap();
    for never in [token, "app.example", used.as_str(), "p1\""] {
        assert!(!page.contains(never) && !status.to_string().contains(never), "{never}");
    }
}

#[tokio::test]
async fn no_button_does_anything_that_the_audit_cannot_tell() {
    let folder = tempfile::tempdir().unwrap();
    let (logs, away) = (folder.path().join("logs"), folder.path().join("away"));
    std::fs::create_dir(&logs).unwrap();
    let tables = format!("[audit]\nfile = \"{}/audit\"\nrequired = true\n", logs.display());
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    let operator = Operator::at(&scene);
    std::fs::rename(&logs, &away).unwrap();
    // The first whose event cannot be written.
    assert_eq!(scene.post(&scene.endpoint(), hook_body()).await.status(), 503);
    let fetch = [("client", "ehr")];
    let notice = operator.press("/clients/fetch-keys", &fetch).await;
    assert!(notice.contains("audit.required"), "{notice}");

    std::fs::rename(&away, &logs).unwrap();
    scene.until_pending(&[]).await;
    let notice = operator.press("/clients/fetch-keys", &fetch).await;
    assert!(notice.contains("Held now"), "{notice}");
}

#[tokio::test]
async fn every_answer_keeps_others_out() {
    let scene = Scene::new(&Extra::default()).await;
    let operator = Operator::at(&scene);
    for path in ["/", "/status.json", "/nothing", "/keys/new"] {
        let answer = operator.http.get(format!("{}{path}", operator.page)).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap();
        assert!(header("content-security-policy").starts_with("default-src 'none'; "), "{path}");
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
    let put = operator.http.put(&operator.page).send().await.unwrap();
    assert_eq!(
        (put.status().as_u16(), &put.headers()["allow"]),
        (405, &"GET, HEAD, POST".parse().unwrap())
    );
    let head = operator.http.head(&operator.page).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap()), (200, String::new()));
}

#[tokio::test]
async fn a_foreign_host_is_shown_nothing() {
    let scene = Scene::new(&Extra::default()).await;
    let operator = Operator::at(&scene);
    let port = operator.page.rsplit(':').next().unwrap();
    for (host, status) in [
        (format!("localhost:{port}"), 200),
        ("localhost:19091".to_owned(), 200),
        (format!("rebound.example:{port}"), 421),
        (format!("10.0.0.1:{port}"), 421),
    ] {
        for path in ["", "/status.json"] {
            let asked = operator.http.get(format!("{}{path}", operator.page));
            let (got, text) = refused(asked.header("host", &host)).await;
            assert_eq!(got, status, "{host}{path}: {text}");
            assert_eq!(text.contains("key-1"), status == 200, "{host}{path}");
        }
    }
}

#[tokio::test]
async fn only_a_form_of_the_page_itself_does_anything() {
    let scene = Scene::new(&on_disk()).await;
    let operator = Operator::at(&scene);
    let file = scene.directory().join("state/keys.json");
    let before = std::fs::read(&file).unwrap();
    let mark = operator.mark().await;
    let good = || operator.form("/keys/new", &[("mark", &mark)]);
    let without_origin = || {
        let url = format!("{}/keys/new", operator.page);
        let kind = "application/x-www-form-urlencoded";
        operator.http.post(url).header("content-type", kind).body(format!("mark={mark}"))
    };
    let origin = |origin: &str| without_origin().header("origin", origin.to_owned());
    for (what, attempt, status, said) in [
        ("no origin", without_origin(), 403, "sent by another page"),
        ("a foreign origin", origin("https://evil.example"), 403, "sent by another page"),
        ("another port", origin("http://127.0.0.1:1"), 403, "sent by another page"),
        ("an opaque origin", origin("null"), 403, "sent by another page"),
        ("a foreign site", good().header("sec-fetch-site", "cross-site"), 403, "by another page"),
        ("a foreign host", good().header("host", "evil.example"), 421, "on this machine only"),
        ("no mark", operator.form("/keys/new", &[]), 403, "before the gateway started"),
        (
            "a wrong mark",
            operator.form("/keys/new", &[("mark", "AAAA")]),
            403,
            "before the gateway",
        ),
        ("no such button", operator.form("/keys/now", &[("mark", &mark)]), 404, "no such button"),
        ("too much", good().body("x=".to_owned() + &"y".repeat(5000)), 400, "cannot be read"),
        ("a link", operator.http.get(format!("{}/keys/new", operator.page)), 404, "status.json"),
    ] {
        let (got, text) = refused(attempt).await;
        assert_eq!(got, status, "{what}: {text}");
        assert!(text.contains(said), "{what}: {text}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), before, "a stranger changed the keys");
    assert_eq!(good().send().await.unwrap().status(), 303);
    assert_ne!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn buttons_take_the_steps_of_a_rotation() {
    let scene = Scene::new(&on_disk()).await;
    let operator = Operator::at(&scene);
    let states = async || -> Vec<String> {
        let status = operator.status().await;
        let held = status["keys"]["held"].as_array().unwrap().clone();
        held.iter()
            .map(|key| format!("{}-{}", key["kind"], key["state"]).replace('"', ""))
            .collect()
    };
    // The file is taken up by a task that waits on the scene's clock.
    let until = async |expected: &[&str]| {
        for _ in 0..3000 {
            if states().await == expected {
                return;
            }
            scene.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?} never were {expected:?}", states().await);
    };
    let said = operator.press("/keys/rotate", &[]).await;
    assert!(said.contains("not done") && said.contains("there is no next key"), "{said}");
    let said = operator.press("/keys/new", &[]).await;
    assert!(said.contains("Add next keys: done") && said.contains("added as next"), "{said}");
    until(&["seal-current", "seal-next", "sign-current", "sign-next"]).await;
    let said = operator.press("/keys/new", &[]).await;
    assert!(
        said.contains("not done") && said.contains("there is a next seal key already"),
        "{said}"
    );
    assert_eq!(operator.status().await["keys"]["next_step"]["step"], "rotate");

    let said = operator.press("/keys/rotate", &[]).await;
    assert!(said.contains("not done") && said.contains("may become current from"), "{said}");
    scene.advance(Duration::from_secs(600));
    let said = operator.press("/keys/rotate", &[]).await;
    assert!(said.contains("Make the next keys current: done"), "{said}");
    until(&["seal-current", "seal-previous", "sign-current", "sign-previous"]).await;

    let said = operator.press("/keys/retire", &[]).await;
    assert!(said.contains("not done") && said.contains("no earlier key may go yet"), "{said}");
    scene.advance(Duration::from_secs(40 * 24 * 3600));
    let said = operator.press("/keys/retire", &[]).await;
    assert!(said.contains("Drop earlier keys: done"), "{said}");
    until(&["seal-current", "sign-current"]).await;

    let done = operator.status().await["done"].as_array().unwrap().clone();
    let good: Vec<bool> = done.iter().map(|done| done["good"].as_bool().unwrap()).collect();
    assert_eq!(good, [true, false, true, false, false, true, false], "the latest first");
    let logged = all_lines();
    let noted = |action: &str, message: &str| {
        let lines = logged.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| line.to_string()).any(|line| {
            line.contains(&format!("\"action\":\"{action}\"")) && line.contains(message)
        })
    };
    assert!(noted("keys-new", "done from the status page"));
    assert!(noted("keys-retire", "done from the status page"));
}

#[tokio::test]
async fn keys_in_memory_are_not_rotated_and_a_clients_can_be_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.ndjson");
    let tables = format!("[audit]\nfile = \"{}\"\n", audit.display());
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    let operator = Operator::at(&scene);
    assert!(!operator.page().await.contains("/keys/new"));
    let said = operator.press("/keys/new", &[]).await;
    assert!(said.contains("not done") && said.contains("name keyring.file"), "{said}");
    let said = operator.press("/clients/fetch-keys", &[("client", "ehr")]).await;
    assert!(
        said.contains("Fetch the keys of ehr: done") && said.contains("Held now: key-1."),
        "{said}"
    );
    let said = operator.press("/clients/fetch-keys", &[("client", "nobody")]).await;
    assert!(said.contains("not done") && said.contains("no such client"), "{said}");
    std::fs::write(scene.directory().join("ehr.jwks"), "{}").unwrap();
    let said = operator.press("/clients/fetch-keys", &[("client", "ehr")]).await;
    assert!(said.contains("not done") && said.contains("not-a-set"), "{said}");
    let status = operator.status().await;
    assert_eq!(status["clients"][0]["last_error"], "not-a-set");
    assert_eq!(status["clients"][0]["kids"], serde_json::json!(["key-1"]), "those from before");
    assert!(operator.page().await.contains("The keys of ehr could not be read (not-a-set)"));

    let events = async || -> Vec<Value> {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["event"] == "admin-action").collect()
    };
    // A thread writes them.
    for _ in 0..3000 {
        if events().await.len() == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = events().await;
    let told: Vec<_> = told.iter().map(|e| (&e["action"], &e["outcome"], &e["client"])).collect();
    let (ehr, nobody, none) = ("ehr".into(), "nobody".into(), Value::Null);
    let (fetch, new) = ("fetch-keys".into(), "keys-new".into());
    let (done, refused) = ("done".into(), "refused".into());
    let expected = [
        (&new, &refused, &none),
        (&fetch, &done, &ehr),
        (&fetch, &refused, &nobody),
        (&fetch, &refused, &ehr),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn who_is_near_a_limit_is_told() {
    let extra = Extra {
        tables: "[limits]\nopen_address = { per_minute = 1, burst = 4 }\n".to_owned(),
        ..Extra::default()
    };
    let scene = Scene::new(&extra).await;
    let operator = Operator::at(&scene);
    let nearest = async || operator.status().await["limits"]["nearest"].clone();
    assert_eq!(nearest().await, serde_json::json!([]));
    let open = async || scene.http().get(format!("{}/open/x", scene.public_url)).send().await;
    for _ in 0..3 {
        open().await.unwrap();
    }
    let near = nearest().await;
    assert_eq!((&near[0]["limit"], &near[0]["who"]), (&"open_address".into(), &"127.0.0.1".into()));
    assert_eq!((&near[0]["used_percent"], &near[0]["left"]), (&75.into(), &1.into()), "{near}");
    open().await.unwrap();
    open().await.unwrap();
    let near = nearest().await;
    assert_eq!((&near[0]["used_percent"], &near[0]["wait_millis"]), (&100.into(), &60_000.into()));
    scene.advance(Duration::from_secs(600));
    assert_eq!(nearest().await, serde_json::json!([]));
}

#[tokio::test]
async fn a_taken_port_is_told_and_none_is_needed() {
    let scene = Scene::new(&Extra::default()).await;
    let taken = scene.admin().trim_start_matches("http://").to_owned();
    let text = std::fs::read_to_string("config/minimal.toml").unwrap();
    let here = scene.directory().display();
    let text = text.replace("/etc/hookgate/tls.", &format!("{here}/tls.")).replace(
        "[listener]",
        "[health]\naddress = \"127.0.0.1:0\"\n[listener]\naddress = \"127.0.0.1:0\"",
    );
    let with = |admin: &str| {
        let text = format!("{text}\n[state]\nbackend = \"memory\"\n[admin]\n{admin}");
        Config::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    };
    let config = with(&format!("address = \"{taken}\""));
    let error = App::bind(config, Ambient::system()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("admin: cannot listen on {taken}: ")), "{error}");
    assert!(error.ends_with("write another port; or write admin.enabled = false"), "{error}");
    let app = App::bind(with("enabled = false"), Ambient::system()).await.unwrap();
    assert_eq!(app.admin_addr(), None);
}
