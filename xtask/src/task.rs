//! What a developer can ask for.

use crate::{checks, fuzz, package::Wish, setup, step::Failure, work};

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Install what the build and the tests need.
    Setup,
    /// Build everything and run every test.
    Test,
    /// Show Curfew at work.
    Demo,
    /// A fleet to play with.
    Fleet,
    /// One benchmark, with its arguments.
    Bench(Vec<String>),
    /// The Debian packages.
    Package(Wish),
    /// Every fuzz target, for so many seconds each.
    Fuzz(u32),
    /// `curfew` as a program that needs nothing of the machine it runs on.
    Kit,
    /// Keep the inputs that fuzzing found.
    FuzzKeep,
    /// All that must hold before a change is taken.
    Ci,
}

impl Task {
    /// Reads the command line; `None` when it makes no sense.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut args = args.into_iter();
        let name = args.next()?;
        let rest: Vec<_> = args.collect();
        match (name.as_str(), rest.as_slice()) {
            ("setup", []) => Some(Self::Setup),
            ("test", []) => Some(Self::Test),
            ("demo", []) => Some(Self::Demo),
            ("fleet", []) => Some(Self::Fleet),
            ("kit", []) => Some(Self::Kit),
            ("ci", []) => Some(Self::Ci),
            ("bench", [_, ..]) => Some(Self::Bench(rest)),
            ("package", rest) => Wish::parse(rest).map(Self::Package),
            ("fuzz", []) => Some(Self::Fuzz(fuzz::SECONDS)),
            ("fuzz", [keep]) if keep == "keep" => Some(Self::FuzzKeep),
            ("fuzz", [seconds]) => seconds.parse().ok().filter(|&secs| secs > 0).map(Self::Fuzz),
            _ => None,
        }
    }

    /// Does it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Setup => setup::run(),
            Self::Test => work::test(),
            Self::Demo => work::demo(),
            Self::Fleet => work::fleet(),
            Self::Bench(args) => work::bench(&args),
            Self::Package(wish) => wish.run(),
            Self::Fuzz(seconds) => fuzz::run(seconds),
            Self::FuzzKeep => fuzz::keep(),
            Self::Kit => work::kit(),
            Self::Ci => checks::run(),
        }
    }
}

/// Told to whoever asks for something else.
pub(crate) const USAGE: &str = "\
Usage: cargo xtask COMMAND

  setup                install the Debian packages that the build and the tests need
  test                 build everything, then run every test, those on real hosts too
  demo                 a session from its certificate to its end, on a real host
  fleet                an authority, two hosts and a shell to play with
  bench NAME [--json]  one benchmark: ask certificate krl issue growth decide kill login memory record soak terminal
  package              the Debian packages; [--programs DIR of a build] [--out DIR] [--version VERSION]
  fuzz [SECONDS]       every fuzz target, a minute each or so long; not part of `ci`
  fuzz keep            keep the inputs that runs found, for everybody's next run
  kit                  a static `curfew` for the kit of break-glass, in target/kit
  ci                   all that must hold before a change is taken, `test` included
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Task> {
        Task::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_command_of_the_usage_is_understood() {
        assert_eq!(parse("ci"), Some(Task::Ci));
        let bench = Task::Bench(vec!["kill".to_owned(), "--json".to_owned()]);
        assert_eq!(parse("bench kill --json"), Some(bench));
        assert_eq!(parse("fuzz"), Some(Task::Fuzz(60)));
        assert_eq!(parse("fuzz 5"), Some(Task::Fuzz(5)));
        assert_eq!(parse("fuzz keep"), Some(Task::FuzzKeep));
        let commands = USAGE.lines().filter_map(|line| line.strip_prefix("  "));
        for command in commands.filter_map(|line| line.split(' ').next()) {
            let line = if command == "bench" { "bench kill" } else { command };
            assert!(parse(line).is_some(), "{command}");
        }
    }

    #[test]
    fn every_command_that_the_pages_show_is_understood() {
        let pages = pages::all().unwrap();
        let shown: Vec<_> = pages.iter().flat_map(|page| page.commands("cargo").unwrap()).collect();
        let ours = shown.iter().filter(|shown| shown.words.get(1).is_some_and(|it| it == "xtask"));
        let ours: Vec<_> = ours.collect();
        assert!(ours.len() >= 20, "the pages show few commands: {}", ours.len());
        for shown in ours {
            let task = Task::parse(shown.words.iter().skip(2).cloned());
            assert!(task.is_some(), "{}: {}", shown.place, shown.words.join(" "));
        }
    }

    #[test]
    fn anything_else_is_not() {
        for line in ["", "tests", "ci --fast", "bench", "fuzz 0", "fuzz frame", "fuzz 1 2"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
