//! The arguments on the module's line in `/etc/pam.d`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::word::Door;

/// What the line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) agent_down: AgentDown,
    pub(crate) gate_path: PathBuf,
    /// The account that break-glass opens although nobody is at the gate.
    pub(crate) door: Option<Door>,
}

/// What happens to logins while the agent does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgentDown {
    /// All are refused.
    Refuse,
    /// Those without a certificate go on, and the log says so.
    Outside,
}

/// An argument that is not understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArgumentError(String);

impl std::fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "argument {:?} of pam_curfew.so is not understood; every login is refused",
            self.0
        )
    }
}

impl Arguments {
    /// Reads the words after the module's name.
    ///
    /// # Errors
    /// The first word that is not understood, or comes twice.
    pub(crate) fn parse(words: &[Vec<u8>]) -> Result<Self, ArgumentError> {
        let mut agent_down = None;
        let mut gate_path = None;
        let mut door = None;
        for word in words {
            let wrong = || ArgumentError(String::from_utf8_lossy(word).into_owned());
            let fresh = match word.as_slice() {
                b"agent_down=refuse" => agent_down.replace(AgentDown::Refuse).is_none(),
                b"agent_down=outside" => agent_down.replace(AgentDown::Outside).is_none(),
                other if other.starts_with(DOOR) => {
                    let named = other.strip_prefix(DOOR).and_then(Door::parse);
                    door.replace(named.ok_or_else(wrong)?).is_none()
                }
                other => match other.strip_prefix(b"socket=") {
                    Some(path) if path.starts_with(b"/") => {
                        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
                        gate_path.replace(path).is_none()
                    }
                    _ => return Err(wrong()),
                },
            };
            if !fresh {
                return Err(wrong());
            }
        }
        Ok(Self {
            agent_down: agent_down.unwrap_or(AgentDown::Refuse),
            door,
            gate_path: gate_path.unwrap_or_else(|| PathBuf::from(ask::GATE_PATH)),
        })
    }
}

const DOOR: &[u8] = b"breakglass=";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ArgumentError> {
        let words: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.into()).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn the_line_is_read() {
        let table = [
            ("", AgentDown::Refuse, "/run/curfew/gate.sock"),
            ("agent_down=refuse", AgentDown::Refuse, "/run/curfew/gate.sock"),
            ("agent_down=outside", AgentDown::Outside, "/run/curfew/gate.sock"),
            ("socket=/a/b agent_down=outside", AgentDown::Outside, "/a/b"),
        ];
        for (line, agent_down, gate_path) in table {
            let gate_path = PathBuf::from(gate_path);
            assert_eq!(parse(line), Ok(Arguments { agent_down, gate_path, door: None }), "{line}");
        }
        let with_door = parse("agent_down=refuse breakglass=breakglass@db1").unwrap();
        assert_eq!(with_door.door, Door::parse(b"breakglass@db1"));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for line in [
            "debug",
            "agent_down",
            "agent_down=",
            "agent_down=Outside",
            "agent_down=outside agent_down=refuse",
            "socket=",
            "socket=gate.sock",
            "socket=/a socket=/b",
            "breakglass=",
            "breakglass=breakglass",
            "breakglass=a@b breakglass=a@b",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
