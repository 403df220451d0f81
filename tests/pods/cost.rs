//! What the operator costs a cluster: the memory of its Pods at rest, and what is pulled for them.

use std::path::Path;
use std::process::Command;

use crate::image;
use crate::node::process;
use crate::stage::{Stage, figure, name};

/// A line of a process's status, in KiB.
fn kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// What counts against the limit of a process's container, in KiB, as `kubectl top` shows it: without the pages of files
/// that can go at any time.
fn working_set(pid: u32) -> u64 {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a running process");
    // One hierarchy for memory in cgroup v1, one for all in v2.
    let path = |controllers: &str| {
        let mut lines = groups.lines().filter_map(|line| line.split_once(':').map(|(_, rest)| rest));
        lines.find_map(|line| line.strip_prefix(controllers).map(str::to_owned))
    };
    let (folder, usage, inactive) = match path("memory:") {
        Some(path) => {
            (format!("/sys/fs/cgroup/memory{path}"), "memory.usage_in_bytes", "total_inactive_file")
        }
        None => (format!("/sys/fs/cgroup{}", path(":").expect("a group")), "memory.current", "inactive_file"),
    };
    let read =
        |file: &str| std::fs::read_to_string(Path::new(&folder).join(file)).expect("a file of the group");
    let stat = read("memory.stat");
    let inactive = stat.lines().find_map(|line| line.strip_prefix(inactive)).expect("the field");
    let bytes = |text: &str| text.trim().parse::<u64>().expect("a number");
    bytes(&read(usage)).saturating_sub(bytes(inactive)) / 1024
}

/// What a registry sends of an archive, in KiB.
fn packed(archive: &Path) -> usize {
    let output = Command::new("gzip").args(["--stdout", "--best"]).arg(archive).output().expect("gzip");
    assert!(output.status.success());
    output.stdout.len() / 1024
}

/// Tells them; the operator has nothing to do.
pub async fn tell_costs(stage: &Stage) {
    let leader = stage.leader().await;
    for pod in stage.operators() {
        let (pid, role) = (process(&pod), if name(&pod) == name(&leader) { "leads" } else { "stands by" });
        let most = kib(pid, "VmHWM:");
        figure(&format!(
            "memory at rest of the Pod that {role}: {} KiB resident ({most} KiB at most), {} KiB of working set, \
             which counts against its limit",
            kib(pid, "VmRSS:"),
            working_set(pid)
        ));
        assert!(most < 64 * 1024, "far below the chart's limit of 128 MiB");
    }
    let size = |path: &Path| std::fs::metadata(path).expect("a file").len() / 1024;
    let binary = format!("/proc/{}/root/squadcast-operator", process(&leader));
    let archive = image::operator();
    figure(&format!(
        "size: image {} KiB, of it the binary {} KiB; pulled, with gzip, {} KiB",
        size(&archive),
        size(Path::new(&binary)),
        packed(&archive)
    ));
}
