//! Weights of risks, and who may put them in force: a signature beside their file, by somebody whom the policy lets administer.

use policy::{Act, Question, Verdict};
use ssh_key::PublicKey;
use wire::time::Timestamp;

use super::Authority;
use crate::access::Rules;
use crate::access::question::who;
use crate::ledger::{IdentityRow, LedgerError};
use crate::policy::Judged;
use crate::risk::{Risk, Vouched, WeightsSigned};
use crate::role::Holder;

impl Authority {
    /// Checks who signed weights, where somebody did; a sentence where they are not to come into force. Those that are in force by
    /// the ledger are not checked again: who signed them may have left since.
    pub(crate) async fn vouch_for(
        &self,
        risk: Risk,
        now: Timestamp,
    ) -> Result<Result<Vouched, String>, LedgerError> {
        if self.ledger.knows_risk(risk.clone()).await? {
            return Ok(Ok(Vouched { risk, weights: None, trial: None }));
        }
        let pairs = [
            (risk.is_file().then(|| risk.weights()), risk.seals().weights.clone()),
            (risk.trial(), risk.seals().trial.clone()),
        ];
        let mut signed = Vec::new();
        for (weights, seal) in pairs {
            signed.push(match (weights, seal) {
                (Some(weights), Some(seal)) => match self.sealer(weights, &seal, now).await? {
                    Ok(signed) => Some(signed),
                    Err(why) => {
                        return Ok(Err(format!("the signature of {}: {why}", weights.name())));
                    }
                },
                (Some(weights), None) if self.config.risk_signed => {
                    let name = weights.name();
                    let why = "nobody has signed them, which `risk_signed` demands: ssh-keygen -Y sign -n risk@curfew.internal -f KEY FILE";
                    return Ok(Err(format!("the weights {name}: {why}")));
                }
                _ => None,
            });
        }
        let trial = signed.pop().flatten();
        Ok(Ok(Vouched { risk, weights: signed.pop().flatten(), trial }))
    }

    /// Who signed weights: somebody whom the policy lets administer.
    async fn sealer(
        &self,
        weights: &::risk::Weights,
        seal: &str,
        now: Timestamp,
    ) -> Result<Result<WeightsSigned, String>, LedgerError> {
        let parsed = match wire::sshsig::parse(seal) {
            Ok(parsed) => parsed,
            Err(flaw) => return Ok(Err(flaw.to_string())),
        };
        let public = PublicKey::from(parsed.public_key().clone());
        let (key, text) = (wire::certificate::fingerprint(public.key_data()), weights.text());
        let purpose = wire::risk::NAMESPACE;
        let verified = wire::sshsig::verify(&parsed, public.key_data(), purpose, text.as_bytes());
        let presence = match verified {
            Ok(presence) => presence,
            Err(flaw) => return Ok(Err(flaw.to_string())),
        };
        let Some(holder) = self.ledger.holder_of(key.clone(), now).await? else {
            return Ok(Err(format!("{key} is nobody's key, or is locked")));
        };
        // A security key that verified its holder was a second factor, just now.
        let mfa_age = presence.filter(|presence| presence.verified).map(|_| 0);
        let (roles, policy) = (self.roles(), self.policy());
        let judged = may_administer(&holder, mfa_age, (&Rules::of(&roles, &policy), now));
        if !matches!(judged.verdict(), Verdict::Allowed { .. }) {
            return Ok(Err(judged.to_string()));
        }
        let by = holder.identity;
        match public.to_openssh() {
            Ok(public_key) => {
                Ok(Ok(WeightsSigned { by, key, public_key, signature: seal.to_owned() }))
            }
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}

/// What the policy says to this person's administering.
fn may_administer(
    holder: &IdentityRow,
    mfa_age: Option<u64>,
    (rules, now): (&Rules<'_>, Timestamp),
) -> Judged {
    let IdentityRow { identity, kind, teams, .. } = holder;
    let who =
        who(Holder { identity, kind: *kind, teams }, (holder.disabled, holder.operator), rules);
    let question =
        Question { who, act: Act::Administer, moment: rules.policy.moment(now), mfa_age };
    rules.policy.judge(question)
}
