//! The authority's program: arguments, then one command, then an exit code.

use std::process::ExitCode;

mod access;
mod admin;
mod alarm;
mod approval;
mod args;
mod authority;
mod backup;
mod behaviour;
mod bucket;
mod call;
mod ceremony;
mod certificate;
mod challenge;
mod clock;
mod command;
mod config;
mod cosign;
mod exit;
mod fleet;
mod http;
mod index;
mod inventory;
mod issuer;
mod key;
mod krl;
mod lapse;
mod ledger;
mod metrics;
mod notice;
mod odd;
mod oidc;
mod pass;
mod policy;
mod random;
mod recording;
mod report;
mod request;
mod retention;
mod revocation;
mod risk;
mod role;
mod rotation;
mod sealed;
mod search;
mod serve;
mod signer;
mod tls;
mod tracker;
mod watch;
mod web;
mod witness;
mod x509;

fn main() -> ExitCode {
    args::run()
}
