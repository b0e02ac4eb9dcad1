//! The status page in a browser: at every width, by keyboard, without scripts, and from other pages.

use std::time::Duration;

use fantoccini::key::Key;
use fantoccini::{Client, Locator};
use serde_json::{Value, json};

use crate::chart::{click, reads};
use crate::driver::{Driver, JavaScript, devtools, logged};
use crate::harness::{Extra, Scene, hook_body};
use crate::measure::{look, measure, picture, press};
use crate::site::Site;

const SECTIONS: [&str; 10] = [
    "clients",
    "services",
    "refusals",
    "links",
    "limits",
    "store",
    "certificates",
    "keys",
    "configuration",
    "journal",
];

/// A gateway at which an hour of ordinary trouble has passed.
async fn scene() -> Scene {
    let extra = Extra {
        tables: "[limits]\nfailing_address = { per_minute = 30, burst = 80 }\n\
                 open_address = { per_minute = 2, burst = 20 }\n"
            .to_owned(),
        disk: true,
        ..Extra::default()
    };
    let scene = Scene::new(&extra).await;
    scene.outlast_the_skew();
    for minute in 0..50_u64 {
        let token = scene.token(&scene.endpoint());
        for _ in 0..=minute % 3 {
            scene.post_with(&scene.endpoint(), &token, hook_body()).await;
        }
        if minute % 4 == 0 {
            scene.post_with(&scene.endpoint(), "x.y.z", hook_body()).await;
        }
        if minute % 5 == 1 {
            let claims = scene.claims("https://elsewhere.example/");
            let token = scene.key.sign(&claims, None).unwrap();
            scene.post_with(&scene.endpoint(), &token, hook_body()).await;
        }
        if minute % 6 == 3 {
            let opened = scene.http().get(format!("{}/open/AQ", scene.public_url));
            opened.send().await.unwrap();
        }
        if minute > 40 {
            let cards = scene.cards().await;
            let link = cards["cards"][0]["links"][0]["url"].as_str().unwrap();
            for _ in 0..=minute % 2 {
                let opened = scene.http().get(link).header("sec-fetch-mode", "navigate");
                opened.send().await.unwrap();
            }
        }
        scene.advance(Duration::from_secs(60));
    }
    for _ in 0..9 {
        scene.http().get(format!("{}/open/AQ", scene.public_url)).send().await.unwrap();
    }
    // The key file breaks, and the certificate is near its end: both are told at the top.
    std::fs::write(scene.directory().join("ehr.jwks"), "{}").unwrap();
    reqwest::get(scene.admin()).await.unwrap();
    let mut about = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    about.not_after = rcgen::date_time_ymd(2026, 12, 9);
    let signed = about.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    std::fs::write(scene.directory().join("tls.crt"), signed.pem()).unwrap();
    scene.advance(Duration::from_secs(30));
    scene.cards().await;
    scene
}

/// What is on the page, and in which order the keyboard meets it.
const STRUCTURE: &str = r#"
const ids = new Set([...document.querySelectorAll("[id]")].map(e => e.id));
return {
  landmarks: ["header", "nav", "main", "footer"].map(name => document.querySelectorAll(name).length),
  headings: [...document.querySelectorAll("h1, h2, h3")].map(h => [+h.tagName[1], h.textContent]),
  sections: [...document.querySelectorAll("section[aria-labelledby]")]
    .filter(s => ids.has(s.getAttribute("aria-labelledby"))).map(s => s.id),
  uncaptioned: [...document.querySelectorAll("table")].filter(t => !t.caption || !t.caption.textContent.trim()).length,
  unscoped: [...document.querySelectorAll("th")].filter(th => !th.scope).length,
  drawings: [...document.querySelectorAll("svg")].filter(s =>
    s.getAttribute("aria-hidden") !== "true" && !(s.querySelector("title") && s.querySelector("desc"))).length,
  unnamed: [...document.querySelectorAll("button")].filter(b => !b.getAttribute("aria-label")).length,
  broken: [...document.querySelectorAll("a[href^='#']")].filter(a => !ids.has(a.hash.slice(1))).length,
  bars: document.querySelectorAll("figure svg rect").length,
};"#;

/// The contrast of everything that is drawn with what is behind it.
const DRAWN: &str = r#"
const luminance = colour => {
  const [r, g, b] = colour.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const parse = text => text.match(/[\d.]+/g).map(Number).slice(0, 3);
const panel = luminance(parse(getComputedStyle(document.querySelector(".panel")).backgroundColor));
const contrast = text => {
  const own = luminance(parse(text));
  return (Math.max(own, panel) + 0.05) / (Math.min(own, panel) + 0.05);
};
return [
  ...[...document.querySelectorAll("figure rect, .bar .used")].map(r => contrast(getComputedStyle(r).fill)),
  ...[...document.querySelectorAll(".swatch")].map(s => contrast(getComputedStyle(s).backgroundColor)),
];"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_can_be_read_at_every_width_in_light_and_dark() {
    let (scene, driver) = (scene().await, Driver::start());
    let browser = driver.new_session(JavaScript::On).await;
    logged(&browser, "performance").await;
    browser.goto(scene.admin()).await.expect("the page");
    reads(&browser, ".brand strong", "hookgate").await;
    let told = browser.find(Locator::Css(".attention")).await.expect("what is wrong");
    let told = told.text().await.expect("a text");
    let structure = browser.execute(STRUCTURE, Vec::new()).await.expect("its structure");
    check_structure(&structure);
    for (width, scheme) in [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")] {
        look(&browser, width, scheme).await;
        let measured = measure(&browser).await;
        let at = format!("{width} px, {scheme}: {measured}");
        assert!(measured["overflow"].as_f64().unwrap() <= 0.0, "{at}");
        assert!(measured["smallest"].as_f64().unwrap() >= 12.0, "{at}");
        let contrasts = measured["contrasts"].as_array().unwrap();
        assert!(contrasts.len() > 100, "{at}");
        let faint: Vec<&Value> =
            contrasts.iter().filter(|pair| pair[1].as_f64().unwrap() < 4.5).collect();
        assert!(faint.is_empty(), "{width} px, {scheme}: {faint:?}");
        let least = if width == 360 { 44.0 } else { 36.0 };
        let buttons = measured["buttons"].as_array().unwrap();
        assert!(
            buttons.len() >= 4 && buttons.iter().all(|height| height.as_f64().unwrap() >= least),
            "{at}"
        );
        let drawn = browser.execute(DRAWN, Vec::new()).await.expect("the contrasts");
        let drawn: Vec<f64> =
            drawn.as_array().unwrap().iter().map(|c| c.as_f64().unwrap()).collect();
        assert!(
            drawn.len() > 40 && drawn.iter().all(|contrast| *contrast >= 3.0),
            "{at}: {drawn:?}"
        );
        for warned in ["ends in 15 days", "could not be read (not-a-set)"] {
            assert!(told.contains(warned), "{warned}: {told}");
        }
        whole(&browser, width).await;
        picture(&browser, &format!("status-{width}-{scheme}")).await;
    }
    for line in logged(&browser, "performance").await {
        let event: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
        if event["message"]["method"] == "Network.requestWillBeSent" {
            let asked = event["message"]["params"]["request"]["url"].as_str().unwrap();
            assert!(asked.starts_with(scene.admin()), "{asked}");
        }
    }
    let console = logged(&browser, "browser").await;
    assert!(console.is_empty(), "{console:?}");
    browser.close().await.expect("an end");
}

/// Pictures in the documentation are no taller.
const TALLEST: u64 = 1300;

/// Makes the window as tall as the page, at most as a picture may be.
async fn whole(browser: &Client, width: u32) {
    let height = browser.execute("return document.documentElement.scrollHeight", Vec::new()).await;
    let height = height.expect("a height").as_u64().unwrap().min(TALLEST);
    let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
    devtools(browser, "Emulation.setDeviceMetricsOverride", screen).await;
    devtools(browser, "Emulation.setScrollbarsHidden", json!({"hidden": true})).await;
}

fn check_structure(structure: &Value) {
    assert_eq!(structure["landmarks"], json!([1, 1, 1, 1]), "{structure:#}");
    let sections = structure["sections"].as_array().unwrap();
    for section in SECTIONS {
        assert!(sections.contains(&json!(section)), "{section}: {structure:#}");
    }
    let levels: Vec<u64> =
        structure["headings"].as_array().unwrap().iter().map(|h| h[0].as_u64().unwrap()).collect();
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1, "{structure:#}");
    assert!(
        levels.windows(2).all(|pair| pair[1] <= pair[0] + 1),
        "a level is left out: {levels:?}"
    );
    for none in ["uncaptioned", "unscoped", "drawings", "unnamed", "broken"] {
        assert_eq!(structure[none], 0, "{none}: {structure:#}");
    }
    assert!(structure["bars"].as_u64().unwrap() > 30, "{structure:#}");
}

/// The names of what the keyboard meets, one after the other.
async fn met(browser: &Client, times: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..times {
        press(browser, &[Key::Tab]).await;
        let focused = browser.active_element().await.expect("the focus");
        let label = focused.attr("aria-label").await.expect("a label");
        let text = focused.text().await.expect("a text");
        names.push(label.unwrap_or(text));
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_presses_every_button_with_and_without_scripts() {
    let driver = Driver::start();
    for javascript in [JavaScript::On, JavaScript::Off] {
        let extra = Extra { disk: true, ..Extra::default() };
        let scene = Scene::new(&extra).await;
        let browser = driver.new_session(javascript).await;
        browser.goto(scene.admin()).await.expect("the page");
        reads(&browser, ".brand strong", "hookgate").await;
        let met = met(&browser, 20).await;
        assert_eq!(met[0], "Skip to content", "{met:?}");
        for (label, said) in [
            ("Fetch the keys of ehr now", "Fetch the keys of ehr: done"),
            ("Step 1: add next keys", "Add next keys: done"),
            ("Step 2: make the next keys current", "Make the next keys current: not done"),
            ("Step 3: drop earlier keys", "Drop earlier keys: not done"),
        ] {
            assert!(
                met.iter().any(|name| name == label),
                "the keyboard does not meet {label}: {met:?}"
            );
            browser.goto(scene.admin()).await.expect("the page");
            reads(&browser, ".brand strong", "hookgate").await;
            press_named(&browser, label).await;
            reads(&browser, "#done strong", said).await;
        }
        assert!(browser.current_url().await.unwrap().as_str().ends_with("/?done=4#done"));
        // A reload shows the page, and presses nothing.
        browser.refresh().await.expect("a reload");
        reads(&browser, "#done strong", "Drop earlier keys: not done").await;
        let rows = browser.find_all(Locator::Css("#journal tbody tr")).await.expect("the list");
        assert_eq!(rows.len(), 4);
        let console = logged(&browser, "browser").await;
        assert!(console.is_empty(), "{javascript:?}: {console:?}");
        browser.close().await.expect("an end");
    }
}

/// Goes to the button with the keyboard alone, and presses it.
async fn press_named(browser: &Client, label: &str) {
    for _ in 0..40 {
        press(browser, &[Key::Tab]).await;
        let focused = browser.active_element().await.expect("the focus");
        if focused.attr("aria-label").await.expect("a label").as_deref() == Some(label) {
            press(browser, &[Key::Enter]).await;
            return;
        }
    }
    panic!("the keyboard does not come to {label}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_page_in_the_operators_browser_can_do_nothing() {
    let scene = Scene::new(&Extra { disk: true, ..Extra::default() }).await;
    let (driver, browser_page) = (Driver::start(), Site::with_page("").await);
    let browser = driver.new_session(JavaScript::On).await;
    browser.goto(scene.admin()).await.expect("the page");
    let mark = browser.find(Locator::Css("input[name=mark]")).await.expect("a form");
    let mark = mark.attr("value").await.expect("a mark").expect("a mark");
    let file = scene.directory().join("state/keys.json");
    let before = std::fs::read(&file).unwrap();
    let port = scene.admin().rsplit(':').next().unwrap().to_owned();

    // Even with a mark that it has somehow learnt.
    browser_page.shows(format!(
        "<!doctype html><title>x</title><form method=post action='{}/keys/new'>\
         <input name=mark value='{mark}'><button>Win a prize</button></form>",
        scene.admin()
    ));
    browser.goto(&browser_page.url("evil.test", "/")).await.expect("the other page");
    click(&browser, "button").await;
    // Chromium itself may stop a public page from posting to this machine; if it does not, we do.
    for _ in 0..200 {
        let source = browser.source().await.unwrap_or_default();
        if !source.contains("Win a prize") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(std::fs::read(&file).unwrap(), before, "another page changed the keys");

    // A name that leads to this machine is not this page's.
    browser.goto(&format!("http://rebound.test:{port}/")).await.expect("an answer");
    reads(&browser, "h1", "Misdirected Request").await;

    browser_page
        .shows(format!("<!doctype html><title>x</title><iframe src='{}'></iframe>", scene.admin()));
    browser.goto(&browser_page.url("evil.test", "/")).await.expect("the other page");
    let frame = browser.find(Locator::Css("iframe")).await.expect("the frame");
    frame.enter_frame().await.expect("its page");
    let source = browser.source().await.expect("its source");
    assert!(!source.contains("name=\"mark\""), "it shows in a frame: {source}");
    browser.close().await.expect("an end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_refreshed_when_that_is_wanted_and_stands_still_otherwise() {
    let scene = Scene::new(&Extra::default()).await;
    let driver = Driver::start();
    let browser = driver.new_session(JavaScript::Off).await;
    browser.goto(scene.admin()).await.expect("the page");
    reads(&browser, ".refresh", "Refresh · every 10 s").await;
    click(&browser, ".refresh a[href='/?every=10']").await;
    reads(&browser, ".refresh", "refreshing every 10 s · Stop").await;
    // The page that was loaded anew says a later time.
    scene.advance(Duration::from_secs(7));
    reads(&browser, ".standing time", "2026-11-23 18:00:07 UTC").await;
    click(&browser, ".refresh a[href='/']").await;
    reads(&browser, ".refresh", "Refresh · every 10 s").await;
    browser.close().await.expect("an end");
}
