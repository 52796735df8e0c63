//! `curfew audit verify`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;
use wire::api::SessionDetail;
use wire::channel::{ChannelId, Kept};
use wire::identifier::SessionId;
use wire::log::Hash;
use wire::reading::{Checking, StoredPage};
use wire::record::{ChannelEvent, Event};
use wire::recording::Place;
use wire::recording::verify::{Known, Report, Verifier};

use crate::client::Client;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Screen, Tone, count, plain};
use crate::url::query;

/// Check that a session's recordings are whole, in order, and from their host
///
/// Every stored object is fetched as it lies there, and held against what the host signed, block by block; against the host's last word; and against
/// what the host recorded of each channel when it closed. What is wrong is named with its block. Nothing is decrypted for that. The
/// exit code is 65 when something is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The session, 16 hex digits
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What came of one channel.
#[derive(Debug, Serialize)]
struct Checked {
    channel: ChannelId,
    terminal: Option<String>,
    blocks: u64,
    records: u64,
    bytes: u64,
    head: Option<Hash>,
    open: bool,
    /// Bytes that passed and were not kept, as the host says.
    lost: u64,
    findings: Vec<String>,
}

/// What the host's records say of a channel.
#[derive(Debug, Default)]
struct Told {
    terminal: Option<String>,
    is_kept: bool,
    kept: Option<Kept>,
}

impl Verify {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        let session = self.session;
        let detail: SessionDetail = client.get(&format!("/v1/sessions/{session}"))?;
        let checking: Checking = client.get(&format!("/v1/sessions/{session}/checking"))?;
        let keys = keys(&checking)?;
        let told = told(&detail);
        let reports = self.reports((&checking, &keys), &told, &mut client)?;
        let checked: Vec<Checked> = reports
            .into_iter()
            .map(|(channel, report)| Checked::of(channel, report, told.get(&channel)))
            .collect();
        let is_whole = checked.iter().all(|one| one.findings.is_empty());
        if self.json {
            screen.json(&checked)?;
        } else {
            show(&detail, &checked, screen)?;
        }
        Ok(if is_whole { Exit::Done } else { Exit::Untrue })
    }

    /// Goes through all objects, channel by channel.
    fn reports(
        &self,
        (checking, keys): (&Checking, &[KeyData]),
        told: &BTreeMap<ChannelId, Told>,
        client: &mut Client,
    ) -> Result<BTreeMap<ChannelId, Report>> {
        let begin = |channel| Verifier::new(checking.host.clone(), (self.session, channel), keys);
        let kept = told.iter().filter(|(_, told)| told.is_kept || told.kept.is_some());
        let mut verifiers: BTreeMap<ChannelId, Verifier<'_>> =
            kept.map(|(channel, _)| (*channel, begin(*channel))).collect();
        let mut after = None;
        loop {
            let asked: Vec<(&str, String)> =
                after.iter().map(|name: &String| ("after", name.clone())).collect();
            let path = format!("/v1/sessions/{}/stored{}", self.session, query(&asked));
            let page: StoredPage = client.get(&path)?;
            for object in &page.objects {
                let place: Place = object.name.parse().with_context(|| {
                    format!("the authority named an object {}", plain(&object.name))
                })?;
                let verifier =
                    verifiers.entry(place.channel).or_insert_with(|| begin(place.channel));
                verifier.take(&object.name, object.bytes.as_bytes());
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let known = |channel| {
            let kept = told.get(&channel).and_then(|told: &Told| told.kept.as_ref());
            Known { recorded: kept.map(|kept| kept.head), ..Known::default() }
        };
        Ok(verifiers
            .into_iter()
            .map(|(channel, verifier)| (channel, verifier.finish(&known(channel))))
            .collect())
    }
}

impl Checked {
    fn of(channel: ChannelId, report: Report, told: Option<&Told>) -> Self {
        let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        let kept = told.and_then(|told| told.kept.as_ref());
        Self {
            channel,
            terminal: told.and_then(|told| told.terminal.clone()),
            blocks: report.blocks,
            records: report.records,
            bytes: report.bytes,
            head: report.head,
            open: report.is_open,
            lost: kept.map_or(0, |kept| kept.lost),
            findings,
        }
    }
}

/// The agent's keys that can be read; of another kind than ours are none that signed.
fn keys(checking: &Checking) -> Result<Vec<KeyData>> {
    let keys = checking.agent_keys.iter().map(|line| {
        let key = PublicKey::from_openssh(line)
            .with_context(|| format!("a key of {} cannot be read", checking.host))?;
        Ok(key.key_data().clone())
    });
    keys.collect()
}

fn told(detail: &SessionDetail) -> BTreeMap<ChannelId, Told> {
    let mut found: BTreeMap<ChannelId, Told> = BTreeMap::new();
    for record in &detail.records {
        match &record.event {
            Event::Channel(ChannelEvent::Opened { channel, terminal, kept }) => {
                let told = found.entry(*channel).or_default();
                told.terminal = Some(terminal.clone());
                told.is_kept = *kept;
            }
            Event::Channel(ChannelEvent::Closed { channel, kept, .. }) => {
                found.entry(*channel).or_default().kept.clone_from(kept);
            }
            _ => {}
        }
    }
    found
}

fn show(detail: &SessionDetail, checked: &[Checked], screen: &Screen) -> Result<()> {
    let session = &detail.session;
    let title = format!("session {} of {} on {}", session.session, session.identity, session.host);
    screen.toned(Tone::Strong, &title)?;
    if checked.is_empty() {
        return screen.line("No terminal of it was recorded.");
    }
    for one in checked {
        let terminal = one.terminal.as_deref().map_or("a terminal", |name| name);
        let held = format!(
            "{}, {}, {} bytes",
            count(one.blocks, "block"),
            count(one.records, "record"),
            one.bytes
        );
        let said = match (one.findings.is_empty(), one.open) {
            (true, false) => format!("whole: {held}"),
            (true, true) => format!("in order so far, and goes on: {held}"),
            (false, _) => format!("NOT whole: {held}"),
        };
        let tone = if one.findings.is_empty() { Tone::Good } else { Tone::Bad };
        screen.toned(tone, &format!("{} (channel {}): {said}", plain(terminal), one.channel))?;
        if let Some(head) = one.head {
            screen.toned(Tone::Faint, &format!("  last block {head}"))?;
        }
        if one.lost > 0 {
            let lost = count(one.lost, "byte");
            screen.toned(
                Tone::Warning,
                &format!("  {lost} passed and were not kept, the host says"),
            )?;
        }
        for finding in &one.findings {
            screen.toned(Tone::Bad, &format!("  {}", plain(finding)))?;
        }
    }
    Ok(())
}
