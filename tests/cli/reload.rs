//! Changes of everything that can be changed, while it serves.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use hookgate::demo::ehr::SigningKey;
use hookgate::demo::server::{Server, json};
use http::HeaderMap;
use serde_json::json;

use crate::home::{Home, Running, cards, until};

/// How many changes were taken up, and how many were refused.
pub(crate) async fn reloads(running: &Running) -> (u64, u64) {
    let metrics = running.health("/metrics").await.unwrap().1;
    let count = |result: &str| {
        let name = format!("hookgate_reloads_total{{result=\"{result}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
    };
    (count("taken_up"), count("refused"))
}

/// Has everything read again, and waits until it is taken up.
async fn takes_up(home: &Home, running: &Running, config: &str) {
    home.write("hookgate.toml", config);
    let (before, refused) = reloads(running).await;
    running.signal("HUP");
    until("it is taken up", async || {
        let now = reloads(running).await;
        assert_eq!(now.1, refused, "{:?}", running.log());
        now.0 > before
    })
    .await;
}

/// The same for what is not to be taken up; gives the `count` problems that the log tells.
async fn refuses(home: &Home, running: &Running, config: &str, count: usize) -> Vec<String> {
    home.write("hookgate.toml", config);
    let told = || -> Vec<String> {
        let log = running.log();
        let problems = log.iter().filter_map(|line| line["problem"].as_str());
        problems.map(str::to_owned).collect()
    };
    let (known, (taken_up, before)) = (told().len(), reloads(running).await);
    running.signal("HUP");
    until("it is refused", async || reloads(running).await.1 > before).await;
    assert_eq!(reloads(running).await.0, taken_up);
    until("the log says so", async || told().len() >= known + count).await;
    told().split_off(known)
}

/// Only SIGHUP has anything taken up.
fn unwatched(config: &str) -> String {
    format!("{config}\n[reload]\nwatch = false\n")
}

async fn status(home: &Home, client: &reqwest::Client) -> u16 {
    let answer = home.call(client).await.unwrap();
    let status = answer.status().as_u16();
    // Read to its end, so that the connection can be used again.
    answer.bytes().await.unwrap();
    status
}

/// What arrived at a service that says `name`.
async fn service(name: &'static str) -> (Server, Arc<Mutex<Vec<HeaderMap>>>) {
    let arrivals: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let log = Arc::clone(&arrivals);
    let server = Server::start(move |request: http::Request<bytes::Bytes>| {
        log.lock().unwrap().push(request.headers().clone());
        let card = json!({"summary": name, "indicator": "info", "source": {"label": "l"}});
        async move { json(200, json!({"cards": [card]}).to_string()) }
    });
    (server.await.unwrap(), arrivals)
}

#[tokio::test]
async fn a_changed_certificate_is_shown_from_the_next_connection_on() {
    let mut home = Home::new();
    let server = Server::start(|_| async { cards() }).await.unwrap();
    let running = home.serve(&unwatched(&home.config(&server.url())));
    let client = home.http().build().unwrap();
    assert_eq!(status(&home, &client).await, 200);
    let old = home.renew_certificate();
    takes_up(&home, &running, &unwatched(&home.config(&server.url()))).await;
    assert_eq!(status(&home, &client).await, 200, "an open connection goes on");
    assert!(home.call(&home.http_that_trusts(&old).build().unwrap()).await.is_err());
    assert_eq!(status(&home, &home.http().build().unwrap()).await, 200);
    let metrics = running.health("/metrics").await.unwrap().1;
    assert!(metrics.contains("hookgate_connections_accepted_total 3\n"), "{metrics}");
}

#[tokio::test]
async fn clients_and_services_come_and_go_and_their_links_with_them() {
    let home = Home::new();
    let server = Server::start(|_| async { cards() }).await.unwrap();
    let good = unwatched(&home.config(&server.url()));
    let running = home.serve(&good);
    let client = home.http().build().unwrap();
    let (first, second) = (home.link().await, home.link().await);
    let other = good.replace("id = \"ehr\"", "id = \"other\"").replace("org/fhir", "org/other");
    takes_up(&home, &running, &other).await;
    assert_eq!(status(&home, &client).await, 401);
    assert_eq!(home.click(&first).await, 410);
    let metrics = running.health("/metrics").await.unwrap().1;
    assert!(metrics.contains("hookgate_jwks_keys_held{client=\"other\"} 1"), "{metrics}");
    assert!(!metrics.contains("hookgate_jwks_keys_held{client=\"ehr\"}"), "{metrics}");
    takes_up(&home, &running, &good).await;
    assert_eq!(status(&home, &client).await, 200);
    assert_eq!(home.click(&first).await, 303);
    assert_eq!(home.click(&first).await, 410, "it is spent");

    let elsewhere = format!("{good}\n[[service]]\nid = \"elsewhere\"\n");
    takes_up(&home, &running, &elsewhere).await;
    assert_eq!(status(&home, &client).await, 404);
    let one =
        format!("{good}\n[[service]]\nid = \"greeting\"\n[service.links]\nlifetime = \"9h\"\n");
    takes_up(&home, &running, &one).await;
    assert_eq!(status(&home, &client).await, 200);
    assert_eq!(home.click(&second).await, 303);

    let key = SigningKey::generate("key-2").unwrap();
    home.write("ehr.jwks", &key.jwks());
    takes_up(&home, &running, &one).await;
    assert_eq!(status(&home, &client).await, 401, "its keys are others");
}

#[tokio::test]
async fn an_upstream_its_secret_and_the_steps_settings_are_taken_up() {
    let home = Home::new();
    let ((one, arrivals), (two, others)) = (service("one").await, service("two").await);
    home.write("secret", "first");
    let secret =
        format!("authorization = \"bearer\"\nsecret_file = \"{}\"", home.path("secret").display());
    let good = |url: &str| unwatched(&format!("{}{secret}\n", home.config(url)));
    let running = home.serve(&good(&one.url()));
    let client = home.http().build().unwrap();
    assert_eq!(status(&home, &client).await, 200);
    home.write("secret", "second");
    takes_up(&home, &running, &good(&one.url())).await;
    assert_eq!(status(&home, &client).await, 200);
    takes_up(&home, &running, &good(&two.url())).await;
    assert_eq!(status(&home, &client).await, 200);
    let credentials = |arrivals: &Mutex<Vec<HeaderMap>>| -> Vec<String> {
        let arrivals = arrivals.lock().unwrap();
        arrivals.iter().map(|h| h["authorization"].to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(credentials(&arrivals), ["Bearer first", "Bearer second"]);
    assert_eq!(credentials(&others), ["Bearer second"]);

    let base = good(&two.url());
    let with = |table: &str| format!("{base}{table}\n");
    let discovery = async || client.get(home.discovery()).send().await.unwrap().status();
    assert_ne!(discovery().await, 401);
    takes_up(&home, &running, &with("[discovery]\nmode = \"authenticated\"")).await;
    assert_eq!(discovery().await, 401);
    takes_up(&home, &running, &with("[body]\nmax_size = \"10B\"")).await;
    assert_eq!(status(&home, &client).await, 413);
    takes_up(&home, &running, &with("[cors]\norigins = [\"https://ehr.example\"]")).await;
    let preflight = client
        .request(http::Method::OPTIONS, home.endpoint())
        .header("origin", "https://ehr.example")
        .header("access-control-request-method", "POST");
    let allowed = preflight.send().await.unwrap();
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://ehr.example");
    let path = base.replace("\"\n[listener]", "/gate\"\n[listener]");
    takes_up(&home, &running, &path).await;
    assert_eq!(status(&home, &client).await, 404);
    takes_up(&home, &running, &with("[log]\nlevel = \"warn\"")).await;
    let lines = |running: &Running| {
        running.log().iter().filter(|line| line["target"] == "hookgate::access").count()
    };
    // A line at another level, so that all that came before it has been read.
    refuses(&home, &running, &with("[unclosed"), 1).await;
    let silent = lines(&running);
    assert_eq!(status(&home, &client).await, 200);
    refuses(&home, &running, &with("[unclosed"), 1).await;
    assert_eq!(lines(&running), silent);
}

#[tokio::test]
async fn what_cannot_be_taken_up_is_refused_as_a_whole_and_told() {
    let home = Home::new();
    let server = Server::start(|_| async { cards() }).await.unwrap();
    let good = unwatched(&home.config(&server.url()));
    let running = home.serve(&good);
    let client = home.http().build().unwrap();
    let (key, stranger) = (fs::read_to_string(home.path("tls.key")).unwrap(), Home::new());
    let table = [
        (good.replace("[health]", "[health"), "unclosed", 1),
        (good.replace("ready_grace", "redy_grace"), "redy_grace", 1),
        (good.replace("tls.crt", "missing.crt"), "missing.crt", 1),
        (good.replace("ehr.jwks", "missing.jwks"), "missing.jwks", 1),
        (
            good.replace(
                "[[upstream]]\nid = \"legacy\"",
                "[[upstream]]\nid = \"a\"\nurl = \"ftp://a\"\n[[upstream]]\nid = \"legacy\"",
            ),
            "upstream",
            // And no service says which of the two it is at.
            2,
        ),
    ];
    for (bad, told, count) in table {
        let problems = refuses(&home, &running, &bad, count).await;
        assert!(problems.iter().any(|p| p.contains(told)), "{told}: {problems:?}");
        assert_eq!(status(&home, &client).await, 200, "{told}");
        until("it is told where it stands", async || {
            let (ready, text) = running.health("/readyz").await.unwrap();
            assert_eq!(ready, 200, "{text}");
            text.contains(&format!("\"degraded\":[\"reload: refused, {count} to mend"))
        })
        .await;
        let metrics = running.health("/metrics").await.unwrap().1;
        assert!(metrics.contains("hookgate_config_last_reload_success 0\n"), "{metrics}");
    }
    // Good by itself; but what can change does not change either.
    let restart = good
        .replace("[health]\naddress = \"127.0.0.1:0\"", "[health]\naddress = \"127.0.0.1:1\"")
        .replace("/state\"", "/elsewhere\"")
        .replace("mode = \"off\"", "mode = \"observe\"");
    let problems = refuses(&home, &running, &restart, 2).await;
    let keys: Vec<&str> = problems.iter().filter_map(|p| p.split(':').next()).collect();
    assert_eq!(keys, ["health.address", "state.directory"]);
    assert!(problems.iter().all(|p| p.contains("restart")), "{problems:?}");
    // The old one serves new connections, too.
    fs::copy(stranger.path("tls.key"), home.path("tls.key")).unwrap();
    let problems = refuses(&home, &running, &good, 1).await;
    assert!(problems.iter().any(|p| p.contains("belong together")), "{problems:?}");
    assert_eq!(status(&home, &home.http().build().unwrap()).await, 200);
    home.write("tls.key", &key);
    takes_up(&home, &running, &good).await;
    let ready = running.health("/readyz").await.unwrap().1;
    assert_eq!(ready, r#"{"pending":[],"ready":true}"#);
    let metrics = running.health("/metrics").await.unwrap().1;
    assert!(metrics.contains("hookgate_config_last_reload_success 1\n"), "{metrics}");
}

#[tokio::test]
async fn who_is_over_a_limit_stays_over_it_through_a_reload() {
    let home = Home::new();
    let server = Server::start(|_| async { cards() }).await.unwrap();
    let limit = "limit = { client = { per_minute = 1, burst = 3 } }";
    let limited = |limit: &str| {
        let config = unwatched(&home.config(&server.url()).replace("mode = \"off\"", ""));
        config.replace("[[upstream]]", &format!("{limit}\n[[upstream]]"))
    };
    let running = home.serve(&limited(limit));
    let client = home.http().build().unwrap();
    until("it is over its limit", async || status(&home, &client).await == 429).await;
    for level in ["debug", "info"] {
        let other = format!("{}[log]\nlevel = \"{level}\"\n", limited(limit));
        takes_up(&home, &running, &other).await;
        assert_eq!(status(&home, &client).await, 429);
    }
    takes_up(&home, &running, &limited(&limit.replace("burst = 3", "burst = 30"))).await;
    assert_eq!(status(&home, &client).await, 200);
}

/// As the kubelet does it: a folder for each version, and one link that is turned. A watch on the files would see
/// the first turn and no other.
#[tokio::test]
async fn a_volume_that_is_swapped_is_taken_up_each_time() {
    const TURNS: u64 = 12;
    let home = Home::new();
    let server = Server::start(|_| async { cards() }).await.unwrap();
    let volume = home.path("volume");
    fs::create_dir(&volume).unwrap();
    let here = home.path("").display().to_string();
    let config =
        home.config(&server.url()).replace(&format!("{here}tls"), &format!("{here}volume/tls"));
    // Only what is heard counts.
    let config = format!("{config}[reload]\npoll = \"1h\"\n");
    let turn = |version: u64| {
        let name = format!("..version_{version}");
        fs::create_dir(volume.join(&name)).unwrap();
        for file in ["tls.crt", "tls.key"] {
            fs::copy(home.path(file), volume.join(&name).join(file)).unwrap();
        }
        fs::write(volume.join(&name).join("hookgate.toml"), format!("{config}# {version}\n"))
            .unwrap();
        symlink(&name, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        if let Some(before) = version.checked_sub(1) {
            fs::remove_dir_all(volume.join(format!("..version_{before}"))).unwrap();
        }
    };
    turn(0);
    for file in ["tls.crt", "tls.key", "hookgate.toml"] {
        symlink(format!("..data/{file}"), volume.join(file)).unwrap();
    }
    let running = Running::start(&volume.join("hookgate.toml"));
    let client = home.http().build().unwrap();
    running.await_line(|line| line["message"] == "serving");
    assert_eq!(status(&home, &client).await, 200);
    for version in 1..=TURNS {
        let (before, _) = reloads(&running).await;
        turn(version);
        until("it is taken up", async || reloads(&running).await.0 > before).await;
    }
    assert_eq!(status(&home, &client).await, 200);
}

#[tokio::test]
async fn half_a_pair_is_refused_and_taken_up_with_its_other_half() {
    let (home, next) = (Home::new(), Home::new());
    let server = Server::start(|_| async { cards() }).await.unwrap();
    let running = home.serve(&format!("{}[reload]\npoll = \"1h\"\n", home.config(&server.url())));
    let arrives = |file: &str| fs::copy(next.path(file), home.path(file)).unwrap();
    // The key comes late.
    arrives("tls.crt");
    until("it is refused", async || reloads(&running).await.1 > 0).await;
    assert_eq!(status(&home, &home.http().build().unwrap()).await, 200);
    assert_eq!(reloads(&running).await.0, 0);
    arrives("tls.key");
    until("it is taken up", async || reloads(&running).await.0 > 0).await;
    assert_eq!(status(&home, &next.http().build().unwrap()).await, 200);
}

/// The folder is another one each time, and nobody hears of that in the one from before.
#[tokio::test]
async fn what_nobody_hears_of_is_found_by_looking() {
    let home = Home::new();
    let server = Server::start(|_| async { cards() }).await.unwrap();
    let config = format!("{}[reload]\npoll = \"1s\"\n", home.config(&server.url()));
    // Nothing else lies here, so that nobody has a reason to watch it.
    let place = home.path("place");
    let versions = ["one", "two", "three", "four"];
    for version in versions {
        fs::create_dir_all(place.join(version)).unwrap();
        fs::write(place.join(version).join("hookgate.toml"), format!("{config}# {version}\n"))
            .unwrap();
    }
    symlink("one", place.join("conf")).unwrap();
    let running = Running::start(&place.join("conf/hookgate.toml"));
    running.await_line(|line| line["message"] == "serving");
    for version in &versions[1..] {
        let (before, _) = reloads(&running).await;
        symlink(version, place.join("new")).unwrap();
        fs::rename(place.join("new"), place.join("conf")).unwrap();
        until("it is taken up", async || reloads(&running).await.0 > before).await;
    }
    assert_eq!(reloads(&running).await.1, 0);
}

#[tokio::test]
async fn a_new_client_without_keys_takes_no_traffic_away_and_an_old_ones_are_not_fetched_again() {
    let home = Home::new();
    let server = Server::start(|_| async { cards() }).await.unwrap();
    let (fetches, jwks) =
        (Arc::new(Mutex::new(0)), fs::read_to_string(home.path("ehr.jwks")).unwrap());
    let count = Arc::clone(&fetches);
    let keys = Server::start(move |_| {
        *count.lock().unwrap() += 1;
        let jwks = jwks.clone();
        async move { json(200, jwks) }
    });
    let keys = keys.await.unwrap();
    let old = format!("jwks_file = \"{}\"", home.path("ehr.jwks").display());
    let url = format!("jwks_url = \"{}\"\nallow_private_key_server = true", keys.url());
    let good = unwatched(&home.config(&server.url()).replace(&old, &url));
    let running = home.serve(&good);
    until("ready", async || running.health("/readyz").await.unwrap().0 == 200).await;
    let client = home.http().build().unwrap();
    assert_eq!(status(&home, &client).await, 200);
    let nowhere = "[[client]]\nid = \"new\"\nissuer = \"https://new.example\"\n\
                   jwks_url = \"http://127.0.0.1:1/\"\nallow_private_key_server = true\n";
    takes_up(&home, &running, &format!("{good}{nowhere}")).await;
    let (ready, text) = running.health("/readyz").await.unwrap();
    assert!(ready == 200 && text.contains("\"degraded\":[\"keys: new\"]"), "{text}");
    assert_eq!(status(&home, &client).await, 200);
    takes_up(&home, &running, &format!("{good}[log]\nlevel = \"debug\"\n")).await;
    assert_eq!(status(&home, &client).await, 200);
    assert_eq!(*fetches.lock().unwrap(), 1);
    let metrics = running.health("/metrics").await.unwrap().1;
    assert!(
        metrics.contains("hookgate_jwks_fetches_total{client=\"ehr\",outcome=\"ok\"} 1"),
        "{metrics}"
    );
}
