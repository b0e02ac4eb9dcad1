//! The whole configuration as it holds, for an operator to look at.
//!
//! Secrets stand in files, whose names are no secret. What could be one all the same is left out: user and password
//! of a URL, the values of its query, and all of a JWK but its name and kind.

use serde::Serialize;
use toml::{Table, Value};
use url::Url;

/// Stands for what is left out.
const LEFT_OUT: &str = "…";

/// The members of a JWK that may be shown.
const OF_A_KEY: [&str; 4] = ["kid", "kty", "alg", "use"];

/// Words at the end of a key whose value would be a secret. There is none today; whoever adds one forgets this file.
const SECRETS: [&str; 3] = ["password", "secret", "token"];

/// All of `settings` as TOML, without what could be a secret.
pub(super) fn without_secrets(settings: &impl Serialize) -> String {
    let mut table = match Table::try_from(settings) {
        Ok(table) => table,
        Err(error) => return format!("# cannot be written: {error}"),
    };
    table.iter_mut().for_each(|(key, value)| cover(key, value));
    toml::to_string_pretty(&table).unwrap_or_else(|error| format!("# cannot be written: {error}"))
}

fn cover(key: &str, value: &mut Value) {
    if key == "jwks" && value.is_table() && !is_key_settings(value) {
        cover_keys(value);
    } else if let Value::String(text) = value {
        if SECRETS.iter().any(|end| key.ends_with(end)) {
            LEFT_OUT.clone_into(text);
        } else {
            *text = covered(text);
        }
    } else if let Value::Array(list) = value {
        list.iter_mut().for_each(|value| cover(key, value));
    } else if let Value::Table(table) = value {
        table.iter_mut().for_each(|(key, value)| cover(key, value));
    }
}

/// `[jwks]` is about fetching, `client.jwks` is a JWK Set.
fn is_key_settings(value: &Value) -> bool {
    value.get("keys").is_none()
}

fn cover_keys(set: &mut Value) {
    let Some(Value::Array(keys)) = set.get_mut("keys") else { return };
    for key in keys.iter_mut() {
        if let Value::Table(members) = key {
            members.retain(|name, _| OF_A_KEY.contains(&name));
        }
    }
}

/// A URL without user, password and the values of its query; any other text as it is.
fn covered(text: &str) -> String {
    if !text.contains("://") {
        return text.to_owned();
    }
    let Ok(mut url) = Url::parse(text) else { return LEFT_OUT.to_owned() };
    let has_user = !url.username().is_empty() || url.password().is_some();
    if !has_user && url.query().is_none() {
        return text.to_owned();
    }
    if has_user {
        // They fail for a URL without a host, which has no user either.
        let _ = url.set_password(None);
        let _ = url.set_username("");
    }
    if let Some(query) = url.query().map(str::to_owned) {
        let parts = query.split('&').map(|part| match part.split_once('=') {
            Some((name, "")) => format!("{name}="),
            Some((name, _)) => format!("{name}={LEFT_OUT}"),
            None => LEFT_OUT.to_owned(),
        });
        let parts: Vec<String> = parts.collect();
        url.set_query(None);
        return format!("{url}?{}", parts.join("&"));
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn it_is_whole_and_can_be_read_again() {
        let text = r#"public_url = "https://cds.example.org"
[[client]]
id = "ehr"
issuer = "https://ehr.example.org"
jwks_url = "https://ehr.example.org/jwks"
[[upstream]]
id = "legacy"
url = "http://127.0.0.1:8080"
authorization = "bearer"
secret_file = "/etc/hookgate/secret"
"#;
        let config = Config::from_toml(text).unwrap();
        let shown = config.effective();
        assert_eq!(Config::from_toml(&shown).unwrap(), config, "{shown}");
        for default in
            ["[limits]", "max_lifetime = \"5m\"", "secret_file = \"/etc/hookgate/secret\""]
        {
            assert!(shown.contains(default), "{shown}");
        }
    }

    #[test]
    fn what_could_be_a_secret_is_left_out() {
        let text = r#"public_url = "https://cds.example.org"
[[client]]
id = "ehr"
issuer = "https://user:s3cret@ehr.example.org?code=s3cret"
jwks = { keys = [{ kty = "EC", kid = "key-1", crv = "P-384", x = "s3cret", y = "s3cret", d = "s3cret" }] }
[[upstream]]
id = "legacy"
url = "https://legacy.example.org/?code=s3cret&cds-url="
"#;
        let shown = Config::from_toml(text).unwrap().effective();
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("kid = \"key-1\""), "{shown}");
        assert!(shown.contains("https://ehr.example.org/?code=…"), "{shown}");
        assert!(shown.contains("https://legacy.example.org/?code=…&cds-url="), "{shown}");
    }

    #[test]
    fn a_key_that_sounds_like_a_secret_is_covered() {
        let mut value = Value::String("s3cret".to_owned());
        cover("client_secret", &mut value);
        assert_eq!(value.as_str(), Some(LEFT_OUT));
        let mut file = Value::String("/etc/x".to_owned());
        cover("password_file", &mut file);
        assert_eq!(file.as_str(), Some("/etc/x"));
        assert_eq!(covered("a://[b"), LEFT_OUT);
    }
}
