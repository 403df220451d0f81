//! Nothing stays of these tests, whatever happens to them.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::support::controlplane::repository;
use crate::support::process::{alive, signal_pid};
use crate::support::{DEADLINE, eventually};

/// Mounts, a file, a network device, a control group, and processes that have left their parents.
const LITTER: &str = r#"
mount -t tmpfs litter /run/tmp
touch /var/lib/litter
ip link add litter type bridge
setsid sleep 1000 &
for group in /sys/fs/cgroup/*"$SQUADCAST_TEST_CGROUP" /sys/fs/cgroup"$SQUADCAST_TEST_CGROUP"; do
  [ -d "$group" ] || continue
  mkdir "$group/pod"
  # Not all hierarchies take a process before they are told more.
  echo $$ >"$group/pod/cgroup.procs" 2>/dev/null
  mkdir "$group/littered"
done
sleep 1000
"#;

/// The folders of the control group `name`, which is within that of these tests.
fn groups(name: &str) -> Vec<std::path::PathBuf> {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let own = std::env::var("SQUADCAST_TEST_CGROUP").expect("a control group");
    let own = own.trim_start_matches('/');
    let roots = hierarchies.chain(["/sys/fs/cgroup".into()]);
    let mut folders: Vec<_> = roots.map(|root| root.join(own).join(name)).collect();
    folders.retain(|folder| folder.exists());
    folders
}

/// Processes that carry this text in their environment or command line.
fn processes(text: &str) -> Vec<u32> {
    let ids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let carries = |pid: &u32| {
        ["environ", "cmdline"].iter().any(|file| {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(text)
        })
    };
    ids.filter(carries).collect()
}

#[tokio::test]
async fn nothing_stays_of_what_was_killed() {
    for signal in ["KILL", "TERM"] {
        let mut script = Command::new(repository().join("tests/pods/enter.sh"))
            .args(["bash", "-c", LITTER])
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let name = format!("squadcast-pods-{}", script.id());
        let littered = format!("{name}/littered");
        eventually("the litter", DEADLINE, async || !groups(&littered).is_empty()).await;
        assert!(processes(&name).len() > 2);

        assert!(signal_pid(script.id(), signal));
        script.wait().unwrap();
        eventually("the groups to go", DEADLINE, async || groups(&name).is_empty()).await;
        eventually("the processes to go", DEADLINE, async || processes(&name).is_empty()).await;
        assert!(!alive(script.id()));
        // The node's own come and go meanwhile.
        assert!(!std::fs::read_to_string("/proc/self/mounts").unwrap().contains("litter"));
        assert!(!std::path::Path::new("/var/lib/litter").exists());
    }
}
