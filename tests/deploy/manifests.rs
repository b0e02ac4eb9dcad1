//! The examples, as kubectl renders them.

use std::time::Duration;

use hookgate::config::Config;
use serde_json::Value;

use crate::tools::{said, tool, yaml};

/// Where kubectl finds them.
pub(crate) const EXAMPLES: [&str; 2] = ["sidecar", "standalone"];

/// One example, rendered.
pub(crate) struct Manifests {
    pub(crate) name: &'static str,
    /// As it would be applied.
    pub(crate) text: String,
    objects: Vec<Value>,
}

impl Manifests {
    pub(crate) fn of(name: &'static str) -> Self {
        let folder = format!("deploy/kubernetes/examples/{name}");
        let text = said(tool("kubectl/layer/kubectl/kubectl").args(["kustomize", &folder]));
        let objects = yaml(&text);
        Self { name, text, objects }
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        EXAMPLES.into_iter().map(Self::of)
    }

    pub(crate) fn objects(&self) -> &[Value] {
        &self.objects
    }

    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The one object of this kind with this name; with the hash that kustomize puts behind it, if it does.
    pub(crate) fn one(&self, kind: &str, name: &str) -> &Value {
        let named = |object: &&Value| {
            let found = object["metadata"]["name"].as_str().unwrap();
            found == name
                || found
                    .strip_prefix(name)
                    .is_some_and(|hash| hash.len() == 11 && hash.starts_with('-'))
        };
        let mut found = self.objects.iter().filter(|object| object["kind"] == kind).filter(named);
        let one = found.next().unwrap_or_else(|| panic!("{}: no {kind} {name}", self.name));
        assert!(found.next().is_none(), "{}: several {kind} {name}", self.name);
        one
    }

    /// What the program reads there.
    pub(crate) fn config_text(&self) -> &str {
        self.one("ConfigMap", "hookgate")["data"]["hookgate.toml"].as_str().unwrap()
    }

    pub(crate) fn config(&self) -> Config {
        let text = self.config_text();
        Config::from_toml(text).unwrap_or_else(|e| panic!("{}: {e}\n{text}", self.name))
    }

    /// The pod with the gateway in it, and the gateway's container.
    pub(crate) fn gateway(&self) -> (&Value, &Value) {
        let mut found = self.of_kind("Deployment").filter_map(|deployment| {
            let pod = &deployment["spec"]["template"];
            let containers = ["initContainers", "containers"]
                .into_iter()
                .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
            let mut gateways = containers.filter(|container| container["name"] == "hookgate");
            gateways.next().map(|container| (pod, container))
        });
        let one = found.next().unwrap_or_else(|| panic!("{}: no gateway", self.name));
        assert!(found.next().is_none(), "{}: two gateways", self.name);
        one
    }
}

pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn seconds(value: &Value) -> Duration {
    Duration::from_secs(value.as_u64().unwrap_or_else(|| panic!("{value} is no number of seconds")))
}

/// Bytes of `512Mi` and `4Gi`.
pub(crate) fn bytes(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    let (number, unit) = text.split_at(text.len() - 2);
    let unit = match unit {
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => panic!("{text}"),
    };
    number.parse::<u64>().unwrap() * unit
}

/// Whether what `selector` names is all among the labels of `of`.
pub(crate) fn selects(selector: &Value, of: &Value) -> bool {
    let Some(wanted) = selector.as_object() else { return false };
    !wanted.is_empty()
        && wanted.iter().all(|(name, value)| &of["metadata"]["labels"][name] == value)
}

/// The ports of a pod's containers.
pub(crate) fn open_ports(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"]
        .into_iter()
        .flat_map(move |kind| list(&pod["spec"], kind))
        .flat_map(|container| list(container, "ports"))
}
