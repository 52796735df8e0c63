//! `curfew-agent`: arguments, configuration, run, exit code.

use std::process::ExitCode;

use agent::command::Arguments;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tokio::spawn(logging::begin(&[]).heed());
    let arguments: Arguments = match agent::command::read() {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    match tokio::task::LocalSet::new().run_until(arguments.perform()).await {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("curfew-agent: {error:#}");
            agent::command::Exit::of(&error).into()
        }
    }
}
