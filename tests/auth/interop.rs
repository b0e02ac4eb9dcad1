//! Tokens made by the libraries that clients use: PyJWT and jose.

use std::process::Command;

use hookgate::gateway::auth::KeySettings;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gate::{GREET, Gate, ISSUER, NOW, inline};
use crate::signer::ALGORITHMS;

/// One line that a generator prints.
#[derive(Deserialize)]
struct Minted {
    library: String,
    alg: String,
    jwk: Value,
    token: String,
}

fn mint(program: &str, script: &str) -> Vec<Minted> {
    let root = env!("CARGO_MANIFEST_DIR");
    let (iat, exp) = (NOW.secs().to_string(), (NOW.secs() + 240).to_string());
    let output = Command::new(program)
        .current_dir(root)
        .args([script, "--iss", ISSUER, "--aud", GREET, "--iat", &iat, "--exp", &exp])
        .output()
        .unwrap_or_else(|e| panic!("{program} cannot be run ({e}): install the test tools first"));
    assert!(
        output.status.success(),
        "{program} {script} failed; install the test tools first. It said: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{script}: {e}: {line}")))
        .collect()
}

async fn all_are_accepted(minted: Vec<Minted>) {
    let algs: Vec<&str> = minted.iter().map(|m| m.alg.as_str()).collect();
    for alg in ALGORITHMS {
        assert!(algs.contains(&alg), "no token with {alg}");
    }
    for Minted { library, alg, jwk, token } in minted {
        let more = format!("algorithms = [{alg:?}]");
        let client = inline("ehr", ISSUER, json!({"keys": [jwk]}), &more);
        let gate = Gate::open(vec![client], KeySettings::default());
        if let Err(error) = gate.call(&token).await {
            panic!("{alg} of {library}: {error}");
        }
    }
}

#[tokio::test]
async fn tokens_of_pyjwt_are_accepted() {
    all_are_accepted(mint("target/test-tools/venv/bin/python", "tests/interop/mint.py")).await;
}

#[tokio::test]
async fn tokens_of_npm_jose_are_accepted() {
    all_are_accepted(mint("node", "tests/interop/mint.mjs")).await;
}
