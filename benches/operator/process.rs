//! What the kernel says of a process: processor time and memory.

use std::time::Duration;

use crate::support::Operator;

/// Linux counts in hundredths of a second towards user space, on every architecture that it is built for here.
const TICKS: f64 = 100.0;
/// A million bytes.
const MB: f64 = 1e6;

/// Seconds of processor time since the start of a process, the kernel's work for it included.
pub fn cpu(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process that runs");
    // The second field is the name in brackets, which may hold anything.
    let fields: Vec<&str> = text[text.rfind(')').expect("a name") + 2..].split(' ').collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
    ticks / TICKS
}

/// Seconds of processor time of this thread.
pub fn cpu_of_this_thread() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel's account");
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).expect("a number") / 1e9
}

/// Resident memory in MB. What was just freed has a moment to go back.
pub async fn memory(operator: &Operator) -> f64 {
    tokio::time::sleep(Duration::from_secs(2)).await;
    kilobytes(operator.pid(), "VmRSS:") * 1024.0 / MB
}

/// The most resident memory since the start in MB.
pub fn peak(operator: &Operator) -> f64 {
    kilobytes(operator.pid(), "VmHWM:") * 1024.0 / MB
}

fn kilobytes(pid: u32, line: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process that runs");
    let value = text.lines().find_map(|text| text.strip_prefix(line)).expect("a line");
    value.trim().trim_end_matches(" kB").parse().expect("a number")
}
