//! What each value of the chart does, as helm renders it, without a cluster.

use std::process::Command;

use serde_json::{Value, json};

use crate::release::chart;
use crate::values::{everything, of_kind, render, rendered};

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
            "--concurrency=4",
        ]
    );
    let values = everything();
    assert_eq!(
        container["image"],
        format!("images.example/op@{}", values["image"]["digest"].as_str().unwrap())
    );
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(
        container["env"],
        json!([
            {
                "name": "SQUADCAST_OPERATOR_REGION",
                "value": "test=https://auth.example:8443,https://api.example us=https://api.squadcast.com/v3",
            },
            { "name": "SQUADCAST_OPERATOR_CA_FILE", "value": "/etc/squadcast-operator/ca/all.pem" },
            { "name": "HTTPS_PROXY", "value": "http://proxy.example:3128" },
            { "name": "NO_PROXY", "value": "auth.example,.local" },
            values["extraEnv"][0],
        ])
    );
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

    for (proxy, port) in [("http://proxy.example", 80), ("proxy.example", 80), ("proxy.example:3128", 3128)] {
        let plain = json!({ "proxy": { "https": proxy }, "networkPolicy": { "enabled": true } });
        let ports = of_kind(&rendered(&plain), "NetworkPolicy")[0]["spec"]["egress"][1]["ports"].to_string();
        assert!(ports.contains(&format!("{{\"port\":{port},")), "{proxy}: {ports}");
    }

    // Also of a proxy that is no value of the chart; what comes from a Secret cannot be known.
    let env = json!([
        { "name": "https_proxy", "value": "http://user:123@proxy.example:3129/" },
        { "name": "HTTP_PROXY", "valueFrom": { "secretKeyRef": { "name": "proxy", "key": "url" } } },
    ]);
    let values = json!({ "extraEnv": env, "networkPolicy": { "enabled": true } });
    let egress = of_kind(&rendered(&values), "NetworkPolicy")[0]["spec"]["egress"][1]["ports"].clone();
    let ports: Vec<i64> =
        egress.as_array().unwrap().iter().filter_map(|port| port["port"].as_i64()).collect();
    assert_eq!(ports, [443, 6443, 3129]);

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
fn an_annotation_of_ones_own_wins_and_is_there_once() {
    let key = "kubectl.kubernetes.io/default-container";
    for (values, wanted) in
        [(json!({}), "operator"), (json!({ "podAnnotations": { (key): "sidecar" } }), "sidecar")]
    {
        let objects = rendered(&values);
        let annotations = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(annotations[key], wanted);
    }
}

#[test]
fn the_network_policy_lets_dns_through_on_openshift_as_well() {
    let objects = rendered(&json!({ "networkPolicy": { "enabled": true } }));
    let ports = of_kind(&objects, "NetworkPolicy")[0]["spec"]["egress"][0]["ports"].clone();
    let port = |port: i64, protocol: &str| json!({ "port": port, "protocol": protocol });
    assert_eq!(ports, json!([port(53, "UDP"), port(53, "TCP"), port(5353, "UDP"), port(5353, "TCP")]));
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
    std::fs::write(parent.join("Chart.yaml"), &dependency).unwrap();
    let values = |enabled: bool| {
        json!({
            "global": { "imageRegistry": "x", "storageClass": "" },
            "squadcast-operator": { "enabled": enabled, "global": { "more": 1 }, "replicaCount": 1 },
        })
    };
    let objects = render(&parent, &values(true)).unwrap();
    assert_eq!(of_kind(&objects, "Deployment")[0]["spec"]["replicas"], 1);
    assert_eq!(render(&parent, &values(false)).unwrap().len(), 0);

    // Under another name, as charts that are written for several of a kind do.
    let dependency = dependency.replace("condition: squadcast-operator.enabled", "alias: Tokens");
    std::fs::write(parent.join("Chart.yaml"), &dependency).unwrap();
    let objects = render(&parent, &json!({ "Tokens": { "replicaCount": 1 } })).unwrap();
    assert_eq!(of_kind(&objects, "Deployment")[0]["metadata"]["name"], "token-tokens");
}
