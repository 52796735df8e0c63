//! `curfew breakglass keygen` and `reshare`: each custodian at a machine of their own, in three rounds.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use breakglass::group::Group;
use breakglass::keygen::{Dealing, Dealt, Kept, Plan, Taken};
use breakglass::letter::Kind;
use breakglass::share::{Cost, Share};
use rand_core::OsRng;
use wire::certificate::fingerprint;
use wire::identifier::Custodian;

use super::exchange::{self, Takes, Way};
use super::place::{self, Moment};
use super::secret::Passphrase;
use crate::clock;
use crate::exit::{Exit, Fault};
use crate::render::{Screen, Tone};

/// Make a key together that nobody holds whole
///
/// Every custodian runs the same command at a machine of their own, with another --name. Without a network: hand the letters over on a
/// memory stick (--exchange), or read them aloud. All compare a code before the second round. The key is made by all; there is
/// no dealer.
#[derive(Debug, clap::Args)]
pub(crate) struct Keygen {
    /// Who you are
    #[arg(long, value_name = "CUSTODIAN")]
    name: Custodian,
    /// All custodians, in the same order for everybody (2 to 10)
    #[arg(long = "custodian", value_name = "CUSTODIAN", required = true)]
    custodians: Vec<Custodian>,
    /// How many of them sign together (2 to 5)
    #[arg(long, value_name = "NUMBER")]
    threshold: u8,
    /// Until when the key is to be used, in UTC; the same for everybody
    #[arg(long, value_name = "DAY")]
    expires: Moment,
    /// Where to keep your share
    #[arg(long, value_name = "FILE")]
    share: PathBuf,
    /// Where to put the group, which is public
    #[arg(long, value_name = "FILE", default_value = "breakglass-group.txt")]
    group: PathBuf,
    /// Go on without asking whether the codes are equal: only for a folder that nobody else can write to
    #[arg(long, requires = "exchange")]
    trust_exchange: bool,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Make the shares anew; the key stays as it is
///
/// For when a custodian leaves, a machine was lost, or a year has passed. All who stay take part. Shares from before do not work together with
/// new ones; but enough old ones still work together: after somebody left on bad terms make a new key instead, and have hosts believe it.
#[derive(Debug, clap::Args)]
pub(crate) struct Reshare {
    /// Your share as it is
    #[arg(long, value_name = "FILE")]
    share: PathBuf,
    /// Who stays; all, when nobody is named
    #[arg(long = "stay", value_name = "CUSTODIAN")]
    stay: Vec<Custodian>,
    /// Until when the key is to be used, in UTC; the same for everybody (default: as before)
    #[arg(long, value_name = "DAY")]
    expires: Option<Moment>,
    /// Where to put the group, which is public
    #[arg(long, value_name = "FILE", default_value = "breakglass-group.txt")]
    group: PathBuf,
    /// Go on without asking whether the codes are equal: only for a folder that nobody else can write to
    #[arg(long, requires = "exchange")]
    trust_exchange: bool,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Keygen {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        self.way.check()?;
        place::must_be_free(&self.share)?;
        place::must_be_free(&place::waiting(&self.share))?;
        if self.expires.0 <= clock::now() {
            return Err(Fault::Usage("--expires lies behind us".to_owned()).into());
        }
        let plan = Plan::new(&self.custodians, self.threshold, self.expires.0)
            .map_err(|flaw| Fault::Usage(flaw.to_string()))?;
        let (name, share, group) = (self.name, self.share, self.group);
        let work = Work {
            way: self.way,
            passphrase: self.passphrase,
            trust: self.trust_exchange,
            share,
            group,
        };
        work.run(plan, &name, None, screen)
    }
}

impl Reshare {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        self.way.check()?;
        place::must_be_free(&place::waiting(&self.share))?;
        let old = self.passphrase.open(&self.share)?;
        let all: Vec<Custodian> = old.group().members().values().cloned().collect();
        let stay = if self.stay.is_empty() { all } else { self.stay };
        let expires = self.expires.map_or_else(|| old.group().expires(), |moment| moment.0);
        let plan = Plan::renewal(old.group(), &stay, expires)
            .map_err(|flaw| Fault::Usage(flaw.to_string()))?;
        let name = old.name().clone();
        let (share, group) = (self.share, self.group);
        let work = Work {
            way: self.way,
            passphrase: self.passphrase,
            trust: self.trust_exchange,
            share,
            group,
        };
        work.run(plan, &name, Some(old), screen)
    }
}

struct Work {
    way: Way,
    passphrase: Passphrase,
    trust: bool,
    share: PathBuf,
    group: PathBuf,
}

impl Work {
    fn run(self, plan: Plan, me: &Custodian, old: Option<Share>, screen: &Screen) -> Result<Exit> {
        let way = &self.way;
        let (mut dealing, letter) = Dealing::begin(plan, me, old, &mut OsRng)?;
        way.give(me, &letter, screen)?;
        way.collect(Kind::Dealing, &mut dealing, screen)?;
        let (mut dealt, letter) = dealing.deal()?;
        screen.toned(Tone::Strong, &format!("the code of all dealings: {}", dealt.code()))?;
        let question = "do all custodians see this very code?";
        way.confirm(question, self.trust.then_some(true), "--trust-exchange")?;
        way.give(me, &letter, screen)?;
        way.collect(Kind::Parts, &mut dealt, screen)?;
        let mut kept = dealt.finish()?;
        self.keep(kept.share())?;
        way.give(me, &kept.letter(), screen)?;
        let waiting = place::waiting(&self.share);
        way.collect(Kind::Kept, &mut kept, screen).with_context(|| {
            format!("your share waits in {}; rename it when all others say that they are done, else remove it", waiting.display())
        })?;
        place::settle(&self.share)?;
        let group = kept.share().group();
        exchange::write(&self.group, &group.letter())?;
        self.say(group, screen)?;
        Ok(Exit::Done)
    }

    /// The share is on the disk before anybody is told so.
    fn keep(&self, share: &Share) -> Result<()> {
        let passphrase = self.passphrase.choose()?;
        let locked = share.lock(&passphrase, Cost::TODAY, &mut OsRng)?;
        place::write_share(&place::waiting(&self.share), &locked.letter())
    }

    fn say(&self, group: &Group, screen: &Screen) -> Result<()> {
        screen.toned(Tone::Good, &format!("done: your share is in {}", self.share.display()))?;
        screen.line(&format!("the group is in {}: public, for the kit", self.group.display()))?;
        screen.line(&format!("group key  {}", fingerprint(&group.key_data())))?;
        let key = group.public_key().to_openssh()?;
        screen.line(&format!("on every host, in /etc/curfew/breakglass.pub:\n{key}"))
    }
}

impl Takes for Dealing {
    fn take(&mut self, text: &str) -> Result<Taken> {
        Ok(Self::take(self, text)?)
    }

    fn missing(&self) -> Vec<Custodian> {
        Self::missing(self)
    }
}

impl Takes for Dealt {
    fn take(&mut self, text: &str) -> Result<Taken> {
        Ok(Self::take(self, text)?)
    }

    fn missing(&self) -> Vec<Custodian> {
        Self::missing(self)
    }
}

impl Takes for Kept {
    fn take(&mut self, text: &str) -> Result<Taken> {
        Ok(Self::take(self, text)?)
    }

    fn missing(&self) -> Vec<Custodian> {
        Self::missing(self)
    }
}
