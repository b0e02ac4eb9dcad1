//! The pages that a person may see, as a browser lays them out: narrow and wide, light and dark.

use std::path::Path;
use std::time::Duration;

use fantoccini::Client;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::chart::{Chart, reads};
use crate::driver::{Driver, JavaScript, devtools, logged};
use crate::harness::Extra;

/// Everything about the page that can be measured.
const MEASURE: &str = r#"
const luminance = colour => {
  const [r, g, b] = colour.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const parse = text => text.match(/[\d.]+/g).map(Number);
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour.slice(0, 3);
  }
  throw new Error("nothing is painted behind " + element.tagName);
};
const contrast = element => {
  const text = parse(getComputedStyle(element).color).slice(0, 3);
  const [a, b] = [luminance(text), luminance(behind(element))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
};
const texts = [...document.body.querySelectorAll("*")].filter(element =>
  [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
return {
  lang: document.documentElement.lang,
  title: document.title,
  overflow: document.documentElement.scrollWidth - innerWidth,
  width: innerWidth,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  paper: parse(getComputedStyle(document.body).backgroundColor).slice(0, 3),
  contrasts: texts.map(element => [element.tagName, contrast(element)]),
  smallest: Math.min(...texts.map(element => parseFloat(getComputedStyle(element).fontSize))),
  buttons: [...document.querySelectorAll("button")].map(b => b.getBoundingClientRect().height),
};"#;

/// Whether the page is so wide, and dark or not.
const IS_SO: &str = r#"
return innerWidth === arguments[0]
  && matchMedia("(prefers-color-scheme: dark)").matches === arguments[1];"#;

/// How the focused element shows that it is.
const FOCUS: &str = r#"
document.querySelector("button").focus({ focusVisible: true });
const style = getComputedStyle(document.activeElement);
return [document.activeElement.tagName, style.outlineStyle, parseFloat(style.outlineWidth)];"#;

struct Case {
    name: &'static str,
    extra: Extra,
    status: u16,
    heading: &'static str,
}

fn cases() -> Vec<Case> {
    let case = |name, tables: &str, lists: &str, status, heading| {
        let extra =
            Extra { tables: tables.to_owned(), lists: lists.to_owned(), ..Extra::default() };
        Case { name, extra, status, heading }
    };
    let always = "[[service]]\nid = \"*\"\nlinks = { confirm = \"always\" }";
    let once = "[limits]\nopen_address = { per_minute = 1, burst = 1 }";
    vec![
        case("button", "", always, 200, "Open this link"),
        case("gone", "", "", 410, "This link is no longer active"),
        case("full", "max_entries = 1", "", 503, "This link cannot be opened right now"),
        case("limited", once, "", 429, "Please wait a moment"),
        case("missing", "", "", 404, "There is no page here"),
    ]
}

/// The address of the case's page, with everything done that leads to it.
async fn address(case: &Case, chart: &Chart) -> String {
    let link = chart.link().await;
    match case.status {
        404 => format!("{}/opne/AQ", chart.scene.public_url),
        410 => format!("{}x", link.split('?').next().unwrap()),
        429 => {
            assert_eq!(chart.scene.http().head(&link).send().await.unwrap().status(), 200);
            link
        }
        _ => link,
    }
}

/// Looks at the page like this, once the browser has laid it out so: it is told first and does it later.
async fn look(browser: &Client, width: u32, scheme: &str) {
    let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
    devtools(browser, "Emulation.setEmulatedMedia", json!({"features": features})).await;
    let screen = json!({"width": width, "height": 640, "deviceScaleFactor": 1, "mobile": false});
    devtools(browser, "Emulation.setDeviceMetricsOverride", screen).await;
    for _ in 0..500 {
        let arguments = vec![json!(width), json!(scheme == "dark")];
        if browser.execute(IS_SO, arguments).await.expect("its width") == json!(true) {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the page never was {width} px wide and {scheme}");
}

fn check(measured: &Value, case: &Case, width: u32, scheme: &str) {
    let at = format!("{} at {width} px, {scheme}: {measured}", case.name);
    assert_eq!(measured["width"], width, "{at}");
    assert_eq!(measured["dark"], scheme == "dark", "{at}");
    assert_eq!(measured["lang"], "en", "{at}");
    assert_eq!(measured["title"], case.heading, "{at}");
    assert!(measured["overflow"].as_f64().unwrap() <= 0.0, "{at}");
    assert!(measured["smallest"].as_f64().unwrap() >= 13.0, "{at}");
    let bright = measured["paper"][0].as_f64().unwrap() > 127.0;
    assert_eq!(bright, scheme == "light", "{at}");
    let contrasts = measured["contrasts"].as_array().unwrap();
    assert!(contrasts.len() >= 4, "{at}");
    assert!(contrasts.iter().all(|pair| pair[1].as_f64().unwrap() >= 4.5), "{at}");
    // WCAG 2.2, 2.5.5: a target of 44 px.
    let buttons = measured["buttons"].as_array().unwrap();
    assert_eq!(buttons.len(), usize::from(case.status == 200), "{at}");
    assert!(buttons.iter().all(|height| height.as_f64().unwrap() >= 44.0), "{at}");
}

/// What the browser asked the network for, and everything that it complained about.
async fn check_logs(browser: &Client, case: &Case, url: &str) {
    let origin = url.split("/op").next().unwrap();
    let mut requests = 0;
    for line in logged(browser, "performance").await {
        let event: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
        let event = &event["message"];
        if event["method"] == "Network.requestWillBeSent" {
            let asked = event["params"]["request"]["url"].as_str().unwrap();
            assert!(asked.starts_with(origin) && asked.contains("/op"), "{}: {asked}", case.name);
            requests += 1;
        }
    }
    assert!(requests > 0, "{}: not even the page was logged", case.name);
    for line in logged(browser, "browser").await {
        let message = line["message"].as_str().unwrap();
        // That a page's status is 4xx is said of every such page, whatever is on it.
        let status = format!("the server responded with a status of {}", case.status);
        assert!(message.contains(&status), "{}: {message}", case.name);
    }
}

/// The pictures are below `target/tmp/pages`, for whoever wants to see the pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_can_be_read_everywhere() {
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&pictures).unwrap();
    let driver = Driver::start();
    for case in cases() {
        let chart = Chart::open(&case.extra).await;
        let url = address(&case, &chart).await;
        let browser = driver.new_session(JavaScript::On).await;
        logged(&browser, "performance").await;
        browser.goto(&url).await.expect("the page");
        reads(&browser, "h1", case.heading).await;
        for (width, scheme) in [(320, "light"), (320, "dark"), (1280, "light"), (1280, "dark")] {
            look(&browser, width, scheme).await;
            let measured = browser.execute(MEASURE, Vec::new()).await.expect("a measurement");
            check(&measured, &case, width, scheme);
            if case.status == 200 {
                let focus = browser.execute(FOCUS, Vec::new()).await.expect("the focus");
                assert_eq!((&focus[0], &focus[1]), (&json!("BUTTON"), &json!("solid")));
                assert!(focus[2].as_f64().unwrap() >= 2.0, "{focus}");
            }
            let picture = browser.screenshot().await.expect("a picture");
            let name = format!("{}-{width}-{scheme}.png", case.name);
            std::fs::write(pictures.join(name), picture).unwrap();
        }
        check_logs(&browser, &case, &url).await;
        browser.close().await.expect("an end");
    }
}
