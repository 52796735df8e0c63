//! What the tracker answers, read strictly, and what it means for a ticket. Pure.

use serde::Deserialize;
use wire::identifier::{Identity, Ticket};

/// What is answered: all of it, and nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    exists: bool,
    open: bool,
    assigned_to: Option<Identity>,
}

/// Why a ticket does not serve, by the tracker's word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// There is none.
    #[error("there is no ticket {0}")]
    Absent(Ticket),
    /// It is closed.
    #[error("ticket {0} is closed")]
    Closed(Ticket),
    /// It is somebody else's.
    #[error("ticket {0} is not assigned to {1}")]
    Elsewhere(Ticket, Identity),
}

impl Answer {
    /// Reads it.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// Whether the ticket serves.
    pub(crate) fn judge(&self, ticket: &Ticket, identity: &Identity) -> Result<(), Unfit> {
        if !self.exists {
            return Err(Unfit::Absent(ticket.clone()));
        }
        if !self.open {
            return Err(Unfit::Closed(ticket.clone()));
        }
        if self.assigned_to.as_ref() != Some(identity) {
            return Err(Unfit::Elsewhere(ticket.clone(), identity.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Result<Result<(), Unfit>, serde_json::Error> {
        let answer = Answer::parse(text.as_bytes())?;
        Ok(answer.judge(&"OPS-1".parse().unwrap(), &"ana".parse().unwrap()))
    }

    #[test]
    fn a_ticket_serves_when_it_is_there_open_and_ones_own() {
        let said = |exists, open, whose: &str| {
            judged(&format!(r#"{{"exists":{exists},"open":{open},"assigned_to":{whose}}}"#))
                .unwrap()
                .map_err(|unfit| unfit.to_string())
        };
        assert_eq!(said(true, true, "\"ana\""), Ok(()));
        assert_eq!(said(false, true, "\"ana\""), Err("there is no ticket OPS-1".into()));
        assert_eq!(said(true, false, "\"ana\""), Err("ticket OPS-1 is closed".into()));
        for whose in ["\"bob\"", "null"] {
            let unfit = "ticket OPS-1 is not assigned to ana".to_owned();
            assert_eq!(said(true, true, whose), Err(unfit));
        }
    }

    #[test]
    fn an_answer_in_another_form_is_none() {
        for text in [
            "",
            "true",
            "{}",
            r#"{"exists":true,"open":true}"#,
            r#"{"exists":"true","open":true,"assigned_to":"ana"}"#,
            r#"{"exists":true,"open":1,"assigned_to":"ana"}"#,
            r#"{"exists":true,"open":true,"assigned_to":"a b"}"#,
            r#"{"exists":true,"open":true,"assigned_to":"ana","more":1}"#,
            r#"{"exists":true,"exists":true,"open":true,"assigned_to":"ana"}"#,
            r#"{"exists":true,"open":true,"assigned_to":"ana"} "x""#,
        ] {
            let read = judged(text);
            assert!(read.is_err() || read.unwrap().is_err(), "{text}");
        }
    }
}
