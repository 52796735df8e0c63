//! What an ssh-agent answers to `curfew`: any bytes are a list of keys, a signature, or refused.
#![no_main]

use std::cell::OnceCell;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

#[path = "../../cli/src/ssh_agent.rs"]
#[expect(dead_code, reason = "the program uses all of it, the target a part")]
mod ssh_agent;

fuzz_target!(|input: &[u8]| {
    let [what, reply @ ..] = input else { return };
    AGENT.with(|agent| agent.get_or_init(Fake::start).answer(*what, reply));
});

thread_local!(static AGENT: OnceCell<Fake> = const { OnceCell::new() });

struct Fake {
    listener: UnixListener,
    path: PathBuf,
    _dir: TempDir,
}

impl Fake {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("agent");
        Self { listener: UnixListener::bind(&path).expect("a socket"), path, _dir: dir }
    }

    fn answer(&self, what: u8, reply: &[u8]) {
        let mut asking = ssh_agent::SshAgent::at(self.path.clone()).expect("it listens");
        let (mut stream, _) = self.listener.accept().expect("it was asked");
        if what & 1 == 0 {
            let length = u32::try_from(reply.len()).expect("inputs are short");
            stream.write_all(&length.to_be_bytes()).expect("it fits the socket");
        }
        stream.write_all(reply).expect("it fits the socket");
        stream.shutdown(Shutdown::Write).expect("it is open");
        if what & 2 == 0 {
            drop(asking.keys());
        } else {
            let key = curfew_fuzz::key(1);
            drop(asking.sign(key.public_key().key_data(), wire::login::NAMESPACE, b"message"));
        }
    }
}
