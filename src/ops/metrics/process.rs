//! What the process costs, as Linux tells in `/proc/self`; elsewhere only when it began.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Clock ticks a second in `/proc/self/stat`: a fixed part of Linux's interface.
const TICKS: u32 = 100;

/// Reads the figures when asked.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) started: Timestamp,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut gauge = |name, help, value: i64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        let read = |file| std::fs::read_to_string(file).ok();
        if let Some(bytes) = read("/proc/self/status").as_deref().and_then(resident_bytes) {
            gauge("process_resident_memory_bytes", "Resident memory.", bytes)?;
        }
        if let Some(count) = open_files() {
            gauge("process_open_fds", "Open file descriptors.", count)?;
        }
        gauge(
            "process_start_time_seconds",
            "When the process began, in Unix seconds.",
            self.started.as_second(),
        )?;
        if let Some(seconds) = read("/proc/self/stat").as_deref().and_then(cpu_seconds) {
            let (name, help) = ("process_cpu_seconds", "CPU time spent, user and system.");
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        Ok(())
    }
}

/// `VmRSS` of `/proc/self/status`, there in KiB.
fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// `utime` and `stime` of `/proc/self/stat`: the fields 14 and 15, of which the second, the command in
/// parentheses, may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / f64::from(TICKS))
}

/// How many files are open, less the folder that is read to tell.
fn open_files() -> Option<i64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(count).ok().map(|count| count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    9832 kB\nRssAnon:\t 1 kB\n"), Some(9832 * 1024));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 75 0 0 20 0 1 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.25));
        assert_eq!(cpu_seconds("7 (a"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn finds_itself() {
        assert!(open_files().unwrap() > 0);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(resident_bytes(&status).unwrap() > 100_000);
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(cpu_seconds(&stat).is_some());
    }
}
