//! `curfew`, what a person types: log in, get on a host, see what happened, end it.

mod args;
mod client;
mod clock;
mod command;
mod duration;
mod exit;
mod file;
mod first_contact;
mod home;
mod identity_file;
mod issue;
mod ledger;
mod login_key;
mod manner;
mod narrow;
mod ocsf;
mod progress;
mod prompt;
mod render;
mod replay;
mod report;
mod ssh_agent;
mod ssh_config;
mod timeline;
mod url;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(refusal) => return exit::on_usage(&refusal),
    };
    let screen = render::Screen::of_this_terminal();
    match command::run(args.command, &screen) {
        Ok(code) => code.into(),
        Err(error) => {
            screen.error(&error);
            exit::Exit::of(&error).into()
        }
    }
}
