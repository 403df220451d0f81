//! What helm makes of values, without a cluster: each has its effect, and what makes no sense is refused in words
//! that help.

use std::path::Path;
use std::process::{Command, Stdio};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::release::{chart, file, objects, with};
use crate::support::controlplane::helm;

/// What helm says to a command with these values on its standard input.
fn run(args: &[&str], values: &Value) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("values.json");
    std::fs::write(&input, values.to_string()).unwrap();
    let output = Command::new(helm::program())
        .args(args)
        .args(["-f", "-"])
        .env_remove("KUBECONFIG")
        .env("HOME", folder.path())
        .stdin(Stdio::from(std::fs::File::open(&input).unwrap()))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stdout) + text(&output.stderr).as_str())
    }
}

pub fn render(folder: &Path, values: &Value) -> Result<Vec<Value>, String> {
    let folder = folder.to_str().unwrap();
    run(&["template", "token", folder, "--namespace", "system"], values).map(|text| objects(&text))
}

pub fn rendered(values: &Value) -> Vec<Value> {
    render(&chart(), values).unwrap_or_else(|error| panic!("{values}: {error}"))
}

pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn deployment(values: &Value) -> Value {
    let objects = rendered(values);
    let found = of_kind(&objects, "Deployment");
    assert_eq!(found.len(), 1);
    found[0].clone()
}

pub fn container(values: &Value) -> Value {
    deployment(values)["spec"]["template"]["spec"]["containers"][0].clone()
}

/// Every value set.
pub fn everything() -> Value {
    json!({
        "global": { "anything": ["goes"] },
        "enabled": true,
        "image": { "repository": "images.example/op", "tag": "x", "digest": format!("sha256:{}", "a".repeat(64)) },
        "imagePullSecrets": [{ "name": "pull" }],
        "replicaCount": 3,
        "crds": { "install": true, "keep": false },
        "namespaces": ["one", "two"],
        "selector": "team=a,tier in (x,y)",
        "regions": {
            "us": { "authUrl": "https://api.squadcast.com/v3" },
            "test": { "authUrl": "https://auth.example:8443", "apiUrl": "https://api.example" },
        },
        "caBundle": { "secret": "authorities", "key": "all.pem" },
        "proxy": { "https": "http://proxy.example:3128", "noProxy": "auth.example,.local" },
        "extraArgs": ["--concurrency=4"],
        "extraEnv": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }],
        "requireSourceLabel": true,
        "logFormat": "text",
        "logFilter": "info,squadcast_operator::ops=debug",
        "serviceAccount": { "name": "somebody", "annotations": { "a": "b" } },
        "rbac": { "rolloutRestarts": true },
        "resources": { "limits": { "memory": "1Gi" } },
        "podAnnotations": { "pod": "annotation" },
        "podLabels": { "pod": "label" },
        "commonLabels": { "common": "label" },
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "tolerations": [{ "operator": "Exists" }],
        "affinity": { "podAntiAffinity": {} },
        "topologySpreadConstraints":
            [{ "maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule" }],
        "priorityClassName": "high",
        "podDisruptionBudget": { "enabled": true },
        "networkPolicy": { "enabled": true },
        "dnsConfig": { "options": [{ "name": "ndots", "value": "1" }] },
        "podSecurityContext": { "fsGroup": 1 },
        "securityContext": { "runAsUser": 7 },
        "metrics": {
            "service": { "enabled": true, "labels": { "l": "service" } },
            "serviceMonitor": { "enabled": true, "labels": { "l": "monitor" } },
            "prometheusRule": { "enabled": true, "labels": { "l": "rule" } },
            "dashboard": { "enabled": true, "labels": { "l": "dashboard" } },
        },
    })
}

#[test]
fn lint_finds_nothing_with_the_defaults_and_with_everything_set() {
    for values in [json!({}), everything()] {
        let said = run(&["lint", "--strict", chart().to_str().unwrap()], &values).unwrap();
        assert!(said.contains("1 chart(s) linted, 0 chart(s) failed"), "{said}");
        assert!(!said.contains("[WARNING]"), "{said}");
    }
}

/// These values are refused, and what helm says contains each of these parts.
pub fn refuses(values: &Value, parts: &[&str]) {
    let said = render(&chart(), values).expect_err(&format!("{values} is accepted"));
    for part in parts {
        assert!(said.contains(part), "{values}: no {part:?} in {said}");
    }
}

#[test]
fn values_without_sense_are_refused_in_words_that_help() {
    let digest = "sha256:1234";
    for (values, parts) in [
        (json!({ "replicas": 3 }), vec!["additional properties 'replicas' not allowed"]),
        (json!({ "image": { "name": "x" } }), vec!["/image", "'name'"]),
        (json!({ "image": { "digest": digest } }), vec!["/image/digest", "sha256:"]),
        (json!({ "image": { "pullPolicy": "always" } }), vec!["/image/pullPolicy", "'IfNotPresent'"]),
        (json!({ "imagePullSecrets": ["pull"] }), vec!["/imagePullSecrets/0", "want object"]),
        (json!({ "replicaCount": "2" }), vec!["/replicaCount", "want integer"]),
        (json!({ "replicaCount": -1 }), vec!["/replicaCount", "minimum"]),
        (json!({ "crds": { "instal": true } }), vec!["/crds", "'instal'"]),
        (json!({ "namespaces": "a,b" }), vec!["/namespaces", "array"]),
        (json!({ "namespaces": ["Team_A"] }), vec!["namespaces", "\"Team_A\" is no name of a namespace"]),
        (json!({ "selector": ["a"] }), vec!["/selector", "string"]),
        (json!({ "regions": { "test": "https://a.b" } }), vec!["/regions/test", "want object"]),
        (json!({ "regions": { "test": { "apiUrl": "https://a.b" } } }), vec!["/regions/test", "'authUrl'"]),
        (json!({ "regions": { "test": { "authURL": "https://a.b" } } }), vec!["/regions/test", "'authURL'"]),
        (json!({ "regions": { "US": { "authUrl": "https://a.b" } } }), vec!["\"US\"", "lower-case"]),
        (
            json!({ "regions": { "a": { "authUrl": "a.b" } } }),
            vec!["regions.a.authUrl", "\"a.b\"", "https://"],
        ),
        (
            json!({ "regions": { "a": { "authUrl": "https://a.b?x" } } }),
            vec!["regions.a.authUrl", "without user, query and fragment"],
        ),
        (
            json!({ "regions": { "a": { "authUrl": "https://a.b", "apiUrl": "https://me@a.b" } } }),
            vec!["regions.a.apiUrl", "without user"],
        ),
        (
            json!({ "regions": { "a": { "authUrl": "http://a.b" } } }),
            vec!["regions.a.authUrl", "unencrypted", "--insecure-allow-http"],
        ),
        (
            json!({ "caBundle": { "configMap": "a", "secret": "b" } }),
            vec!["caBundle", "exclude each other", "set one of them"],
        ),
        (json!({ "caBundle": { "configMap": "a", "key": "" } }), vec!["caBundle.key", "ca.crt"]),
        (json!({ "caBundle": { "configMap": "a", "key": "../x" } }), vec!["/caBundle/key"]),
        (json!({ "proxy": "http://proxy:3128" }), vec!["/proxy", "want object"]),
        (json!({ "requireSourceLabel": "yes" }), vec!["/requireSourceLabel", "boolean"]),
        (json!({ "logFormat": "xml" }), vec!["/logFormat", "'json', 'text'"]),
        (json!({ "extraArgs": "--concurrency=4" }), vec!["/extraArgs", "array"]),
        (json!({ "extraEnv": [{ "value": "x" }] }), vec!["/extraEnv/0", "'name'"]),
        (json!({ "rbac": { "rolloutRestart": true } }), vec!["/rbac", "'rolloutRestart'"]),
        (json!({ "podLabels": { "a": 1 } }), vec!["/podLabels/a", "want string"]),
        (json!({ "tolerations": {} }), vec!["/tolerations", "array"]),
        (json!({ "topologySpreadConstraints": [{ "maxSkew": 1 }] }), vec!["/topologySpreadConstraints/0"]),
        (json!({ "podDisruptionBudget": { "minAvailable": 1 } }), vec!["/podDisruptionBudget"]),
        (json!({ "metrics": { "enabled": true } }), vec!["/metrics", "'enabled'"]),
        (
            json!({ "metrics": { "service": { "enabled": false }, "serviceMonitor": { "enabled": true } } }),
            vec!["metrics.serviceMonitor.enabled", "metrics.service.enabled=true"],
        ),
        (json!({ "global": "x" }), vec!["/global"]),
        (json!({ "namespaces": ["a", ""] }), vec!["namespaces", "\"\" is no name of a namespace"]),
        (json!({ "image": { "repository": "ghcr.io/a/b:1" } }), vec!["/image/repository"]),
        (json!({ "image": { "tag": "a b" } }), vec!["/image/tag"]),
        (json!({ "serviceAccount": { "name": "A b" } }), vec!["/serviceAccount/name"]),
        (json!({ "caBundle": { "configMap": "A/b" } }), vec!["/caBundle/configMap"]),
        (json!({ "caBundle": { "key": ".." } }), vec!["/caBundle/key"]),
        (json!({ "proxy": { "https": "socks5://proxy" } }), vec!["/proxy/https"]),
        (json!({ "resources": { "limit": {} } }), vec!["/resources", "'limit'"]),
        (json!({ "affinity": { "podAffinities": {} } }), vec!["/affinity", "'podAffinities'"]),
        (json!({ "dnsConfig": { "option": [] } }), vec!["/dnsConfig", "'option'"]),
        (json!({ "podSecurityContext": { "fsGroups": 1 } }), vec!["/podSecurityContext", "'fsGroups'"]),
        (json!({ "securityContext": { "runAsUser": "7" } }), vec!["/securityContext/runAsUser", "integer"]),
        (json!({ "tolerations": [{ "keys": "a" }] }), vec!["/tolerations/0", "'keys'"]),
        (json!({ "extraEnv": [{ "name": "A", "value": 1 }] }), vec!["/extraEnv/0/value", "want string"]),
        (json!({ "extraEnv": [{ "name": "A" }, { "name": "A" }] }), vec!["extraEnv: A", "leave one"]),
        (
            json!({ "proxy": { "https": "http://p:1" }, "extraEnv": [{ "name": "HTTPS_PROXY", "value": "x" }] }),
            vec!["extraEnv: HTTPS_PROXY", "proxy.https", "leave one"],
        ),
        (
            json!({ "caBundle": { "secret": "s" }, "extraEnv": [{ "name": "SQUADCAST_OPERATOR_CA_FILE" }] }),
            vec!["extraEnv: SQUADCAST_OPERATOR_CA_FILE", "caBundle", "leave one"],
        ),
        (json!({ "extraArgs": ["--region=a=https://a.b"] }), vec!["extraArgs: --region", "value regions"]),
        (json!({ "extraArgs": ["--log-format=text"] }), vec!["extraArgs: --log-format", "value logFormat"]),
        (
            json!({ "extraArgs": ["--leader-election"] }),
            vec!["extraArgs: --leader-election is set by the chart"],
        ),
        (
            json!({ "regions": { "a": { "authUrl": "http://a.b" } }, "extraArgs": ["--no-insecure-allow-http"] }),
            vec!["regions.a.authUrl", "unencrypted"],
        ),
        (
            json!({ "serviceAccount": { "create": false } }),
            vec!["serviceAccount.name", "default", "rbac.create=false"],
        ),
    ] {
        refuses(&values, &parts);
    }
    // What is refused alone is let through where it is asked for.
    let asked = json!([{ "name": "SQUADCAST_OPERATOR_INSECURE_ALLOW_HTTP", "value": "true" }]);
    for more in [json!({ "extraArgs": ["--insecure-allow-http"] }), json!({ "extraEnv": asked })] {
        let http = with(json!({ "regions": { "a": { "authUrl": "http://a.b" } } }), more);
        assert_eq!(container(&http)["env"][0]["value"], "a=http://a.b");
    }
}

/// The paths of all values, maps and what is in them.
fn paths(prefix: &str, value: &Value, found: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{prefix}/{key}");
        paths(&path, value, found);
        found.push(path);
    }
}

/// `{"a": {"b": null}}` of `/a/b`.
fn null_at(path: &str) -> Value {
    let keys = path.trim_start_matches('/').split('/');
    keys.rev().fold(Value::Null, |value, key| json!({ (key): value }))
}

#[test]
fn a_value_that_is_null_is_left_out_or_asked_for_by_its_name() {
    let defaults: Value = serde_saphyr::from_str(&file("charts/squadcast-operator/values.yaml")).unwrap();
    let mut all = Vec::new();
    paths("", &defaults, &mut all);
    assert!(all.len() > 60, "{all:?}");
    // What is off by default renders as well.
    let on = json!({ "enabled": true });
    let metrics = json!({ "serviceMonitor": on, "prometheusRule": on, "dashboard": on });
    let base = json!({ "networkPolicy": on, "metrics": metrics });
    let mut required = Vec::new();
    for path in all {
        let Err(said) = render(&chart(), &with(base.clone(), null_at(&path))) else { continue };
        let key = path.rsplit('/').next().unwrap();
        assert!(said.contains(&format!("missing property '{key}'")), "{path}: {said}");
        required.push(path);
    }
    for path in ["/regions", "/namespaces", "/commonLabels", "/podLabels", "/proxy/https", "/caBundle/key"] {
        assert!(!required.iter().any(|required| required == path), "{path} may be left out");
    }
    for path in ["/metrics/service/labels", "/metrics/dashboard/labels", "/serviceAccount/annotations"] {
        assert!(!required.iter().any(|required| required == path), "{path} may be left out");
    }
}

#[test]
fn no_namespaces_on_the_command_line_are_all() {
    // What helm makes of --set 'namespaces={}'.
    for empty in [json!([]), json!([""]), Value::Null] {
        let objects = rendered(&json!({ "namespaces": empty }));
        assert!(!of_kind(&objects, "ClusterRoleBinding").is_empty(), "{empty}");
        assert!(!container(&json!({ "namespaces": empty }))["args"].to_string().contains("--namespaces"));
    }
}

#[test]
fn the_charts_definition_is_the_repositorys_but_for_labels_and_annotations() {
    let objects = rendered(&json!({}));
    let made = of_kind(&objects, "CustomResourceDefinition")[0].clone();
    let made: CustomResourceDefinition = serde_json::from_value(made).unwrap();
    let wanted: CustomResourceDefinition =
        serde_saphyr::from_str(&file("crds/squadcastcredentials.yaml")).unwrap();
    assert_eq!(made.metadata.name, wanted.metadata.name);
    assert_eq!(made.spec, wanted.spec);
}
