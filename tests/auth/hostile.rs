//! Tokens that must be refused, each with its reason and each beside a twin that is accepted and
//! differs in nothing but the flaw (RFC 8725, and faults on record in other gateways).

use hookgate::gateway::auth::{AudienceRule, AuthError, AuthReason, Called, KeySettings, Verified};
use hookgate::names::ServiceId;
use serde_json::{Value, json};

use crate::gate::{GREET, Gate, ISSUER, NOW, claims, inline};
use crate::signer::{ALGORITHMS, Keys, OURS, THEIRS, b64};

const JKU: &str = "https://ehr.example.org/jwks.json";

pub(crate) fn gate() -> Gate {
    let all = format!("algorithms = {ALGORITHMS:?}\n");
    let mut set = OURS.set();
    let keys = set["keys"].as_array_mut().unwrap();
    keys.extend([
        without(OURS.jwk("RS384", "rsa-any"), "alg"),
        with(OURS.jwk("ES384", "enc"), "use", json!("enc")),
        with(without(OURS.jwk("ES384", "ops"), "use"), "key_ops", json!(["sign"])),
        with(without(OURS.jwk("ES384", "ops-good"), "use"), "key_ops", json!(["verify"])),
        with(OURS.jwk("ES384", "leaked"), "d", json!("AAAA")),
        json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}),
        OURS.jwk("ES384", "twice"),
        THEIRS.jwk("ES384", "twice"),
        OURS.jwk("ES384", "d3bmo5HzW61TUgikHZH+A8Tx4UOXz2iOs4KvVU4eLY0="),
    ]);
    Gate::open(
        vec![
            inline("ehr", ISSUER, set, &format!("{all}jku = [{JKU:?}]")),
            inline("narrow", "narrow", OURS.set(), "algorithms = [\"ES384\"]"),
            inline("other", "other", json!({"keys": [THEIRS.jwk("ES384", "theirs")]}), ""),
            inline("strict", "strict", OURS.set(), "audience = [\"endpoint\"]"),
            inline("base", "base", OURS.set(), "audience = [\"base\"]"),
            inline("prefix", "prefix", OURS.set(), "audience = [\"prefix\"]"),
            inline("meld", "meld", OURS.set(), "audience = [\"sand_man\"]"),
            inline("orgs", "orgs", OURS.set(), "tenants = [\"north\", \"south\"]"),
            inline("one", "one", OURS.set(), "services = [\"greet\"]"),
            inline("long", "long", OURS.set(), "max_lifetime = \"24h\""),
        ],
        KeySettings::default(),
    )
}

pub(crate) fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

/// The header of a good token.
pub(crate) fn head(alg: &str) -> Value {
    json!({"alg": alg, "kid": alg, "typ": "JWT"})
}

pub(crate) fn body() -> Value {
    claims(ISSUER, NOW.secs())
}

pub(crate) fn signed(header: &Value, payload: &Value) -> String {
    let alg = header["alg"].as_str().unwrap_or("ES384");
    let alg = if ALGORITHMS.contains(&alg) { alg } else { "ES384" };
    OURS.token(alg, &header.to_string(), &payload.to_string())
}

fn header_with(name: &str, value: Value) -> String {
    signed(&with(head("ES384"), name, value), &body())
}

fn claim(name: &str, value: Value) -> String {
    signed(&head("ES384"), &with(body(), name, value))
}

pub(crate) fn from(issuer: &str, name: &str, value: Value) -> String {
    signed(&head("ES384"), &with(claims(issuer, NOW.secs()), name, value))
}

/// A good token whose claims are this text, members in place of `NAME`.
fn claims_text(name: &str, text: &str) -> String {
    let body = without(body(), name).to_string();
    let payload = format!("{{{text},{}", &body[1..]);
    OURS.token("ES384", &head("ES384").to_string(), &payload)
}

pub(crate) fn good() -> String {
    signed(&head("ES384"), &body())
}

/// The good token with its signature's bytes changed.
fn signature(alg: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> String {
    let message = format!("{}.{}", b64(head(alg).to_string()), b64(body().to_string()));
    let signature = change(OURS.sign(alg, message.as_bytes()));
    format!("{message}.{}", b64(signature))
}

fn parts(change: impl Fn(&mut Vec<String>)) -> String {
    let mut parts: Vec<String> = good().split('.').map(str::to_owned).collect();
    change(&mut parts);
    parts.join(".")
}

/// Sets bits that the last character of a base64url text has too many.
fn with_spare_bits(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = text.split_at(text.len() - 1);
    let value = ALPHABET.iter().position(|c| *c == last.as_bytes()[0]).unwrap();
    format!("{rest}{}", char::from(ALPHABET[value | 1]))
}

/// `HS256` keyed with what everybody knows: the public key's coordinates.
fn hmac_with_public_key() -> String {
    let secret = OURS.jwk("ES384", "ES384")["x"].as_str().unwrap().to_owned();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let header = json!({"alg": "HS256", "kid": "ES384", "typ": "JWT"}).to_string();
    let message = format!("{}.{}", b64(header), b64(body().to_string()));
    format!("{message}.{}", b64(aws_lc_rs::hmac::sign(&key, message.as_bytes())))
}

fn signed_by(keys: &Keys, header: &Value, payload: &Value) -> String {
    keys.token("ES384", &header.to_string(), &payload.to_string())
}

/// (what is wrong, the beginning of the reason's Debug text, the token, its good twin)
pub(crate) type Row = (&'static str, &'static str, String, String);

/// Every hostile token and its twin.
pub(crate) fn rows() -> Vec<Row> {
    [shapes(), headers(), keys(), claim_types(), claim_values()].concat()
}

fn shapes() -> Vec<Row> {
    let payload = b64(body().to_string());
    let header = |alg: &str| b64(json!({"alg": alg, "kid": "ES384", "typ": "JWT"}).to_string());
    let unsigned = |alg: &str| format!("{}.{payload}.", header(alg));
    let oversize = "x".repeat(8 * 1024);
    let good = good();
    vec![
        ("alg none", "Algorithm(\"none\")", unsigned("none"), good.clone()),
        ("alg None", "Algorithm(\"None\")", unsigned("None"), good.clone()),
        ("alg NONE", "Algorithm(\"NONE\")", unsigned("NONE"), good.clone()),
        ("alg nOnE", "Algorithm(\"nOnE\")", unsigned("nOnE"), good.clone()),
        (
            "alg none, signed",
            "Algorithm(\"none\")",
            header_with("alg", json!("none")),
            good.clone(),
        ),
        (
            "no alg",
            "Algorithm(\"\")",
            signed(&without(head("ES384"), "alg"), &body()),
            good.clone(),
        ),
        ("alg a number", "Malformed(HeaderType)", header_with("alg", json!(384)), good.clone()),
        ("alg null", "Malformed(HeaderType)", header_with("alg", Value::Null), good.clone()),
        (
            "alg lower case",
            "Algorithm(\"es384\")",
            header_with("alg", json!("es384")),
            good.clone(),
        ),
        ("alg ES512", "Algorithm(\"ES512\")", header_with("alg", json!("ES512")), good.clone()),
        ("alg ES256K", "Algorithm(\"ES256K\")", header_with("alg", json!("ES256K")), good.clone()),
        ("alg with a blank", "Algorithm", header_with("alg", json!("ES384 ")), good.clone()),
        ("HS256 with the public key", "Algorithm(\"HS256\")", hmac_with_public_key(), good.clone()),
        ("no signature", "Signature", format!("{}.{payload}.", header("ES384")), good.clone()),
        ("two parts", "Malformed(Parts)", parts(|p| drop(p.pop())), good.clone()),
        ("one part", "Malformed(Parts)", "abc".to_owned(), good.clone()),
        ("four parts", "Malformed(Parts)", parts(|p| p.push("AA".into())), good.clone()),
        (
            "five parts, a JWE",
            "Malformed(Parts)",
            parts(|p| p.extend(["AA".into(), "AA".into()])),
            good.clone(),
        ),
        ("empty header", "Malformed(Parts)", parts(|p| p[0].clear()), good.clone()),
        ("empty payload", "Malformed(Parts)", parts(|p| p[1].clear()), good.clone()),
        ("a JSON serialization", "Malformed(Parts)", "{\"payload\":\"\"}".to_owned(), good.clone()),
        ("padded header", "Malformed(Base64)", parts(|p| p[0].push('=')), good.clone()),
        ("padded signature", "Malformed(Base64)", parts(|p| p[2].push('=')), good.clone()),
        ("plain base64", "Malformed(Base64)", parts(|p| p[1].push('+')), good.clone()),
        ("a slash in base64", "Malformed(Base64)", parts(|p| p[1].push('/')), good.clone()),
        ("not base64", "Malformed(Base64)", parts(|p| p[0].push('!')), good.clone()),
        ("percent-encoded", "Malformed(Base64)", good.replacen('.', ".%", 1), good.clone()),
        ("header no JSON", "Malformed(HeaderJson)", parts(|p| p[0] = b64("{")), good.clone()),
        ("header an array", "Malformed(HeaderJson)", parts(|p| p[0] = b64("[]")), good.clone()),
        (
            "header with a BOM",
            "Malformed(HeaderJson)",
            parts(|p| p[0] = b64("\u{feff}{}")),
            good.clone(),
        ),
        (
            "header not UTF-8",
            "Malformed(HeaderJson)",
            parts(|p| p[0] = b64(b"{\"alg\":\"\xff\"}")),
            good.clone(),
        ),
        (
            "payload no JSON",
            "Malformed(ClaimsJson)",
            OURS.token("ES384", &head("ES384").to_string(), "x"),
            good.clone(),
        ),
        (
            "payload a string",
            "Malformed(ClaimsJson)",
            OURS.token("ES384", &head("ES384").to_string(), "\"x\""),
            good.clone(),
        ),
        (
            "trailing JSON",
            "Malformed(ClaimsJson)",
            OURS.token("ES384", &head("ES384").to_string(), &format!("{}{{}}", body())),
            good.clone(),
        ),
        (
            "nested",
            "Header(Nested)",
            OURS.token("ES384", &with(head("ES384"), "cty", json!("JWT")).to_string(), &good),
            header_with("cty", json!("json")),
        ),
        (
            "nested, unsaid",
            "Malformed(ClaimsJson)",
            OURS.token("ES384", &head("ES384").to_string(), &good),
            good.clone(),
        ),
        ("8 KiB and 1", "TooLong", format!("{good}{}", &oversize[good.len() - 1..]), good.clone()),
    ]
}

fn headers() -> Vec<Row> {
    let good = good();
    let twice = |text: &str, payload: &Value| OURS.token("ES384", text, &payload.to_string());
    let jwk = THEIRS.jwk("ES384", "ES384");
    let with_key = with(head("ES384"), "jwk", jwk);
    vec![
        (
            "crit",
            "Header(Crit)",
            header_with("crit", json!(["exp"])),
            header_with("x-crit", json!(["exp"])),
        ),
        ("empty crit", "Header(Crit)", header_with("crit", json!([])), good.clone()),
        ("crit null", "Header(Crit)", header_with("crit", Value::Null), good.clone()),
        (
            "b64 false with crit",
            "Header(Crit)",
            signed(
                &with(with(head("ES384"), "b64", json!(false)), "crit", json!(["b64"])),
                &body(),
            ),
            good.clone(),
        ),
        ("b64 alone", "Header(B64)", header_with("b64", json!(false)), good.clone()),
        ("zip", "Header(Zip)", header_with("zip", json!("DEF")), good.clone()),
        ("its own key", "Header(Jwk)", signed_by(&THEIRS, &with_key, &body()), good.clone()),
        (
            "our key, embedded",
            "Header(Jwk)",
            header_with("jwk", OURS.jwk("ES384", "ES384")),
            good.clone(),
        ),
        ("x5u", "Header(X5u)", header_with("x5u", json!("https://evil.example/c")), good.clone()),
        (
            "x5c",
            "Header(X5c)",
            header_with("x5c", json!(["AAAA"])),
            header_with("x5t", json!("AAAA")),
        ),
        (
            "foreign jku",
            "Jku",
            header_with("jku", json!("https://evil.example/jwks.json")),
            header_with("jku", json!(JKU)),
        ),
        (
            "jku with a query",
            "Jku",
            header_with("jku", json!(format!("{JKU}?x"))),
            header_with("jku", json!(JKU)),
        ),
        (
            "jku in other case",
            "Jku",
            header_with("jku", json!(JKU.to_uppercase())),
            header_with("jku", json!(JKU)),
        ),
        (
            "jku with user part",
            "Jku",
            header_with("jku", json!("https://ehr.example.org@evil.example/jwks.json")),
            header_with("jku", json!(JKU)),
        ),
        ("jku empty", "Jku", header_with("jku", json!("")), header_with("jku", json!(JKU))),
        (
            "jku a list",
            "Malformed(HeaderType)",
            header_with("jku", json!([JKU])),
            header_with("jku", json!(JKU)),
        ),
        (
            "typ of another use",
            "Header(Typ",
            header_with("typ", json!("at+jwt")),
            header_with("typ", json!("jwt")),
        ),
        (
            "typ a number",
            "Malformed(HeaderType)",
            header_with("typ", json!(1)),
            signed(&without(head("ES384"), "typ"), &body()),
        ),
        ("no kid", "KidMissing", signed(&without(head("ES384"), "kid"), &body()), good.clone()),
        ("kid empty", "KidMissing", header_with("kid", json!("")), good.clone()),
        ("kid a number", "KidMissing", header_with("kid", json!(1)), good.clone()),
        ("kid null", "KidMissing", header_with("kid", Value::Null), good.clone()),
        (
            "kid of 257 characters",
            "KidMissing",
            header_with("kid", json!("k".repeat(257))),
            good.clone(),
        ),
        (
            "kid unknown",
            "KidUnknown",
            header_with("kid", json!("nobody")),
            header_with("kid", json!("d3bmo5HzW61TUgikHZH+A8Tx4UOXz2iOs4KvVU4eLY0=")),
        ),
        ("kid in other case", "KidUnknown", header_with("kid", json!("es384")), good.clone()),
        ("kid a path", "KidUnknown", header_with("kid", json!("../../etc/passwd")), good.clone()),
        ("kid SQL", "KidUnknown", header_with("kid", json!("' or 1=1 --")), good.clone()),
        (
            "kid with an escape",
            "KidUnknown",
            header_with("kid", json!("a\u{1b}[2J\nb")),
            good.clone(),
        ),
        (
            "kid of another client",
            "KidUnknown",
            signed_by(&THEIRS, &with(head("ES384"), "kid", json!("theirs")), &body()),
            signed_by(
                &THEIRS,
                &with(head("ES384"), "kid", json!("theirs")),
                &claims("other", NOW.secs()),
            ),
        ),
        (
            "two alg",
            "Malformed(HeaderJson)",
            twice(r#"{"alg":"ES384","alg":"none","kid":"ES384"}"#, &body()),
            twice(r#"{"alg":"ES384","kid":"ES384"}"#, &body()),
        ),
        (
            "two kid, one escaped",
            "Malformed(HeaderJson)",
            twice(r#"{"alg":"ES384","kid":"ES384","\u006bid":"x"}"#, &body()),
            twice(r#"{"alg":"ES384","\u006bid":"ES384"}"#, &body()),
        ),
        (
            "two of an unknown",
            "Malformed(HeaderJson)",
            twice(r#"{"alg":"ES384","kid":"ES384","x":1,"x":1}"#, &body()),
            twice(r#"{"alg":"ES384","kid":"ES384","x":1}"#, &body()),
        ),
    ]
}

fn keys() -> Vec<Row> {
    let good = good();
    let kid = |alg: &str, kid: &str| signed(&with(head(alg), "kid", json!(kid)), &body());
    let narrow = |alg: &str| signed(&head(alg), &claims("narrow", NOW.secs()));
    let altered = |index: usize, text: String| parts(|p| p[index] = b64(&text));
    let high_bit = |mut s: Vec<u8>| {
        s[0] ^= 0x80;
        s
    };
    let es256 = signed(&head("ES256"), &body());
    vec![
        ("alg not the client's", "Algorithm(\"RS384\")", narrow("RS384"), narrow("ES384")),
        ("RS384 with a key for PS384", "KeyMismatch", kid("RS384", "PS384"), kid("PS384", "PS384")),
        (
            "PS384 with a key for RS384",
            "KeyMismatch",
            kid("PS384", "RS384"),
            kid("PS384", "rsa-any"),
        ),
        (
            "RS256 with a key for RS384",
            "KeyMismatch",
            kid("RS256", "RS384"),
            kid("RS256", "rsa-any"),
        ),
        ("ES256 with a key on P-384", "KeyMismatch", kid("ES256", "ES384"), kid("ES256", "ES256")),
        ("ES384 with an RSA key", "KeyMismatch", kid("ES384", "rsa-any"), kid("RS512", "rsa-any")),
        ("RS256 with an EC key", "KeyMismatch", kid("RS256", "ES256"), kid("RS256", "RS256")),
        ("EdDSA with an EC key", "KeyMismatch", kid("EdDSA", "ES256"), kid("EdDSA", "EdDSA")),
        (
            "a key for encryption",
            "KeyRefused { kid: \"enc\", fault: \"use\" }",
            kid("ES384", "enc"),
            good.clone(),
        ),
        (
            "a key for signing only",
            "KeyRefused { kid: \"ops\", fault: \"use\" }",
            kid("ES384", "ops"),
            kid("ES384", "ops-good"),
        ),
        (
            "a symmetric key",
            "KeyRefused { kid: \"secret\", fault: \"symmetric\" }",
            kid("ES384", "secret"),
            good.clone(),
        ),
        (
            "a key whose private half is out",
            "KeyRefused { kid: \"leaked\", fault: \"private\" }",
            kid("ES384", "leaked"),
            good.clone(),
        ),
        (
            "two keys of one name",
            "KeyRefused { kid: \"twice\", fault: \"ambiguous\" }",
            kid("ES384", "twice"),
            good.clone(),
        ),
        (
            "signed by somebody else",
            "Signature",
            signed_by(&THEIRS, &head("ES384"), &body()),
            good.clone(),
        ),
        (
            "the header changed",
            "Signature",
            altered(0, with(head("ES384"), "x", json!(1)).to_string()),
            good.clone(),
        ),
        (
            "the payload changed",
            "Signature",
            altered(1, with(body(), "x", json!(1)).to_string()),
            good.clone(),
        ),
        (
            "DER",
            "Signature",
            OURS.token("ES384-der", &head("ES384").to_string(), &body().to_string()),
            good.clone(),
        ),
        ("r and s zero", "Signature", signature("ES384", |s| vec![0; s.len()]), good.clone()),
        (
            "r zero",
            "Signature",
            signature("ES384", |s| [vec![0; 48], s[48..].to_vec()].concat()),
            good.clone(),
        ),
        (
            "s zero",
            "Signature",
            signature("ES384", |s| [s[..48].to_vec(), vec![0; 48]].concat()),
            good.clone(),
        ),
        ("r and s all ones", "Signature", signature("ES384", |s| vec![255; s.len()]), good.clone()),
        (
            "r and s swapped",
            "Signature",
            signature("ES384", |s| [&s[48..], &s[..48]].concat()),
            good.clone(),
        ),
        ("a byte short", "Signature", signature("ES384", |s| s[..95].to_vec()), good.clone()),
        ("a byte long", "Signature", signature("ES384", |s| [s, vec![0]].concat()), good.clone()),
        (
            "r and s widened",
            "Signature",
            signature("ES384", |s| [&[0], &s[..48], &[0], &s[48..]].concat()),
            good.clone(),
        ),
        ("the high bit flipped", "Signature", signature("ES384", high_bit), good.clone()),
        (
            "RSA: a byte short",
            "Signature",
            signature("RS384", |s| s[1..].to_vec()),
            kid("RS384", "RS384"),
        ),
        ("RSA: zero", "Signature", signature("RS384", |s| vec![0; s.len()]), kid("RS384", "RS384")),
        (
            "RSA: one",
            "Signature",
            signature("RS384", |s| [vec![0; s.len() - 1], vec![1]].concat()),
            kid("RS384", "RS384"),
        ),
        (
            "Ed25519: the high bit flipped",
            "Signature",
            signature("EdDSA", high_bit),
            kid("EdDSA", "EdDSA"),
        ),
        ("spare bits set", "Malformed(Base64)", with_spare_bits(&es256), es256),
    ]
}

fn claim_types() -> Vec<Row> {
    let good = good();
    let now = NOW.secs();
    let mut rows: Vec<Row> = Vec::new();
    for (name, missing) in [
        ("aud", "Claim { claim: \"aud\", fault: Missing }"),
        ("exp", "Claim { claim: \"exp\", fault: Missing }"),
        ("iat", "Claim { claim: \"iat\", fault: Missing }"),
        ("jti", "Claim { claim: \"jti\", fault: Missing }"),
        ("iss", "Malformed(Issuer)"),
    ] {
        rows.push((
            "absent",
            missing,
            signed(&head("ES384"), &without(body(), name)),
            good.clone(),
        ));
    }
    let twin_exp = claim("exp", json!(now + 100));
    for (what, fault, text) in [
        ("exp a string", "Type", format!("\"{}\"", now + 100)),
        ("exp null", "Type", "null".to_owned()),
        ("exp with a fraction", "Type", format!("{}.5", now + 100)),
        ("exp 1e30", "Type", "1e30".to_owned()),
        ("exp 1.8e9", "Type", "1.8e9".to_owned()),
        ("exp a list", "Type", format!("[{}]", now + 100)),
        ("exp true", "Type", "true".to_owned()),
        ("exp 2^63", "Range", "9223372036854775808".to_owned()),
        ("exp 2^64", "Range", "18446744073709551616".to_owned()),
        ("exp negative", "Range", "-1".to_owned()),
        ("exp in milliseconds", "Range", format!("{}000", now + 100)),
    ] {
        let expected: &'static str = if fault == "Type" {
            "Claim { claim: \"exp\", fault: Type }"
        } else {
            "Claim { claim: \"exp\", fault: Range }"
        };
        rows.push((
            what,
            expected,
            claims_text("exp", &format!("\"exp\":{text}")),
            twin_exp.clone(),
        ));
    }
    let twice = |name: &str| {
        let text = format!("\"{name}\":{}", body()[name]);
        claims_text(name, &format!("{text},{text}"))
    };
    rows.extend([
        ("two exp", "Malformed(ClaimsJson)", twice("exp"), good.clone()),
        ("two iss", "Malformed(ClaimsJson)", twice("iss"), good.clone()),
        ("two jti", "Malformed(ClaimsJson)", twice("jti"), good.clone()),
        ("two aud", "Malformed(ClaimsJson)", twice("aud"), good.clone()),
        (
            "two of an unknown",
            "Malformed(ClaimsJson)",
            claims_text("x", "\"x\":1,\"x\":2"),
            claims_text("x", "\"x\":1"),
        ),
        (
            "iat a string",
            "Claim { claim: \"iat\", fault: Type }",
            claim("iat", json!(now.to_string())),
            claim("iat", json!(now)),
        ),
        (
            "nbf a string",
            "Claim { claim: \"nbf\", fault: Type }",
            claim("nbf", json!("0")),
            claim("nbf", json!(0)),
        ),
        (
            "nbf null",
            "Claim { claim: \"nbf\", fault: Type }",
            claim("nbf", Value::Null),
            claim("nbf", json!(now - 300)),
        ),
        (
            "jti a number",
            "Claim { claim: \"jti\", fault: Type }",
            claim("jti", json!(7)),
            claim("jti", json!("7")),
        ),
        (
            "jti empty",
            "Claim { claim: \"jti\", fault: Empty }",
            claim("jti", json!("")),
            claim("jti", json!("x")),
        ),
        (
            "jti of 257 characters",
            "Claim { claim: \"jti\", fault: TooLong }",
            claim("jti", json!("j".repeat(257))),
            claim("jti", json!("j".repeat(256))),
        ),
        (
            "tenant a number",
            "Claim { claim: \"tenant\", fault: Type }",
            claim("tenant", json!(1)),
            claim("tenant", json!("1")),
        ),
        (
            "tenant with a newline",
            "Claim { claim: \"tenant\", fault: Type }",
            claim("tenant", json!("a\nb")),
            claim("tenant", json!("a b")),
        ),
        (
            "tenant empty",
            "Claim { claim: \"tenant\", fault: Empty }",
            claim("tenant", json!("")),
            claim("tenant", json!("x")),
        ),
        (
            "aud a number",
            "Claim { claim: \"aud\", fault: Type }",
            claim("aud", json!(1)),
            claim("aud", json!([GREET])),
        ),
        (
            "aud an object",
            "Claim { claim: \"aud\", fault: Type }",
            claim("aud", json!({"0": GREET})),
            claim("aud", json!([GREET])),
        ),
        (
            "aud null",
            "Claim { claim: \"aud\", fault: Type }",
            claim("aud", Value::Null),
            claim("aud", json!([GREET])),
        ),
        (
            "aud empty",
            "Claim { claim: \"aud\", fault: Empty }",
            claim("aud", json!("")),
            claim("aud", json!(GREET)),
        ),
        (
            "aud an empty list",
            "Claim { claim: \"aud\", fault: Empty }",
            claim("aud", json!([])),
            claim("aud", json!([GREET])),
        ),
        (
            "aud with a number in it",
            "Claim { claim: \"aud\", fault: Type }",
            claim("aud", json!([GREET, 7])),
            claim("aud", json!([GREET, "7"])),
        ),
        (
            "aud a list in a list",
            "Claim { claim: \"aud\", fault: Type }",
            claim("aud", json!([[GREET]])),
            claim("aud", json!([GREET])),
        ),
        (
            "iss a list",
            "Malformed(Issuer)",
            claim("iss", json!([ISSUER])),
            claim("iss", json!(ISSUER)),
        ),
        (
            "iss a list with two",
            "Malformed(Issuer)",
            claim("iss", json!(["evil", ISSUER])),
            claim("iss", json!(ISSUER)),
        ),
        ("iss null", "Malformed(Issuer)", claim("iss", Value::Null), claim("iss", json!(ISSUER))),
        ("iss unknown", "Issuer", claim("iss", json!("https://evil.example")), good.clone()),
        ("iss empty", "Issuer", claim("iss", json!("")), good.clone()),
        ("iss with a slash", "Issuer", claim("iss", json!(format!("{ISSUER}/"))), good.clone()),
        ("iss in other case", "Issuer", claim("iss", json!(ISSUER.to_uppercase())), good.clone()),
        ("iss of another client", "KidUnknown", claim("iss", json!("other")), good),
    ]);
    rows
}

fn claim_values() -> Vec<Row> {
    let good = good();
    let now = NOW.secs();
    let span = |iat: u64, exp: u64| {
        signed(&head("ES384"), &with(with(body(), "iat", json!(iat)), "exp", json!(exp)))
    };
    let at = |tail: &str| json!(format!("https://gw.example.org{tail}"));
    vec![
        ("expired, skew used up", "Expired", span(now - 200, now - 30), span(now - 200, now - 29)),
        ("expired long ago", "Expired", span(1, 100), good.clone()),
        ("exp 0", "Expired", span(0, 0), good.clone()),
        ("iat ahead", "IssuedInFuture", span(now + 31, now + 200), span(now + 30, now + 200)),
        ("nbf ahead", "NotYetValid", claim("nbf", json!(now + 31)), claim("nbf", json!(now + 30))),
        ("lives 301 s", "Lifetime", span(now - 1, now + 300), span(now, now + 300)),
        ("exp before iat", "Lifetime", span(now + 20, now + 10), span(now + 10, now + 20)),
        ("exp is iat", "Lifetime", span(now, now), span(now, now + 1)),
        (
            "for ever",
            "Lifetime",
            span(now, 253_402_300_799),
            from("long", "exp", json!(now + 86_400)),
        ),
        (
            "lives a day and a second",
            "Lifetime",
            from("long", "exp", json!(now + 86_401)),
            from("long", "exp", json!(now + 86_400)),
        ),
        ("aud another service", "Audience", claim("aud", at("/cds-services/other")), good.clone()),
        (
            "aud another host",
            "Audience",
            claim("aud", json!("https://evil.example/cds-services/greet")),
            good.clone(),
        ),
        (
            "aud plain http",
            "Audience",
            claim("aud", json!(GREET.replace("https", "http"))),
            good.clone(),
        ),
        (
            "aud with the port",
            "Audience",
            claim("aud", json!("https://gw.example.org:443/cds-services/greet")),
            good.clone(),
        ),
        (
            "aud host in other case",
            "Audience",
            claim("aud", json!("https://GW.example.org/cds-services/greet")),
            good.clone(),
        ),
        ("aud with a slash", "Audience", claim("aud", at("/cds-services/greet/")), good.clone()),
        ("aud with a query", "Audience", claim("aud", at("/cds-services/greet?x")), good.clone()),
        (
            "aud path in other case",
            "Audience",
            claim("aud", at("/cds-services/Greet")),
            good.clone(),
        ),
        (
            "aud percent-encoded",
            "Audience",
            claim("aud", at("/cds-services/gree%74")),
            good.clone(),
        ),
        (
            "aud of feedback at the service",
            "Audience",
            claim("aud", at("/cds-services/greet/feedback")),
            good.clone(),
        ),
        (
            "aud the base, unasked",
            "Audience",
            claim("aud", at("/cds-services")),
            from("base", "aud", at("/cds-services")),
        ),
        (
            "aud the endpoint where base is asked",
            "Audience",
            from("base", "aud", json!(GREET)),
            from("base", "aud", at("/cds-services")),
        ),
        ("aud a prefix, unasked", "Audience", claim("aud", at("")), from("prefix", "aud", at(""))),
        (
            "aud a prefix within a segment",
            "Audience",
            from("prefix", "aud", at("/cds-services/gre")),
            from("prefix", "aud", at("/cds-services")),
        ),
        (
            "aud a prefix with a slash",
            "Audience",
            from("prefix", "aud", at("/")),
            from("prefix", "aud", at("")),
        ),
        (
            "aud only the scheme",
            "Audience",
            from("prefix", "aud", json!("https:")),
            from("prefix", "aud", at("")),
        ),
        (
            "aud a literal of another client",
            "Audience",
            claim("aud", json!("sand_man")),
            from("meld", "aud", json!("sand_man")),
        ),
        (
            "aud the literal in other case",
            "Audience",
            from("meld", "aud", json!("Sand_Man")),
            from("meld", "aud", json!("sand_man")),
        ),
        (
            "aud a list without ours",
            "Audience",
            claim("aud", json!(["a", "b"])),
            claim("aud", json!(["a", GREET])),
        ),
        (
            "tenant not listed",
            "Tenant(\"east\")",
            from("orgs", "tenant", json!("east")),
            from("orgs", "tenant", json!("north")),
        ),
        (
            "tenant in other case",
            "Tenant(\"NORTH\")",
            from("orgs", "tenant", json!("NORTH")),
            from("orgs", "tenant", json!("south")),
        ),
        (
            "no tenant",
            "TenantMissing",
            signed(&head("ES384"), &claims("orgs", now)),
            from("orgs", "tenant", json!("south")),
        ),
    ]
}

#[tokio::test]
async fn each_flaw_is_refused_for_its_own_reason_and_its_twin_is_accepted() {
    let gate = gate();
    let rows = rows();
    assert!(rows.len() > 130, "{}", rows.len());
    let mut wrong = Vec::new();
    for (what, expected, hostile, twin) in rows {
        match gate.call(&hostile).await {
            Ok(_) => wrong.push(format!("{what}: accepted")),
            Err(error) => {
                let reason = format!("{:?}", error.reason());
                if !reason.starts_with(expected) {
                    wrong.push(format!("{what}: {reason}, not {expected}"));
                }
                assert!(
                    !error.to_string().contains(&hostile) || hostile.len() < 10,
                    "{what}: token shown"
                );
                assert!(!error.to_string().contains(['\n', '\u{1b}']), "{what}: {error}");
            }
        }
        if let Err(error) = gate.call(&twin).await {
            wrong.push(format!("{what}: the twin is refused: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn each_algorithm_verifies() {
    let gate = gate();
    for alg in ALGORITHMS {
        let verified = gate.call(&signed(&head(alg), &body())).await.unwrap();
        assert_eq!(verified.kid(), alg);
        assert_eq!(verified.client().as_str(), "ehr");
        assert_eq!(verified.issuer(), ISSUER);
        assert_eq!(verified.audience_rule(), AudienceRule::Endpoint);
    }
}

#[tokio::test]
async fn the_header_field_carries_one_bearer_token() {
    let gate = gate();
    let greet = ServiceId::new("greet").unwrap();
    let called = Called::Service(&greet);
    let token = good();
    let of = async |fields: &[&str]| -> Result<Verified, AuthError> {
        gate.call_of(fields, &called).await
    };
    let bearer = format!("Bearer {token}");
    for fine in [&bearer, &format!("bearer {token}"), &format!("BEARER  {token}")] {
        assert!(of(&[fine]).await.is_ok(), "{fine}");
    }
    let reasons = [
        (vec![], AuthReason::Missing),
        (vec![bearer.clone(), bearer.clone()], AuthReason::Several),
        (vec![bearer.clone(), "Basic dTpw".to_owned()], AuthReason::Several),
        (vec![format!("Basic {token}")], AuthReason::Scheme),
        (vec![format!("DPoP {token}")], AuthReason::Scheme),
        (vec![token.clone()], AuthReason::Scheme),
        (vec![format!("Bearer\t{token}")], AuthReason::Scheme),
        (vec!["Bearer".to_owned()], AuthReason::NotOneToken),
        (vec![format!("{bearer} ")], AuthReason::NotOneToken),
        (vec![format!("{bearer} {token}")], AuthReason::NotOneToken),
        (vec![format!("{bearer},{token}")], AuthReason::NotOneToken),
        (vec![format!("Bearer {}", token.replacen('.', "\t.", 1))], AuthReason::NotOneToken),
    ];
    for (fields, expected) in reasons {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let error = of(&fields).await.unwrap_err();
        assert_eq!(error.reason(), &expected);
        assert_eq!((error.client(), error.issuer()), (None, None));
    }
}

#[tokio::test]
async fn feedback_and_analytics_have_their_own_endpoints() {
    let gate = gate();
    let greet = ServiceId::new("greet").unwrap();
    let uuid = "0b2a3f0e-7c41-4f0e-9a51-000000000001";
    let rule = async |issuer: &str, aud: &str, called: Called<'_>| {
        let bearer = format!("Bearer {}", from(issuer, "aud", json!(aud)));
        gate.call_of(&[&bearer], &called).await.ok().map(|verified| verified.audience_rule())
    };
    let (feedback, analytics) = (Called::Feedback(&greet), Called::Analytics(&greet, uuid));
    let below = |tail: &str| format!("{GREET}/{tail}");
    let base = "https://gw.example.org/cds-services";
    assert_eq!(rule(ISSUER, &below("feedback"), feedback).await, Some(AudienceRule::Endpoint));
    assert_eq!(rule(ISSUER, GREET, feedback).await, Some(AudienceRule::Service));
    assert_eq!(rule("strict", GREET, feedback).await, None);
    assert_eq!(rule("strict", &below("feedback"), feedback).await, Some(AudienceRule::Endpoint));
    assert_eq!(rule(ISSUER, &below("feedback/"), feedback).await, None);
    assert_eq!(rule(ISSUER, &below("feedbac"), feedback).await, None);
    assert_eq!(
        rule(ISSUER, &below(&format!("analytics/{uuid}")), analytics).await,
        Some(AudienceRule::Endpoint)
    );
    assert_eq!(rule(ISSUER, &below("analytics/x"), analytics).await, None);
    assert_eq!(rule(ISSUER, GREET, analytics).await, Some(AudienceRule::Service));
    assert_eq!(rule("prefix", &below("analytics"), analytics).await, Some(AudienceRule::Prefix));
    assert_eq!(rule(ISSUER, base, Called::Discovery).await, Some(AudienceRule::Endpoint));
    assert_eq!(rule("base", base, feedback).await, Some(AudienceRule::Base));
}

#[tokio::test]
async fn a_known_client_may_be_kept_from_a_service() {
    let gate = gate();
    let (greet, other) = (ServiceId::new("greet").unwrap(), ServiceId::new("other").unwrap());
    let call = async |service: &ServiceId, aud: &str| {
        let bearer = format!("Bearer {}", from("one", "aud", json!(aud)));
        gate.call_of(&[&bearer], &Called::Service(service)).await
    };
    assert!(call(&greet, GREET).await.is_ok());
    let error = call(&other, "https://gw.example.org/cds-services/other").await.unwrap_err();
    assert_eq!(error.reason(), &AuthReason::ServiceForbidden(other));
    assert!(error.reason().proves_sender());
    assert_eq!(error.client().unwrap().as_str(), "one");
}

#[tokio::test]
async fn a_refusal_says_what_was_sent_without_letting_it_into_the_log_raw() {
    let gate = gate();
    let aud = format!("https://evil.example/\r\n{}", "x".repeat(500));
    let error = gate.call(&claim("aud", json!(aud))).await.unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("https://evil.example/\\u{d}\\u{a}xxx"), "{shown}");
    assert!(shown.len() < 400 && !shown.contains('\n'), "{shown}");
    assert_eq!(error.issuer(), Some(ISSUER));
    assert_eq!(error.client().unwrap().as_str(), "ehr");
}
