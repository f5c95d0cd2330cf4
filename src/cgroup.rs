//! The CPU quota that a container runtime set for this process.

use std::fs;
use std::path::{Path, PathBuf};

/// CPUs' worth of time that this process may use, from its cgroup (version 2 `cpu.max`, version 1
/// `cpu.cfs_quota_us`) and those above it; `None` without a quota.
pub(crate) fn cpu_quota() -> Option<f64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(quota_of).min_by(f64::total_cmp)
}

/// CPUs' worth of time that this process has: its quota, else the CPUs that it may run on.
pub(crate) fn cpus() -> f64 {
    let machine = std::thread::available_parallelism().map_or(1.0, |cpus| cpus.get() as f64);
    cpu_quota().map_or(machine, |quota| quota.min(machine))
}

/// The smallest quota on the way up from one line of `/proc/self/cgroup`.
fn quota_of(line: &str) -> Option<f64> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (root, read): (_, fn(&Path) -> Option<f64>) = match controllers {
        "" => (PathBuf::from("/sys/fs/cgroup"), version_2),
        controllers if controllers.split(',').any(|one| one == "cpu") => {
            (PathBuf::from("/sys/fs/cgroup/cpu"), version_1)
        }
        _ => return None,
    };
    let own = root.join(path.trim_start_matches('/'));
    let groups = own.ancestors().take_while(|group| group.starts_with(&root));
    groups.filter_map(read).min_by(f64::total_cmp)
}

fn version_2(group: &Path) -> Option<f64> {
    parse_cpu_max(&fs::read_to_string(group.join("cpu.max")).ok()?)
}

fn version_1(group: &Path) -> Option<f64> {
    let read = |name| fs::read_to_string(group.join(name)).ok()?.trim().parse::<f64>().ok();
    let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// `max 100000`, or quota and period in microseconds.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_max_is_a_quota_or_none() {
        assert_eq!(parse_cpu_max("50000 100000\n"), Some(0.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cpu_max(""), None);
    }
}
