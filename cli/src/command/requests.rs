//! `curfew requests`: what waits for you, and where your own requests stand.

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;
use serde::Serialize;
use wire::identifier::{HostName, Identity, Login, RequestId};
use wire::key_request::KeyRequestView;
use wire::log::Hash;
use wire::request::{Asked, Demanded, Missing, RequestDetail, RequestView, State};
use wire::time::Timestamp;

use super::keys;
use crate::client::Client;
use crate::clock;
use crate::duration::rough;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Cell, Screen, Table, Tone, moment, plain};

/// List requests: those you can approve, and your own; everybody's, if you are an operator
///
/// Requests for keys to log in with are listed after those for access. The last lines say what waits for you, and what to type.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Requests {
    #[command(subcommand)]
    command: Option<Show>,
    /// Also those that are over
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All that is asked for, and what waits for whoever looks.
#[derive(Serialize)]
struct Inbox<'a> {
    /// Requests for access.
    requests: &'a [RequestView],
    /// Requests for keys to log in with.
    keys: &'a [KeyRequestView],
    /// What waits for whoever looks.
    next: Vec<Next>,
}

/// What waits, and what to type.
#[derive(Serialize)]
struct Next {
    what: String,
    command: String,
}

/// What to do with one of them.
#[derive(Debug, clap::Subcommand)]
enum Show {
    /// Show one request: what is asked for, who approved, what is missing
    Show {
        /// Its number, such as r42
        request: RequestId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Requests {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        if let Some(Show::Show { request, json }) = self.command {
            let detail: RequestDetail = client.get(&format!("/v1/requests/{request}"))?;
            if json {
                screen.json(&detail)?;
            } else {
                show(&detail, screen)?;
            }
            return Ok(Exit::Done);
        }
        let requests: Vec<RequestView> = client.get(&format!("/v1/requests?all={}", self.all))?;
        let keys = keys::listed(&mut client, self.all)?;
        Inbox::new(&requests, &keys).show(self.json, screen)?;
        Ok(Exit::Done)
    }
}

impl<'a> Inbox<'a> {
    fn new(requests: &'a [RequestView], keys: &'a [KeyRequestView]) -> Self {
        let mine = requests.iter().filter(|view| view.yours_to_approve).map(|view| view.request);
        let access =
            mine.map(|id| Next { what: id.to_string(), command: format!("curfew approve {id}") });
        let of_keys = keys::next(keys).map(|(number, command)| Next {
            what: format!("the request {number} for a key"),
            command,
        });
        Self { requests, keys, next: access.chain(of_keys).collect() }
    }

    fn show(&self, is_json: bool, screen: &Screen) -> Result<()> {
        if is_json {
            return screen.json(self);
        }
        if self.requests.is_empty() && self.keys.is_empty() {
            return screen.line("No request is under way.");
        }
        if !self.requests.is_empty() {
            screen.table(&table(self.requests, clock::now()))?;
        }
        if !self.keys.is_empty() {
            screen.line("For keys to log in with:")?;
            screen.table(&keys::table(self.keys))?;
        }
        for Next { what, command } in &self.next {
            screen.line(&format!("{what} waits for you: {command}"))?;
        }
        Ok(())
    }
}

fn table(requests: &[RequestView], now: Timestamp) -> Table {
    let mut table =
        Table::new(&["REQUEST", "STATE", "IDENTITY", "ROLE", "HOSTS", "FOR", "ASKED", "REASON"]);
    for view in requests {
        let tone = match view.state {
            _ if view.yours_to_approve => Tone::Warning,
            State::Approved { .. } | State::Active { .. } => Tone::Good,
            State::Ended { .. } => Tone::Faint,
            _ => Tone::Plain,
        };
        let urgent = match (view.breakglass, view.urgent) {
            (true, _) => "BREAK-GLASS: ",
            (false, true) => "urgent: ",
            (false, false) => "",
        };
        table.row(vec![
            Cell::toned(Tone::Strong, view.request.to_string()),
            Cell::toned(tone, view.state.word()),
            view.identity.as_str().into(),
            view.role.as_str().into(),
            list(&view.hosts).into(),
            span(view.duration_secs).into(),
            moment::relative(view.at, now).into(),
            format!("{urgent}{}", plain(view.reason.as_str())).into(),
        ]);
    }
    table
}

/// A request as its text says it, after the text was read and compared with what the listing says.
pub(crate) fn read(detail: &RequestDetail) -> Result<(Asked, Hash)> {
    let asked = Asked::parse(&detail.text).context("the request's text cannot be read")?;
    anyhow::ensure!(
        asked.request == detail.view.request,
        "the authority gave the text of {} for {}",
        asked.request,
        detail.view.request
    );
    Ok((asked, Hash::of(detail.text.as_bytes())))
}

/// All of a request, in words.
pub(crate) fn show(detail: &RequestDetail, screen: &Screen) -> Result<()> {
    let (asked, _hash) = read(detail)?;
    screen.line(&format!("Request {} by {}: {}", asked.request, asked.identity, stand(detail)))?;
    for (name, value) in words(&asked) {
        screen.line(&format!("  {name:<9} {value}"))?;
    }
    risk_lines(detail).iter().try_for_each(|line| screen.line(line))?;
    let now = detail.now;
    for approval in &detail.approvals {
        let when = moment::relative(approval.at, now);
        let line =
            format!("  approved by {} for {} {when}", approval.by, span(approval.duration_secs));
        let (tone, line) = match &approval.void {
            None => (Tone::Good, line),
            Some(why) => (Tone::Bad, format!("{line}; does not count: {}", plain(why))),
        };
        screen.toned(tone, &line)?;
    }
    for line in missing_lines(detail) {
        screen.toned(Tone::Warning, &format!("  {line}"))?;
    }
    if !detail.grants.is_empty() {
        let grants: Vec<String> = detail.grants.iter().map(ToString::to_string).collect();
        screen.line(&format!("  grants    {}", grants.join(", ")))?;
    }
    match (&detail.view.review, detail.view.review_due) {
        (Some(review), _) => {
            let (by, note) = (plain(&review.by), plain(&review.note));
            screen.line(&format!("  review    {} by {by}: {note}", review.verdict))?;
        }
        (None, Some(due)) => {
            let when = ahead(due, now);
            let line = format!("  review    due until {when}, by somebody else");
            screen.toned(Tone::Warning, &line)?;
        }
        (None, None) => {}
    }
    if let Some(note) = &detail.note {
        screen.line(&format!("  note      {}", plain(note)))?;
    }
    Ok(())
}

/// What is asked for, one thing after another.
pub(crate) fn words(asked: &Asked) -> Vec<(&'static str, String)> {
    let logins: Vec<&str> = asked.logins.iter().map(Login::as_str).collect();
    let hosts: Vec<HostName> = asked.hosts.iter().cloned().collect();
    let long = span(asked.duration_secs);
    let how_long = match (asked.start, asked.extends) {
        (_, Some(grant)) => format!("{long} more for grant {grant}"),
        (Some(start), None) => {
            format!("{long} from {}", moment::clock(start, &TimeZone::system()))
        }
        (None, None) => {
            format!("{long} from the first login, within {}", span(asked.use_within_secs))
        }
    };
    let mut words = vec![
        ("who", asked.identity.to_string()),
        ("role", format!("{} (as {})", asked.role, logins.join(", "))),
        ("hosts", list(&hosts)),
        ("for", how_long),
        ("reason", plain(asked.reason.as_str())),
    ];
    words.extend(asked.expected.as_ref().map(|text| ("expected", plain(text.as_str()))));
    words.extend(asked.ticket.as_ref().map(|ticket| ("ticket", ticket.to_string())));
    if asked.breakglass {
        words
            .push(("kind", "break-glass: nobody approves it, and somebody else reviews it".into()));
    } else if asked.urgent {
        words.push(("urgent", "yes; it skips nothing".into()));
    }
    words
}

/// How much of a risk it is, what adds most, and what would make it lower.
pub(crate) fn risk_lines(detail: &RequestDetail) -> Vec<String> {
    let Some(risk) = &detail.risk else { return Vec::new() };
    let mut lines = vec![format!("  risk      {} of 100", risk.score)];
    lines.extend(risk.reasons.iter().map(|reason| format!("            {}", plain(reason))));
    let lower = risk.lower.iter().take(2);
    lines.extend(lower.map(|one| format!("            -{} {}", one.by, plain(&one.how))));
    lines
}

/// Where it stands, in words.
pub(crate) fn stand(detail: &RequestDetail) -> String {
    let now = detail.now;
    match detail.view.state {
        State::Pending { until } => format!("waits for approval, until {}", ahead(until, now)),
        State::Scheduled { from, .. } => format!("approved, begins {}", ahead(from, now)),
        State::Approved { until, secs, .. } => {
            format!("approved for {}, to be used until {}", span(secs), ahead(until, now))
        }
        State::Active { until } => format!("active, ends {}", ahead(until, now)),
        State::Ended { how, at } => format!("over: {} {}", how.word(), moment::relative(at, now)),
    }
}

/// What is missing, and who can give it, one line each: by the role first, then by the policy.
pub(crate) fn missing_lines(detail: &RequestDetail) -> Vec<String> {
    let by_role = detail.missing.iter().flat_map(|missing| quorum_lines(missing, detail.now));
    let by_policy =
        detail.demanded.iter().flat_map(|demanded| demanded_lines(demanded, detail.now));
    by_role.chain(by_policy).collect()
}

fn quorum_lines(missing: &Missing, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    let (quorum, host) = (&missing.quorum, &missing.host);
    if let Some(problem) = &missing.problem {
        lines.push(format!("{quorum} on {host}: {}", plain(problem)));
    }
    for seat in &missing.seats {
        lines.push(format!("{quorum} on {host} needs {} ({})", plain(&seat.words), who(&seat.who)));
    }
    if let Some(at) = missing.widens {
        let when = moment::relative(at, now);
        lines.push(format!("{quorum} on {host}: more people can approve {when}"));
    }
    if let Some(at) = missing.shrinks {
        let when = moment::relative(at, now);
        lines.push(format!("{quorum} on {host}: fewer people do {when}, and that is an incident"));
    }
    lines
}

/// What a rule of the policy asks for, and below it each way to give it.
fn demanded_lines(demanded: &Demanded, now: Timestamp) -> Vec<String> {
    let (host, advice) = (&demanded.host, plain(&demanded.advice));
    let first = match &demanded.rule {
        None => format!("policy on {host}: {advice}"),
        Some(rule) if demanded.by_approval => format!("policy {rule} on {host}: {advice}"),
        Some(rule) => format!("policy {rule} on {host}, at each certificate: {advice}"),
    };
    let mut lines = vec![first];
    let ways = demanded.quorums.iter().flat_map(|missing| quorum_lines(missing, now));
    lines.extend(ways.map(|line| format!("  {line}")));
    if !demanded.who.is_empty() {
        lines.push(format!("  anybody whom the policy lets approve ({})", who(&demanded.who)));
    }
    lines
}

fn who(names: &[Identity]) -> String {
    let names: Vec<&str> = names.iter().map(Identity::as_str).collect();
    if names.is_empty() { "nobody can now".into() } else { names.join(", ") }
}

fn ahead(at: Timestamp, now: Timestamp) -> String {
    moment::both(at, now, &TimeZone::system())
}

fn span(secs: u64) -> String {
    rough(std::time::Duration::from_secs(secs))
}

fn list(hosts: &[HostName]) -> String {
    hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ")
}
