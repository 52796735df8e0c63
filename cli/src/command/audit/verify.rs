//! `curfew audit verify`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;
use serde::Serialize;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;
use wire::api::SessionDetail;
use wire::channel::{ChannelId, Kept};
use wire::identifier::SessionId;
use wire::log::Hash;
use wire::reading::{Checking, StoredObject, StoredPage};
use wire::record::{ChannelEvent, Event};
use wire::recording::Place;
use wire::recording::remains::Remaining;
use wire::recording::verify::{Known, Report, Verifier};
use wire::retention::{Deleted, Remains};

use crate::client::Client;
use crate::clock;
use crate::command::sessions::{deletion, spoiled};
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Screen, Tone, count, plain};
use crate::url::query;

/// Check that a session's recordings are whole, in order, and from their host
///
/// Every stored object is fetched as it lies there, and held against what the host signed, block by block; against the host's last word; and against
/// what the host recorded of each channel when it closed. What is wrong is named with its block. Nothing is decrypted for that. Where records
/// of its host were changed or cut out of the host's spool while the session was alive, that is said too. The
/// exit code is 65 when something is wrong. Of a recording that two people had deleted it says so, and holds what is left of it against the ledger.
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
        if let Some(deleted) = &checking.deleted {
            let checked = self.remains((&checking, &keys), (deleted, &told), &mut client)?;
            let is_right =
                checked.iter().all(|one| one.findings.is_empty()) && detail.spoiled.is_empty();
            if self.json {
                let spoiled = &detail.spoiled;
                let said = serde_json::json!({ "deleted": deleted, "spoiled": spoiled, "channels": checked });
                screen.json(&said)?;
            } else {
                let line = deletion(deleted, clock::now(), &TimeZone::system());
                show((&detail, Some(line.as_str())), &checked, screen)?;
            }
            return Ok(if is_right { Exit::Done } else { Exit::Untrue });
        }
        let reports = self.reports((&checking, &keys), &told, &mut client)?;
        let checked: Vec<Checked> = reports
            .into_iter()
            .map(|(channel, report)| Checked::of(channel, report, told.get(&channel)))
            .collect();
        let is_whole =
            checked.iter().all(|one| one.findings.is_empty()) && detail.spoiled.is_empty();
        if self.json && detail.spoiled.is_empty() {
            screen.json(&checked)?;
        } else if self.json {
            let spoiled = &detail.spoiled;
            screen.json(&serde_json::json!({ "spoiled": spoiled, "channels": checked }))?;
        } else {
            show((&detail, None), &checked, screen)?;
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
        let mut after: Option<String> = None;
        loop {
            let page = self.page(after.as_deref(), client)?;
            for object in &page.objects {
                let place = place_of(object)?;
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

impl Verify {
    /// What is left of recordings that were deleted, held against the ledger's word on what they were.
    fn remains(
        &self,
        (checking, keys): (&Checking, &[KeyData]),
        (deleted, told): (&Deleted, &BTreeMap<ChannelId, Told>),
        client: &mut Client,
    ) -> Result<Vec<Checked>> {
        let Remains::Recordings(recordings) = &deleted.what else { return Ok(Vec::new()) };
        let left = self.objects(client)?;
        let mut checked = Vec::new();
        for was in recordings {
            let told = told.get(&was.channel);
            let recorded = told.and_then(|told| told.kept.as_ref()).map(|kept| kept.head);
            let (host, session) = (&checking.host, self.session);
            let its = left.iter().filter(|(place, ..)| place.channel == was.channel);
            let its = its.map(|(_, object)| (object.name.as_str(), object.bytes.as_bytes()));
            let found = Remaining { host, session, was, keys, recorded }.findings(its);
            let then = was.findings.iter().map(|found| format!("when it was deleted: {found}"));
            checked.push(Checked {
                channel: was.channel,
                terminal: told.and_then(|told| told.terminal.clone()),
                blocks: was.blocks,
                records: 0,
                bytes: was.bytes,
                head: was.head,
                open: !was.closed,
                lost: told.and_then(|told| told.kept.as_ref()).map_or(0, |kept| kept.lost),
                findings: then.chain(found.iter().map(ToString::to_string)).collect(),
            });
        }
        Ok(checked)
    }

    /// All stored objects of the session, with their places.
    fn objects(&self, client: &mut Client) -> Result<Vec<(Place, StoredObject)>> {
        let (mut objects, mut after) = (Vec::new(), None);
        loop {
            let page = self.page(after.as_deref(), client)?;
            for object in page.objects {
                objects.push((place_of(&object)?, object));
            }
            after = page.next;
            if after.is_none() {
                return Ok(objects);
            }
        }
    }

    fn page(&self, after: Option<&str>, client: &mut Client) -> Result<StoredPage> {
        let asked: Vec<(&str, String)> =
            after.iter().map(|name| ("after", (*name).to_owned())).collect();
        client.get(&format!("/v1/sessions/{}/stored{}", self.session, query(&asked)))
    }
}

fn place_of(object: &StoredObject) -> Result<Place> {
    object
        .name
        .parse()
        .with_context(|| format!("the authority named an object {}", plain(&object.name)))
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

fn show(
    (detail, deleted): (&SessionDetail, Option<&str>),
    checked: &[Checked],
    screen: &Screen,
) -> Result<()> {
    let session = &detail.session;
    let title = format!("session {} of {} on {}", session.session, session.identity, session.host);
    screen.toned(Tone::Strong, &title)?;
    spoiled(detail, screen)?;
    if let Some(deleted) = deleted {
        screen.toned(Tone::Warning, deleted)?;
    } else if checked.is_empty() {
        return screen.line("No terminal of it was recorded.");
    }
    for one in checked {
        let terminal = one.terminal.as_deref().map_or("a terminal", |name| name);
        let records = count(one.records, "record");
        let held = format!("{}, {records}, {} bytes", count(one.blocks, "block"), one.bytes);
        let was = format!("{}, {} bytes", count(one.blocks, "block"), one.bytes);
        let said = match (one.findings.is_empty(), one.open) {
            (true, _) if deleted.is_some() => {
                format!("deleted, as the ledger and what is left of it say: it was {was}")
            }
            (false, _) if deleted.is_some() => format!("deleted, and NOT as it should be: {was}"),
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
