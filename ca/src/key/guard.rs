//! Keeps what is in this process's memory in it: not in a core file, not in swap, not under a debugger of the same user.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Closes the process. What could not be closed is returned, as sentences that say what to do; nothing else fails.
#[must_use = "somebody has to be told what stays open"]
pub(crate) fn close() -> Vec<String> {
    let mut open = Vec::new();
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        open.push(format!("other processes of this user can read the keys in memory: {error}"));
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        open.push(format!("a crash can write the keys into a core file: {error}; set LimitCORE=0"));
    }
    if let Err(reason) = lock_memory() {
        open.push(format!(
            "the keys are not locked in memory and can reach swap: {reason}; set LimitMEMLOCK=infinity in the unit (`ulimit -l unlimited` in a shell)"
        ));
    }
    open
}

/// Locks all memory, now and later, as it is touched: copies of keys lie wherever libraries put them.
fn lock_memory() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock);
    // Under a limit, a later allocation would fail in the middle of the work.
    if limit.current.is_some() && !may_exceed_limits() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if limit.maximum.is_some() {
            let shown = limit.maximum.unwrap_or(0);
            return Err(format!("at most {shown} bytes may be locked"));
        }
        setrlimit(Resource::Memlock, raised).map_err(|error| error.to_string())?;
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|error| error.to_string())
}

/// Whether this process has `CAP_IPC_LOCK` (capabilities(7)).
fn may_exceed_limits() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << CAP_IPC_LOCK) != 0)
}

const CAP_IPC_LOCK: u32 = 14;
