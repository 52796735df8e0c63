//! When this host lets nobody in under the authority: it may lack orders, or has not heard of the authority for too long.
//!
//! Sessions that run go on and end on time; nothing but new logins depends on this. Logins that are not under the authority follow
//! the host's policy for those.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::hostlink::Trust;
use wire::time::Uptime;

use super::{Host, HostError};
use crate::clock::Now;
use crate::revocation::Revocation;
use crate::store;

/// What stands in the way of new logins.
#[derive(Debug, Default)]
pub(super) struct Bar {
    /// Orders may be missing: those of before are not here, and the authority has not said that these are all.
    lacks_orders: bool,
    /// The newest order there is, as the authority said when it welcomed the host.
    newest_order: Option<u64>,
    /// When the authority was heard of last, on the clock since boot; never since boot, when absent.
    heard: Option<Uptime>,
    /// The same as it is kept across restarts of the agent.
    kept: Option<Uptime>,
    /// After how long a silence nobody is let in.
    strict: Option<Duration>,
    heard_path: PathBuf,
}

impl Bar {
    /// As the agent begins. `run_dir` does not outlive a boot, and neither does the clock.
    pub(super) fn open(lacks_orders: bool, strict: Option<Duration>, run_dir: &Path) -> Self {
        let heard_path = run_dir.join("heard.json");
        let heard = match store::read::<Uptime>(&heard_path) {
            Ok(heard) => Some(heard),
            Err(error) if error.is_absent() => None,
            Err(error) => {
                tracing::warn!(%error, "when the authority was heard of last is not known");
                None
            }
        };
        Self { lacks_orders, newest_order: None, heard, kept: heard, strict, heard_path }
    }

    /// Why nobody is let in now.
    fn why(&self, up: Uptime) -> Option<String> {
        if self.lacks_orders {
            return Some(LACKS_ORDERS.to_owned());
        }
        let strict = self.strict?;
        let silence = up.since(self.heard.unwrap_or(Uptime::from_nanos(0)));
        (silence >= strict).then(|| {
            format!(
                "this host has not heard of its authority for {} s and lets nobody in after {} s (strict_silence)",
                silence.as_secs(),
                strict.as_secs()
            )
        })
    }

    /// How often the authority must be asked something, so that its silence means something.
    pub(super) fn ask_every(&self, usual: Duration) -> Duration {
        self.strict.map_or(usual, |strict| usual.min(strict.checked_div(4).unwrap_or(strict)))
    }
}

impl Host {
    /// Why nobody is let in under the authority now; nothing when somebody may be.
    pub(super) fn barred(&self, now: Now) -> Option<String> {
        self.unread().or_else(|| self.bar.why(now.up))
    }

    /// The authority has said something.
    pub(super) fn heard_authority(&mut self, now: Now) {
        self.bar.heard = Some(now.up);
        let is_old = self.bar.kept.is_none_or(|kept| now.up.since(kept) >= KEEP_EVERY);
        if self.bar.strict.is_some() && is_old {
            match store::write(&self.bar.heard_path, &now.up) {
                Ok(()) => self.bar.kept = Some(now.up),
                Err(error) => {
                    tracing::warn!(%error, "a restart of the agent will not know when the authority was heard of");
                }
            }
        }
    }

    /// The authority has said which order is the newest.
    pub(super) fn told_newest(&mut self, newest_order: u64) {
        self.bar.newest_order = Some(newest_order);
        self.look_whether_whole();
    }

    /// Once all orders are here, they are made durable, and people are let in again.
    pub(super) fn look_whether_whole(&mut self) {
        let is_whole =
            self.bar.newest_order.is_some_and(|newest| self.revocation.last_order >= newest);
        if !self.bar.lacks_orders || !is_whole {
            return;
        }
        match store::write(&self.places.revocation, &self.revocation) {
            Ok(()) => {
                self.bar.lacks_orders = false;
                tracing::warn!(
                    last_order = self.revocation.last_order,
                    "all orders are here; people are let in"
                );
            }
            Err(error) => {
                tracing::error!(%error, "all orders are here, but not durable: nobody is let in");
            }
        }
    }
}

/// The locks in force as the host begins, and whether orders may be missing.
pub(super) fn open_revocation(path: &Path, trust: &Trust) -> Result<(Revocation, bool), HostError> {
    let joined = || Revocation::joined(trust.orders_from, trust.locks.clone());
    let (mut revocation, mut lacks_orders) = kept_revocation(path, joined)?;
    lacks_orders |= revocation.go_back_to_read();
    super::trust::catch_up(&mut revocation, trust);
    Ok((revocation, lacks_orders))
}

/// The locks in force as they were kept, and whether orders may be missing. A file that is absent or damaged is not the end: the
/// host begins with the locks of its enrolment, ends sessions on time, and lets nobody in until it has every order again. What
/// was damaged is kept beside.
fn kept_revocation(
    path: &Path,
    joined: impl FnOnce() -> Revocation,
) -> Result<(Revocation, bool), HostError> {
    match store::read(path) {
        Ok(kept) => Ok((kept, false)),
        Err(error) if error.is_absent() => Ok((joined(), true)),
        Err(error @ store::StoreError::Form { .. }) => {
            tracing::error!(%error, "the locks that were kept cannot be read; nobody is let in until all orders are here again");
            let mut aside = path.as_os_str().to_owned();
            aside.push(".damaged");
            std::fs::rename(path, &aside)
                .map_err(|source| store::StoreError::Io { path: path.into(), source })?;
            Ok((joined(), true))
        }
        Err(error) => Err(error.into()),
    }
}

const LACKS_ORDERS: &str = "this host may lack orders: the locks that it kept are gone, and the authority has not sent all of them again yet";
/// How often it is kept when the authority was heard of.
const KEEP_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Uptime {
        Uptime::from_nanos(secs.saturating_mul(1_000_000_000))
    }

    #[test]
    fn silence_bars_where_it_is_strict_and_counts_from_boot_when_nothing_was_heard() {
        let folder = tempfile::tempdir().unwrap();
        let mut bar = Bar::open(false, Some(Duration::from_secs(60)), folder.path());
        assert_eq!(bar.why(at(59)), None);
        assert!(bar.why(at(60)).unwrap().contains("for 60 s"));
        bar.heard = Some(at(50));
        assert_eq!(bar.why(at(109)), None);
        assert!(bar.why(at(110)).is_some());
        assert_eq!(bar.ask_every(Duration::from_secs(60)), Duration::from_secs(15));
        let lenient = Bar::open(false, None, folder.path());
        assert_eq!(lenient.why(at(1_000_000)), None);
        store::write(&folder.path().join("heard.json"), &at(7)).unwrap();
        let again = Bar::open(false, Some(Duration::from_secs(60)), folder.path());
        assert!(again.why(at(66)).is_none() && again.why(at(67)).is_some());
    }

    #[test]
    fn locks_that_are_lost_or_damaged_bar_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revocation.json");
        let joined = || Revocation::joined(3, Vec::new());
        let (begun, lacks) = kept_revocation(&path, joined).unwrap();
        assert!(lacks && begun.last_order == 3);
        assert!(Bar::open(lacks, None, folder.path()).why(at(1)).is_some());
        for damage in ["", "{\"version\":1", "[]"] {
            std::fs::write(&path, damage).unwrap();
            assert!(kept_revocation(&path, joined).unwrap().1, "{damage:?}");
            assert!(!path.exists() && folder.path().join("revocation.json.damaged").exists());
        }
        store::write(&path, &Revocation::joined(9, Vec::new())).unwrap();
        let (kept, lacks) = kept_revocation(&path, joined).unwrap();
        assert!(!lacks && kept.last_order == 9);
    }
}
