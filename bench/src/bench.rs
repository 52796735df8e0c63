//! The command line: which benchmark, how often, and for whom it reports.

use std::io::Write as _;

use anyhow::{Context as _, Result};

use crate::{
    ask, certificate, decide, growth, issue, kill, krl, login, memory, record, report, report::Row,
    soak, terminal,
};

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    bench: Bench,
    json: bool,
    count: Option<usize>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bench {
    Ask,
    Certificate,
    Decide,
    Growth,
    Issue(issue::Store),
    Kill,
    Krl,
    Login,
    Memory,
    Record,
    Soak,
    Terminal,
}

/// The figures, and what must not be passed over in silence.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// A row a case.
    pub(crate) rows: Vec<Row>,
    /// Sentences about what was promised without exception and not kept.
    pub(crate) broken: Vec<String>,
}

impl Command {
    /// Reads the command line; `None` when it makes no sense.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut args = args.into_iter();
        let bench = match args.next()?.as_str() {
            "ask" => Bench::Ask,
            "certificate" => Bench::Certificate,
            "decide" => Bench::Decide,
            "growth" => Bench::Growth,
            "issue" => Bench::Issue(issue::Store::Sqlite),
            "issue-postgres" => Bench::Issue(issue::Store::Postgres),
            "kill" => Bench::Kill,
            "krl" => Bench::Krl,
            "login" => Bench::Login,
            "memory" => Bench::Memory,
            "record" => Bench::Record,
            "soak" => Bench::Soak,
            "terminal" => Bench::Terminal,
            _ => return None,
        };
        let mut command = Self { bench, json: false, count: None };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--json" => command.json = true,
                "--count" => {
                    command.count = Some(args.next()?.parse().ok().filter(|&count| count > 0)?);
                }
                _ => return None,
            }
        }
        Some(command)
    }

    /// Measures and reports. What was promised without exception and is broken is an error, after the report.
    pub(crate) fn run(self) -> Result<()> {
        let verdict = match self.bench {
            Bench::Ask => ask::measure(self.count.unwrap_or(ask::COUNT))?,
            Bench::Certificate => certificate::measure(self.count.unwrap_or(certificate::COUNT))?,
            Bench::Decide => decide::measure(self.count.unwrap_or(decide::COUNT))?,
            Bench::Growth => growth::measure(self.count.unwrap_or(growth::COUNT))?,
            Bench::Issue(store) => issue::measure(self.count.unwrap_or(issue::COUNT), store)?,
            Bench::Kill => kill::measure(self.count.unwrap_or(kill::COUNT))?,
            Bench::Krl => krl::measure(self.count.unwrap_or(krl::COUNT))?,
            Bench::Login => login::measure(self.count.unwrap_or(login::COUNT))?,
            Bench::Memory => memory::measure(self.count.unwrap_or(memory::COUNT))?,
            Bench::Record => record::measure(self.count.unwrap_or(record::COUNT))?,
            Bench::Soak => soak::measure(self.count.unwrap_or(soak::COUNT))?,
            Bench::Terminal => terminal::measure(self.count.unwrap_or(terminal::COUNT))?,
        };
        let text =
            if self.json { report::json(&verdict.rows)? } else { report::table(&verdict.rows) };
        std::io::stdout().write_all(text.as_bytes()).context("standard output is closed")?;
        anyhow::ensure!(verdict.broken.is_empty(), "{}", verdict.broken.join("; "));
        Ok(())
    }
}

/// Told to whoever asks for something else.
pub(crate) const USAGE: &str = "\
Usage: curfew-bench NAME [--json] [--count N]

  ask     login, request, approval and certificate at the command line; N rounds
  certificate  making and checking N certificates by each kind of key, beside ssh-keygen and the signature alone
  decide  N answers of policy, with 15, 100 and 1,000 policies and with the default
  growth  what a certificate costs as the ledger grows to N certificates, ten times longer each time
  issue   N certificates from an authority over TLS, durable and proved, at 1, 16, 64 and 256 connections
  issue-postgres  the same with the ledger on a PostgreSQL server of its own
  kill    from the order to the last dead process, on one host; N sessions a case, a seventh of that in the storm
  krl     making and reading revocation lists of N serials, beside ssh-keygen
  login   what we add to a login with stock sshd; N pairs
  memory  the host half with 0, a tenth of N, and N live sessions
  record  what recording costs N programs that are started one after the other, beside stock sshd
  soak    logins, requests, locks, restarts and cut links on three hosts for N minutes, and an account of all of it
  terminal  what recording adds to N keys and to a gigabyte on a terminal, beside stock sshd

All but certificate, decide, growth, issue and krl boot real hosts, which needs root. --json writes one object a line.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Command> {
        Command::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_benchmark_is_named_and_sized() {
        let kill = Command { bench: Bench::Kill, json: true, count: Some(7) };
        assert_eq!(parse("kill --count 7 --json"), Some(kill));
        assert!(
            parse("certificate").is_some()
                && parse("ask").is_some()
                && parse("decide --json").is_some()
                && parse("issue --count 100").is_some()
                && parse("issue-postgres").is_some()
                && parse("growth").is_some()
                && parse("login").is_some()
                && parse("krl").is_some()
                && parse("memory --json").is_some()
                && parse("record").is_some()
                && parse("soak --count 1").is_some()
                && parse("terminal").is_some()
        );
    }

    #[test]
    fn anything_else_is_not_understood() {
        for line in ["", "speed", "kill --count", "kill --count 0", "kill --fast"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
