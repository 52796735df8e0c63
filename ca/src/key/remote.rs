//! A key that somebody else holds: an ssh-agent, a token. Whoever wants a signature waits no longer than the settings say.
//!
//! A call to a device cannot be interrupted, so each key has a thread of its own that alone talks to its holder. Every
//! signature is checked before it is believed. Whoever drops a key waits for its thread: one that still closes its session
//! while the program ends would use a module that is being taken down, and crash.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ssh_key::{Fingerprint, HashAlg, PublicKey, Signature};

use super::{Sign, SignError};
use crate::clock;

/// Talks to whoever holds the private half.
pub(super) trait Holder: Send + 'static {
    /// Has this message signed.
    fn sign(&mut self, message: &[u8]) -> Result<Signature, SignError>;
}

/// A key behind its thread, which has ended when this was dropped, unless the holder hangs for longer than the timeout.
pub(super) struct RemoteKey {
    public: PublicKey,
    timeout: Duration,
    thread: Option<Thread>,
    trouble: Mutex<Option<String>>,
}

/// The thread that talks to the holder.
struct Thread {
    jobs: SyncSender<Job>,
    /// Closed when the holder is gone.
    gone: Mutex<Receiver<()>>,
    handle: JoinHandle<()>,
}

/// A signature that somebody waits for.
struct Job {
    message: Vec<u8>,
    until: Option<Instant>,
    answer: SyncSender<Result<Signature, SignError>>,
}

impl RemoteKey {
    /// The key with this public half, of this holder.
    pub(super) fn start(
        public: &PublicKey,
        timeout: Duration,
        holder: impl Holder,
    ) -> Result<Self, SignError> {
        let (jobs, waiting) = sync_channel(MAX_WAITING);
        let (here, gone) = sync_channel(0);
        let work = move || {
            work(holder, &waiting);
            drop::<SyncSender<()>>(here);
        };
        let thread = std::thread::Builder::new().name("key".into());
        let handle = thread.spawn(work).map_err(SignError::Thread)?;
        let thread = Some(Thread { jobs, gone: Mutex::new(gone), handle });
        let public = PublicKey::new(public.key_data().clone(), "");
        Ok(Self { public, timeout, thread, trouble: Mutex::new(None) })
    }

    fn print(&self) -> Fingerprint {
        self.public.fingerprint(HashAlg::Sha256)
    }

    fn ask(&self, message: &[u8]) -> Result<Signature, SignError> {
        let (answer, answered) = sync_channel(1);
        let until = clock::instant().checked_add(self.timeout);
        let job = Job { message: message.to_vec(), until, answer };
        let thread = self.thread.as_ref().ok_or(SignError::Ended)?;
        thread.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => SignError::Busy,
            TrySendError::Disconnected(_) => SignError::Ended,
        })?;
        let signature = answered.recv_timeout(self.timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => SignError::Slow(self.timeout),
            RecvTimeoutError::Disconnected => SignError::Ended,
        })??;
        wire::signature::verify(self.public.key_data(), message, &signature)?;
        Ok(signature)
    }
}

impl Sign for RemoteKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let said = self.ask(message);
        let trouble = said.as_ref().err().map(ToString::to_string);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        said
    }
}

impl Drop for RemoteKey {
    fn drop(&mut self) {
        let Some(Thread { jobs, gone, handle }) = self.thread.take() else { return };
        drop(jobs);
        let gone = gone.into_inner().unwrap_or_else(PoisonError::into_inner);
        // A call that hangs in the device cannot be ended; its thread is left behind.
        if gone.recv_timeout(self.timeout) != Err(RecvTimeoutError::Timeout)
            && handle.join().is_err()
        {
            tracing::error!("the thread of the key {} panicked", self.print());
        }
    }
}

/// Signs what comes, until the key is dropped.
fn work(mut holder: impl Holder, waiting: &Receiver<Job>) {
    while let Ok(job) = waiting.recv() {
        // Whoever asked may have given up while the holder was slow.
        if job.until.is_none_or(|until| clock::instant() < until) {
            // Nobody is left to tell if the answer comes too late.
            drop(job.answer.try_send(holder.sign(&job.message)));
        }
    }
}

/// Most signatures that wait for one key.
pub(super) const MAX_WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::key::given;

    /// Signs with one key when it is let.
    struct Gated(Arc<dyn Sign>, Receiver<()>);

    impl Holder for Gated {
        fn sign(&mut self, message: &[u8]) -> Result<Signature, SignError> {
            self.1.recv().map_err(|_closed| SignError::Computation)?;
            self.0.sign(message)
        }
    }

    #[test]
    fn a_holder_that_hangs_keeps_nobody_longer_than_the_timeout() {
        let (let_go, gate) = std::sync::mpsc::channel();
        let (key, timeout) = (given::key(1), Duration::from_millis(50));
        let remote =
            RemoteKey::start(key.public(), timeout, Gated(Arc::clone(&key), gate)).unwrap();
        for _ in 0..=MAX_WAITING {
            assert!(matches!(remote.sign(b"message"), Err(SignError::Slow(_))));
        }
        assert!(matches!(remote.sign(b"message"), Err(SignError::Busy)));
        // The first goes on; those who gave up are passed over, and the next one is served.
        let_go.send(()).unwrap();
        let_go.send(()).unwrap();
        let (_silent, never) = std::sync::mpsc::channel::<()>();
        for _ in 0..100 {
            if remote.sign(b"message").is_ok() {
                assert_eq!(remote.trouble(), None);
                return;
            }
            assert!(remote.trouble().is_some());
            assert!(never.recv_timeout(Duration::from_millis(20)).is_err());
        }
        panic!("the key never signed again");
    }

    /// Is slow to let go, as a session is that a token closes.
    struct Lingering(Arc<AtomicBool>);

    impl Holder for Lingering {
        fn sign(&mut self, _message: &[u8]) -> Result<Signature, SignError> {
            Err(SignError::Computation)
        }
    }

    impl Drop for Lingering {
        fn drop(&mut self) {
            let (_silent, never) = std::sync::mpsc::channel::<()>();
            assert!(never.recv_timeout(Duration::from_millis(200)).is_err());
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_drops_a_key_waits_until_its_holder_is_gone_and_no_longer_than_the_timeout() {
        let is_gone = Arc::new(AtomicBool::new(false));
        let (key, timeout) = (given::key(1), Duration::from_secs(60));
        let remote =
            RemoteKey::start(key.public(), timeout, Lingering(Arc::clone(&is_gone))).unwrap();
        drop(remote);
        assert!(is_gone.load(Ordering::SeqCst));

        let (let_go, gate) = std::sync::mpsc::channel();
        let timeout = Duration::from_millis(50);
        let remote =
            RemoteKey::start(key.public(), timeout, Gated(Arc::clone(&key), gate)).unwrap();
        assert!(matches!(remote.sign(b"message"), Err(SignError::Slow(_))));
        drop(remote);
        drop(let_go);
    }

    #[test]
    fn a_holder_that_signs_with_another_key_is_not_believed() {
        let (let_go, gate) = std::sync::mpsc::channel();
        let_go.send(()).unwrap();
        let timeout = Duration::from_secs(5);
        let remote =
            RemoteKey::start(given::key(2).public(), timeout, Gated(given::key(1), gate)).unwrap();
        assert!(matches!(remote.sign(b"message"), Err(SignError::Wrong(_))));
        drop(let_go);
        assert!(matches!(remote.sign(b"message"), Err(SignError::Computation)));
    }
}
