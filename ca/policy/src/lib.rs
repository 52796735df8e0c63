//! Policy: who may ask for what, and what is still required. Text goes in, values come out; no I/O, no clock.
//!
//! A policy is Cedar, read strictly against our schema (`curfew.cedarschema`). A `permit` says who may do something at all;
//! a `forbid … unless …` is one requirement, and its `@advice` is what people are told while it is missing. Nobody is told
//! what is missing who could not have it anyway. An error while a policy is evaluated is a no: a `forbid` that fails does
//! not forbid by itself. People are counted elsewhere: here come the names of the quorums that were met.
//! Who can change this: whoever writes the policy folder. Gains: narrows what roles give, or demands less for it; nothing
//! here gives what no role does.

mod build;
mod cases;
mod diff;
mod fault;
mod hazard;
mod memory;
mod question;
mod set;
mod split;
mod statement;

pub use cases::{Cases, Failed, Outcome};
pub use diff::{Change, changes};
pub use fault::{Fault, nearest};
pub use question::{
    Access, Act, Being, Day, Evidence, Moment, Pending, Place, Question, STRICTEST, Seen, Who,
};
pub use set::{Explained, File, MAX_TEXT, PolicySet, Requirement, Verdict, hash};

/// What holds where there is no folder of policies.
pub const DEFAULT: &str = include_str!("../../../packaging/policy/default.cedar");
/// The file name under which [`DEFAULT`] is known.
pub const DEFAULT_NAME: &str = "default.cedar";
/// What policies can speak of.
pub const SCHEMA: &str = include_str!("curfew.cedarschema");
