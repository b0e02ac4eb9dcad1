//! What a page looks like, in figures, and the pictures of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fantoccini::Client;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::driver::devtools;

/// Everything about the page that can be measured.
pub(crate) const MEASURE: &str = r#"
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
  !element.closest("svg") && element.checkVisibility()
  && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
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

/// Looks at the page like this, once the browser has laid it out so: it is told first and does it later.
pub(crate) async fn look(browser: &Client, width: u32, scheme: &str) {
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

/// Measures the page.
pub(crate) async fn measure(browser: &Client) -> Value {
    browser.execute(MEASURE, Vec::new()).await.expect("a measurement")
}

/// Presses keys, one after the other.
pub(crate) async fn press(browser: &Client, keys: &[Key]) {
    let mut strokes = KeyActions::new("keyboard".to_owned());
    for key in keys {
        let value = char::from(*key);
        strokes = strokes.then(KeyAction::Down { value }).then(KeyAction::Up { value });
    }
    browser.perform_actions(strokes).await.expect("the keys");
}

/// Takes a picture of what can be seen. All of them are below `target/tmp/pages`; those that the documentation shows go
/// to the folder that `HOOKGATE_SCREENS` names too, which is how `docs/screens` is made.
pub(crate) async fn picture(browser: &Client, name: &str) {
    let picture = browser.screenshot().await.expect("a picture");
    let name = format!("{name}.png");
    let mut folders = vec![Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages")];
    if include_str!("../../docs/status-page.md").contains(&format!("(screens/{name})")) {
        folders.extend(std::env::var_os("HOOKGATE_SCREENS").map(PathBuf::from));
    }
    for folder in folders {
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        std::fs::write(folder.join(&name), &picture).expect("a file");
    }
}
