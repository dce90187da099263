//! What the operating system counts for a process: memory and CPU time (Linux; elsewhere nothing is known).

use std::{path::Path, time::Duration};

/// Unit of CPU times in `/proc/PID/stat`: fixed at 100 a second in Linux's interface to programs.
const TICKS_PER_SECOND: u64 = 100;

/// Greatest resident memory of this process since [`forget_peak`], in bytes.
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Begins a new peak.
pub(super) fn forget_peak() {
    // Where that is not possible, the peak is of the whole run: never too small.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// CPU time of all threads of a process so far, ended ones too, in steps of ten milliseconds.
pub(super) fn cpu_time_of(pid: u32) -> Option<Duration> {
    let stat = Path::new("/proc").join(pid.to_string()).join("stat");
    let stat = std::fs::read_to_string(stat).ok()?;
    parse_stat(&stat)
}

fn parse_stat(stat: &str) -> Option<Duration> {
    // The name in parentheses may hold anything; utime and stime are the twelfth and thirteenth behind it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(11);
    let mut next = || times.next()?.parse::<u64>().ok();
    let ticks = next()?.checked_add(next()?)?;
    Some(Duration::from_millis(
        ticks.checked_mul(1000 / TICKS_PER_SECOND)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_stand_behind_the_name_whatever_it_is() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 11 12 20 0 9 0";
        assert_eq!(parse_stat(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_stat("7 (short) S 1"), None);
    }

    #[test]
    fn own_memory_and_time_are_known() {
        forget_peak();
        let block = vec![1_u8; 32 << 20];
        assert!(peak_memory().unwrap() > block.len() as u64);
        assert!(cpu_time_of(std::process::id()).is_some());
        assert!(cpu_time_of(u32::MAX).is_none());
    }
}
