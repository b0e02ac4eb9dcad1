//! The pods of the examples: that the configuration finds its files, that there is time to drain, and that
//! nobody comes past the gateway.

use std::time::Duration;

use hookgate::config::Config;
use hookgate::store::Backend;
use serde_json::{Value, json};

use crate::manifests::{Manifests, bytes, list, open_ports, seconds, selects};
use crate::tools::shipped;

/// What `hookgate` takes for itself when all calls are answered.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// With TLS: see `listener.max_connections`.
const CONNECTION: u64 = 100 << 10;

/// The longest that hookgate takes to end.
fn drain(config: &Config) -> Duration {
    config.listener.ready_grace.get() + config.listener.drain_timeout.get() + LAST_WORDS
}

#[test]
fn every_file_that_the_configuration_names_is_mounted() {
    for example in Manifests::all() {
        let (pod, container) = example.gateway();
        let text = example.config_text();
        let named: Vec<&str> = text.split('"').filter(|text| text.starts_with('/')).collect();
        assert!(named.len() >= 2, "{}: {named:?}", example.name);
        for file in named {
            let (folder, file) = file.rsplit_once('/').unwrap();
            let mounts = list(container, "volumeMounts");
            let mount = mounts.iter().find(|mount| mount["mountPath"] == folder);
            let mount =
                mount.unwrap_or_else(|| panic!("{}: {folder} is not mounted", example.name));
            let volume =
                list(&pod["spec"], "volumes").iter().find(|v| v["name"] == mount["name"]).unwrap();
            assert_eq!(mount["readOnly"], true, "{mount}");
            assert!(mount.get("subPath").is_none(), "{mount} would never change");
            // Kept to the group, or the keys are refused: 0440.
            assert_eq!(volume["secret"]["defaultMode"], 0o440, "{volume}");
            let secret = volume["secret"]["secretName"].as_str().unwrap();
            assert!(
                keys_of_secret(secret).contains(&file),
                "{}: {secret} has no {file}",
                example.name
            );
        }
    }
}

/// What the instructions put into a secret.
fn keys_of_secret(name: &str) -> Vec<&'static str> {
    if name == "hookgate-tls" {
        // kubectl create secret tls
        return vec!["tls.crt", "tls.key"];
    }
    let script: &'static str = shipped("deploy/kubernetes/secrets").leak();
    let (_, rest) =
        script.split_once(&format!("- name: {name}\n")).unwrap_or_else(|| panic!("{name}"));
    let (_, rest) = rest.split_once("files: [").unwrap();
    rest.split(']').next().unwrap().split(", ").collect()
}

#[test]
fn nothing_that_is_mounted_is_missing_from_the_instructions() {
    for example in Manifests::all() {
        for object in example.of_kind("Deployment").chain(example.of_kind("StatefulSet")) {
            for volume in list(&object["spec"]["template"]["spec"], "volumes") {
                if let Some(name) = volume["configMap"]["name"].as_str() {
                    example.one("ConfigMap", name);
                } else if let Some(name) = volume["secret"]["secretName"].as_str() {
                    assert!(!keys_of_secret(name).is_empty());
                } else if let Some(name) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                    example.one("PersistentVolumeClaim", name);
                } else {
                    assert!(volume["emptyDir"].is_object(), "{volume}");
                }
            }
        }
    }
}

#[test]
fn a_pod_that_ends_has_time_to_drain() {
    for example in Manifests::all() {
        let (pod, gateway) = example.gateway();
        let (needed, patience) =
            (drain(&example.config()), seconds(&pod["spec"]["terminationGracePeriodSeconds"]));
        if gateway["restartPolicy"] == "Always" {
            // Told at once, while the service goes on until hookgate has ended.
            assert_eq!(
                gateway["lifecycle"]["preStop"]["exec"]["command"],
                json!(["/usr/local/bin/hookgate", "drain", "--pid", "1"])
            );
            for service in list(&pod["spec"], "containers") {
                let waits = seconds(&service["lifecycle"]["preStop"]["sleep"]["seconds"]);
                assert!(waits >= needed, "{}: {waits:?} < {needed:?}", example.name);
                assert!(
                    patience >= waits + Duration::from_secs(10),
                    "{}: {patience:?}",
                    example.name
                );
            }
        } else {
            assert!(patience >= needed + Duration::from_secs(5), "{}: {patience:?}", example.name);
        }
    }
    // And where systemd waits.
    let least = Config::from_toml(&shipped("config/minimal.toml")).unwrap();
    let unit = shipped("deploy/systemd/hookgate.service");
    let waits = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let waits = Duration::from_secs(waits.trim_end_matches('s').parse().unwrap());
    assert!(waits >= drain(&least) + Duration::from_secs(5), "{waits:?}");
}

#[test]
fn what_is_held_at_once_fits_into_the_memory() {
    for example in Manifests::all() {
        let (_, container) = example.gateway();
        let config = example.config();
        let held = u64::from(config.listener.max_connections.get()) * CONNECTION
            + u64::try_from(config.body.max_held.bytes()).unwrap()
            + (128 << 20);
        let limit = bytes(&container["resources"]["limits"]["memory"]);
        assert!(held <= limit, "{}: {held} > {limit}", example.name);
    }
}

#[test]
fn probes_and_prometheus_find_the_ports_that_the_configuration_opens() {
    for example in Manifests::all() {
        let (_, container) = example.gateway();
        let config = example.config();
        assert!(config.health.address.ip().is_unspecified(), "probes come from outside of the pod");
        for (name, port) in
            [("https", config.listener.address.port()), ("health", config.health.address.port())]
        {
            let found =
                list(container, "ports").iter().find(|found| found["name"] == name).unwrap();
            assert_eq!(found["containerPort"], port, "{}", example.name);
        }
        for (probe, path) in
            [("startupProbe", "/livez"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]
        {
            let asked = &container[probe]["httpGet"];
            assert_eq!(asked, &json!({"path": path, "port": "health"}), "{}", example.name);
        }
    }
}

#[test]
fn nothing_in_a_gateways_container_is_more_than_it_needs() {
    for example in Manifests::all() {
        let (pod, container) = example.gateway();
        let spec = &pod["spec"];
        let of = |name: &str| {
            let own = &container["securityContext"][name];
            if own.is_null() { &spec["securityContext"][name] } else { own }
        };
        assert_eq!((of("runAsNonRoot"), of("runAsUser")), (&json!(true), &json!(65532)));
        assert_eq!(of("readOnlyRootFilesystem"), true);
        assert_eq!(of("allowPrivilegeEscalation"), false);
        assert_eq!(of("capabilities"), &json!({"drop": ["ALL"]}));
        assert_eq!(of("seccompProfile"), &json!({"type": "RuntimeDefault"}));
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["securityContext"]["fsGroup"], 65532, "or secrets cannot be read");
        let namespace = example.one("Namespace", "cds");
        assert_eq!(
            namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
            "restricted"
        );
    }
}

/// The ports that a policy lets whoever comes `from` (nothing is everybody) reach in its pods.
fn let_in(policy: &Value) -> Vec<(Option<&Value>, Option<u64>)> {
    list(&policy["spec"], "ingress")
        .iter()
        .flat_map(|rule| {
            let ports = list(rule, "ports").iter().map(|port| Some(port["port"].as_u64().unwrap()));
            let ports: Vec<_> =
                if rule.get("ports").is_some() { ports.collect() } else { vec![None] };
            ports.into_iter().map(move |port| (rule.get("from"), port))
        })
        .collect()
}

/// Every policy that applies to a pod.
fn policies_of<'a>(example: &'a Manifests, pod: &'a Value) -> Vec<&'a Value> {
    let policies = example.of_kind("NetworkPolicy");
    policies.filter(|policy| selects(&policy["spec"]["podSelector"]["matchLabels"], pod)).collect()
}

#[test]
fn nobody_comes_past_the_gateway() {
    let monitoring = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    let only_hookgate =
        json!([{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "hookgate"}}}]);
    for example in Manifests::all() {
        let (pod, _) = example.gateway();
        let entries: Vec<_> = policies_of(&example, pod)
            .into_iter()
            .filter(|p| p["spec"]["policyTypes"] == json!(["Ingress"]))
            .collect();
        let [entry] = entries.as_slice() else { panic!("{}: {entries:?}", example.name) };
        assert_eq!(let_in(entry), [(None, Some(8443)), (Some(&monitoring), Some(9090))]);

        let legacy = &example.one("Deployment", "legacy")["spec"]["template"];
        if legacy == pod {
            // Closed by the same policy; and no service leads to its port.
            assert!(example.of_kind("Service").all(|service| !exposes(service, legacy, 8080)));
        } else {
            let policies = policies_of(&example, legacy);
            let [policy] = policies.as_slice() else { panic!("{policies:?}") };
            assert_eq!(let_in(policy), [(Some(&only_hookgate), None)]);
        }
    }
}

fn exposes(service: &Value, pod: &Value, port: u64) -> bool {
    let ports = list(&service["spec"], "ports");
    let hit = |target: &Value| target == &json!(port);
    selects(&service["spec"]["selector"], pod)
        && ports.iter().any(|p| hit(p.get("targetPort").unwrap_or_else(|| &p["port"])))
}

#[test]
fn a_gateway_may_reach_what_its_configuration_names() {
    let example = Manifests::of("standalone");
    let (pod, _) = example.gateway();
    let out = example.one("NetworkPolicy", "hookgate-out");
    assert!(selects(&out["spec"]["podSelector"]["matchLabels"], pod));
    let may = |to: &Value, port: u64| {
        list(&out["spec"], "egress").iter().any(|rule| {
            let ports = list(rule, "ports");
            list(rule, "to").iter().any(|peer| selects(&peer["podSelector"]["matchLabels"], to))
                && (ports.is_empty() || ports.iter().any(|p| p["port"] == port))
        })
    };
    assert!(may(&example.one("Deployment", "legacy")["spec"]["template"], 8080));
    assert!(may(&example.one("StatefulSet", "hookgate-redis")["spec"]["template"], 6379));
    // In whatever namespace it is.
    let protected = json!([{
        "namespaceSelector": {}, "podSelector": {"matchLabels": {"hookgate.org/protected": "true"}},
    }]);
    assert!(list(&out["spec"], "egress").iter().any(|rule| rule["to"] == protected));
    // Who may reach Redis, and whom it may reach.
    let redis = example.one("NetworkPolicy", "hookgate-redis");
    let gateways = json!([{"podSelector": {"matchLabels": {"hookgate.org/gateway": "true"}}}]);
    assert_eq!(let_in(redis), [(Some(&gateways), Some(6379))]);
    assert_eq!(list(&redis["spec"], "policyTypes"), [json!("Ingress"), json!("Egress")]);
    assert!(redis["spec"].get("egress").is_none());

    let config = serde_json::to_value(example.config()).unwrap();
    assert!(
        config["upstream"][0]["url"].as_str().unwrap().starts_with("http://legacy:8080"),
        "{config}"
    );
    let service = example.one("Service", "legacy");
    assert!(exposes(service, &example.one("Deployment", "legacy")["spec"]["template"], 8080));
}

#[test]
fn every_service_leads_to_a_port_that_is_there() {
    for example in Manifests::all() {
        let pods: Vec<_> = example
            .of_kind("Deployment")
            .chain(example.of_kind("StatefulSet"))
            .map(|object| &object["spec"]["template"])
            .collect();
        for service in example.of_kind("Service") {
            let pods: Vec<_> =
                pods.iter().filter(|pod| selects(&service["spec"]["selector"], pod)).collect();
            let [pod] = pods.as_slice() else { panic!("{service} leads to {} pods", pods.len()) };
            for port in list(&service["spec"], "ports") {
                let target = port.get("targetPort").unwrap_or_else(|| &port["port"]);
                let hit =
                    |open: &Value| &open["name"] == target || &open["containerPort"] == target;
                assert!(open_ports(pod).any(hit), "{service}");
                if selects(&service["spec"]["selector"], example.gateway().0) {
                    assert!(
                        target.is_u64(),
                        "not every cluster finds a sidecar's by name: {service}"
                    );
                }
            }
        }
        let public = example.one("Service", "hookgate");
        let ports: Vec<_> = list(&public["spec"], "ports").iter().map(|p| &p["port"]).collect();
        assert_eq!(ports, [443], "no load balancer shows metrics");
    }
}

#[test]
fn prometheus_asks_the_gateways_and_calls_them_hookgate() {
    for example in Manifests::all() {
        let monitor = example.one("ServiceMonitor", "hookgate");
        let service = example.one("Service", "hookgate-metrics");
        assert_eq!(
            monitor["spec"],
            json!({
                "jobLabel": "app.kubernetes.io/name",
                "selector": {"matchLabels": {
                    "app.kubernetes.io/name": "hookgate", "app.kubernetes.io/component": "metrics",
                }},
                "endpoints": [{"port": "health", "path": "/metrics", "interval": "15s"}],
            })
        );
        let selected: Vec<_> = example
            .of_kind("Service")
            .filter(|service| selects(&monitor["spec"]["selector"]["matchLabels"], service))
            .collect();
        assert_eq!(selected, [service]);
        assert_eq!(service["metadata"]["labels"]["app.kubernetes.io/name"], "hookgate");
    }
}

#[test]
fn as_many_replicas_as_the_configuration_says_and_one_where_the_state_is_its_own() {
    for example in Manifests::all() {
        let config = example.config();
        let (pod, _) = example.gateway();
        let deployment =
            example.of_kind("Deployment").find(|d| &d["spec"]["template"] == pod).unwrap();
        let scalers: Vec<_> = example.of_kind("HorizontalPodAutoscaler").collect();
        if let [scaler] = scalers.as_slice() {
            assert!(
                deployment["spec"].get("replicas").is_none(),
                "each deployment would set it back"
            );
            assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
            assert_eq!(scaler["spec"]["maxReplicas"], config.replicas.get());
            // One may go at any time.
            assert!(scaler["spec"]["minReplicas"].as_u64().unwrap() > 1);
        } else {
            assert_eq!(deployment["spec"]["replicas"], config.replicas.get(), "{}", example.name);
        }
        if config.state.backend == Backend::Disk {
            assert_eq!(config.replicas.get(), 1);
            assert_eq!(deployment["spec"]["strategy"], json!({"type": "Recreate"}));
        }
        for budget in example.of_kind("PodDisruptionBudget") {
            assert!(selects(&budget["spec"]["selector"]["matchLabels"], pod));
            assert_eq!(budget["spec"]["maxUnavailable"], 1);
        }
    }
}
