//! Quorums and rotas as they are written in `roles.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use wire::identifier::{Identity, QuorumName, RoleName, RotaName};
use wire::time::Timestamp;

use super::{MAX_SEATS, Quorum, Quorums, Seat, Shift, Shrink, Wider};
use crate::config::{ConfigError, Source};

/// `[quorum.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuorumForm {
    seats: Spanned<Vec<Seat>>,
    automatic: Option<Spanned<String>>,
    widen: Option<WidenForm>,
    shrink: Option<Spanned<ShrinkForm>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShrinkForm {
    after: Spanned<String>,
    seats: Spanned<Vec<Seat>>,
    roles: Spanned<BTreeSet<RoleName>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WidenForm {
    after: Spanned<String>,
    to: Spanned<Vec<Seat>>,
}

/// `[[rota.NAME]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotaForm {
    who: Identity,
    from: Spanned<String>,
    until: Spanned<String>,
}

/// What the file defines, checked.
pub(crate) fn checked(
    source: &Source,
    quorums: BTreeMap<String, Spanned<QuorumForm>>,
    rotas: BTreeMap<String, Spanned<Vec<RotaForm>>>,
) -> Result<Quorums, ConfigError> {
    let mut read = Quorums::default();
    for (name, shifts) in rotas {
        let offset = shifts.span().start;
        let name =
            RotaName::try_new(name).map_err(|error| source.wrong(offset, error.to_string()))?;
        let shifts = shifts.into_inner().into_iter().map(|form| shift(source, &name, form));
        let shifts = shifts.collect::<Result<Vec<_>, _>>()?;
        read.rotas.insert(name, shifts);
    }
    for (name, form) in quorums {
        let offset = form.span().start;
        let name =
            QuorumName::try_new(name).map_err(|error| source.wrong(offset, error.to_string()))?;
        let quorum = quorum(source, (&name, &read.rotas), form.into_inner())?;
        read.quorums.insert(name, quorum);
    }
    Ok(read)
}

fn quorum(
    source: &Source,
    (name, rotas): (&QuorumName, &BTreeMap<RotaName, Vec<Shift>>),
    form: QuorumForm,
) -> Result<Quorum, ConfigError> {
    let wrong = |at: usize, why: String| source.wrong(at, format!("quorum {name}: {why}"));
    let seats = |key: &str, list: Spanned<Vec<Seat>>| {
        let at = list.span().start;
        match list.get_ref().len() {
            0 => return Err(wrong(at, format!("{key} is empty, so nobody could ever approve"))),
            1..=MAX_SEATS => {}
            many => {
                return Err(wrong(at, format!("{many} {key}; at most {MAX_SEATS} are allowed")));
            }
        }
        for seat in list.get_ref() {
            check_seat(seat, rotas).map_err(|why| wrong(at, format!("{key}: {why}")))?;
        }
        Ok(list.into_inner())
    };
    let automatic = form.automatic.map(|text| {
        let at = text.span().start;
        let rota = RotaName::try_new(text.into_inner())
            .map_err(|error| wrong(at, format!("automatic: {error}")))?;
        known(&rota, rotas).map_err(|why| wrong(at, format!("automatic: {why}")))?;
        Ok(rota)
    });
    let wider = form.widen.map(|form| {
        let after = Some(form.after);
        let after = source.span("after", after, Duration::ZERO, &(MIN_AFTER..=MAX_AFTER))?;
        Ok(Wider { after_secs: after.as_secs(), to: seats("to", form.to)? })
    });
    let full = seats("seats", form.seats)?;
    let shrink = form.shrink.map(|form| {
        let at = form.span().start;
        let form = form.into_inner();
        let after = Some(form.after);
        let after = source.span("after", after, Duration::ZERO, &(MIN_AFTER..=MAX_AFTER))?;
        let few = seats("shrink.seats", form.seats)?;
        if few.len() >= full.len() {
            return Err(wrong(at, "shrink: it leaves as many seats as there are".into()));
        }
        let roles = form.roles.into_inner();
        if roles.is_empty() {
            return Err(wrong(
                at,
                "shrink: it names no roles; name those for which fewer do".into(),
            ));
        }
        Ok(Shrink { after_secs: after.as_secs(), seats: few, roles })
    });
    Ok(Quorum {
        automatic: automatic.transpose()?,
        wider: wider.transpose()?,
        shrink: shrink.transpose()?,
        seats: full,
    })
}

fn check_seat(seat: &Seat, rotas: &BTreeMap<RotaName, Vec<Shift>>) -> Result<(), String> {
    match seat {
        Seat::Owner | Seat::Team(_) => Ok(()),
        Seat::OnCall(rota) => known(rota, rotas),
        Seat::People(names) if names.is_empty() => {
            Err("a seat names no people, so nobody could fill it".into())
        }
        Seat::People(_) => Ok(()),
    }
}

fn known(rota: &RotaName, rotas: &BTreeMap<RotaName, Vec<Shift>>) -> Result<(), String> {
    if rotas.contains_key(rota) {
        return Ok(());
    }
    let names: BTreeSet<&str> = rotas.keys().map(RotaName::as_str).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let there = if names.is_empty() { "there is none".into() } else { names.join(", ") };
    Err(format!("there is no rota {rota}: {there}"))
}

fn shift(source: &Source, name: &RotaName, form: RotaForm) -> Result<Shift, ConfigError> {
    let moment = |key: &str, text: &Spanned<String>| {
        let read: Result<jiff::Timestamp, _> = text.get_ref().parse();
        let millis = read.ok().and_then(|read| u64::try_from(read.as_millisecond()).ok());
        millis.map(Timestamp::from_millis).ok_or_else(|| {
            let why = format!("{key}: write a moment as 2026-12-24T18:00:00Z");
            source.wrong(text.span().start, format!("rota {name}: {why}"))
        })
    };
    let (from, until) = (moment("from", &form.from)?, moment("until", &form.until)?);
    if until <= from {
        let why = format!("rota {name}: until is not after from");
        return Err(source.wrong(form.until.span().start, why));
    }
    Ok(Shift { who: form.who, from, until })
}

/// A second circle that comes at once would be the first.
const MIN_AFTER: Duration = Duration::from_secs(1);
const MAX_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
