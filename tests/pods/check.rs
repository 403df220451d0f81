//! `check` in the operator's own Pod, as the runbook has it.

use crate::stage::{NAME, stage, tell};
use crate::support::Reply;

#[tokio::test(flavor = "multi_thread")]
async fn beside_the_operator_it_knows_the_way_that_the_chart_gave() {
    let (stage, _turn) = stage().await;
    stage.squadcast.script("rt-checked", Reply::token());
    // The region's URL and the authority of its certificate are the chart's; neither is given here.
    let exec = ["exec", "-i", "-n", NAME, "deploy/squadcast-operator", "--", "/squadcast-operator"];
    let args = [&exec[..], &["check", "--region", "us", "--refresh-token-file", "-"]].concat();
    tell(&format!("$ kubectl {}", args.join(" ")));
    let output = stage.node.plane.kubectl_with(&args, "rt-checked");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().for_each(tell);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("TokenValid"), "{said}");
    assert!(!said.contains("rt-checked"), "{said}");
    assert_eq!(stage.squadcast.count("rt-checked"), 1);
}
