//! `curfew request`: ask for a role that needs approval.

use std::time::Duration;

use anyhow::{Result, anyhow};
use wire::identifier::{GrantId, HostName, RequestId, RoleName, Ticket};
use wire::request::{RequestAsk, RequestDetail, Sentence, State};
use wire::time::Timestamp;

use super::requests::{missing_lines, stand};
use crate::client::Client;
use crate::clock;
use crate::duration::Span;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::render::{Screen, Tone};

/// Ask for a role on hosts, where it needs approval
///
/// What is asked for is fixed: to change it, withdraw it and ask anew. The time runs from the first login, not from the
/// approval; with --start it is a fixed window. Once it is approved, `curfew ssh` and plain `ssh` work as ever.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// The role
    role: RoleName,
    /// Where; may be given several times, and all are approved together
    #[arg(long, required_unless_present = "extend", value_name = "HOST")]
    host: Vec<HostName>,
    /// For how long, such as 1h; the role's default when left out
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Span>,
    /// From when on, such as 2026-12-24T18:00:00Z; from the first login when left out
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    start: Option<Timestamp>,
    /// A grant of yours that is to last longer, by --for
    #[arg(long, value_name = "GRANT", conflicts_with_all = ["host", "start"])]
    extend: Option<GrantId>,
    /// Why
    #[arg(long)]
    reason: Sentence,
    /// What will have been done in the end
    #[arg(long = "expect", value_name = "TEXT")]
    expected: Option<Sentence>,
    /// The ticket that it is for
    #[arg(long)]
    ticket: Option<Ticket>,
    /// Say that it cannot wait; it skips nothing
    #[arg(long)]
    urgent: bool,
    /// Wait until it is decided, and show what is still missing
    #[arg(long)]
    wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Request {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        let ask = RequestAsk {
            role: self.role,
            hosts: self.host,
            duration_secs: self.span.map(Span::secs),
            start: self.start,
            extends: self.extend,
            reason: self.reason,
            expected: self.expected,
            ticket: self.ticket,
            urgent: self.urgent,
            breakglass: false,
        };
        let mut detail: RequestDetail = client.post("/v1/requests", &ask)?;
        if !self.json {
            screen.line(&format!("Request {}: {}.", detail.view.request, stand(&detail)))?;
            tell(&detail, screen)?;
        }
        if self.wait {
            detail = follow(&mut client, detail, self.json, screen)?;
        }
        if self.json {
            screen.json(&detail)?;
        } else if let State::Approved { .. } = detail.view.state {
            let host = detail.view.hosts.first().map_or("HOST", HostName::as_str);
            screen.line(&format!("Go ahead: curfew ssh {host}"))?;
        }
        Ok(match detail.view.state {
            State::Ended { .. } => Exit::Denied,
            _ => Exit::Done,
        })
    }
}

/// Shows each change until the request waits no more.
fn follow(
    client: &mut Client,
    mut detail: RequestDetail,
    json: bool,
    screen: &Screen,
) -> Result<RequestDetail> {
    let request: RequestId = detail.view.request;
    while let State::Pending { .. } = detail.view.state {
        let (wait, heard) = (WAIT.as_millis(), detail.approvals.len());
        let path = format!("/v1/requests/{request}?wait_millis={wait}&approvals={heard}");
        let newer: RequestDetail = client.get_slow(&path, WAIT)?;
        let is_news = newer.view.state.word() != detail.view.state.word()
            || newer.missing != detail.missing
            || newer.demanded != detail.demanded
            || newer.approvals.len() != detail.approvals.len();
        detail = newer;
        if is_news && !json {
            screen.line(&format!("Request {request}: {}.", stand(&detail)))?;
            tell(&detail, screen)?;
        } else if !is_news {
            // Other people's decisions end the wait as well.
            client.pause(PAUSE);
        }
    }
    Ok(detail)
}

fn tell(detail: &RequestDetail, screen: &Screen) -> Result<()> {
    for line in missing_lines(detail) {
        screen.toned(Tone::Warning, &format!("  {line}"))?;
    }
    Ok(())
}

/// A moment, as RFC 3339 has it.
fn moment(text: &str) -> Result<Timestamp> {
    let wrong = || {
        anyhow!(Fault::Usage(format!("{text:?} is no moment; write it as 2026-12-24T18:00:00Z")))
    };
    let moment: jiff::Timestamp = text.parse().map_err(|_odd: jiff::Error| wrong())?;
    let secs = u64::try_from(moment.as_second()).map_err(|_before_1970| wrong())?;
    let moment = Timestamp::from_secs(secs);
    if moment < clock::now() { Err(anyhow!("it is in the past")) } else { Ok(moment) }
}

/// One question waits no longer than this.
const WAIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);
