//! Two custodians make a group and sign once: every kind of letter that there is, as text and as content behind its kind.

use std::error::Error;

use breakglass::group::Group;
use breakglass::keygen::{Dealing, Dealt, Kept, Plan};
use breakglass::letter::{Kind, Letter};
use breakglass::request::Request;
use breakglass::share::{Cost, Share};
use breakglass::sign::{Committed, Responded};
use breakglass::terms::Terms;
use curfew_fuzz::key;
use rand_core::{CryptoRng, RngCore};
use wire::breakglass::UseName;
use wire::identifier::Custodian;
use wire::network::Networks;
use wire::time::Timestamp;

use super::{Done, put};

pub(super) fn seeds() -> Done {
    let mut random = Counting(0);
    let kept = group(&mut random)?;
    let [ann, bob] = kept.as_slice() else { return Err("two shares".into()) };
    let (ann, bob) = (ann.share(), bob.share());
    let locked = ann.lock("correct horse battery", Cost::least(), &mut random)?;
    write("share", &locked.letter())?;
    write("group", &ann.group().letter())?;
    let request = request(ann.group(), &mut random)?;
    write("request", &request.letter())?;
    write("receipt", &receipt(&request, [ann, bob], &mut random)?)?;
    let name = request.terms().name(request.serial());
    put("breakglass", "name", name.to_string())?;
    put("breakglass", "name-drill", UseName { drill: true, ..name }.to_string())?;
    let line = ann.group().public_key().to_openssh()?;
    put("breakglass", "keys", format!("# the group\n{line} breakglass\n"))
}

fn group(random: &mut Counting) -> Result<Vec<Kept>, Box<dyn Error>> {
    let names: Vec<Custodian> = vec!["ann".parse()?, "bob".parse()?];
    // The plan that the target waits for letters of.
    let plan = Plan::new(&names, 2, Timestamp::from_secs(1_900_000_000))?;
    let (mut dealings, mut letters) = (Vec::new(), Vec::new());
    for name in &names {
        let (dealing, letter) = Dealing::begin(plan.clone(), name, None, random)?;
        dealings.push(dealing);
        letters.push(letter);
    }
    write_each("dealing", &letters)?;
    for dealing in &mut dealings {
        for letter in &letters {
            dealing.take(&letter.to_string())?;
        }
    }
    let dealt = dealings.into_iter().map(Dealing::deal).collect::<Result<Vec<_>, _>>()?;
    let (mut dealt, letters): (Vec<Dealt>, Vec<Letter>) = dealt.into_iter().unzip();
    write_each("parts", &letters)?;
    for one in &mut dealt {
        for letter in &letters {
            one.take(&letter.to_string())?;
        }
    }
    let kept = dealt.into_iter().map(Dealt::finish).collect::<Result<Vec<Kept>, _>>()?;
    write_each("kept", &kept.iter().map(Kept::letter).collect::<Vec<_>>())?;
    Ok(kept)
}

fn request(group: &Group, random: &mut Counting) -> Result<Request, Box<dyn Error>> {
    let terms = Terms {
        drill: false,
        incident: "INC-42".parse()?,
        reason: "the authority and its network are gone".into(),
        hosts: vec!["db1".parse()?, "db2".parse()?],
        login: "breakglass".parse()?,
        from: Timestamp::from_secs(1_800_000_000),
        secs: 1_800,
        custodians: vec!["ann".parse()?, "bob".parse()?],
        networks: Some(Networks::from_option("10.0.0.0/8")?),
        subject: key(7).public_key().key_data().clone(),
    };
    Ok(Request::new(group, terms, random)?)
}

fn receipt(
    request: &Request,
    shares: [&Share; 2],
    random: &mut Counting,
) -> Result<Letter, Box<dyn Error>> {
    let (mut all, mut letters) = (Vec::new(), Vec::new());
    for share in shares {
        let (one, letter) = Committed::commit(share, request, random)?;
        all.push(one);
        letters.push(letter);
    }
    write_each("commitment", &letters)?;
    for one in &mut all {
        for letter in &letters {
            one.take(&letter.to_string())?;
        }
    }
    let responded = all.into_iter().map(Committed::respond).collect::<Result<Vec<_>, _>>()?;
    let (responded, letters): (Vec<Responded>, Vec<Letter>) = responded.into_iter().unzip();
    write_each("signature", &letters)?;
    let mut first = responded.into_iter().next().ok_or("two answered")?;
    for letter in &letters {
        first.take(&letter.to_string())?;
    }
    Ok(first.finish()?.receipt.letter()?)
}

fn write_each(name: &str, letters: &[Letter]) -> Done {
    let names = ["ann", "bob"];
    letters.iter().zip(names).try_for_each(|(letter, of)| write(&format!("{name}-{of}"), letter))
}

fn write(name: &str, letter: &Letter) -> Done {
    put("breakglass", name, letter.to_string())?;
    let kind = Kind::ALL.iter().position(|kind| *kind == letter.kind).ok_or("a known kind")?;
    let body = [&[u8::try_from(kind)?], letter.body.as_slice()].concat();
    put("breakglass", &format!("{name}-content"), body)
}

/// The same numbers every time, so that seeds do not change without a cause (splitmix64). For seeds alone: everybody knows them.
struct Counting(u64);

impl RngCore for Counting {
    fn next_u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next_u64().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next_u64().to_le_bytes();
            chunk.iter_mut().zip(number).for_each(|(to, from)| *to = from);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Counting {}
