//! What must hold of a request for a key when it is brought, and again when it is approved.

use std::time::Duration;

use ssh_key::PublicKey;
use wire::certificate::fingerprint;
use wire::identifier::{Fingerprint, Identity};
use wire::identity::Method;
use wire::key_request::{
    KeyApproval, KeyRequestAsk, KeyRequestState, KeyWish, SignedKeyApproval, WishFlaw,
};
use wire::lock::{Lock, Target};
use wire::log::Hash;
use wire::time::Timestamp;

use super::super::approval::{FRESH, SKEW, candidate, signer, unwritable};
use super::super::identity;
use super::super::sql::Connection;
use super::super::{LedgerError, grant, order};
use super::{Bringer, Consent, Kept, Refusable, over, waiting};
use crate::access::Standing;
use crate::ledger::RequestRefusal;

/// Whether a wish can be brought by this person, now.
pub(super) fn brought(
    connection: &Connection,
    (by, wish, key): (&Bringer, &KeyWish, &PublicKey),
    (authority, locks): (&Fingerprint, &[Lock]),
    now: Timestamp,
) -> Refusable<()> {
    let denied = |why: String| Ok(Err(RequestRefusal::Denied(why)));
    if wish.authority != *authority {
        return denied("the request is for another authority".into());
    }
    let whose = &wish.identity;
    if *whose != by.identity && !by.administers {
        return denied(format!(
            "you ask for a key of {whose}; bring your own, or have an operator bring theirs"
        ));
    }
    if wish.at > now.after(SKEW) || wish.at < now.before(WISH_FRESH) {
        let why =
            "the request was written too long ago, or by a clock that is wrong; write it anew";
        return denied(why.into());
    }
    for who in [&by.identity, whose] {
        if let Some(why) = is_barred(connection, who, (locks, now))? {
            return denied(why);
        }
    }
    let waiting: Vec<Kept> = waiting(connection, whose, now)?;
    if waiting.iter().any(|one| one.names(key)) {
        let why = format!("a request of {whose} for this key waits already");
        return Ok(Err(RequestRefusal::Conflict(why)));
    }
    if waiting.len() >= MAX_WAITING {
        let why = format!("{MAX_WAITING} requests of {whose} for keys wait already; take one back");
        return Ok(Err(RequestRefusal::Conflict(why)));
    }
    Ok(Ok(()))
}

impl Kept {
    fn names(&self, key: &PublicKey) -> bool {
        self.signed.verify().is_ok_and(|(_, named)| named.key_data() == key.key_data())
    }
}

/// Why somebody takes part in nothing now, if so.
fn is_barred(
    connection: &Connection,
    who: &Identity,
    (locks, now): (&[Lock], Timestamp),
) -> Result<Option<String>, LedgerError> {
    let target = Target::Identity(who.clone());
    if locks.iter().any(|lock| lock.holds_at(now) && lock.target == target) {
        return Ok(Some(format!("{who} is locked")));
    }
    Ok(match grant::standing(connection, who)?.0 {
        Standing::Active => None,
        Standing::Disabled => Some(format!("{who} is disabled")),
        Standing::Unknown => Some(format!("there is no identity {who}")),
    })
}

/// Why a key cannot be somebody's, if so; the same when it is asked for and when it is approved.
pub(super) fn free(
    connection: &Connection,
    (wish, key): (&KeyWish, &PublicKey),
    locks: &[Lock],
) -> Result<Option<RequestRefusal>, LedgerError> {
    let print = fingerprint(key.key_data());
    if locks.iter().any(|lock| lock.target == Target::Key(print.clone())) {
        let why = "this key was given up or is locked; make another one".to_owned();
        return Ok(Some(RequestRefusal::Denied(why)));
    }
    let own = identity::keys_of(connection, &wish.identity)?;
    if own.contains(&print) {
        let why = format!("{} logs in with this key already", wish.identity);
        return Ok(Some(RequestRefusal::Conflict(why)));
    }
    if identity::owner(connection, &print)?.is_some() {
        // Whose is not said: nobody learns who has which key.
        let why = "this key is another identity's".to_owned();
        return Ok(Some(RequestRefusal::Conflict(why)));
    }
    if let Some(old) = wish.replaces.as_ref().filter(|old| !own.contains(old)) {
        let why = format!("{} has no key {old} that this one could replace", wish.identity);
        return Ok(Some(RequestRefusal::Conflict(why)));
    }
    if own.len() >= MAX_KEYS && wish.replaces.is_none() {
        let why = format!("{} has {MAX_KEYS} keys; replace one with --replaces", wish.identity);
        return Ok(Some(RequestRefusal::Conflict(why)));
    }
    Ok(None)
}

/// What whoever brings a wish signed: by a key of theirs; nothing from somebody who has none and came through the provider.
pub(super) fn consent(
    connection: &Connection,
    (by, wish): (&Bringer, &KeyWish),
    ask: &KeyRequestAsk,
    locks: &[Lock],
) -> Refusable<Option<Consent>> {
    let Some(signature) = &ask.consent else {
        let has_none = identity::keys_of(connection, &by.identity)?.is_empty();
        let is_first = by.identity == wish.identity && by.method == Method::Oidc && has_none;
        let why = "the request is not signed with a key that you log in with; without one, have an operator bring it: `curfew keys offer`";
        return Ok(if is_first { Ok(None) } else { Err(RequestRefusal::Denied(why.into())) });
    };
    let Some((print, key)) = signer(connection, (&by.identity, signature), locks)? else {
        let why = "the signature is by no key of yours that is enrolled and not locked";
        return Ok(Err(RequestRefusal::Denied(why.into())));
    };
    if let Err(flaw) = ask.signed.verify_consent(&key, signature) {
        return Ok(Err(RequestRefusal::Denied(flaw.to_string())));
    }
    let public_key = key.to_openssh().map_err(unwritable)?;
    Ok(Ok(Some(Consent { key: print, public_key, signature: signature.clone() })))
}

/// The approver's key, the wish and the wished key, when the approval is to be taken.
pub(super) fn approvable(
    connection: &Connection,
    (kept, by): (&Kept, &Bringer),
    (signed, authority): (&SignedKeyApproval, &Fingerprint),
    now: Timestamp,
) -> Refusable<(PublicKey, KeyWish, PublicKey)> {
    let denied = |why: String| Ok(Err(RequestRefusal::Denied(why)));
    if kept.is_of(&by.identity) {
        return denied("nobody approves their own request, operators included".into());
    }
    let state = kept.current(now);
    if state != KeyRequestState::Waiting {
        return Ok(Err(RequestRefusal::Conflict(over(kept.number, state))));
    }
    let locks = order::locks_in_force(connection, now)?;
    if !candidate(connection, &by.identity, (&locks, now))?.is_active {
        return denied("only people approve, and none who is disabled or locked".into());
    }
    let Some((_, approver)) = signer(connection, (&by.identity, &signed.signature), &locks)? else {
        return denied(
            "the signature is by no key of yours that is enrolled and not locked".into(),
        );
    };
    let said = match signed.verify(&approver) {
        Ok(said) => said,
        Err(flaw) => return denied(format!("the approval: {flaw}")),
    };
    if let Err(why) = agrees(&said, (kept, by), (authority, now)) {
        return denied(why.into());
    }
    let (wish, key) = match still(connection, kept, &locks, now)? {
        Ok(still) => still,
        Err(refusal) => return Ok(Err(refusal)),
    };
    Ok(Ok((approver, wish, key)))
}

/// The wish and its key, when all that was so when it was brought is so still.
fn still(
    connection: &Connection,
    kept: &Kept,
    locks: &[Lock],
    now: Timestamp,
) -> Refusable<(KeyWish, PublicKey)> {
    let denied = |why: String| Ok(Err(RequestRefusal::Denied(why)));
    let altered = |flaw: &WishFlaw| {
        let number = kept.number;
        tracing::error!(request = number, %flaw, "a request for a key is not as it was brought");
        RequestRefusal::Denied(format!("the request does not hold: {flaw}"))
    };
    let (wish, key) = match kept.signed.verify() {
        Ok(read) => read,
        Err(flaw) => return Ok(Err(altered(&flaw))),
    };
    if wish.identity != kept.identity {
        return denied("the request does not hold: it is of somebody else".into());
    }
    for who in [&kept.by, &kept.identity] {
        if let Some(why) = is_barred(connection, who, (locks, now))? {
            return denied(why);
        }
    }
    if let Some(Consent { signature, .. }) = &kept.consent {
        let Some((_, signing)) = signer(connection, (&kept.by, signature), locks)? else {
            let why = format!("the key that {} signed the request with is theirs no more", kept.by);
            return denied(why);
        };
        if let Err(flaw) = kept.signed.verify_consent(&signing, signature) {
            return Ok(Err(altered(&flaw)));
        }
    } else if !identity::keys_of(connection, &kept.identity)?.is_empty() {
        let why = format!("{} has a key by now, and must sign with it", kept.identity);
        return denied(why);
    }
    Ok(match free(connection, (&wish, &key), locks)? {
        Some(refusal) => Err(refusal),
        None => Ok((wish, key)),
    })
}

/// Whether what was signed is about this request, as it is, for this authority, now.
fn agrees(
    said: &KeyApproval,
    (kept, by): (&Kept, &Bringer),
    (authority, now): (&Fingerprint, Timestamp),
) -> Result<(), &'static str> {
    if said.authority != *authority {
        return Err("the approval is for another authority");
    }
    if said.request != kept.number {
        return Err("the approval is of another request");
    }
    if said.hash != Hash::of(kept.signed.wish.as_bytes()) {
        return Err("the approval is of another text: the request is not as it was shown");
    }
    if said.by != by.identity {
        return Err("the approval names somebody else");
    }
    if said.at > now.after(SKEW) || said.at < now.before(FRESH) {
        return Err("the approval was not signed just now; approve again");
    }
    Ok(())
}

/// How old a wish may be when it is brought: it goes from hand to hand when its owner has lost their key.
const WISH_FRESH: Duration = Duration::from_secs(24 * 3600);
/// Most requests for keys of one identity that wait: a key for each of a person's machines.
const MAX_WAITING: usize = 4;
/// Most keys that one identity gets in this way: a login tries them one after another.
const MAX_KEYS: usize = 16;
