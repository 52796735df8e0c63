//! `curfew approve`: read what is asked for, and sign it.

use anyhow::{Context as _, Result};
use wire::identifier::RequestId;
use wire::request::{Approval, ApprovalAsk, NAMESPACE, RequestDetail, SignedApproval};

use super::login::{agent, is_refusal};
use super::requests::{missing_lines, read, risk_lines, stand, words};
use crate::client::Client;
use crate::duration::Span;
use crate::exit::{Exit, Fault};
use crate::home::{Home, Membership};
use crate::login_key::LoginKey;
use crate::prompt;
use crate::render::{Screen, Tone};

/// Approve a request: you are shown what is asked for, and sign it with your login key
///
/// The signature names the exact text of the request and goes into the ledger; nobody can make one without your key. With
/// --for you allow less time than is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Approve {
    /// The request, such as r42
    request: RequestId,
    /// Allow no longer than this, such as 30m
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Span>,
    /// Do not ask whether you mean it
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Approve {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let membership = home.membership()?;
        let mut client = Client::of(&home)?;
        let detail: RequestDetail = client.get(&format!("/v1/requests/{}", self.request))?;
        let approval = self.approval(&detail, &membership)?;
        let (asked, hash) = read(&detail)?;
        if !self.json {
            screen.line(&format!("Request {}: {}", asked.request, stand(&detail)))?;
            for (name, value) in words(&asked) {
                screen.line(&format!("  {name:<9} {value}"))?;
            }
            risk_lines(&detail).iter().try_for_each(|line| screen.line(line))?;
            if approval.duration_secs < asked.duration_secs {
                screen.line(&format!("  you allow {} s of it", approval.duration_secs))?;
            }
            screen.line(&format!("  hash      {hash}"))?;
        }
        if !self.yes && !confirmed(&format!("Sign your approval of {}? [y/N] ", asked.request))? {
            screen.line("Nothing was signed.")?;
            return Ok(Exit::Failure);
        }
        let detail = sign(&mut client, &membership, &approval, screen)?;
        if self.json {
            screen.json(&detail)?;
            return Ok(Exit::Done);
        }
        screen.toned(Tone::Good, &format!("Approved {}: {}.", asked.request, stand(&detail)))?;
        for line in missing_lines(&detail) {
            screen.toned(Tone::Warning, &format!("  {line}"))?;
        }
        Ok(Exit::Done)
    }

    /// What will be signed, of this request and no other, for this authority and no other.
    fn approval(&self, detail: &RequestDetail, membership: &Membership) -> Result<Approval> {
        let (asked, hash) = read(detail)?;
        anyhow::ensure!(
            asked.request == self.request && asked.authority == membership.fingerprint,
            "the authority gave a request of another number or authority; nothing was signed"
        );
        let shorter = self.span.map_or(asked.duration_secs, Span::secs);
        if shorter > asked.duration_secs {
            let why =
                format!("--for is longer than is asked for, which is {} s", asked.duration_secs);
            return Err(Fault::Usage(why).into());
        }
        Ok(Approval {
            version: wire::VERSION,
            authority: membership.fingerprint.clone(),
            request: asked.request,
            hash,
            by: membership.identity.clone(),
            duration_secs: shorter,
            policy: detail.policy,
            at: detail.now,
            until: asked.latest_start(),
        })
    }
}

/// Signs with the first key that the authority believes.
fn sign(
    client: &mut Client,
    membership: &Membership,
    approval: &Approval,
    screen: &Screen,
) -> Result<RequestDetail> {
    let text = approval.text().context("the approval cannot be written")?;
    let path = format!("/v1/requests/{}/approve", approval.request);
    let mut agent = agent(screen);
    let keys = LoginKey::candidates(membership.key.as_deref(), agent.as_mut())?;
    let mut refusal = None;
    for key in &keys {
        let signature = key.sign_for(NAMESPACE, &text, agent.as_mut())?;
        let signed = SignedApproval { approval: text.clone(), signature };
        match client.post(&path, &ApprovalAsk { signed }) {
            Ok(detail) => return Ok(detail),
            Err(error) if is_refusal(&error) && is_about_key(&error) => refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refusal.unwrap_or_else(|| Fault::Config("there is no key to sign with".into()).into()))
}

/// Whether another key might do.
fn is_about_key(error: &anyhow::Error) -> bool {
    error.to_string().contains("by no key of yours")
}

/// Whether the person at the terminal says yes.
pub(super) fn confirmed(question: &str) -> Result<bool> {
    match prompt::answer(question)? {
        Some(answer) => Ok(matches!(answer.trim(), "y" | "Y" | "yes")),
        None => {
            Err(Fault::Usage("there is no terminal to ask on; add --yes if you mean it".into())
                .into())
        }
    }
}
