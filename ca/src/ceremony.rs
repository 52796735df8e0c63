//! Break-glass afterwards: which receipts count, and how they join with what hosts saw. Pure.
//!
//! Nothing here lets anybody in. A receipt is proof by itself (every custodian's part in it verifies), but of which group is for
//! an operator to say: whoever makes a group of their own can sign receipts without end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use breakglass::group::{Group, GroupFlaw};
use breakglass::receipt::Receipt;
use breakglass::sign::SignFlaw;
use wire::breakglass::{Noticed, Use};
use wire::ceremony::{
    BreakGlass, CeremonyView, GroupSaid, GroupView, HostProof, REVIEW_SECS, ReceiptSaid, Standing,
    UseView,
};
use wire::certificate::fingerprint;
use wire::identifier::{Custodian, Fingerprint, HostName, Identity, Serial};
use wire::log::Hash;
use wire::review::{Review, Verdict};
use wire::time::Timestamp;

/// A group's letter that was understood.
#[derive(Debug)]
pub(crate) struct Charter {
    /// What it says.
    pub(crate) said: GroupSaid,
    /// The letter, in its one form.
    pub(crate) letter: String,
}

/// A receipt that proves what it says, of a group that is known.
#[derive(Debug)]
pub(crate) struct Proven {
    /// What it proves.
    pub(crate) said: ReceiptSaid,
    /// The letter, in its one form.
    pub(crate) letter: String,
}

/// Why a receipt is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoReceipt {
    /// It is none, or a part of it is false.
    #[error("this receipt proves nothing: {0}")]
    False(#[from] SignFlaw),
    /// Nobody said that the group is ours.
    #[error(
        "this receipt is of a group that is not known here (key {0}); `curfew-ca breakglass group add` makes one known"
    )]
    Foreign(String),
    /// It is in the name of nobody.
    #[error("this receipt was kept by nobody of its group")]
    Nobody,
}

/// What is known of ceremonies, before it is joined.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Receipts, and since when they are here.
    pub(crate) receipts: Vec<(ReceiptSaid, Timestamp)>,
    /// What hosts saw; without faults yet.
    pub(crate) uses: Vec<UseView>,
    /// How many sessions of a serial have not ended.
    pub(crate) alive: BTreeMap<Serial, u64>,
    /// Verdicts.
    pub(crate) reviews: BTreeMap<Serial, Review>,
}

impl Charter {
    /// Reads a group's letter.
    pub(crate) fn read(text: &str) -> Result<Self, GroupFlaw> {
        let group = Group::read(text)?;
        Ok(Self { said: said_by(&group), letter: group.letter().to_string() })
    }
}

impl Proven {
    /// Reads a receipt, verifies every part of it, and finds its group among those that are known.
    pub(crate) fn read(text: &str, groups: &[GroupView]) -> Result<Self, NoReceipt> {
        let receipt = Receipt::read(text)?;
        let group = said_by(receipt.group());
        // By the digest, which names its members too: the key alone would let in parts of other people.
        if !groups.iter().any(|known| known.said.digest == group.digest) {
            return Err(NoReceipt::Foreign(group.key.to_string()));
        }
        let (request, kept_by) = (receipt.request(), receipt.kept_by());
        let terms = request.terms();
        let said = ReceiptSaid {
            name: terms.name(request.serial()),
            hosts: terms.hosts.clone(),
            login: terms.login.clone(),
            reason: terms.reason.clone(),
            from: terms.from,
            key: fingerprint(&terms.subject),
            authority: group.key,
            kept_by: kept_by.cloned().ok_or(NoReceipt::Nobody)?,
        };
        Ok(Self { said, letter: receipt.letter()?.to_string() })
    }
}

/// Joins receipts and uses by the serials of certificates; the ceremonies that came last come first.
pub(crate) fn join(known: Known) -> Vec<CeremonyView> {
    let Known { receipts, uses, alive, reviews } = known;
    let mut found: BTreeMap<Serial, CeremonyView> = BTreeMap::new();
    for (said, at) in receipts {
        let one = found.entry(said.name.serial).or_insert_with(|| empty(said.name.clone(), at));
        one.known = one.known.min(at);
        if !one.receipts.contains(&said.kept_by) {
            one.receipts.push(said.kept_by.clone());
        }
        one.said.get_or_insert(said);
    }
    for seen in uses {
        let name = &seen.used.name;
        let one = found.entry(name.serial).or_insert_with(|| empty(name.clone(), seen.first));
        one.known = one.known.min(seen.first);
        one.uses.push(seen);
    }
    let mut all: Vec<CeremonyView> = found.into_values().collect();
    for one in &mut all {
        let serial = one.name.serial;
        judge(one, reviews.get(&serial));
        one.alive = alive.get(&serial).copied().unwrap_or_default();
    }
    all.sort_by_key(|one| (std::cmp::Reverse(one.known), one.name.serial));
    all
}

/// Why this verdict cannot be given now, or not by this person: who signed does not say what it was.
pub(crate) fn refuses(
    (ceremony, groups): (&CeremonyView, &[GroupView]),
    (verdict, reviewer): (Verdict, &Identity),
    now: Timestamp,
) -> Option<String> {
    if let Some(why) = is_their_own((ceremony, groups), (verdict, reviewer)) {
        return Some(why);
    }
    if ceremony.alive > 0 {
        return Some(format!("{} of its sessions have not ended yet", ceremony.alive));
    }
    if now < ceremony.name.until {
        return Some("its certificate is still valid; review it when it has ended".to_owned());
    }
    let is_clean = matches!(ceremony.standing, Standing::Joined | Standing::Unused);
    (verdict == Verdict::Ok && !is_clean).then(|| {
        format!(
            "it is {}: enter the receipts of its custodians first, or say another verdict",
            ceremony.standing
        )
    })
}

/// Custodians are known by the names of their group; who they are was said when it became known.
fn is_their_own(
    (ceremony, groups): (&CeremonyView, &[GroupView]),
    (verdict, reviewer): (Verdict, &Identity),
) -> Option<String> {
    let keys: BTreeSet<&Fingerprint> = ceremony
        .said
        .iter()
        .map(|said| &said.authority)
        .chain(ceremony.uses.iter().map(|seen| &seen.used.authority))
        .collect();
    let of_key = || groups.iter().filter(|group| keys.contains(&group.said.key));
    for custodian in &ceremony.name.custodians {
        // In any generation of its shares: a name there may have been somebody else's before.
        let mut people = of_key().filter_map(|group| group.people.get(custodian)).peekable();
        if people.peek().is_none() && verdict == Verdict::Ok {
            return Some(format!(
                "nobody said who the custodian {custodian} is here: `curfew-ca breakglass group add` its group again with \
                 --custodian {custodian}=IDENTITY; who signed cannot review it"
            ));
        }
        if people.any(|identity| identity == reviewer) {
            return Some(format!("{reviewer} signed it as {custodian}, and cannot review it"));
        }
    }
    None
}

/// When the way in was last proven on each of these hosts, which joined at that moment. Nothing is overdue before a group is known:
/// where there is no break-glass there is nothing to try.
pub(crate) fn proofs(
    (groups, ceremonies): (&[GroupView], &[CeremonyView]),
    hosts: Vec<(HostName, Timestamp, Option<Vec<Fingerprint>>)>,
    (every, now): (Duration, Timestamp),
) -> Vec<HostProof> {
    let since = groups.iter().filter(|group| group.retired.is_none()).map(|group| group.added);
    let since = since.min();
    let proof = |(host, joined, believes): (HostName, Timestamp, Option<Vec<Fingerprint>>)| {
        let proven = || {
            let joined = ceremonies.iter().filter(|one| one.standing == Standing::Joined);
            let uses = joined.flat_map(|one| &one.uses);
            uses.filter(|seen| seen.host == host && seen.used.is_loud())
        };
        let last = |is_alive: bool| {
            let of_kind = |seen: &&UseView| (seen.used.noticed == Noticed::Gate) == is_alive;
            proven().filter(of_kind).map(|seen| seen.first).max()
        };
        let (alive, dead) = (last(true), last(false));
        let key = proven().max_by_key(|seen| seen.first).map(|seen| seen.used.authority.clone());
        // A host and a group have as long for their first drill as for each after it.
        let last = [alive, dead, since].into_iter().flatten().fold(joined, Timestamp::max);
        let is_overdue = since.is_some() && last.after(every) <= now;
        HostProof { host, alive, dead, key, believes, is_overdue }
    };
    hosts.into_iter().map(proof).collect()
}

/// What an operator should know of, in one sentence each.
pub(crate) fn concerns(state: &BreakGlass) -> Vec<String> {
    let mut concerns = crate::pass::concerns(&state.passes, state.at);
    concerns.extend(of_ceremonies(&state.ceremonies, state.at));
    let overdue: Vec<&str> =
        state.hosts.iter().filter(|one| one.is_overdue).map(|one| one.host.as_str()).collect();
    if !overdue.is_empty() {
        concerns.push(format!(
            "break-glass was not tried for long on {}: sign a request with --drill, and `curfew breakglass drill`",
            overdue.join(", ")
        ));
    }
    concerns.extend(believed_still(state));
    concerns.extend(believed_as_said(state));
    let mut ends: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for group in state.groups.iter().filter(|group| group.retired.is_none()) {
        // The newest shares of a key count.
        let end = ends.entry(group.said.key.as_str()).or_insert(group.said.expires);
        *end = (*end).max(group.said.expires);
    }
    let soon = state.at.after(Duration::from_secs(NOTICE_SECS));
    concerns.extend(ends.into_iter().filter(|(_, end)| *end <= soon).map(|(key, end)| {
        let when = if end <= state.at { "has expired" } else { "expires within a month" };
        format!("the break-glass group {key} {when}: make another, place its key on hosts, print its kit, retire this one")
    }));
    concerns
}

/// Hosts that let somebody in by a key after it was retired.
fn believed_still(state: &BreakGlass) -> Vec<String> {
    let uses = || state.ceremonies.iter().flat_map(|one| &one.uses);
    let retired = state.groups.iter().filter_map(|group| Some((&group.said.key, group.retired?)));
    let mut hosts: Vec<(&HostName, &Fingerprint)> = retired
        .flat_map(|(key, at)| {
            uses()
                .filter(move |seen| seen.used.authority == *key && seen.first > at)
                .map(move |seen| (&seen.host, key))
        })
        .collect();
    hosts.sort();
    hosts.dedup();
    let told = hosts.into_iter().map(|(host, key)| {
        format!(
            "host {host} let somebody in by the retired break-glass key {key}: take it out of /etc/curfew/breakglass.pub there, and `curfew-agent install`"
        )
    });
    told.collect()
}

/// Hosts that say that they believe a key which was retired.
fn believed_as_said(state: &BreakGlass) -> Vec<String> {
    let mut retired: Vec<&Fingerprint> = state
        .groups
        .iter()
        .filter(|group| group.retired.is_some())
        .map(|group| &group.said.key)
        .collect();
    retired.dedup();
    let told = retired.into_iter().filter_map(|key| {
        let is_believed = |proof: &&HostProof| {
            proof.believes.as_ref().is_some_and(|believes| believes.contains(key))
        };
        let hosts: Vec<&str> =
            state.hosts.iter().filter(is_believed).map(|proof| proof.host.as_str()).collect();
        (!hosts.is_empty()).then(|| {
            format!(
                "{} still believe the retired break-glass key {key}: take it out of /etc/curfew/breakglass.pub there, and `curfew-agent install`",
                hosts.join(", ")
            )
        })
    });
    told.collect()
}

fn of_ceremonies(ceremonies: &[CeremonyView], now: Timestamp) -> Vec<String> {
    let overdue = ceremonies.iter().filter(|one| one.is_overdue(now));
    let mut concerns: Vec<String> = overdue
        .map(|one| {
            let (incident, serial) = (&one.name.incident, one.name.serial);
            format!(
                "break-glass for {incident} has not been reviewed in a day: `curfew-ca breakglass review {serial}`"
            )
        })
        .collect();
    let open = |one: &&CeremonyView| one.standing == Standing::Unreceipted && one.review.is_none();
    concerns.extend(ceremonies.iter().filter(open).map(|one| {
        format!(
            "break-glass was used for {} and no receipt is here: `curfew-ca breakglass reconcile` with those of its custodians",
            one.name.incident
        )
    }));
    concerns
}

fn said_by(group: &Group) -> GroupSaid {
    GroupSaid {
        digest: Hash(group.digest()),
        key: fingerprint(&group.key_data()),
        public_key: group.public_key().to_openssh().unwrap_or_default(),
        members: group.members().values().cloned().collect(),
        threshold: group.threshold(),
        generation: group.generation(),
        expires: group.expires(),
    }
}

fn empty(name: wire::breakglass::UseName, at: Timestamp) -> CeremonyView {
    CeremonyView {
        name,
        standing: Standing::Unused,
        said: None,
        receipts: Vec::new(),
        uses: Vec::new(),
        alive: 0,
        known: at,
        due: at,
        review: None,
    }
}

fn judge(one: &mut CeremonyView, review: Option<&Review>) {
    one.receipts.sort();
    one.due = one.known.after(Duration::from_secs(REVIEW_SECS));
    for seen in &mut one.uses {
        seen.fault = one.said.as_ref().and_then(|said| fault(said, (&seen.host, &seen.used)));
    }
    let is_contradicted = one.uses.iter().any(|seen| seen.fault.is_some());
    one.standing = match (&one.said, one.uses.is_empty()) {
        (_, true) => Standing::Unused,
        (None, false) => Standing::Unreceipted,
        (Some(_), false) if is_contradicted => Standing::Contradicted,
        (Some(_), false) => Standing::Joined,
    };
    // What was not known yet is not covered by a verdict.
    let is_covered = |review: &&Review| one.uses.iter().all(|seen| seen.first <= review.at);
    one.review = review.filter(is_covered).cloned();
}

/// How a use is not what its receipt says.
fn fault(said: &ReceiptSaid, (host, used): (&HostName, &Use)) -> Option<String> {
    let custodians: Vec<&str> = said.name.custodians.iter().map(Custodian::as_str).collect();
    if used.authority != said.authority {
        Some(format!("another group's key signed what was used, {}", used.authority))
    } else if used.name != said.name {
        Some(format!("what was signed by {} is called {}", custodians.join(" and "), said.name))
    } else if !said.hosts.contains(host) {
        Some(format!("they do not name host {host}"))
    } else if used.login != said.login {
        Some(format!("they are for the account {}", said.login))
    } else if used.key.as_ref().is_some_and(|key| *key != said.key) {
        Some(format!("they are for the key {}", said.key))
    } else {
        None
    }
}

/// How long before its end a group is told of.
const NOTICE_SECS: u64 = 30 * 86_400;

#[cfg(test)]
mod tests;
