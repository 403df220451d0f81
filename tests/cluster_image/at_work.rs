//! The image's program at its work.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::image::image;
use crate::support::controlplane::{WORKLOAD_CONTROLLERS, repository};
use crate::support::operator::Launch;
use crate::support::world::{REGION, World};
use crate::support::{ControlPlane, DEADLINE, Options};

#[tokio::test(flavor = "multi_thread")]
async fn in_an_empty_root_it_does_its_work() {
    let image = image();
    let world = World::new("image").await;
    let user = format!("image-{}", world.namespace);
    let kubeconfig = std::fs::read(world.plane.kubeconfig_for(&user, &["system:masters"])).unwrap();
    let kubeconfig = image.place("kubeconfig", &kubeconfig);
    let authority = image.place("ca.pem", world.squadcast.ca_pem().as_bytes());
    let operator = Launch::new(image.entry())
        .user(&user)
        .env("KUBECONFIG", kubeconfig)
        .arg(format!("--namespaces={}", world.namespace))
        .arg(format!("--region={REGION}={}", world.squadcast.url()))
        .arg(format!("--ca-file={authority}"))
        .start();
    operator.wait_ready().await;
    world.refresh_token("one-source", "rt-one").await;
    world.credential("one", "one-source", "one-target").await;
    world.wait_ready("one").await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", operator.pid())).unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    println!("the operator in the image: {memory}");
    operator.sigterm();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);
}

/// What kubectl answers.
fn kubectl(plane: &ControlPlane, args: &[&str]) -> String {
    let output = plane.kubectl(args);
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_of_ipv6_alone_it_finds_the_api_server_as_pods_do() {
    let image = image();
    let controllers = WORKLOAD_CONTROLLERS.map(str::to_owned).to_vec();
    let plane =
        Arc::new(ControlPlane::start_with(&Options { controllers, ipv6: true, ..Options::default() }));
    let world = World::bare(&plane, "team").await;
    assert!(plane.url().starts_with("https://[::1]:") && world.squadcast.url().starts_with("https://[::1]:"));
    let address = kubectl(&plane, &["get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"]);
    assert_eq!(address, "fd00:10:96::1");

    // Installed by helm, with the authority of the stand-in.
    let system = "token-system";
    kubectl(&plane, &["create", "namespace", system]);
    let authority = world.squadcast.ca_file();
    let from_file = format!("--from-file=ca.crt={}", authority.display());
    kubectl(&plane, &["create", "configmap", "squadcast-ca", "-n", system, &from_file]);
    let values = json!({
        "regions": { REGION: { "authUrl": world.squadcast.url() } },
        "caBundle": { "configMap": "squadcast-ca" },
    });
    let chart = repository().join("charts/squadcast-operator");
    let args = ["install", "token", chart.to_str().unwrap(), "-n", system, "-f", "-"];
    let installed = plane.helm(&args, &values.to_string());
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));

    // Started as its Pod would start it: these arguments, this ServiceAccount, these files and variables.
    let get = ["get", "deployment", "token-squadcast-operator", "-n", system, "-o", "json"];
    let deployment: Value = serde_json::from_str(&kubectl(&plane, &get)).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
    assert_eq!(container["volumeMounts"].as_array().unwrap().len(), 1);
    let folder = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    image.place(&format!("{folder}/ca.crt"), world.squadcast.ca_pem().as_bytes());
    let account = pod["serviceAccountName"].as_str().unwrap();
    let token = kubectl(&plane, &["create", "token", account, "-n", system]);
    let get = ["get", "configmap", "kube-root-ca.crt", "-n", system, "-o", r"jsonpath={.data.ca\.crt}"];
    for (file, text) in [("token", token.trim()), ("ca.crt", &kubectl(&plane, &get)), ("namespace", system)] {
        image.place(&format!("/var/run/secrets/kubernetes.io/serviceaccount/{file}"), text.as_bytes());
    }
    let env = container["env"].as_array().unwrap().iter();
    let text = |part: &Value| part.as_str().unwrap().to_owned();
    let launch = Launch::new(image.entry()).args(args.skip(1));
    let operator = env
        .fold(launch, |launch, var| launch.env(&text(&var["name"]), text(&var["value"])))
        .env("KUBERNETES_SERVICE_HOST", plane.address().ip().to_string())
        .env("KUBERNETES_SERVICE_PORT", plane.address().port().to_string())
        .ipv6()
        .start();
    operator.wait_ready().await;
    operator.wait_for_log("leading").await;
    world.refresh_token("one-source", "rt-one").await;
    world.credential("one", "one-source", "one-target").await;
    world.wait_ready("one").await;
    let user = format!("system:serviceaccount:{system}:{account}");
    let wrote = plane
        .requests_by(&user)
        .into_iter()
        .any(|request| request.verb == "create" && request.name == "one-target");
    assert!(wrote, "as the chart's ServiceAccount");
    operator.sigterm();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);
}
