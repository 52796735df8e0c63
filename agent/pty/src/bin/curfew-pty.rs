//! `curfew-pty`: sshd's `ForceCommand` on a host under Curfew. It takes no arguments.
//!
//! Exit: that of what was run; 254 when nothing may run here, with the reason on standard error; 64 with arguments.

use std::process::ExitCode;

use pty::stub::{End, complain, run};

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        complain("curfew-pty takes no arguments; sshd starts it");
        return ExitCode::from(64);
    }
    match run() {
        Ok(End::Code(code)) => ExitCode::from(code),
        Ok(End::Signal(signal)) => {
            if let Err(error) = pty::tty::die_by(signal) {
                complain(&format!("what ran here ended by signal {signal} ({error})"));
            }
            ExitCode::from(u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX))
        }
        Err(refusal) => {
            complain(&refusal.to_string());
            ExitCode::from(254)
        }
    }
}
