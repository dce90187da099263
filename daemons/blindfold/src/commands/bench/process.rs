//! What the operating system counts for a process: memory and CPU time (Linux; elsewhere nothing is known).

use std::{path::Path, time::Duration};

/// Unit of CPU times in `/proc/PID/stat`: fixed at 100 a second in Linux's interface to programs.
const TICKS_PER_SECOND: u64 = 100;

/// Resident memory of this process while something ran, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// The greatest.
    pub(super) peak: u64,
    /// How much more than before.
    pub(super) more: u64,
}

/// Notes the resident memory as it is, and begins a new peak.
pub(super) struct MemoryBefore(Option<u64>);

impl MemoryBefore {
    pub(super) fn now() -> Self {
        // Where that is not possible, the peak is of the whole run: never too small.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self(status("VmRSS:"))
    }

    /// What was needed since.
    pub(super) fn since(self) -> Option<Memory> {
        let peak = status("VmHWM:")?;
        Some(Memory {
            peak,
            more: peak.saturating_sub(self.0?),
        })
    }
}

/// A size in `/proc/self/status`, in bytes.
fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// What the threads of an unsealer that evaluate are called, with a number behind it.
const EVALUATING: &str = "evaluate-";

/// CPU times of a process so far, in steps of ten milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuTimes {
    /// Of all threads, ended ones too.
    pub(super) all: Duration,
    /// Of the threads that evaluate, as they are now.
    pub(super) evaluating: Duration,
}

impl CpuTimes {
    /// What a process used up to now; nothing if there is none of this number.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let time = |folder: &Path| parse_stat(&std::fs::read_to_string(folder.join("stat")).ok()?);
        let threads = std::fs::read_dir(process.join("task")).ok()?;
        let evaluating = threads
            .flatten()
            .map(|thread| thread.path())
            .filter(|thread| {
                std::fs::read_to_string(thread.join("comm"))
                    .is_ok_and(|name| name.starts_with(EVALUATING))
            });
        Some(Self {
            all: time(&process)?,
            // A thread that has just ended counts no more.
            evaluating: evaluating.filter_map(|thread| time(&thread)).sum(),
        })
    }

    /// What was used since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            evaluating: self.evaluating.saturating_sub(before.evaluating),
        }
    }
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
    fn threads_that_evaluate_are_told_apart() {
        let works = |name: &str| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            let (done, end) = std::sync::mpsc::channel::<()>();
            let work = move || {
                let begin = std::time::Instant::now();
                while begin.elapsed() < Duration::from_millis(300) {
                    std::hint::black_box(begin);
                }
                // Alive until it was looked at.
                let _ = end.recv();
            };
            (thread.spawn(work).unwrap(), done)
        };
        let before = CpuTimes::of(std::process::id()).unwrap();
        let (one, end_one) = works("evaluate-7");
        let (other, end_other) = works("other");
        // Any machine gives two threads their time within a while.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let used = loop {
            let used = CpuTimes::of(std::process::id()).unwrap().since(before);
            let both = !used.evaluating.is_zero() && used.all > used.evaluating;
            if both || std::time::Instant::now() > deadline {
                break used;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        drop((end_one, end_other));
        one.join().unwrap();
        other.join().unwrap();
        assert!(!used.evaluating.is_zero(), "{used:?}");
        assert!(used.all > used.evaluating, "{used:?}");
    }

    #[test]
    fn own_memory_and_time_are_known() {
        let before = MemoryBefore::now();
        let block = vec![1_u8; 32 << 20];
        let memory = before.since().unwrap();
        assert!(memory.more > 24 << 20, "{memory:?}");
        assert!(memory.peak > block.len() as u64, "{memory:?}");
        assert!(CpuTimes::of(std::process::id()).is_some());
        assert!(CpuTimes::of(u32::MAX).is_none());
    }
}
