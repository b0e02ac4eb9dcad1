//! What has changed between two configurations, and what of it cannot change while it runs.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::config::Config;

/// Tables and keys that are looked at once, at the start. All others are taken up by a reload.
const AT_START: &[&str] = &[
    "replicas",
    "listener.address",
    "health",
    "admin",
    "state",
    "keyring",
    "log.format",
    "audit",
    "traces",
];

/// The keys that do not say the same in both. A list counts as one.
pub(crate) fn changed(now: &Config, next: &Config) -> BTreeSet<String> {
    let mut changed = BTreeSet::new();
    // Both came out of TOML, and go into JSON.
    let value = |config| serde_json::to_value(config).unwrap_or_default();
    differ(&value(now), &value(next), "", &mut changed);
    changed
}

/// A sentence for each key that says something else than at the start and cannot be taken up.
pub(crate) fn needs_restart(now: &Config, next: &Config) -> Vec<String> {
    changed(now, next)
        .into_iter()
        .filter(|key| AT_START.iter().any(|first| is_within(key, first)))
        .map(|key| format!("{key}: takes effect at a start only; restart, or set it back"))
        .collect()
}

fn is_within(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn differ(now: &Value, next: &Value, key: &str, changed: &mut BTreeSet<String>) {
    match (now, next) {
        (Value::Object(now), Value::Object(next)) => {
            for name in now.keys().chain(next.keys()) {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let of = |table: &serde_json::Map<String, Value>| {
                    table.get(name).cloned().unwrap_or_default()
                };
                differ(&of(now), &of(next), &key, changed);
            }
        }
        (now, next) if now == next => {}
        _ => {
            changed.insert(key.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"public_url = "https://cds.example.org"
[[client]]
id = "ehr"
issuer = "https://ehr.example.org"
jwks_url = "https://ehr.example.org/jwks"
[[upstream]]
id = "legacy"
url = "http://127.0.0.1:8080"
"#;

    fn told(more: &str) -> String {
        let config = |text: &str| Config::from_toml(text).unwrap();
        needs_restart(&config(LEAST), &config(&format!("{LEAST}{more}"))).join("\n")
    }

    #[test]
    fn each_key_that_needs_a_restart_is_told_by_its_name_and_no_other() {
        assert_eq!(told(""), "");
        let free = "[listener]\nhttp2 = false\n[log]\nlevel = \"warn\"\n[limits]\nmode = \"off\"\n\
                    [reload]\nwatch = false\n[body]\nmax_size = \"1MiB\"\n[[service]]\nid = \"a\"\n";
        assert_eq!(told(free), "");
        let told = told(
            "[listener]\naddress = \"[::]:1\"\n[health]\naddress = \"[::]:2\"\n[admin]\nenabled = false\n[log]\nformat = \"text\"\n\
             [state]\nbackend = \"redis\"\n[state.redis]\nprefix = \"p\"\n[keyring]\nfile = \"/k\"\n",
        );
        let keys: Vec<&str> = told.lines().map(|line| line.split_once(':').unwrap().0).collect();
        let all = [
            "admin.enabled",
            "health.address",
            "keyring.file",
            "listener.address",
            "log.format",
            "state.backend",
            "state.redis.prefix",
        ];
        assert_eq!(keys, all);
        assert!(told.lines().all(|line| line.contains("restart")), "{told}");
    }

    #[test]
    fn what_is_named_here_exists() {
        let config = serde_json::to_value(Config::from_toml(LEAST).unwrap()).unwrap();
        for key in AT_START {
            let found = key.split('.').try_fold(&config, |table, name| table.get(name));
            assert!(found.is_some(), "{key}");
        }
    }
}
