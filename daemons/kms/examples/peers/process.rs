//! CPU time and memory of another process, as the kernel counts them.

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// CPU seconds in user and kernel mode, of all threads.
    pub(crate) cpu: f64,
    /// Resident memory, in MiB.
    pub(crate) resident: f64,
}

/// Reads it for the process `id`.
pub(crate) fn usage(id: u32) -> Usage {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the server runs");
    // The name, in parentheses, may hold anything; the fields are counted from behind it.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    Usage {
        cpu: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        resident: kib as f64 / 1024.0,
    }
}
