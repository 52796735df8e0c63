//! The load: connections that ask for certificates one after the other, each for a key that nobody asked for before.
//!
//! It runs on one thread, sends bytes that were made beforehand and reads no more of an answer than its status, its
//! length and its serial, so that it takes as little as possible of what it measures. Some answers are kept, and checked
//! when the measuring is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde::Deserialize;
use ssh_key::PublicKey;
use ssh_key::public::{Ed25519PublicKey, KeyData};
use tokio::task::JoinSet;
use wire::api::CertificateAsk;
use wire::options::Wishes;

use super::dial::{Connection, request};
use super::site::{LOGIN, Site, host_name};
use crate::{clock::Stopwatch, cpu::Cpu, sample::Sample};

/// What is asked for, ready to be sent.
pub(crate) struct Load {
    bodies: Arc<Vec<Vec<u8>>>,
    tokens: Vec<String>,
}

/// What came of it.
pub(crate) struct Done {
    /// From a request's first byte to its answer's last, in milliseconds.
    pub(crate) latency: Sample,
    /// How long all of it took.
    pub(crate) took: Duration,
    /// Whose processor time.
    pub(crate) cpu: Cpu,
    /// The serials, each once.
    pub(crate) serials: BTreeSet<u64>,
    /// Some answers.
    pub(crate) sample: Vec<Vec<u8>>,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    millis: Vec<f64>,
    serials: Vec<u64>,
    sample: Vec<Vec<u8>>,
}

/// The part of an answer that is always read.
#[derive(Deserialize)]
struct Numbered {
    serial: u64,
}

impl Load {
    /// Requests of these people, for `keys` keys on `hosts` hosts in turn.
    pub(crate) fn new(tokens: Vec<String>, keys: usize, hosts: usize) -> Result<Self> {
        let mut bodies = Vec::with_capacity(keys);
        for (number, host) in (0..keys).zip((1..=hosts).cycle()) {
            let ask = CertificateAsk {
                public_key: public_key(number)?,
                host: host_name(host).parse()?,
                login: LOGIN.parse()?,
                role: None,
                duration_secs: None,
                wishes: Wishes::default(),
                reason: None,
            };
            bodies.push(serde_json::to_vec(&ask)?);
        }
        Ok(Self { bodies: Arc::new(bodies), tokens })
    }

    /// Asks for `count` certificates over `connections` connections.
    pub(crate) async fn run(&self, site: &Site, connections: usize, count: usize) -> Result<Done> {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(site.people().connect().await?);
        }
        let next = Arc::new(AtomicUsize::new(0));
        let before = Cpu::so_far(site.pid())?;
        let stopwatch = Stopwatch::start();
        let mut tasks = JoinSet::new();
        for (connection, token) in open.into_iter().zip(self.tokens.iter().cycle()) {
            let work = ask(
                (connection, token.clone()),
                Arc::clone(&self.bodies),
                (Arc::clone(&next), count),
            );
            tasks.spawn(work);
        }
        let mut all = Seen::default();
        while let Some(seen) = tasks.join_next().await {
            all.take(seen??);
        }
        let took = stopwatch.passed();
        let cpu = Cpu::so_far(site.pid())?.since(before);
        let serials = all.serials.into_iter().collect();
        Ok(Done { latency: Sample::new(all.millis), took, cpu, serials, sample: all.sample })
    }
}

impl Done {
    /// Certificates in a second.
    pub(crate) fn per_s(&self) -> f64 {
        self.per(self.took.as_secs_f64()).recip()
    }

    /// `whole`, shared among the certificates.
    pub(crate) fn per(&self, whole: f64) -> f64 {
        whole / f64::from(u32::try_from(self.latency.count()).unwrap_or(u32::MAX))
    }
}

impl Seen {
    fn take(&mut self, other: Self) {
        self.millis.extend(other.millis);
        self.serials.extend(other.serials);
        self.sample.extend(other.sample);
    }
}

async fn ask(
    (mut connection, token): (Connection, String),
    bodies: Arc<Vec<Vec<u8>>>,
    (next, count): (Arc<AtomicUsize>, usize),
) -> Result<Seen> {
    let mut seen = Seen::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok(seen);
        }
        let body = bodies
            .get(number.checked_rem(bodies.len()).unwrap_or_default())
            .context("there is nothing to ask")?;
        let request = request("/v1/certificates", Some(&token), body);
        let stopwatch = Stopwatch::start();
        let answer = connection.exchange(&request).await?;
        seen.millis.push(stopwatch.passed().as_secs_f64() * 1000.0);
        seen.serials.push(serde_json::from_slice::<Numbered>(answer)?.serial);
        if number % ONE_IN == 0 {
            seen.sample.push(answer.to_vec());
        }
    }
}

/// A public key that is another for each number.
fn public_key(number: usize) -> Result<String> {
    let mut seed = [0x5a; 32];
    for (to, from) in seed.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok().context("no key")?;
    let public = Ed25519PublicKey(pair.public_key().as_ref().try_into()?);
    Ok(PublicKey::from(KeyData::from(public)).to_openssh()?)
}

/// One answer in so many is kept and checked.
const ONE_IN: usize = 50;
