//! `certificate`: how many certificates are made and checked in a second, by kind of key, on one core.
//!
//! Made: the draft is checked, encoded, signed, read back, compared, and its signature checked. Checked: read from its
//! bytes, and the signature over them. Beside it, in the same run: the signature alone, and `ssh-keygen -s`, which makes
//! as many in one process, files included, and checks nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA512, RsaKeyPair,
};
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, RsaPublicKey};
use ssh_key::{Algorithm, HashAlg, Mpint, Signature};
use wire::certificate::{Certificate, Checked, Draft, Kind};
use wire::identifier::Serial;
use wire::time::Timestamp;

use crate::{bench::Verdict, clock::Stopwatch, report::Row};

/// Certificates of each kind.
pub(crate) const COUNT: usize = 2_000;

/// A key that certifies.
enum Authority {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// Measures each kind of key.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let dir = tempfile::tempdir().context("no folder")?;
    keygen(dir.path(), &["-t", "ed25519", "-f", "subject"])?;
    let text = std::fs::read_to_string(dir.path().join("subject.pub"))?;
    let subject = wire::key::from_openssh(&text)?;
    let cases: [(&str, &str, &str, Authority); 5] = [
        ("ed25519", "ed25519", "256", Authority::ed25519()?),
        ("ecdsa p256", "ecdsa", "256", Authority::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)?),
        ("ecdsa p384", "ecdsa", "384", Authority::ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)?),
        ("ecdsa p521", "ecdsa", "521", Authority::ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING)?),
        ("rsa 3072", "rsa", "3072", Authority::rsa()?),
    ];
    let mut rows = Vec::new();
    for (case, kind, bits, authority) in cases {
        let ours = ours(&authority, subject.key_data(), count)?;
        let keygen_per_s = theirs(dir.path(), (kind, bits), &text, count)?;
        rows.push(
            Row::new("certificate", case)
                .measured("made_per_s", ours.made)
                .measured("checked_per_s", ours.checked)
                .measured("signatures_per_s", ours.signed)
                .measured("keygen_made_per_s", keygen_per_s)
                .measured("made_ratio_to_keygen", ours.made / keygen_per_s)
                .measured("made_ratio_to_signature", ours.made / ours.signed),
        );
    }
    Ok(Verdict { rows, broken: Vec::new() })
}

/// Ours, in a second.
struct Pace {
    made: f64,
    checked: f64,
    signed: f64,
}

fn ours(authority: &Authority, subject: &KeyData, count: usize) -> Result<Pace> {
    let public = authority.public()?;
    let stopwatch = Stopwatch::start();
    let mut made = Vec::with_capacity(count);
    for (number, _) in (1..).zip(0..count) {
        let to_be_signed = draft(subject, number)?.to_be_signed(nonce(number), &public)?;
        let signature = authority.sign(to_be_signed.as_bytes())?;
        made.push(to_be_signed.finish(&signature)?);
    }
    let made_pace = pace(count, &stopwatch);
    let stopwatch = Stopwatch::start();
    for certificate in &made {
        Certificate::from_bytes(certificate.as_bytes())?.verify_signature()?;
    }
    let checked = pace(count, &stopwatch);
    let stopwatch = Stopwatch::start();
    for certificate in &made {
        authority.raw(certificate.to_be_signed())?;
    }
    Ok(Pace { made: made_pace, checked, signed: pace(count, &stopwatch) })
}

/// `ssh-keygen -s` over as many files at once.
fn theirs(dir: &Path, (kind, bits): (&str, &str), subject: &str, count: usize) -> Result<f64> {
    let ca = format!("{kind}{bits}");
    keygen(dir, &["-t", kind, "-b", bits, "-f", &ca])?;
    let files: Vec<String> = (0..count).map(|number| format!("{number}.pub")).collect();
    for file in &files {
        std::fs::write(dir.join(file), subject)?;
    }
    let fixed =
        ["-s", &ca, "-I", "ana@example.com/g1/7", "-n", "app@db1", "-V", "+15m", "-z", "+1"];
    let arguments: Vec<&str> = fixed.into_iter().chain(files.iter().map(String::as_str)).collect();
    let stopwatch = Stopwatch::start();
    keygen(dir, &arguments)?;
    Ok(pace(count, &stopwatch))
}

fn keygen(dir: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ssh-keygen");
    command.current_dir(dir).arg("-q").args(arguments);
    if !arguments.contains(&"-s") {
        command.args(["-N", ""]);
    }
    let output = command.output().context("ssh-keygen is not there")?;
    ensure!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn draft(subject: &KeyData, number: u64) -> Result<Checked> {
    let draft = Draft {
        kind: Kind::User,
        subject: subject.clone(),
        serial: Serial::try_new(number)?,
        key_id: format!("ana@example.com/g1/{number}"),
        principals: vec!["app@db1".into()],
        valid_after: Timestamp::from_secs(1_700_000_000),
        valid_before: Timestamp::from_secs(1_700_000_900),
        critical: BTreeMap::new(),
        extensions: BTreeMap::from([("permit-pty".into(), String::new())]),
    };
    Ok(draft.check()?)
}

/// Different each time, as the system's would be; a benchmark keeps no secret.
fn nonce(number: u64) -> [u8; 32] {
    let mut nonce = [0; 32];
    for (to, from) in nonce.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    nonce
}

impl Authority {
    fn ed25519() -> Result<Self> {
        Ok(Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).map_err(failed)?))
    }

    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Self> {
        Ok(Self::Ecdsa(EcdsaKeyPair::generate(algorithm).map_err(failed)?))
    }

    fn rsa() -> Result<Self> {
        Ok(Self::Rsa(RsaKeyPair::generate(KeySize::Rsa3072).map_err(failed)?))
    }

    fn public(&self) -> Result<KeyData> {
        match self {
            Self::Ed25519(pair) => {
                Ok(Ed25519PublicKey(pair.public_key().as_ref().try_into()?).into())
            }
            Self::Ecdsa(pair) => {
                Ok(EcdsaPublicKey::from_sec1_bytes(pair.public_key().as_ref())?.into())
            }
            Self::Rsa(pair) => {
                // PKCS#1: two heads of four bytes, the modulus, and the exponent 65537 in five.
                let der = pair.public_key().as_ref();
                let end = der.len().saturating_sub(5);
                let modulus = der.get(8..end).context("another form of RSA key")?;
                let e = Mpint::from_positive_bytes(&[1, 0, 1]);
                Ok(RsaPublicKey::new(e, Mpint::from_positive_bytes(modulus))?.into())
            }
        }
    }

    /// The signature alone.
    fn raw(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA512, &random, message, &mut bytes).map_err(failed)?;
                Ok(bytes)
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Signature> {
        let raw = self.raw(message)?;
        let algorithm = match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::Ecdsa(_) => self.public()?.algorithm(),
            Self::Rsa(_) => Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        };
        let Self::Ecdsa(_) = self else { return Ok(Signature::new(algorithm, raw)?) };
        let mut numbers = Vec::new();
        for number in raw.chunks(raw.len() / 2) {
            let number = Mpint::from_positive_bytes(number);
            numbers.extend(u32::try_from(number.as_bytes().len())?.to_be_bytes());
            numbers.extend(number.as_bytes());
        }
        Ok(Signature::new(algorithm, numbers)?)
    }
}

fn pace(count: usize, stopwatch: &Stopwatch) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    f64::from(count) / stopwatch.passed().as_secs_f64()
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the library did not sign: {error}")
}
