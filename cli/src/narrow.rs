//! What a person leaves out of what their role allows: the words on the command line, and what they mean.

use anyhow::Result;
use wire::network::{Network, Networks};
use wire::options::{Ability, ForceCommand, Wishes};

use crate::duration::Span;
use crate::exit::Fault;

/// Each only narrows; the authority refuses what goes beyond the role.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Less than the role allows")]
pub(crate) struct Narrow {
    /// Only these abilities: pty, port-forwarding, agent-forwarding, x11-forwarding, or none
    #[arg(long, value_name = "ABILITY", value_delimiter = ',')]
    only: Option<Vec<String>>,
    /// Not these abilities
    #[arg(long, value_name = "ABILITY", value_delimiter = ',')]
    without: Vec<Ability>,
    /// No terminal: short for --without pty
    #[arg(long)]
    no_pty: bool,
    /// Only from this network, such as 192.0.2.0/24; may be given several times
    #[arg(long = "from", value_name = "NETWORK")]
    networks: Vec<Network>,
    /// Only this command, whatever ssh asks for
    #[arg(long, value_name = "COMMAND")]
    force_command: Option<ForceCommand>,
    /// End the session when nothing comes from here for this long, such as 5m
    #[arg(long, value_name = "SPAN")]
    idle: Option<Span>,
    /// Only with a PIN or fingerprint at each login; needs --key with a security key
    #[arg(long, requires = "key")]
    verify_required: bool,
}

impl Narrow {
    /// The same as the authority is told it.
    pub(crate) fn wishes(&self) -> Result<Wishes> {
        let refuse = |error: String| Fault::Usage(error);
        let only = match self.only.as_deref() {
            None => None,
            Some([none]) if none == "none" => Some(std::collections::BTreeSet::new()),
            Some(names) => {
                let parsed = names.iter().map(|name| name.parse::<Ability>());
                let parsed: Result<_, _> = parsed.collect();
                Some(parsed.map_err(|error| refuse(format!("--only: {error}, or none")))?)
            }
        };
        let mut without: std::collections::BTreeSet<Ability> =
            self.without.iter().copied().collect();
        if self.no_pty {
            without.insert(Ability::Pty);
        }
        let sources = match self.networks.as_slice() {
            [] => None,
            several => Some(
                Networks::try_new(several.iter().copied())
                    .map_err(|error| refuse(format!("--from: {error}")))?,
            ),
        };
        let (command, verify_required) = (self.force_command.clone(), self.verify_required);
        let idle_secs = self.idle.map(Span::secs);
        Ok(Wishes { only, without, sources, command, verify_required, idle_secs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        narrow: Narrow,
        #[arg(long)]
        key: Option<String>,
    }

    fn wishes(words: &[&str]) -> Result<Wishes, String> {
        let line = Line::try_parse_from([&["x"], words].concat());
        let line = line.map_err(|error| error.to_string())?;
        line.narrow.wishes().map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_is_nothing_wished() {
        assert!(wishes(&[]).unwrap().is_empty());
    }

    #[test]
    fn words_mean_what_they_say() {
        let all =
            ["--only", "pty,port-forwarding", "--from", "10.0.0.0/9", "--from", "10.128.0.0/9"];
        let said = wishes(&all).unwrap();
        assert_eq!(said.only.unwrap().len(), 2);
        assert_eq!(said.sources.unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(wishes(&["--only", "none"]).unwrap().only.unwrap().len(), 0);
        let no_pty = wishes(&["--no-pty", "--without", "x11-forwarding"]).unwrap();
        assert!(no_pty.without.contains(&Ability::Pty) && no_pty.without.len() == 2);
        let command = wishes(&["--force-command", "env A=b,c run"]).unwrap().command.unwrap();
        assert_eq!(command.as_str(), "env A=b,c run");
        assert!(wishes(&["--verify-required", "--key", "k"]).unwrap().verify_required);
        assert_eq!(wishes(&["--idle", "5m"]).unwrap().idle_secs, Some(300));
    }

    #[test]
    fn what_is_wrong_says_what_would_be_right() {
        for (words, why) in [
            (&["--only", "tty"][..], "there is no ability \"tty\"; there are pty"),
            (&["--only", "none,pty"], "there is no ability \"none\""),
            (&["--without", "tty"], "there is no ability \"tty\""),
            (&["--from", "10.0.0.1/8"], "did you mean 10.0.0.0/8?"),
            (&["--from", "10.0.0.1"], "write 10.0.0.1/32"),
            (&["--force-command", ""], "empty"),
            (&["--verify-required"], "--key"),
        ] {
            let error = wishes(words).unwrap_err();
            assert!(error.contains(why), "{words:?}: {error}");
        }
    }
}
