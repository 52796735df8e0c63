//! The program through its sockets: a real `curfew-ca`, real TLS, real `ssh-keygen`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot set itself up has failed"
)]

mod authority;
mod behaviour;
mod bucket;
mod ceremony;
mod certificate;
mod crash;
mod custodians;
mod database;
mod description;
mod enrolment;
mod hostile;
mod interrupted;
mod issuer;
mod key;
mod key_request;
mod kill;
mod krl;
mod ledger;
mod link;
mod lock;
mod log;
mod login;
mod metrics;
mod nodes;
mod notice;
mod odd;
mod oidc;
mod options;
mod pass;
mod points;
mod policy;
mod postgres;
mod program;
mod reading;
mod recording;
mod renewal;
mod report;
mod request;
mod restore;
mod retention;
mod review;
mod risk;
mod routes;
mod scim;
mod search;
mod sk;
mod spool;
mod team;
mod terminals;
mod tracker;
mod witness;
mod words;
mod workload;
