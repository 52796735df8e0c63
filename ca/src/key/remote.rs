//! A key that somebody else holds: an ssh-agent, a token. Whoever wants a signature waits no longer than the settings say.
//!
//! A call to a device cannot be interrupted, so each key has a thread of its own that alone talks to its holder. Every
//! signature is checked before it is believed.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ssh_key::{PublicKey, Signature};

use super::{Sign, SignError};
use crate::clock;

/// Talks to whoever holds the private half.
pub(super) trait Holder: Send + 'static {
    /// Has this message signed.
    fn sign(&mut self, message: &[u8]) -> Result<Signature, SignError>;
}

/// A key behind its thread, which ends when this is dropped.
pub(super) struct RemoteKey {
    public: PublicKey,
    timeout: Duration,
    jobs: SyncSender<Job>,
    trouble: Mutex<Option<String>>,
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
        let thread = std::thread::Builder::new().name("key".into());
        thread.spawn(move || work(holder, &waiting)).map_err(SignError::Thread)?;
        let public = PublicKey::new(public.key_data().clone(), "");
        Ok(Self { public, timeout, jobs, trouble: Mutex::new(None) })
    }

    fn ask(&self, message: &[u8]) -> Result<Signature, SignError> {
        let (answer, answered) = sync_channel(1);
        let until = clock::instant().checked_add(self.timeout);
        let job = Job { message: message.to_vec(), until, answer };
        self.jobs.try_send(job).map_err(|error| match error {
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
