//! What is known of break-glass, in lines.

use wire::breakglass::Alarm;
use wire::ceremony::{BreakGlass, CeremonyView, GroupView, HostProof, PassView, UseView};
use wire::identifier::Fingerprint;
use wire::octets::plain;
use wire::time::Timestamp;

use crate::command::{list, say, shown};

/// All of it.
pub(super) fn tell(state: &BreakGlass) -> anyhow::Result<()> {
    if state.groups.is_empty() {
        say(
            "no group is known: `curfew-ca breakglass group add`, so that receipts can be told from forged ones",
        )?;
    }
    tell_groups(state)?;
    if !state.groups.is_empty() {
        state.hosts.iter().try_for_each(|proof| say(&proof_line(proof, state.at)))?;
    }
    state.passes.iter().try_for_each(|one| tell_pass(one, state.at))?;
    state.ceremonies.iter().try_for_each(|one| tell_one(one, state.at))?;
    let is_unused = state.ceremonies.is_empty() && state.passes.is_empty();
    if is_unused { say("break-glass was never used") } else { Ok(()) }
}

/// Each group, and for each key how many hosts let in by it.
pub(super) fn tell_groups(state: &BreakGlass) -> anyhow::Result<()> {
    let mut keys: Vec<&Fingerprint> = Vec::new();
    for group in &state.groups {
        say(&group_line(group, state.at))?;
        if !keys.contains(&&group.said.key) {
            keys.push(&group.said.key);
        }
    }
    keys.into_iter().try_for_each(|key| say(&belief_line(key, &state.hosts)))
}

/// `key SHA256:…: 47 of 48 hosts believe it; not db9; db10 has not said`
fn belief_line(key: &Fingerprint, hosts: &[HostProof]) -> String {
    let named = |is_one: &dyn Fn(&HostProof) -> bool| {
        let names: Vec<&str> =
            hosts.iter().filter(|one| is_one(one)).map(|one| one.host.as_str()).collect();
        let more = names.len().saturating_sub(NAMED);
        let list = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let list = if more > 0 { format!("{list} and {more} more") } else { list };
        (names.len(), list)
    };
    let says = |proof: &HostProof| proof.believes.as_ref().map(|keys| keys.contains(key));
    let (believe, _) = named(&|proof| says(proof) == Some(true));
    let (no, those) = named(&|proof| says(proof) == Some(false));
    let (silent, silents) = named(&|proof| says(proof).is_none());
    let mut line = format!("key {key}: {believe} of {} hosts believe it", hosts.len());
    if no > 0 {
        line.push_str(&format!("; not {those}"));
    }
    if silent > 0 {
        line.push_str(&format!("; not said by {silents}"));
    }
    line
}

/// A group.
fn group_line(group: &GroupView, now: Timestamp) -> String {
    let said = &group.said;
    let ends = match group.retired {
        Some(at) => format!("retired at {}", shown(at)),
        None if said.expires <= now => format!("EXPIRED at {}", shown(said.expires)),
        None => format!("until {}", shown(said.expires)),
    };
    let members: Vec<String> = said
        .members
        .iter()
        .map(|name| match group.people.get(name) {
            Some(identity) => format!("{name} ({identity})"),
            None => format!("{name} (nobody said who that is)"),
        })
        .collect();
    format!(
        "group {}, shares made {} times: {} of {}, {ends}",
        said.key,
        u64::from(said.generation).saturating_add(1),
        said.threshold,
        list(&members)
    )
}

/// When the way in was last proven, with the agent alive and with it dead.
fn proof_line(proof: &HostProof, now: Timestamp) -> String {
    let ago = |at: Option<Timestamp>| {
        at.map_or_else(
            || "never".to_owned(),
            |at| format!("{} days ago", now.since(at).as_secs() / 86_400),
        )
    };
    let overdue = if proof.is_overdue { "  OVERDUE for a drill" } else { "" };
    let (host, alive, dead) = (&proof.host, ago(proof.alive), ago(proof.dead));
    let key = proof.key.as_ref().map(|key| format!(", last by {key}")).unwrap_or_default();
    format!("host {host}: proven {alive} with its agent alive, {dead} with it dead{key}{overdue}")
}

/// What somebody took while the authority was up.
fn tell_pass(one: &PassView, now: Timestamp) -> anyhow::Result<()> {
    let PassView { request, identity, role, hosts, .. } = one;
    let stands = if one.is_used { one.state.word() } else { "not used" };
    say(&format!("{request}  taken by {identity} without approval: {stands}"))?;
    let (at, reason) = (shown(one.at), plain(one.reason.as_str()));
    say(&format!("  role {role} on {}, at {at}: {reason}", list(hosts)))?;
    for seen in &one.uses {
        let (host, login) = (&seen.host, &seen.used.subject.login);
        let (remote, at) = (plain(&seen.used.remote), shown(seen.used.at));
        let (incident, loud) = (seen.incident, loudness(&seen.used.alarms));
        say(&format!("  {login} on {host} from {remote} at {at}, incident {incident}; {loud}"))?;
    }
    if one.alive > 0 {
        say(&format!("  {} of its sessions go on", one.alive))?;
    }
    let review = match (&one.review, one.due) {
        (Some(review), _) => {
            format!("{} by {}: {}", review.verdict, plain(&review.by), plain(&review.note))
        }
        (None, Some(due)) if due <= now => format!("OVERDUE since {}", shown(due)),
        (None, Some(due)) => format!("due until {}", shown(due)),
        (None, None) => "none is due: nobody got in".to_owned(),
    };
    say(&format!("  review {review}"))
}

fn tell_one(one: &CeremonyView, now: Timestamp) -> anyhow::Result<()> {
    let name = &one.name;
    let what = if name.drill { "drill" } else { "use" };
    let review = match &one.review {
        Some(review) => {
            format!("{} by {}: {}", review.verdict, plain(&review.by), plain(&review.note))
        }
        None if one.is_overdue(now) => format!("OVERDUE since {}", shown(one.due)),
        None => format!("due until {}", shown(one.due)),
    };
    say(&format!("{}  {what} for {}: {}", name.serial, name.incident, one.standing))?;
    let signers = list(&name.custodians);
    say(&format!("  signed by {signers}, receipts of {}", list(&one.receipts)))?;
    if let Some(said) = &one.said {
        let (login, hosts) = (&said.login, list(&said.hosts));
        let (from, until) = (shown(said.from), shown(name.until));
        say(&format!("  {login} on {hosts}, {from} to {until}: {}", plain(&said.reason)))?;
    }
    one.uses.iter().try_for_each(tell_use)?;
    say(&format!("  review {review}"))
}

fn tell_use(seen: &UseView) -> anyhow::Result<()> {
    let loud = loudness(&seen.used.alarms);
    let at = shown(seen.used.at);
    let remote = plain(&seen.used.remote);
    say(&format!(
        "  used on {} from {remote} at {at}, incident {}; {loud}",
        seen.host, seen.incident
    ))?;
    match &seen.fault {
        Some(fault) => say(&format!("  NOT AS SIGNED: {}", plain(fault))),
        None => Ok(()),
    }
}

/// What became of alarms, in words.
fn loudness(alarms: &[Alarm]) -> String {
    let by = |is_one: fn(&Alarm) -> bool| {
        let names: Vec<&str> =
            alarms.iter().filter(|alarm| is_one(alarm)).map(|alarm| alarm.by.as_str()).collect();
        plain(&names.join(", "))
    };
    let (silent, waits) = (by(|alarm| alarm.fault.is_some()), by(|alarm| alarm.waits));
    match (silent.is_empty(), waits.is_empty()) {
        _ if alarms.is_empty() => "no alarm is known of".to_owned(),
        (true, true) => "every alarm went out".to_owned(),
        (false, _) => format!("NO ALARM by {silent}"),
        (true, false) => format!("the alarm by {waits} is under way"),
    }
}

/// Most hosts that are named in a line.
const NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_do_not_believe_a_key_are_named_and_those_that_do_not_say_too() {
        let (old, new) = (Fingerprint::of(b"old"), Fingerprint::of(b"new"));
        let host = |name: &str, believes: Option<Vec<&Fingerprint>>| HostProof {
            host: name.parse().unwrap(),
            alive: None,
            dead: None,
            key: None,
            believes: believes.map(|keys| keys.into_iter().cloned().collect()),
            is_overdue: false,
        };
        let hosts = [
            host("db1", Some(vec![&old, &new])),
            host("db2", Some(vec![&new])),
            host("db3", Some(vec![])),
            host("db4", None),
        ];
        let said = belief_line(&new, &hosts);
        let expected = format!("key {new}: 2 of 4 hosts believe it; not db3; not said by db4");
        assert_eq!(said, expected);
        let all = belief_line(&new, &hosts[..2]);
        assert_eq!(all, format!("key {new}: 2 of 2 hosts believe it"));
        let many: Vec<HostProof> =
            (1..=10).map(|number| host(&format!("web{number}"), Some(vec![&old]))).collect();
        assert!(belief_line(&new, &many).ends_with("web8 and 2 more"));
    }
}
