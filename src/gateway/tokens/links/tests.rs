//! Links, and everything somebody may do to one.
#[cfg(test)]
use super::*;

use std::collections::HashSet;
use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::ManualClock;
use crate::entropy::SeededEntropy;
use crate::names::{ClientId, HookInstance, ServiceId, Tenant};

const TARGET: &str = "https://app.example/launch?case=4711#/advice";
const PUBLIC: &str = "https://hookgate.example.org";
const NOW: UnixTime = UnixTime::from_secs(1_795_458_491);
const EXPIRES: UnixTime = UnixTime::from_secs(1_795_458_491 + 3600);
const HISTORY: Incarnation = Incarnation { mark: *b"history1", since: NOW };

fn clock() -> ManualClock {
    ManualClock::new(NOW)
}

fn keyring(seed: u64) -> Arc<LiveKeyring> {
    let ring = Keyring::generate(&SeededEntropy::new(seed), &clock()).unwrap();
    Arc::new(LiveKeyring::new(ring, NOW))
}

fn names() -> KnownNames {
    KnownNames::new(
        ["epic", "cerner"].map(|name| ClientId::new(name).unwrap()),
        ["patient-greeting"].map(|name| ServiceId::new(name).unwrap()),
    )
    .unwrap()
}

fn tokens_at(keyring: Arc<LiveKeyring>, public_url: &str) -> LinkTokens {
    let entropy = Arc::new(SeededEntropy::new(99));
    LinkTokens::new(keyring, &public_url.parse().unwrap(), names(), entropy)
}

fn tokens() -> LinkTokens {
    tokens_at(keyring(1), PUBLIC)
}

fn binding() -> Binding {
    Binding {
        client: ClientId::new("epic").unwrap(),
        tenant: None,
        service: ServiceId::new("patient-greeting").unwrap(),
        hook_instance: HookInstance(Uuid::from_u128(0xd1577c69_dfbe_44ad_ba6d_3e05e953b2ea)),
    }
}

fn seal(tokens: &LinkTokens, binding: &Binding, target: &str) -> Sealed {
    tokens.seal(binding, 2, target, EXPIRES, HISTORY).unwrap()
}

fn token_of(sealed: &Sealed) -> &str {
    sealed.url.rsplit('/').next().unwrap()
}

fn open(tokens: &LinkTokens, token: &str) -> Result<Opened, TokenError> {
    tokens.open(token, NOW, HISTORY)
}

#[test]
fn what_is_sealed_opens() {
    let tokens = tokens();
    let with = |tenant: Option<&str>, service: &str| Binding {
        tenant: tenant.map(|tenant| Tenant::new(tenant).unwrap()),
        service: ServiceId::new(service).unwrap(),
        ..binding()
    };
    let longest = "s".repeat(128);
    let bindings = [
        with(None, "patient-greeting"),
        with(Some("Käßspätzle-Klinik 1"), "patient-greeting"),
        with(None, "found-by-wildcard"),
        with(Some(&"t".repeat(128)), &longest),
    ];
    let targets = [
        TARGET,
        "http://app.example/",
        "HTTPS://APP.example/",
        "https://",
        "",
        "https://app.example/Münster?q=✓",
    ];
    for binding in &bindings {
        for target in targets {
            let sealed = seal(&tokens, binding, target);
            assert!(sealed.stored.is_none());
            let opened = open(&tokens, token_of(&sealed)).unwrap();
            assert_eq!(opened.binding(), binding);
            assert_eq!(opened.card(), 2);
            assert_eq!(opened.expires(), EXPIRES);
            assert!(opened.target() == Target::Here(target), "{target}");
        }
    }
}

#[test]
fn a_token_is_as_short_as_it_says() {
    let target = format!("https://{}", "x".repeat(112));
    let sealed = seal(&tokens(), &binding(), &target);
    assert_eq!(target.len(), 120);
    assert_eq!(token_of(&sealed).len(), 234);
    assert_eq!(sealed.url, format!("{PUBLIC}/open/{}", token_of(&sealed)));
    assert!(
        token_of(&sealed).bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    );
}

#[test]
fn nobody_can_read_anything_out_of_it() {
    let sealed = seal(&tokens(), &binding(), TARGET);
    let bytes = URL_SAFE_NO_PAD.decode(token_of(&sealed)).unwrap();
    for word in [&b"app.example"[..], b"4711", b"epic", binding().hook_instance.0.as_bytes()] {
        assert!(!bytes.windows(word.len()).any(|window| window == word));
    }
    let opened = open(&tokens(), token_of(&sealed)).unwrap();
    let printed = format!("{sealed:?} {opened:?} {:?}", tokens());
    for word in ["app.example", "4711", token_of(&sealed)] {
        assert!(!printed.contains(word), "{printed}");
    }
}

#[test]
fn the_url_hangs_below_the_public_url_however_it_is_spelled() {
    for (public_url, start) in [
        ("https://gw.example", "https://gw.example/open/"),
        ("https://gw.example/", "https://gw.example/open/"),
        ("https://gw.example/cds/", "https://gw.example/cds/open/"),
        ("http://localhost:8080/a/b", "http://localhost:8080/a/b/open/"),
    ] {
        let sealed = seal(&tokens_at(keyring(1), public_url), &binding(), TARGET);
        assert!(sealed.url.starts_with(start), "{}", sealed.url);
        assert_eq!(sealed.url.matches("/open/").count(), 1);
    }
    let slash = tokens_at(keyring(1), "https://gw.example/cds/");
    let none = tokens_at(keyring(1), "https://gw.example/cds");
    assert!(open(&none, token_of(&seal(&slash, &binding(), TARGET))).is_ok());
}

#[test]
fn ids_differ_and_so_do_what_they_spend() {
    let tokens = tokens();
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let opened = open(&tokens, token_of(&seal(&tokens, &binding(), TARGET))).unwrap();
        assert!(seen.insert(*opened.spend_key().as_bytes()));
        assert_eq!(opened.spend_key(), Key::new(Namespace::Link, &[&opened.id()]));
    }
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let tokens = tokens();
    let good = URL_SAFE_NO_PAD.decode(token_of(&seal(&tokens, &binding(), TARGET))).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let refused = open(&tokens, &URL_SAFE_NO_PAD.encode(&bad)).unwrap_err();
        let expected = match bit {
            0..4 => TokenError::UnknownKey,
            4..8 => TokenError::Malformed,
            _ => TokenError::Forged,
        };
        // Key id 1 without its bit is 0, which is no id.
        let expected = if bit == 0 { TokenError::Malformed } else { expected };
        assert_eq!(refused, expected, "bit {bit}");
    }
}

#[test]
fn a_changed_character_is_refused_and_no_token_has_two_spellings() {
    let tokens = tokens();
    let good = token_of(&seal(&tokens, &binding(), TARGET)).to_owned();
    for place in 0..good.len() {
        for other in "AQgw9-_=.~ %\u{e4}".chars() {
            let mut chars: Vec<char> = good.chars().collect();
            if chars[place] == other {
                continue;
            }
            chars[place] = other;
            let bad: String = chars.into_iter().collect();
            assert!(open(&tokens, &bad).is_err(), "{place} {other}");
        }
    }
    for bad in [format!("{good}="), format!("{good}A"), format!(" {good}"), format!("{good}\n")] {
        assert!(open(&tokens, &bad).is_err());
    }
    for length in 0..good.len() {
        assert!(open(&tokens, &good[..length]).is_err(), "{length}");
    }
    assert!(open(&tokens, &good).is_ok());
}

#[test]
fn what_is_no_token_is_malformed() {
    let tokens = tokens();
    for bad in ["", "A", "EQ", "open", "%2e%2e", "ä", &"A".repeat(1999), &"A".repeat(3000)] {
        assert_eq!(open(&tokens, bad).unwrap_err(), TokenError::Malformed, "{bad}");
    }
    let random =
        |header: u8, length| URL_SAFE_NO_PAD.encode([vec![header], vec![7; length]].concat());
    assert_eq!(open(&tokens, &random(0x11, 27)).unwrap_err(), TokenError::Malformed, "no tag");
    assert_eq!(open(&tokens, &random(0x11, 28)).unwrap_err(), TokenError::Forged);
    assert_eq!(open(&tokens, &random(0x12, 28)).unwrap_err(), TokenError::UnknownKey);
    assert_eq!(open(&tokens, &random(0x10, 28)).unwrap_err(), TokenError::Malformed, "key 0");
    assert_eq!(open(&tokens, &random(0x21, 28)).unwrap_err(), TokenError::Malformed, "version 2");
}

#[test]
fn another_gateways_token_is_forged() {
    let token = token_of(&seal(&tokens(), &binding(), TARGET)).to_owned();
    for other in [
        tokens_at(keyring(2), PUBLIC),
        tokens_at(keyring(1), "http://hookgate.example.org"),
        tokens_at(keyring(1), "https://hookgate.example.org:8443"),
        tokens_at(keyring(1), "https://hookgate.example.org/cds"),
        tokens_at(keyring(1), "https://hookgate.example.com"),
    ] {
        assert_eq!(open(&other, &token).unwrap_err(), TokenError::Forged);
    }
}

#[test]
fn it_expires_to_the_second() {
    let tokens = tokens();
    let uneven = UnixTime::from_millis(EXPIRES.millis() + 999);
    let sealed = tokens.seal(&binding(), 0, TARGET, uneven, HISTORY).unwrap();
    let at = |millis| tokens.open(token_of(&sealed), UnixTime::from_millis(millis), HISTORY);
    assert_eq!(at(EXPIRES.millis() - 1).unwrap().expires(), EXPIRES);
    assert!(at(0).is_ok(), "a clock set back does not end a link");
    let expired = TokenError::Expired { binding: binding() };
    assert_eq!(at(EXPIRES.millis()).unwrap_err(), expired);
    assert_eq!(at(u64::MAX).unwrap_err(), expired);
}

#[test]
fn what_an_emptied_store_cannot_know_is_refused() {
    let tokens = tokens();
    let sealed = seal(&tokens, &binding(), TARGET);
    let emptied = Incarnation { mark: *b"HISTory1", since: NOW };
    let refused = tokens.open(token_of(&sealed), NOW, emptied).unwrap_err();
    assert_eq!(refused, TokenError::Forgotten { binding: binding() });
    let later = UnixTime::from_secs(EXPIRES.secs() + 1);
    let refused = tokens.open(token_of(&sealed), later, emptied).unwrap_err();
    assert_eq!(refused, TokenError::Expired { binding: binding() });
}

#[test]
fn names_that_left_the_configuration_orphan_their_links() {
    let ring = keyring(1);
    let token =
        token_of(&seal(&tokens_at(Arc::clone(&ring), PUBLIC), &binding(), TARGET)).to_owned();
    let after = |clients: &[&str], services: &[&str]| {
        let names = KnownNames::new(
            clients.iter().map(|name| ClientId::new(name).unwrap()),
            services.iter().map(|name| ServiceId::new(name).unwrap()),
        );
        let entropy = Arc::new(SeededEntropy::new(1));
        let url = PUBLIC.parse().unwrap();
        let tokens = LinkTokens::new(Arc::clone(&ring), &url, names.unwrap(), entropy);
        tokens.open(&token, NOW, HISTORY)
    };
    assert!(after(&["new", "epic"], &["other", "patient-greeting"]).is_ok());
    assert_eq!(after(&["cerner"], &["patient-greeting"]).unwrap_err(), TokenError::Orphaned);
    assert_eq!(after(&["epic"], &["other"]).unwrap_err(), TokenError::Orphaned);
}

#[test]
fn what_cannot_be_sealed_is_said() {
    let tokens = tokens();
    let attempt = |tokens: &LinkTokens, binding: &Binding, target: &str, expires| {
        tokens.seal(binding, 0, target, expires, HISTORY).unwrap_err()
    };
    let stranger = Binding { client: ClientId::new("stranger").unwrap(), ..binding() };
    assert_eq!(attempt(&tokens, &stranger, TARGET, EXPIRES), SealError::UnknownClient);
    let too_long = "x".repeat(64 * 1024 + 1);
    assert_eq!(attempt(&tokens, &binding(), &too_long, EXPIRES), SealError::TargetTooLong);
    for expires in [0, 1_704_067_199, 1_704_067_200 + (1 << 32), u64::MAX] {
        let expires = UnixTime::from_secs(expires);
        assert_eq!(attempt(&tokens, &binding(), TARGET, expires), SealError::Expiry);
    }
    let deep = tokens_at(keyring(1), &format!("{PUBLIC}/{}", "p".repeat(1950)));
    assert_eq!(attempt(&deep, &binding(), TARGET, EXPIRES), SealError::UrlTooLong);
}

#[test]
fn a_url_stays_under_2000_characters_and_what_does_not_fit_is_stored_sealed() {
    let tokens = tokens();
    let mut longest_here = 0;
    for length in 1380..1500 {
        let target = format!("https://{}", "x".repeat(length));
        let sealed = seal(&tokens, &binding(), &target);
        assert!(sealed.url.len() < 2000, "{length}: {}", sealed.url.len());
        let opened = open(&tokens, token_of(&sealed)).unwrap();
        match sealed.stored {
            None => {
                longest_here = sealed.url.len();
                assert!(opened.target() == Target::Here(&target));
            }
            Some((key, value)) => {
                assert!(opened.target() == Target::Stored(key));
                assert!(!value.windows(8).any(|window| window == b"xxxxxxxx"), "readable");
                assert_eq!(tokens.open_target(&opened, &value).unwrap(), target);
                assert!(sealed.url.len() < 150);
            }
        }
    }
    assert!((1997..2000).contains(&longest_here), "room was wasted: {longest_here}");
}

#[test]
fn a_stored_target_belongs_to_its_link() {
    let tokens = tokens();
    let long = |letter: &str| format!("https://app.example/{}", letter.repeat(30_000));
    let (one, other) =
        (seal(&tokens, &binding(), &long("a")), seal(&tokens, &binding(), &long("b")));
    let value = |sealed: &Sealed| sealed.stored.clone().unwrap().1;
    let opened = open(&tokens, token_of(&one)).unwrap();
    assert_eq!(tokens.open_target(&opened, &value(&one)).unwrap(), long("a"));
    assert_eq!(tokens.open_target(&opened, &value(&other)), Err(TokenError::StoredTarget));
    for bad in [&b""[..], b"\x11", b"https://evil.example/"] {
        assert!(tokens.open_target(&opened, bad).is_err(), "{bad:?}");
    }
    let mut bad = value(&one).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(tokens.open_target(&opened, &bad), Err(TokenError::StoredTarget));
}

#[test]
fn links_survive_a_restart_and_a_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let load = || {
        let entropy = SeededEntropy::new(5);
        let life = std::time::Duration::from_secs(3600);
        let ring = Keyring::load_or_create(&path, life, &entropy, &clock()).unwrap();
        Arc::new(LiveKeyring::new(ring, NOW))
    };
    let token = token_of(&seal(&tokens_at(load(), PUBLIC), &binding(), TARGET)).to_owned();
    assert!(open(&tokens_at(load(), PUBLIC), &token).is_ok());

    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    file["seal"][0]["state"] = json!("previous");
    let key = "C".repeat(42) + "A";
    let new = json!({ "kid": 15, "state": "current", "created": 1, "key": key });
    file["seal"].as_array_mut().unwrap().push(new);
    fs::write(&path, file.to_string()).unwrap();
    let rotated = tokens_at(load(), PUBLIC);
    assert!(open(&rotated, &token).is_ok());
    let newer = token_of(&seal(&rotated, &binding(), TARGET)).to_owned();
    assert!(open(&rotated, &newer).is_ok());
    assert_eq!(open(&tokens_at(keyring(5), PUBLIC), &newer), Err(TokenError::UnknownKey));

    file["seal"].as_array_mut().unwrap().remove(0);
    fs::write(&path, file.to_string()).unwrap();
    assert_eq!(open(&tokens_at(load(), PUBLIC), &token), Err(TokenError::UnknownKey));
}

#[test]
fn an_authentic_token_of_another_make_is_malformed() {
    let tokens = tokens();
    let sealed = |claims: &[u8]| {
        let ring = tokens.keyring.ring();
        let url = tokens.url(ring.sealing(), [3; NONCE_LEN], claims).unwrap();
        open(&tokens, url.rsplit('/').next().unwrap()).unwrap_err()
    };
    let good = tokens.claims(&binding(), 0, Written::AfterHttps("x"), EXPIRES, HISTORY).unwrap();
    for length in 0..34 {
        assert_eq!(sealed(&good[..length]), TokenError::Malformed, "{length}");
    }
    for flag in [0x10, 0x20, 0x40, 0x80] {
        let mut other = good.clone();
        other[0] |= flag;
        assert_eq!(sealed(&other), TokenError::Malformed, "{flag:x}");
    }
    let mut not_utf8 = good;
    not_utf8.push(0xff);
    assert_eq!(sealed(&not_utf8), TokenError::Malformed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn garbage_is_refused(text in "(\\PC{0,80}|[A-Za-z0-9_-]{0,400}|E[QRSa-f][A-Za-z0-9_-]{30,300})") {
        let tokens = shared();
        prop_assert!(open(tokens, &text).is_err());
    }
}

/// One for all cases: drawing a key ring for each would be most of the work.
fn shared() -> &'static LinkTokens {
    static TOKENS: std::sync::LazyLock<LinkTokens> = std::sync::LazyLock::new(tokens);
    &TOKENS
}

#[test]
fn an_audit_knows_a_link_by_its_id_whether_or_not_it_opens() {
    let tokens = tokens();
    for target in [TARGET, &format!("https://app.example/{}", "x".repeat(3000))] {
        let sealed = seal(&tokens, &binding(), target);
        let token = sealed.url.rsplit('/').next().unwrap();
        let opened = tokens.open(token, NOW, HISTORY).unwrap();
        assert_eq!(id_of(token), Some(opened.id()));
        assert_eq!(id_of(&token[..token.len() - 1]), Some(opened.id()));
    }
    for none in [
        "",
        "short",
        "no base64 at all, however long",
        "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
    ] {
        assert_eq!(id_of(none), None, "{none}");
    }
}
