//! The developers' commands: `cargo xtask setup | test | demo | fleet | bench NAME [--json] | package | fuzz [SECONDS|keep] | kit | ci`.

mod checks;
mod clock;
mod fuzz;
mod package;
mod setup;
mod step;
mod task;
mod work;

use std::{env, process::ExitCode};

use task::Task;

fn main() -> ExitCode {
    let Some(task) = Task::parse(env::args().skip(1)) else {
        eprint!("{}", task::USAGE);
        return ExitCode::from(EX_USAGE);
    };
    match task.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cargo xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// `sysexits.h`: the command line was not understood.
const EX_USAGE: u8 = 64;
