//! Whether a certificate was recorded: its proof of the ledger, checked at login without asking anybody. Pure.
//!
//! A certificate that an authority signed opens nothing by that alone: its entry must stand in the ledger. Whoever has stolen
//! the user authority's key can sign, and cannot make the ledger's key sign a tree that holds what was never decided.

use wire::hostlink::ProofMode;
use wire::log::{Attested, Evidence, Hash, LogKey, Policy, WitnessKey};

/// What is asked of certificates.
#[derive(Debug, Clone)]
pub struct Proofs {
    require: bool,
    policy: Policy,
}

/// What a certificate's proof is worth.
#[derive(Debug)]
#[must_use]
pub enum Standing {
    /// Its entry stands in this tree, which the ledger signed.
    Proved(Box<Attested>),
    /// It has no valid proof, and why.
    Unproved(String),
    /// This host knows no key of the ledger, so nothing can be checked.
    Unpinned,
}

impl Proofs {
    /// Certificates must carry a proof (`require`), or those that carry none are only reported; `logs` are the ledger's
    /// keys, and `quorum` of the `witnesses` must have cosigned.
    #[must_use]
    pub fn new(
        require: bool,
        logs: Vec<LogKey>,
        (witnesses, quorum): (Vec<WitnessKey>, usize),
    ) -> Self {
        Self { require, policy: Policy { logs, witnesses, quorum } }
    }

    /// The same under other keys of the ledger.
    pub fn rotate(&mut self, logs: Vec<LogKey>) {
        self.policy.logs = logs;
    }

    /// What becomes of certificates without a valid proof. A host that was enrolled before the ledger had a key cannot check
    /// any: it reports, until an order brings the key, and from then on does what its settings say.
    #[must_use]
    pub const fn mode(&self) -> ProofMode {
        match (self.policy.logs.is_empty(), self.require) {
            (true, _) => ProofMode::Unpinned,
            (false, true) => ProofMode::Require,
            (false, false) => ProofMode::Report,
        }
    }

    /// Whose word a checkpoint needs here.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Judges a certificate by the evidence that it carries and by its bytes to be signed without that evidence.
    pub fn judge(&self, evidence: Option<&[u8]>, stripped: &[u8]) -> Standing {
        if self.policy.logs.is_empty() {
            return Standing::Unpinned;
        }
        let Some(evidence) = evidence else {
            return Standing::Unproved(String::from("it carries no proof of the ledger"));
        };
        let evidence = std::str::from_utf8(evidence)
            .map_err(|error| error.to_string())
            .and_then(|text| text.parse::<Evidence>().map_err(|error| error.to_string()));
        let verified = evidence.and_then(|evidence| {
            let tbs = Hash::of(stripped);
            evidence.verify(tbs, &self.policy).map_err(|error| error.to_string())
        });
        match verified {
            Ok(attested) => Standing::Proved(Box::new(attested)),
            Err(why) => Standing::Unproved(format!("its proof of the ledger is not valid: {why}")),
        }
    }
}
