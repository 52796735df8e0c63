//! What signs weights of risks: a detached signature beside their file, as `ssh-keygen -Y sign` makes it.
//!
//! Who can change this: root on the authority's machine puts weights there. Gains: whatever policy grants to a low risk; with `risk_signed`
//! in `ca.toml` only what somebody signed whom the policy lets administer.

/// The SSHSIG namespace of weights of risks.
pub const NAMESPACE: &str = "risk@curfew.internal";
