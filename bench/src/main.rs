//! Curfew's promises with numbers, measured on real hosts: `curfew-bench NAME [--json] [--count N]`.
//!
//! Programs are found where the tests find them: in `CURFEW_PROGRAMS`, else in the debug folder. It needs root.
//! Exit codes: 0 measured, 1 failed or somebody survived, 64 the command line makes no sense.

mod ask;
mod bench;
mod case;
mod certificate;
mod clock;
mod cpu;
mod decide;
mod growth;
mod issue;
mod kill;
mod krl;
mod login;
mod memory;
mod record;
mod report;
mod sample;
mod soak;
mod stage;
mod terminal;

use std::{env, io::Write as _, process::ExitCode};

use bench::Command;

fn main() -> ExitCode {
    let Some(command) = Command::parse(env::args().skip(1)) else {
        drop(std::io::stderr().write_all(bench::USAGE.as_bytes()));
        return ExitCode::from(EX_USAGE);
    };
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "curfew-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// `sysexits.h`: the command line was not understood.
const EX_USAGE: u8 = 64;
