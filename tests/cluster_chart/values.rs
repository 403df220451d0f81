//! What helm makes of values, without a cluster: each has its effect, and what makes no sense is refused in words
//! that help.

use std::path::Path;
use std::process::{Command, Stdio};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::release::{chart, file, objects};
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

fn render(folder: &Path, values: &Value) -> Result<Vec<Value>, String> {
    let folder = folder.to_str().unwrap();
    run(&["template", "token", folder, "--namespace", "system"], values).map(|text| objects(&text))
}

fn rendered(values: &Value) -> Vec<Value> {
    render(&chart(), values).unwrap_or_else(|error| panic!("{values}: {error}"))
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn deployment(values: &Value) -> Value {
    let objects = rendered(values);
    let found = of_kind(&objects, "Deployment");
    assert_eq!(found.len(), 1);
    found[0].clone()
}

fn container(values: &Value) -> Value {
    deployment(values)["spec"]["template"]["spec"]["containers"][0].clone()
}

/// Every value set.
fn everything() -> Value {
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
fn refuses(values: &Value, parts: &[&str]) {
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
        (json!({ "namespaces": "a,b" }), vec!["/namespaces", "want array"]),
        (json!({ "namespaces": ["Team_A"] }), vec!["namespaces", "\"Team_A\" is no name of a namespace"]),
        (json!({ "selector": ["a"] }), vec!["/selector", "want string"]),
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
        (json!({ "requireSourceLabel": "yes" }), vec!["/requireSourceLabel", "want boolean"]),
        (json!({ "logFormat": "xml" }), vec!["/logFormat", "'json', 'text'"]),
        (json!({ "extraArgs": "--concurrency=4" }), vec!["/extraArgs", "want array"]),
        (json!({ "extraEnv": [{ "value": "x" }] }), vec!["/extraEnv/0", "'name'"]),
        (json!({ "rbac": { "rolloutRestart": true } }), vec!["/rbac", "'rolloutRestart'"]),
        (json!({ "podLabels": { "a": 1 } }), vec!["/podLabels/a", "want string"]),
        (json!({ "tolerations": {} }), vec!["/tolerations", "want array"]),
        (json!({ "topologySpreadConstraints": [{ "maxSkew": 1 }] }), vec!["/topologySpreadConstraints/0"]),
        (json!({ "podDisruptionBudget": { "minAvailable": 1 } }), vec!["/podDisruptionBudget"]),
        (json!({ "metrics": { "enabled": true } }), vec!["/metrics", "'enabled'"]),
        (
            json!({ "metrics": { "service": { "enabled": false }, "serviceMonitor": { "enabled": true } } }),
            vec!["metrics.serviceMonitor.enabled", "metrics.service.enabled=true"],
        ),
        (json!({ "global": "x" }), vec!["/global"]),
    ] {
        refuses(&values, &parts);
    }
    // What is refused alone is let through where it is asked for.
    let http =
        json!({ "regions": { "a": { "authUrl": "http://a.b" } }, "extraArgs": ["--insecure-allow-http"] });
    let args = container(&http)["args"].to_string();
    assert!(args.contains("--region=a=http://a.b"), "{args}");
}

#[test]
fn the_defaults_are_safe() {
    let objects = rendered(&json!({}));
    let deployment = of_kind(&objects, "Deployment")[0];
    assert_eq!(deployment["spec"]["replicas"], 2);
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let args: Vec<&str> = container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        args,
        [
            "run",
            "--leader-election",
            "--leader-election-name=token-squadcast-operator",
            "--log-format=json",
            "--log-filter=info",
        ]
    );
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert!(container["resources"]["limits"]["memory"].is_string());
    assert_eq!(of_kind(&objects, "PodDisruptionBudget").len(), 1);
    // OpenShift chooses the user; and nothing prefers IPv4.
    let text = serde_json::to_string(&objects).unwrap();
    for word in ["runAsUser", "runAsGroup", "fsGroup", "0.0.0.0", "127.0.0.1", "ipFamil"] {
        assert!(!text.contains(&format!("\"{word}")) && !text.contains(&format!("={word}")), "{word}");
    }
    assert!(of_kind(&objects, "NetworkPolicy").is_empty() && of_kind(&objects, "ServiceMonitor").is_empty());
    let version = format!("ghcr.io/squadcast-operator/squadcast-operator:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], version);
}

#[test]
fn every_value_has_its_effect() {
    let objects = rendered(&everything());
    let deployment = of_kind(&objects, "Deployment")[0];
    let template = &deployment["spec"]["template"];
    let pod = &template["spec"];
    let container = &pod["containers"][0];
    let args: Vec<&str> = container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        args,
        [
            "run",
            "--leader-election",
            "--leader-election-name=token-squadcast-operator",
            "--log-format=text",
            "--log-filter=info,squadcast_operator::ops=debug",
            "--namespaces=one,two",
            "--selector=team=a,tier in (x,y)",
            "--require-source-label",
            "--region=test=https://auth.example:8443,https://api.example",
            "--region=us=https://api.squadcast.com/v3",
            "--ca-file=/etc/squadcast-operator/ca/all.pem",
            "--concurrency=4",
        ]
    );
    let values = everything();
    assert_eq!(
        container["image"],
        format!("images.example/op@{}", values["image"]["digest"].as_str().unwrap())
    );
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(container["env"][0], json!({ "name": "HTTPS_PROXY", "value": "http://proxy.example:3128" }));
    assert_eq!(container["env"][1], json!({ "name": "NO_PROXY", "value": "auth.example,.local" }));
    assert_eq!(container["env"][2], values["extraEnv"][0]);
    assert_eq!(pod["volumes"], json!([{ "name": "ca", "secret": { "secretName": "authorities" } }]));
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/etc/squadcast-operator/ca");
    assert_eq!(container["volumeMounts"][0].get("subPath"), None, "a part of a volume never changes");
    assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(container["securityContext"]["runAsUser"], 7);
    for field in
        ["nodeSelector", "tolerations", "affinity", "priorityClassName", "dnsConfig", "imagePullSecrets"]
    {
        assert_eq!(pod[field], values[field], "{field}");
    }
    assert_eq!(pod["serviceAccountName"], "somebody");
    assert_eq!(pod["securityContext"]["fsGroup"], 1);
    let spread = &pod["topologySpreadConstraints"][0];
    assert_eq!((&spread["maxSkew"], &spread["topologyKey"]), (&json!(2), &json!("rack")));
    assert_eq!(spread["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"], "token");
    assert_eq!(template["metadata"]["annotations"]["pod"], "annotation");
    assert_eq!(template["metadata"]["labels"]["pod"], "label");
    for object in &objects {
        assert_eq!(object["metadata"]["labels"]["common"], "label", "{}", object["kind"]);
        let scoped = object["kind"] == "CustomResourceDefinition";
        assert_ne!(object["metadata"]["namespace"].is_string(), scoped, "{}", object["kind"]);
    }
    assert_eq!(of_kind(&objects, "CustomResourceDefinition")[0]["metadata"].get("annotations"), None);
    assert_eq!(of_kind(&objects, "ServiceAccount")[0]["metadata"]["annotations"]["a"], "b");
    let ports = of_kind(&objects, "NetworkPolicy")[0]["spec"]["egress"][1]["ports"].as_array().unwrap();
    let ports: Vec<i64> = ports.iter().filter_map(|port| port["port"].as_i64()).collect();
    assert_eq!(ports, [443, 6443, 3128, 8443]);
    for (kind, label) in [
        ("Service", "service"),
        ("ServiceMonitor", "monitor"),
        ("PrometheusRule", "rule"),
        ("ConfigMap", "dashboard"),
    ] {
        assert_eq!(of_kind(&objects, kind)[0]["metadata"]["labels"]["l"], label, "{kind}");
    }
    let dashboard = &of_kind(&objects, "ConfigMap")[0]["data"]["squadcast-operator.json"];
    let dashboard: Value = serde_json::from_str(dashboard.as_str().unwrap()).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 5);
    let rules = &of_kind(&objects, "PrometheusRule")[0]["spec"]["groups"][0]["rules"];
    assert!(rules.as_array().unwrap().len() > 3);

    let plain = json!({ "proxy": { "https": "http://proxy.example" }, "networkPolicy": { "enabled": true } });
    let ports = of_kind(&rendered(&plain), "NetworkPolicy")[0]["spec"]["egress"][1]["ports"].to_string();
    assert!(ports.contains("{\"port\":80,"), "{ports}");

    // Roles in the two namespaces and for the lease, and nothing for the whole cluster.
    let spaces: Vec<_> =
        of_kind(&objects, "Role").into_iter().filter_map(|r| r["metadata"]["namespace"].as_str()).collect();
    assert_eq!(spaces, ["one", "two", "system"]);
    assert_eq!(of_kind(&objects, "RoleBinding").len(), 3);
    assert!(
        of_kind(&objects, "ClusterRole").is_empty() && of_kind(&objects, "ClusterRoleBinding").is_empty()
    );
}

#[test]
fn what_is_switched_off_is_not_there() {
    let off = json!({ "enabled": false });
    let objects = rendered(&json!({
        "crds": { "install": false },
        "serviceAccount": { "create": false },
        "rbac": { "create": false },
        "podDisruptionBudget": off,
        "metrics": { "service": off },
        "resources": null,
        "topologySpreadConstraints": [],
    }));
    assert_eq!(objects.len(), 1, "{objects:?}");
    let pod = &objects[0]["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "default");
    assert_eq!(pod.get("topologySpreadConstraints"), None);
    let objects = rendered(&json!({ "rbac": { "aggregate": false } }));
    assert_eq!(of_kind(&objects, "ClusterRole").len(), 1);
}

#[test]
fn a_parent_chart_brings_its_globals_and_its_condition() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().join("parent");
    let copied = Command::new("cp")
        .args(["-R", chart().to_str().unwrap()])
        .arg({
            std::fs::create_dir_all(parent.join("charts")).unwrap();
            parent.join("charts/squadcast-operator")
        })
        .status();
    assert!(copied.unwrap().success());
    let dependency = format!(
        "apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies: [{{name: squadcast-operator, version: {}, condition: \
         squadcast-operator.enabled}}]\n",
        env!("CARGO_PKG_VERSION")
    );
    std::fs::write(parent.join("Chart.yaml"), dependency).unwrap();
    let values = |enabled: bool| {
        json!({
            "global": { "imageRegistry": "x", "storageClass": "" },
            "squadcast-operator": { "enabled": enabled, "global": { "more": 1 }, "replicaCount": 1 },
        })
    };
    let objects = render(&parent, &values(true)).unwrap();
    assert_eq!(of_kind(&objects, "Deployment")[0]["spec"]["replicas"], 1);
    assert_eq!(render(&parent, &values(false)).unwrap().len(), 0);
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
