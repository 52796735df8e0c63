//! `curfew breakglass drill`: the whole way to one host, with a certificate that says it is an exercise, and what came of each alarm.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use breakglass::receipt::Receipt;
use wire::api::HostView;
use wire::breakglass::UseName;
use wire::ceremony::{BreakGlass, CeremonyView, ReceiptAsk, ReceiptTaken, Reconciled, Standing};
use wire::certificate::Certificate;
use wire::identifier::{Address, HostName, Login, Principal};

use super::exchange;
use crate::client::Client;
use crate::clock;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::render::{Screen, Tone, plain};
use crate::ssh_config::word;

/// Try the whole way to a host, and check that every alarm arrived
///
/// Have a request signed first that was made with `--drill`. For operators, logged in, while the authority is up: hands the receipts in, logs in
/// to the host with the certificate, waits until the authority hears of it from the host, and says what became of each alarm. All of
/// it is in the ledger then; `curfew-ca breakglass status` says how long ago the way was last proven.
#[derive(Debug, clap::Args)]
pub(crate) struct Drill {
    /// The host
    #[arg(long, value_name = "HOST")]
    host: HostName,
    /// Where it is reached (default: where the authority says)
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Address>,
    /// The key of the request; its certificate lies beside it
    #[arg(long, value_name = "FILE", default_value = "request.key")]
    key: PathBuf,
    /// The receipt of a custodian; again for each
    #[arg(long = "receipt", value_name = "FILE", required = true)]
    receipts: Vec<PathBuf>,
    /// How many seconds to wait until the authority hears of it, and of how the host's command ended
    #[arg(long, value_name = "SECONDS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=600))]
    wait: u64,
}

/// What a certificate of a drill opens.
#[derive(Debug)]
struct Opens {
    name: UseName,
    login: Login,
}

impl Drill {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let certificate = self.certificate_path();
        let opens = opens(&exchange::read(&certificate)?, &self.host)
            .map_err(|why| Fault::Usage(format!("{}: {why}", certificate.display())))?;
        let home = Home::find()?;
        let mut client = Client::of(&home)?;
        self.hand_in(&mut client, &opens.name, screen)?;
        let address = match &self.address {
            Some(address) => address.clone(),
            None => address_of(&mut client, &self.host)?,
        };
        let watch = clock::instant();
        self.log_in(&home, (&opens.login, &address))?;
        screen.line(&format!("logged in after {:.1} s", watch.elapsed().as_secs_f64()))?;
        let seen = self.seen(&mut client, &opens.name)?;
        self.tell(&seen, screen)?;
        let faults = faults(&seen, &self.host);
        if !faults.is_empty() {
            return Err(Fault::Untrue(format!("the drill failed: {}", faults.join("; "))).into());
        }
        let proven = format!("{} is proven: in, told, and every alarm arrived", self.host);
        screen.toned(Tone::Good, &proven)?;
        let serial = opens.name.serial;
        screen.line(&format!(
            "review it when its certificate has ended: curfew breakglass review {serial}"
        ))?;
        Ok(Exit::Done)
    }

    /// Hands the receipts in, which must be of this certificate.
    fn hand_in(&self, client: &mut Client, name: &UseName, screen: &Screen) -> Result<()> {
        for path in &self.receipts {
            let receipt = exchange::read(path)?;
            // Read here too: nothing goes to the authority by mistake.
            let read = Receipt::read(&receipt)
                .map_err(|flaw| Fault::Untrue(format!("{}: {flaw}", path.display())))?;
            let request = read.request();
            if request.terms().name(request.serial()) != *name {
                let line = format!("{} is the receipt of another certificate", path.display());
                return Err(Fault::Usage(line).into());
            }
            let taken: ReceiptTaken = client
                .post("/v1/breakglass/receipts", &ReceiptAsk { receipt })
                .with_context(|| format!("{} was not taken", path.display()))?;
            screen.line(&format!("receipt of {}", taken.said.kept_by))?;
        }
        Ok(())
    }

    /// What became of each alarm.
    fn tell(&self, seen: &CeremonyView, screen: &Screen) -> Result<()> {
        let uses = seen.uses.iter().filter(|used| used.host == self.host);
        for alarm in uses.flat_map(|used| &used.used.alarms) {
            let (tone, what) = match &alarm.fault {
                None if alarm.waits => (Tone::Bad, "NOT DONE yet".to_owned()),
                None => (Tone::Good, "arrived".to_owned()),
                Some(fault) => (Tone::Bad, format!("DID NOT: {}", plain(fault))),
            };
            screen.toned(tone, &format!("alarm by {}: {what}", plain(&alarm.by)))?;
        }
        Ok(())
    }

    fn certificate_path(&self) -> PathBuf {
        let mut name = self.key.as_os_str().to_owned();
        name.push("-cert.pub");
        PathBuf::from(name)
    }

    /// Logs in, does nothing there, and leaves.
    fn log_in(&self, home: &Home, (login, address): (&Login, &Address)) -> Result<()> {
        let file = |key: &str, path: &Path| -> Result<OsString> {
            Ok(format!("{key}=\"{}\"", word(path)?).into())
        };
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null"]);
        for option in [
            file("IdentityFile", &self.key)?,
            file("CertificateFile", &self.certificate_path())?,
            file("UserKnownHostsFile", &home.known_hosts_path())?,
            "IdentitiesOnly=yes".into(),
            "IdentityAgent=none".into(),
            "BatchMode=yes".into(),
            "StrictHostKeyChecking=yes".into(),
            "ConnectTimeout=20".into(),
            format!("HostKeyAlias={}", self.host).into(),
            format!("HostName={address}").into(),
        ] {
            ssh.arg("-o").arg(option);
        }
        ssh.args(["-l", login.as_str(), self.host.as_str(), "true"]);
        let output = ssh.stdin(Stdio::null()).output().context("cannot start ssh")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it said nothing");
        let line = format!("the host did not let in: {}", plain(last));
        Err(Fault::Untrue(line).into())
    }

    /// Waits until the authority has heard of it.
    fn seen(&self, client: &mut Client, name: &UseName) -> Result<CeremonyView> {
        let begun = clock::instant();
        loop {
            let state: BreakGlass = client.get("/v1/breakglass")?;
            let found = state.ceremonies.into_iter().find(|one| one.name == *name);
            let found = found.filter(|one| one.uses.iter().any(|used| used.host == self.host));
            let is_late = begun.elapsed() >= Duration::from_secs(self.wait);
            // The command of the host may take a while, and counts only once it ended well.
            if found.is_some_and(|one| is_late || !waits(&one, &self.host)) {
                let all: Reconciled = client.post("/v1/breakglass/reconcile", &())?;
                let found = all.state.ceremonies.into_iter().find(|one| one.name == *name);
                return found.ok_or_else(|| anyhow!("the authority forgot the drill"));
            }
            if is_late {
                let line = format!(
                    "the host let in, and the authority heard nothing of it in {} s: look at curfew-agent and curfew-link there",
                    self.wait
                );
                return Err(Fault::Untrue(line).into());
            }
            exchange::pause(PAUSE);
        }
    }
}

/// Reads a certificate, which must be one of a drill on that host.
fn opens(text: &str, host: &HostName) -> Result<Opens, String> {
    let certificate = Certificate::from_openssh(text).map_err(|error| error.to_string())?;
    let key_id = String::from_utf8_lossy(certificate.key_id().as_bytes()).into_owned();
    let name: UseName = key_id.parse().map_err(|error| format!("its key id {error}"))?;
    if !name.drill {
        return Err("it is no drill: make the request with --drill".to_owned());
    }
    let mut logins = certificate.principals().iter().filter_map(|principal| {
        let text = std::str::from_utf8(principal.as_bytes()).ok()?;
        let login: Login = text.split_once('@')?.0.parse().ok()?;
        let is_here = Principal::of(&login, host).is_ok_and(|own| own.to_string() == text);
        is_here.then_some(login)
    });
    let login = logins.next().ok_or_else(|| format!("it does not open {host}"))?;
    Ok(Opens { name, login })
}

fn address_of(client: &mut Client, host: &HostName) -> Result<Address> {
    let hosts: Vec<HostView> = client.get("/v1/hosts")?;
    let found = hosts.into_iter().find(|one| one.name == *host);
    let Some(found) = found else {
        bail!("the authority knows no host {host}; name its --address")
    };
    found
        .addresses
        .into_iter()
        .next()
        .with_context(|| format!("{host} has no address; name its --address"))
}

/// Whether an alarm is under way.
fn waits(seen: &CeremonyView, host: &HostName) -> bool {
    let uses = seen.uses.iter().filter(|used| used.host == *host);
    uses.flat_map(|used| &used.used.alarms).any(|alarm| alarm.waits)
}

/// What the drill did not prove.
fn faults(seen: &CeremonyView, host: &HostName) -> Vec<String> {
    let mut faults = Vec::new();
    if seen.standing != Standing::Joined {
        faults.push(format!("receipts and uses are {}", seen.standing));
    }
    for used in seen.uses.iter().filter(|used| used.host == *host) {
        if used.used.alarms.is_empty() {
            faults.push("the host raised no alarm".to_owned());
        }
        let silent = used.used.alarms.iter().filter(|alarm| alarm.fault.is_some() || alarm.waits);
        faults.extend(silent.map(|alarm| format!("no alarm by {}", plain(&alarm.by))));
    }
    faults
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use wire::breakglass::{Alarm, Noticed, Use};
    use wire::ceremony::UseView;
    use wire::identifier::Fingerprint;
    use wire::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn seen(standing: Standing, alarms: Vec<Alarm>) -> CeremonyView {
        let name: UseName = "drill/INC-1/ann.bob/1800001800/6917529027641081857".parse().unwrap();
        let used = Use {
            name: name.clone(),
            login: "breakglass".parse().unwrap(),
            remote: String::new(),
            key: None,
            authority: Fingerprint::of(b"key"),
            reason: String::new(),
            noticed: Noticed::Gate,
            at: NOW,
            session: None,
            alarms,
        };
        let host = "db1".parse().unwrap();
        let one =
            UseView { incident: 1, is_open: true, host, first: NOW, count: 1, used, fault: None };
        CeremonyView {
            name,
            standing,
            said: None,
            receipts: Vec::new(),
            uses: vec![one],
            alive: 0,
            known: NOW,
            due: NOW,
            review: None,
        }
    }

    #[test]
    fn a_drill_holds_when_receipts_account_for_it_and_every_alarm_arrived() {
        let host: HostName = "db1".parse().unwrap();
        let alarm = |fault: Option<&str>| Alarm {
            by: "command".into(),
            fault: fault.map(ToOwned::to_owned),
            waits: false,
        };
        assert!(faults(&seen(Standing::Joined, vec![alarm(None)]), &host).is_empty());
        let silent = faults(&seen(Standing::Joined, vec![alarm(None), alarm(Some("gone"))]), &host);
        assert_eq!(silent, ["no alarm by command"]);
        let begun = seen(Standing::Joined, vec![Alarm { waits: true, ..alarm(None) }]);
        assert!(waits(&begun, &host));
        assert_eq!(faults(&begun, &host), ["no alarm by command"]);
        assert_eq!(faults(&seen(Standing::Joined, vec![]), &host), ["the host raised no alarm"]);
        assert_eq!(faults(&seen(Standing::Contradicted, vec![alarm(None)]), &host).len(), 1);
    }

    #[test]
    fn what_is_no_certificate_is_no_drill() {
        let host: HostName = "db1".parse().unwrap();
        for text in ["", "ssh-ed25519 AAAA", "CURFEW-1 RECEIPT"] {
            assert!(opens(text, &host).is_err(), "{text}");
        }
    }
}
