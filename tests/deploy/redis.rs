//! Redis as it is shipped is one that hookgate takes, with the secrets that the script makes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::manifests::{Manifests, bytes};
use crate::port::free_port;
use crate::tools::{both, root, said, shipped, tool, yaml};

const HOOKGATE: &str = env!("CARGO_BIN_EXE_hookgate");
/// Far more than anything here takes. Who waits longer waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(50);

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the script as its head says; `at` must not be there yet.
fn secrets(at: &Path) {
    let mut script = Command::new(root("deploy/kubernetes/secrets"));
    let output = script.arg(at).env("HOOKGATE", HOOKGATE).output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
}

#[test]
fn the_script_makes_the_secrets_that_the_manifests_name_and_no_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    secrets(&made);
    let rendered = yaml(&said(tool("kubectl/layer/kubectl/kubectl").arg("kustomize").arg(&made)));
    let names: BTreeSet<_> = rendered
        .iter()
        .map(|secret| secret["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let example = Manifests::of("standalone");
    let mut wanted: BTreeSet<String> = example
        .text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("secretName: "))
        .map(str::to_owned)
        .collect();
    // The public one's comes from elsewhere.
    assert!(wanted.remove("hookgate-tls"));
    assert_eq!(names, wanted);
    // A second run would make other keys.
    let again = Command::new(root("deploy/kubernetes/secrets")).arg(&made).output().unwrap();
    assert!(!again.status.success(), "{}", both(&again));
}

#[test]
fn the_user_in_redis_may_do_what_the_docs_say() {
    let docs = shipped("docs/replicas.md");
    let documented =
        docs.lines().find_map(|line| line.strip_prefix("user hookgate on >PASSWORD ")).unwrap();
    let script = shipped("deploy/kubernetes/secrets");
    let given = script.lines().find_map(|line| line.strip_prefix("rights='")).unwrap();
    assert_eq!(given.trim_end_matches('\''), documented);
}

#[test]
fn what_is_held_fits_into_redis_and_redis_into_its_memory() {
    let example = Manifests::of("standalone");
    let conf = example.one("ConfigMap", "hookgate-redis")["data"]["redis.conf"].as_str().unwrap();
    let memory = conf.lines().find_map(|line| line.strip_prefix("maxmemory ")).unwrap();
    let memory = memory.strip_suffix("mb").unwrap().parse::<u64>().unwrap() << 20;
    assert!(example.config().state.max_entries * 220 <= memory);
    let set = example.one("StatefulSet", "hookgate-redis");
    let limit =
        bytes(&set["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]);
    assert!(memory * 2 <= limit, "rewriting its file can take as much again");
}

#[tokio::test]
async fn hookgate_is_ready_with_the_redis_and_the_configuration_that_are_shipped() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    secrets(&folder.path().join("made"));
    let (redis_port, health_port) = (free_port(), free_port());
    let example = Manifests::of("standalone");

    std::fs::create_dir(at("data")).unwrap();
    let conf = example.one("ConfigMap", "hookgate-redis")["data"]["redis.conf"].as_str().unwrap();
    let conf = conf
        .replace("/run/secrets/tls", &at("made"))
        .replace("/run/secrets/acl", &at("made"))
        .replace("/data", &at("data"))
        .replace("tls-port 6379", &format!("tls-port {redis_port}\nbind 127.0.0.1"));
    std::fs::write(at("redis.conf"), conf).unwrap();
    let mut server = Command::new("redis-server");
    let _redis = Running(server.arg(at("redis.conf")).stdout(Stdio::null()).spawn().unwrap());

    let issued = rcgen::generate_simple_self_signed(["cds.example.org".to_owned()]).unwrap();
    std::fs::write(at("tls.crt"), issued.cert.pem()).unwrap();
    std::fs::write(at("tls.key"), issued.signing_key.serialize_pem()).unwrap();
    let keys = hookgate::demo::ehr::SigningKey::generate("key-1").unwrap();
    std::fs::write(at("ehr.jwks"), keys.jwks()).unwrap();
    let config = example
        .config_text()
        .replace("/run/secrets/tls", folder.path().to_str().unwrap())
        .replace("/run/secrets/redis", &at("made"))
        .replace("/run/secrets/keys", &at("made"))
        .replace("hookgate-redis:6379", &format!("localhost:{redis_port}"))
        .replace("0.0.0.0:9090", &format!("127.0.0.1:{health_port}"))
        .replace(
            "jwks_url = \"https://ehr.example.org/jwks\"",
            &format!("jwks_file = \"{}\"", at("ehr.jwks")),
        );
    std::fs::write(at("hookgate.toml"), config).unwrap();
    let mut program = Command::new(HOOKGATE);
    program.args(["serve", "--config", &at("hookgate.toml")]).stdout(Stdio::null());
    program.env("HOOKGATE__LISTENER__ADDRESS", "127.0.0.1:0");
    program.env("HOOKGATE__ADMIN__ADDRESS", "127.0.0.1:0");
    let mut gateway = Running(program.spawn().unwrap());

    let page = format!("http://127.0.0.1:{health_port}/readyz");
    let (mut waited, mut last) = (Duration::ZERO, String::new());
    while waited < PATIENCE {
        assert!(gateway.0.try_wait().unwrap().is_none(), "it ended");
        if let Ok(answer) = reqwest::get(&page).await {
            last = format!("{} {}", answer.status().as_u16(), answer.text().await.unwrap());
            if last == r#"200 {"pending":[],"ready":true}"# {
                return;
            }
        }
        tokio::time::sleep(GLANCE).await;
        waited += GLANCE;
    }
    panic!("never ready: {last}");
}
