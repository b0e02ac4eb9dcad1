//! A link on a card: opened once, by one browser, for a while, and by nobody who only looks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hookgate::demo::server::json;
use reqwest::Method;
use serde_json::Value;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::harness::{
    Extra, HOOK_INSTANCE, NO_LIMITS, Scene, Trouble, all_lines, card_with_link, card_with_links,
    cookie, gone, hook_body, lines_of, location, opened, page, problem, refused, request_id,
    to_the_eye,
};

/// Where the scene's own service links to.
const TARGET: &str = "https://app.example/?session=4711";
/// What such a service is configured with, below its id.
const SERVICE: &str = "[[service]]\nid = \"*\"\n";
const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

fn unlimited() -> Extra {
    Extra { tables: NO_LIMITS.to_owned(), ..Extra::default() }
}

fn on_disk() -> Extra {
    Extra { disk: true, ..unlimited() }
}

fn links_with(settings: &str) -> Extra {
    Extra { lists: format!("{SERVICE}[service.links]\n{settings}\n"), ..unlimited() }
}

// One winner.

async fn one_of_a_hundred_wins(extra: &Extra) {
    const BROWSERS: usize = 100;
    const ROUNDS: usize = 5;
    let scene = Scene::new(extra).await;
    for round in 0..ROUNDS {
        let link = scene.link().await;
        let start = Arc::new(Barrier::new(BROWSERS));
        let mut browsers = JoinSet::new();
        for _ in 0..BROWSERS {
            let (click, start) = (scene.click(&link), Arc::clone(&start));
            browsers.spawn(async move {
                start.wait().await;
                click.send().await.unwrap()
            });
        }
        let (mut won, mut lost) = (0, 0);
        for answer in browsers.join_all().await {
            if answer.status() == 303 {
                opened(&answer, TARGET);
                won += 1;
            } else {
                gone(&answer);
                lost += 1;
            }
        }
        assert_eq!((won, lost), (1, BROWSERS - 1), "round {round}");
        gone(&scene.click(&link).send().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_hundred_browsers_opens_a_link_kept_in_memory() {
    one_of_a_hundred_wins(&unlimited()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_hundred_browsers_opens_a_link_kept_on_disk() {
    one_of_a_hundred_wins(&on_disk()).await;
}

// Who only looks.

#[tokio::test]
async fn looking_gets_no_target_and_spends_nothing() {
    let scene = Scene::new(&unlimited()).await;
    let link = scene.link().await;
    let get = || scene.click(&link);
    let looks = [
        ("HEAD", scene.bare(Method::HEAD, &link), 200),
        (
            "HEAD that navigates",
            scene.bare(Method::HEAD, &link).header("sec-fetch-mode", "navigate"),
            200,
        ),
        ("prefetch", get().header("sec-purpose", "prefetch"), 503),
        ("prerender", get().header("sec-purpose", "prefetch;prerender"), 503),
        ("former Chrome", get().header("purpose", "prefetch"), 503),
        ("former Safari", get().header("x-purpose", "preview"), 503),
        ("former Firefox", get().header("x-moz", "prefetch"), 503),
        ("two fields", get().header("sec-purpose", "x").header("sec-purpose", "PREFETCH"), 503),
        ("POST ahead", scene.bare(Method::POST, &link).header("sec-purpose", "prefetch"), 503),
        ("HEAD ahead", scene.bare(Method::HEAD, &link).header("purpose", "prefetch"), 200),
        ("scanner", scene.bare(Method::GET, &link), 200),
        (
            "scanner that reads pages",
            scene.bare(Method::GET, &link).header("accept", "text/html"),
            200,
        ),
        ("script", scene.bare(Method::GET, &link).header("sec-fetch-mode", "cors"), 200),
        ("picture", scene.bare(Method::GET, &link).header("sec-fetch-mode", "no-cors"), 200),
        ("socket", scene.bare(Method::GET, &link).header("sec-fetch-mode", "websocket"), 200),
        ("two modes", get().header("sec-fetch-mode", "cors"), 200),
        ("preflight", scene.bare(Method::OPTIONS, &link), 204),
    ];
    for (who, request, status) in looks {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{who}");
        assert_eq!(location(&answer), None, "{who}");
        assert!(!answer.headers().contains_key("set-cookie"), "{who}");
        assert!(!format!("{:?}", answer.headers()).contains("4711"), "{who}");
        let body = answer.text().await.unwrap();
        assert!(!body.contains("4711") && !body.contains("app.example"), "{who}: {body}");
    }
    opened(&scene.click(&link).send().await.unwrap(), TARGET);
}

#[tokio::test]
async fn looking_at_a_spent_link_says_that_it_is_spent() {
    let scene = Scene::new(&unlimited()).await;
    let link = scene.link().await;
    let mark = opened(&scene.click(&link).send().await.unwrap(), TARGET);
    for method in [Method::HEAD, Method::GET] {
        gone(&scene.bare(method.clone(), &link).send().await.unwrap());
        // Who opened it is still offered it again.
        let own = scene.bare(method, &link).header("cookie", &mark).send().await.unwrap();
        assert_eq!(own.status(), 200);
    }
}

#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let scene = Scene::new(&unlimited()).await;
    let link = scene.link().await;
    for method in ["PUT", "DELETE", "PATCH", "PROPFIND"] {
        for accept in ["text/html", "application/json"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = scene.bare(method.clone(), &link).header("accept", accept);
            let answer = answer.header("sec-fetch-mode", "navigate").send().await.unwrap();
            assert_eq!(answer.status(), 405, "{method}");
            assert_eq!(answer.headers()["allow"], "GET, HEAD, POST, OPTIONS", "{method}");
        }
    }
    opened(&scene.click(&link).send().await.unwrap(), TARGET);
}

#[tokio::test]
async fn the_button_opens_the_link_and_keeps_the_query() {
    let scene = Scene::new(&unlimited()).await;
    let link = scene.link().await;
    let with_query = format!("{link}?iss=https://ehr.example/fhir&launch=a%20b+c");
    let page =
        scene.bare(Method::GET, &with_query).header("accept", "text/html").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["cache-control"], "no-store");
    assert!(!page.headers().contains_key("x-frame-options"));
    let html = page.text().await.unwrap();
    // Without `action` a form posts to where its page came from, query included.
    assert!(html.contains(r#"<form method="post"><button type="submit">"#), "{html}");
    let pressed = scene.bare(Method::POST, &with_query);
    let pressed = pressed.header("content-type", "application/x-www-form-urlencoded").body("");
    let expected = format!("{TARGET}&iss=https://ehr.example/fhir&launch=a%20b+c");
    opened(&pressed.send().await.unwrap(), &expected);
    gone(&scene.bare(Method::POST, &link).send().await.unwrap());
    gone(&scene.click(&link).send().await.unwrap());
}

#[tokio::test]
async fn confirm_always_asks_also_who_navigates() {
    let scene = Scene::new(&links_with("confirm = \"always\"")).await;
    let link = scene.link().await;
    for _ in 0..2 {
        let page = scene.click(&link).send().await.unwrap();
        assert_eq!((page.status().as_u16(), location(&page)), (200, None));
        assert!(page.text().await.unwrap().contains("<button"));
    }
    opened(&scene.bare(Method::POST, &link).send().await.unwrap(), TARGET);
    gone(&scene.click(&link).send().await.unwrap());
}

#[tokio::test]
async fn confirm_never_spends_any_get_that_does_not_look_ahead() {
    let scene = Scene::new(&links_with("confirm = \"never\"")).await;
    let link = scene.link().await;
    let ahead = scene.bare(Method::GET, &link).header("purpose", "prefetch").send().await.unwrap();
    assert_eq!(ahead.status(), 503);
    assert_eq!(scene.bare(Method::HEAD, &link).send().await.unwrap().status(), 200);
    opened(&scene.bare(Method::GET, &link).send().await.unwrap(), TARGET);
    gone(&scene.bare(Method::GET, &link).send().await.unwrap());
}

// One browser, for a while.

#[tokio::test]
async fn only_the_browser_that_opened_a_link_may_open_it_again_and_not_for_long() {
    let scene = Scene::new(&unlimited()).await;
    let (link, other_link) = (scene.link().await, scene.link().await);
    let mark = opened(&scene.click(&link).send().await.unwrap(), TARGET);
    let others_mark = opened(&scene.click(&other_link).send().await.unwrap(), TARGET);
    assert_ne!(mark, others_mark);
    let name = mark.split('=').next().unwrap().to_owned();
    let mut altered = mark.clone().into_bytes();
    let place = name.len() + 1;
    altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();

    scene.advance(29 * SECOND);
    let strangers = [
        None,
        Some(others_mark.clone()),
        Some(altered),
        Some(format!("{name}=")),
        Some(format!("{name}=AAAAAAAAAAAAAAAAAAAAAA")),
        Some(format!("{name}=!!!")),
        Some(mark.replace("__Host-", "")),
        Some(mark.replace(&name, &name.to_uppercase())),
        Some(format!("{mark}; {others_mark}")),
        Some(format!("{mark}x")),
    ];
    for stranger in strangers {
        let click = scene.click(&link);
        let click = match &stranger {
            Some(cookie) => click.header("cookie", cookie),
            None => click,
        };
        let answer = click.send().await.unwrap();
        assert_eq!(answer.status(), 410, "{stranger:?}");
        gone(&answer);
    }
    // Its own browser, with whatever else the cookie jar holds.
    let jar = format!("a=b; {mark}; __Host-other=1");
    let again = scene.click(&link).header("cookie", jar).send().await.unwrap();
    assert_eq!(opened(&again, TARGET), mark, "a browser keeps its mark");
    scene.advance(SECOND - MOMENT);
    opened(&scene.click(&link).header("cookie", &mark).send().await.unwrap(), TARGET);
    // The grace runs from the first opening, not from the last.
    scene.advance(MOMENT);
    gone(&scene.click(&link).header("cookie", &mark).send().await.unwrap());
}

#[tokio::test]
async fn one_mark_serves_several_links() {
    let scene = Scene::new(&unlimited()).await;
    let (first, second) = (scene.link().await, scene.link().await);
    let mark = opened(&scene.click(&first).send().await.unwrap(), TARGET);
    let opening = scene.click(&second).header("cookie", &mark).send().await.unwrap();
    assert_eq!(opened(&opening, TARGET), mark);
    for link in [&first, &second] {
        opened(&scene.click(link).header("cookie", &mark).send().await.unwrap(), TARGET);
        gone(&scene.click(link).send().await.unwrap());
    }
}

#[tokio::test]
async fn grace_can_be_none() {
    let scene = Scene::new(&links_with("grace = \"0s\"")).await;
    let link = scene.link().await;
    let first = scene.click(&link).send().await.unwrap();
    let mark = opened(&first, TARGET);
    assert!(first.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0;"));
    gone(&scene.click(&link).header("cookie", mark).send().await.unwrap());
}

#[tokio::test]
async fn the_cookie_is_bound_to_the_host_and_lasts_as_long_as_the_grace() {
    let scene = Scene::new(&unlimited()).await;
    let answer = scene.click(&scene.link().await).send().await.unwrap();
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    let mut parts = set.split("; ");
    let (name, value) = parts.next().unwrap().split_once('=').unwrap();
    assert_eq!((name, value.len()), ("__Host-hookgate", 22));
    let attributes: BTreeSet<&str> = parts.collect();
    let expected = ["HttpOnly", "Max-Age=30", "Partitioned", "Path=/", "SameSite=None", "Secure"];
    assert_eq!(attributes, expected.into());
}

#[tokio::test]
async fn a_link_expires_at_its_second() {
    let scene = Scene::new(&unlimited()).await;
    let (early, late) = (scene.link().await, scene.link().await);
    scene.advance(3600 * SECOND - MOMENT);
    opened(&scene.click(&early).send().await.unwrap(), TARGET);
    scene.advance(MOMENT);
    gone(&scene.click(&late).send().await.unwrap());
    gone(&scene.bare(Method::POST, &late).send().await.unwrap());
    gone(&scene.bare(Method::GET, &late).send().await.unwrap());
    gone(&scene.bare(Method::HEAD, &late).send().await.unwrap());
    assert_eq!(scene.refused("open", "link-expired").await, 4);
}

/// Nobody is told to try again what can only be refused then.
#[tokio::test]
async fn a_link_that_expires_while_it_is_opened_has_expired() {
    let trouble = Some(Trouble::None);
    let scene = Scene::new(&Extra { trouble, ..links_with("lifetime = \"10s\"") }).await;
    for (code, expected) in [
        (Method::GET, page(410, "link-gone", "link-expired")),
        (Method::POST, problem(410, "link-gone", "link-expired")),
    ] {
        scene.store().gets(Trouble::None);
        let link = scene.link().await;
        scene.advance(SECOND * 9);
        scene.store().gets(Trouble::Slow(SECOND));
        let request =
            if code == Method::GET { scene.click(&link) } else { scene.bare(code, &link) };
        refused(request.send().await.unwrap(), expected, "while it is opened").await;
    }
}

#[tokio::test]
async fn the_lifetime_is_the_services_own() {
    let scene = Scene::new(&links_with("lifetime = \"10s\"")).await;
    let link = scene.link().await;
    let mark = opened(&scene.click(&link).send().await.unwrap(), TARGET);
    scene.advance(10 * SECOND);
    // Expiry ends the grace too.
    gone(&scene.click(&link).header("cookie", mark).send().await.unwrap());
    assert_eq!(scene.refused("open", "link-expired").await, 1);
}

// Restarts, and stores that forget.

#[tokio::test]
async fn on_disk_a_restart_changes_nothing() {
    let mut scene = Scene::new(&on_disk()).await;
    let (spent, unopened) = (scene.link().await, scene.link().await);
    let mark = opened(&scene.click(&spent).send().await.unwrap(), TARGET);
    scene.stop().await;
    scene.start().await;
    gone(&scene.click(&spent).send().await.unwrap());
    opened(&scene.click(&spent).header("cookie", &mark).send().await.unwrap(), TARGET);
    opened(&scene.click(&unopened).send().await.unwrap(), TARGET);
    scene.stop().await;
    scene.start().await;
    gone(&scene.click(&unopened).send().await.unwrap());
    scene.advance(30 * SECOND);
    gone(&scene.click(&spent).header("cookie", &mark).send().await.unwrap());
    assert_eq!(scene.refused("open", "link-spent").await, 2);
}

#[tokio::test]
async fn in_memory_a_restart_ends_every_link() {
    let mut scene = Scene::new(&unlimited()).await;
    let (spent, unopened) = (scene.link().await, scene.link().await);
    let mark = opened(&scene.click(&spent).send().await.unwrap(), TARGET);
    scene.stop().await;
    scene.start().await;
    for link in [&spent, &unopened] {
        gone(&scene.click(link).header("cookie", &mark).send().await.unwrap());
    }
    opened(&scene.click(&scene.link().await).send().await.unwrap(), TARGET);
}

#[tokio::test]
async fn a_memory_that_was_lost_ends_links_although_their_key_is_held() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    let tables = format!("{NO_LIMITS}[keyring]\nfile = \"{}\"\n", file.display());
    let mut scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    let (spent, unopened) = (scene.link().await, scene.link().await);
    let mark = opened(&scene.click(&spent).send().await.unwrap(), TARGET);
    scene.stop().await;
    scene.start().await;
    for link in [&spent, &unopened] {
        gone(&scene.click(link).header("cookie", &mark).send().await.unwrap());
    }
    assert_eq!(scene.refused("open", "link-forgotten").await, 2);
}

#[tokio::test]
async fn a_state_file_that_was_removed_ends_links_although_their_key_is_held() {
    let mut scene = Scene::new(&on_disk()).await;
    let (spent, unopened) = (scene.link().await, scene.link().await);
    let mark = opened(&scene.click(&spent).send().await.unwrap(), TARGET);
    scene.stop().await;
    std::fs::remove_file(scene.directory().join("state/state.redb")).unwrap();
    scene.start().await;
    for link in [&spent, &unopened] {
        gone(&scene.click(link).header("cookie", &mark).send().await.unwrap());
    }
    assert_eq!(scene.refused("open", "link-forgotten").await, 2);
    scene.outlast_the_skew();
    let link = scene.link().await;
    opened(&scene.click(&link).send().await.unwrap(), TARGET);
    gone(&scene.click(&link).send().await.unwrap());
}

#[tokio::test]
async fn an_old_copy_of_the_state_file_revives_nothing() {
    let mut scene = Scene::new(&on_disk()).await;
    let (spent, unopened) = (scene.link().await, scene.link().await);
    let (file, copy) =
        (scene.directory().join("state/state.redb"), scene.directory().join("copy.redb"));
    scene.stop().await;
    std::fs::copy(&file, &copy).unwrap();
    scene.start().await;
    opened(&scene.click(&spent).send().await.unwrap(), TARGET);
    scene.stop().await;
    std::fs::copy(&copy, &file).unwrap();
    scene.start().await;
    for link in [&spent, &unopened] {
        gone(&scene.click(link).send().await.unwrap());
    }
    assert_eq!(scene.refused("open", "link-forgotten").await, 2);
}

#[tokio::test]
async fn another_gateways_link_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    let shared = format!("{NO_LIMITS}[keyring]\nfile = \"{}\"\n", file.display());
    let shared = Extra { tables: shared, ..Extra::default() };
    let (here, same_keys) = (Scene::new(&shared).await, Scene::new(&shared).await);
    let other_keys = Scene::new(&unlimited()).await;
    for other in [&same_keys, &other_keys] {
        let link = other.link().await;
        let token = link.rsplit('/').next().unwrap();
        gone(&here.click(&format!("{}/open/{token}", here.public_url)).send().await.unwrap());
        opened(&other.click(&link).send().await.unwrap(), TARGET);
    }
}

// Where the redirect leads.

#[tokio::test]
async fn what_the_client_appends_goes_before_the_fragment_byte_for_byte() {
    // The sandbox appends an unencoded `iss`.
    const ISS: &str = "iss=https://ehr.example/fhir/r4&launch=4a7b";
    let plain = "https://app.example/x";
    let rows = [
        (plain, "", "https://app.example/x".to_owned()),
        (plain, "?", "https://app.example/x".to_owned()),
        (plain, "?a=1", "https://app.example/x?a=1".to_owned()),
        (plain, &format!("?{ISS}"), format!("https://app.example/x?{ISS}")),
        ("https://app.example", "?a=1", "https://app.example?a=1".to_owned()),
        ("https://app.example/x?", "?a=1", "https://app.example/x?a=1".to_owned()),
        ("https://app.example/x?", "", "https://app.example/x?".to_owned()),
        ("https://app.example/x?b=2", "", "https://app.example/x?b=2".to_owned()),
        ("https://app.example/x?b=2", "?a=1", "https://app.example/x?b=2&a=1".to_owned()),
        ("https://app.example/x?b=2&", "?a=1", "https://app.example/x?b=2&a=1".to_owned()),
        (
            "https://app.example/x?b=2",
            &format!("?{ISS}"),
            format!("https://app.example/x?b=2&{ISS}"),
        ),
        ("https://app.example/x#f", "", "https://app.example/x#f".to_owned()),
        ("https://app.example/x#f", "?a=1", "https://app.example/x?a=1#f".to_owned()),
        ("https://app.example/x#", "?a=1", "https://app.example/x?a=1#".to_owned()),
        ("https://app.example/x?b#f", "?a=1", "https://app.example/x?b&a=1#f".to_owned()),
        (
            "https://app.example/x?b=2#f?c=3",
            "?a=1",
            "https://app.example/x?b=2&a=1#f?c=3".to_owned(),
        ),
        (
            "https://app.example/#/route?c=3",
            "?a=1",
            "https://app.example/?a=1#/route?c=3".to_owned(),
        ),
        (
            "https://app.example/#!/r#s",
            &format!("?{ISS}"),
            format!("https://app.example/?{ISS}#!/r#s"),
        ),
        (plain, "?a=1&a=1&a", "https://app.example/x?a=1&a=1&a".to_owned()),
        (plain, "?a=%2f%2F%c3%A4+%20", "https://app.example/x?a=%2f%2F%c3%A4+%20".to_owned()),
        (plain, "?a=%0d%0aSet-Cookie:x", "https://app.example/x?a=%0d%0aSet-Cookie:x".to_owned()),
        (plain, "??a=1", "https://app.example/x??a=1".to_owned()),
        (plain, "?&a=1&", "https://app.example/x?&a=1&".to_owned()),
        (plain, "?a[0]={1}|2;3", "https://app.example/x?a[0]={1}|2;3".to_owned()),
        (
            "https://app.example/%7Ex/../y//z;p=1",
            "?a",
            "https://app.example/%7Ex/../y//z;p=1?a".to_owned(),
        ),
        ("HTTPS://App.Example:443/x", "?a=1", "HTTPS://App.Example:443/x?a=1".to_owned()),
        ("http://app.example/x", "?a=1", "http://app.example/x?a=1".to_owned()),
        ("https://user:pass@app.example/x", "", "https://user:pass@app.example/x".to_owned()),
        ("https://app.example/ä?n=ö", "?a=1", "https://app.example/%C3%A4?n=%C3%B6&a=1".to_owned()),
    ];
    let scene = Scene::new(&unlimited()).await;
    let targets: Vec<&str> = rows.iter().map(|(target, ..)| *target).collect();
    let cards = card_with_links(&targets);
    scene.service.plays(move |_| json(200, cards.clone()));
    let links = scene.links().await;
    assert_eq!(links.len(), rows.len());
    for ((target, appended, expected), link) in rows.iter().zip(links) {
        let answer = scene.click(&format!("{link}{appended}")).send().await.unwrap();
        assert_eq!(answer.status(), 303, "{target} {appended}");
        assert_eq!(location(&answer), Some(expected.as_str()), "{target} {appended}");
    }
}

#[tokio::test]
async fn a_target_too_long_for_a_url_is_kept_and_found_again() {
    let mut scene = Scene::new(&on_disk()).await;
    let of_length = |length: usize| {
        let begin = "https://app.example/launch?session=";
        format!("{begin}{}", "s".repeat(length - begin.len()))
    };
    let targets: Vec<String> =
        [1300, 1400, 1450, 1500, 1999, 2000, 2001, 4000, 12_000].map(of_length).into();
    let cards = card_with_links(&targets.iter().map(String::as_str).collect::<Vec<_>>());
    scene.service.plays(move |_| json(200, cards.clone()));
    let links = scene.links().await;
    assert!(links.iter().all(|link| link.len() < 2000));
    scene.stop().await;
    scene.start().await;
    for (target, link) in targets.iter().zip(&links) {
        let answer = scene.click(&format!("{link}?iss=https://e/f")).send().await.unwrap();
        opened(&answer, &format!("{target}&iss=https://e/f"));
        gone(&scene.click(link).send().await.unwrap());
    }
    // The sealed targets are on disk, and not to be read there.
    let state = std::fs::read(scene.directory().join("state/state.redb")).unwrap();
    assert!(!state.windows(20).any(|window| window == b"ssssssssssssssssssss"));
}

#[tokio::test]
async fn the_redirect_has_these_headers_and_no_other() {
    let scene = Scene::new(&unlimited()).await;
    let answer = scene.click(&scene.link().await).send().await.unwrap();
    opened(&answer, TARGET);
    let headers = answer.headers();
    let names: BTreeSet<&str> = headers.keys().map(|name| name.as_str()).collect();
    let expected = [
        "cache-control",
        "date",
        "location",
        "referrer-policy",
        "set-cookie",
        "x-content-type-options",
        "x-request-id",
    ];
    assert_eq!(names, expected.into());
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(answer.text().await.unwrap(), "");
}

// Refusals.

#[tokio::test]
async fn forged_expired_spent_and_forgotten_look_the_same() {
    let mut scene = Scene::new(&on_disk()).await;
    let expired = scene.link().await;
    scene.advance(3600 * SECOND);
    let forgotten = scene.link().await;
    scene.stop().await;
    std::fs::remove_file(scene.directory().join("state/state.redb")).unwrap();
    scene.start().await;
    scene.outlast_the_skew();
    let spent = scene.link().await;
    opened(&scene.click(&spent).send().await.unwrap(), TARGET);
    let fresh = scene.link().await;
    let forged = format!("{}AAAA", &fresh[..fresh.len() - 4]);
    let open = format!("{}/open/", scene.public_url);
    let links = [
        ("spent", spent),
        ("expired", expired),
        ("forgotten", forgotten),
        ("forged", forged),
        ("cut off", fresh[..fresh.len() - 1].to_owned()),
        ("no token", format!("{open}x")),
        ("no base64", format!("{open}a.b.c")),
        ("empty seal", format!("{open}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        ("too long", format!("{open}{}", "A".repeat(2500))),
    ];
    for accept in ["text/html", "application/json", "*/*"] {
        for method in [Method::GET, Method::POST, Method::HEAD] {
            let mut first = None;
            for (what, link) in &links {
                let request = scene.bare(method.clone(), link).header("accept", accept);
                let request = request.header("sec-fetch-mode", "navigate");
                let seen = to_the_eye(request.send().await.unwrap()).await;
                assert_eq!(seen.0, 410, "{what}");
                assert_eq!(seen.1["cache-control"], "no-store", "{what}");
                let expected = first.get_or_insert_with(|| seen.clone());
                assert_eq!(&seen, expected, "{what} {method} {accept}");
            }
            let (_, headers, body) = first.unwrap();
            let html = headers["content-type"] == "text/html; charset=utf-8";
            assert_eq!(html, accept == "text/html");
            if method != Method::HEAD && !html {
                assert_eq!(headers["content-type"], "application/problem+json");
                let problem: Value = serde_json::from_str(&body).unwrap();
                let expected = serde_json::json!({
                    "type": "about:blank", "title": "Gone", "status": 410, "code": "link-gone",
                    "instance": "urn:uuid:{id}",
                });
                assert_eq!(problem, expected);
            }
        }
    }
    opened(&scene.click(&fresh).send().await.unwrap(), TARGET);
    // Inside they are told apart: three ways to read, three methods, and then some.
    for (reason, at_least) in [
        ("link-spent", 9),
        ("link-expired", 9),
        ("link-forgotten", 9),
        ("link-forged", 9),
        ("link-malformed", 9),
    ] {
        assert!(scene.refused("open", reason).await >= at_least, "{reason}");
    }
}

#[tokio::test]
async fn the_log_says_whose_link_it_was_and_why_and_nothing_of_the_link() {
    let scene = Scene::new(&unlimited()).await;
    let (spent, expired) = (scene.link().await, scene.link().await);
    let seconds_mark = opened(&scene.click(&spent).send().await.unwrap(), TARGET);
    let opening = scene.click(&format!("{spent}?launch=appended-by-the-ehr"));
    let opening = opening.header("cookie", &seconds_mark).send().await.unwrap();
    let forged = format!("{}AAAA", &spent[..spent.len() - 4]);
    let mut answers = vec![(opening, Value::Null, true)];
    answers.push((scene.click(&spent).send().await.unwrap(), "link-spent".into(), true));
    answers.push((scene.click(&forged).send().await.unwrap(), "link-forged".into(), false));
    scene.advance(3600 * SECOND);
    answers.push((scene.click(&expired).send().await.unwrap(), "link-expired".into(), true));
    for (answer, reason, known) in answers {
        let lines = lines_of(&request_id(&answer));
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line["reason"], reason);
        assert_eq!(line["code"], if reason.is_null() { Value::Null } else { "link-gone".into() });
        assert_eq!(line["way"], "open");
        let owner =
            if known { ["ehr".into(), HOOK_INSTANCE.into()] } else { [Value::Null, Value::Null] };
        assert_eq!([line["client"].clone(), line["hook_instance"].clone()], owner, "{reason}");
        let text = line.to_string();
        for secret in [&spent, &expired, &forged] {
            let token = secret.rsplit('/').next().unwrap();
            assert!(!text.contains(&token[..40]), "{text}");
        }
        let mark = seconds_mark.rsplit('=').next().unwrap();
        for secret in ["app.example", "4711", "appended-by-the-ehr", mark] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert!(!all_lines().contains("session=4711"));
}

#[tokio::test]
async fn every_altered_byte_of_a_token_makes_it_worthless() {
    let scene = Scene::new(&unlimited()).await;
    let link = scene.link().await;
    let begin = scene.public_url.len() + "/open/".len();
    for place in begin..link.len() {
        let mut altered = link.clone().into_bytes();
        altered[place] = if altered[place] == b'A' { b'Q' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        gone(&scene.click(&altered).send().await.unwrap());
    }
    opened(&scene.click(&link).send().await.unwrap(), TARGET);
}

#[tokio::test]
async fn too_many_clicks_from_one_address_are_told_to_wait() {
    let tables = "[limits]\nopen_address = { per_minute = 6, burst = 2 }\n";
    let scene = Scene::new(&Extra { tables: tables.to_owned(), ..Extra::default() }).await;
    let link = scene.link().await;
    for _ in 0..2 {
        gone(&scene.click(&format!("{}/open/x", scene.public_url)).send().await.unwrap());
    }
    let page = scene.click(&link).send().await.unwrap();
    assert_eq!(page.status(), 429);
    assert_eq!(page.headers()["retry-after"], "10");
    assert_eq!(page.headers()["cache-control"], "no-store");
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().contains("Please wait a moment"));
    let problem = scene.bare(Method::GET, &link).header("accept", "application/json");
    let problem = problem.send().await.unwrap();
    assert_eq!(problem.status(), 429);
    assert_eq!(problem.headers()["retry-after"], "10");
    assert_eq!(problem.headers()["content-type"], "application/problem+json");
    assert_eq!(problem.json::<Value>().await.unwrap()["code"], "limited");
    // EHRs' calls are another matter, and the link is as it was.
    scene.cards().await;
    scene.advance(10 * SECOND);
    opened(&scene.click(&link).send().await.unwrap(), TARGET);
    assert_eq!(scene.refused("open", "limit-open-address").await, 2);
}

#[tokio::test]
async fn a_full_store_opens_nothing_and_loses_nothing() {
    for disk in [false, true] {
        // The call's jti and the record of its ids fill it.
        let tables = format!("max_entries = 2\n{NO_LIMITS}");
        let scene = Scene::new(&Extra { tables, disk, ..Extra::default() }).await;
        let link = scene.link().await;
        let page = scene.click(&link).send().await.unwrap();
        assert_eq!(page.status(), 503);
        assert_eq!(page.headers()["retry-after"], "5");
        assert_eq!(location(&page), None);
        assert!(!page.headers().contains_key("set-cookie"));
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert!(page.text().await.unwrap().contains("cannot be opened right now"));
        let problem = scene.bare(Method::POST, &link).send().await.unwrap();
        assert_eq!(problem.status(), 503);
        assert_eq!(problem.json::<Value>().await.unwrap()["code"], "store");
        assert_eq!(scene.refused("open", "store-full").await, 2);
        // The token has expired by now, and its jti need not be remembered any longer.
        scene.advance(331 * SECOND);
        opened(&scene.click(&link).send().await.unwrap(), TARGET);
        gone(&scene.click(&link).send().await.unwrap());
    }
}

#[tokio::test]
async fn cards_go_out_without_ids_where_the_store_has_no_room_for_them() {
    let tables = format!("max_entries = 1\n{NO_LIMITS}");
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    let answer = scene.cards().await;
    let card = &answer["cards"][0];
    assert_eq!(card.get("uuid"), None);
    assert_eq!(card["suggestions"], serde_json::json!([{"label": "a"}, {"label": "b"}]));
    assert!(card["links"][0]["url"].as_str().unwrap().contains("/open/"));
}

#[tokio::test]
async fn a_link_whose_client_or_service_left_the_configuration_is_gone() {
    let lists = "[[service]]\nid = \"patient-greeting\"\n".to_owned();
    for (from, to) in [("id = \"ehr\"", "id = \"new\""), ("patient-greeting", "other")] {
        let mut scene = Scene::new(&Extra { lists: lists.clone(), ..on_disk() }).await;
        let link = scene.link().await;
        scene.stop().await;
        scene.reconfigure(from, to);
        scene.start().await;
        gone(&scene.click(&link).send().await.unwrap());
        assert_eq!(scene.refused("open", "link-orphaned").await, 1);
        scene.stop().await;
        scene.reconfigure(to, from);
        scene.start().await;
        opened(&scene.click(&link).send().await.unwrap(), TARGET);
    }
}

// What the EHR is told.

#[tokio::test]
async fn links_and_their_cards_say_when_they_expire() {
    let scene = Scene::new(&unlimited()).await;
    scene.service.plays(|_| {
        json(
            200,
            serde_json::json!({"cards": [
                {"summary": "a", "links": [
                    {"label": "x", "url": "https://app.example/", "type": "absolute"},
                    {"label": "y", "url": "https://app.example/", "type": "smart"},
                    {"label": "z", "url": "https://app.example/", "extension": {"own": 1}},
                ]},
                {"summary": "b"},
            ]})
            .to_string(),
        )
    });
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    assert_eq!(response.headers()["expires"], "Mon, 23 Nov 2026 19:00:00 GMT");
    let cards: Value = response.json().await.unwrap();
    let said = serde_json::json!({"expiresAt": "2026-11-23T19:00:00Z", "uses": 1});
    let cards = &cards["cards"];
    assert_eq!(cards[0]["extension"], serde_json::json!({"org.hookgate": said}));
    let links = &cards[0]["links"];
    assert_eq!(links[0]["extension"], serde_json::json!({"org.hookgate": said}));
    assert_eq!(links[1].get("extension"), None);
    assert_eq!(links[1]["url"], "https://app.example/");
    assert_eq!(links[2]["extension"], serde_json::json!({"own": 1, "org.hookgate": said}));
    assert_eq!(cards[1], serde_json::json!({"summary": "b"}));
}

#[tokio::test]
async fn nothing_is_said_where_nothing_was_rewritten_or_the_service_says_so() {
    let lists = format!("{SERVICE}[service.cards]\nannounce = false\n");
    let scene = Scene::new(&Extra { lists, ..unlimited() }).await;
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    assert!(!response.headers().contains_key("expires"));
    let body = response.text().await.unwrap();
    assert!(body.contains("/open/") && !body.contains("org.hookgate"), "{body}");

    let scene = Scene::new(&unlimited()).await;
    scene.service.plays(|_| json(200, r#"{"cards": [ ]}"#.to_owned()));
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    assert!(!response.headers().contains_key("expires"));
    assert_eq!(response.text().await.unwrap(), r#"{"cards": [ ]}"#);
}

#[tokio::test]
async fn each_answer_has_links_of_its_own() {
    let scene = Scene::new(&unlimited()).await;
    let cards = card_with_link(TARGET);
    scene.service.plays(move |_| json(200, cards.clone()));
    let mut links = BTreeSet::new();
    for _ in 0..10 {
        links.insert(scene.link().await);
    }
    assert_eq!(links.len(), 10);
    let mut marks = BTreeSet::new();
    for link in &links {
        marks.insert(cookie(&scene.click(link).send().await.unwrap()));
    }
    assert_eq!(marks.len(), 10);
}
