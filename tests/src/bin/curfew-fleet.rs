//! A fleet to play with: `curfew-fleet image` builds what its hosts start from (`images`: of every release),
//! `curfew-fleet shell` brings up an authority and two hosts and leaves a person a shell, `curfew-fleet hold` boots one bare
//! host, says where its cgroup is, and holds it until standard input ends.

use std::{env, fs, io, process::ExitCode};

use tests::{Authority, Base, Client, Debian, Fleet, FleetError, Host, Site};

fn main() -> ExitCode {
    let done = match env::args().nth(1).as_deref() {
        Some("image") => Debian::chosen().and_then(image),
        Some("images") => Debian::ALL.into_iter().try_for_each(image),
        Some("shell") => shell(),
        Some("hold") => hold(),
        _ => {
            eprintln!("Usage: curfew-fleet image | images | shell | hold");
            return ExitCode::from(64);
        }
    };
    if let Err(error) = done {
        eprintln!("curfew-fleet: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn image(debian: Debian) -> Result<(), FleetError> {
    Base::build(debian).map(|base| say(&base.root_dir().display().to_string()))
}

fn shell() -> Result<(), FleetError> {
    let site = Site::open()?;
    let hosts = site.hosts(["db1", "db2"])?;
    let ana = site.operator("ana@example.com")?;
    let _agent = ana.client.agent()?;
    let rc_path = ana.client.home_dir().join(".bashrc");
    fs::write(&rc_path, bashrc(&site.authority, &hosts, &ana.client))
        .map_err(|source| FleetError::Io { doing: "write .bashrc".to_owned(), source })?;

    say(&welcome(&site.authority, &hosts));
    let mut bash = ana.client.command("bash");
    bash.arg("--rcfile").arg(&rc_path).arg("-i");
    bash.status().map_err(|source| FleetError::Io { doing: "start bash".to_owned(), source })?;
    say("The fleet is being taken down.");
    Ok(())
}

fn hold() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let host = fleet.host("held")?;
    say(&host.cgroup_dir().display().to_string());
    let ended = io::copy(&mut io::stdin(), &mut io::sink());
    ended.map(drop).map_err(|source| FleetError::Io { doing: "read".to_owned(), source })
}

/// Everything in it is ours: paths, names and numbers of this fleet.
fn bashrc(authority: &Authority, hosts: &[Host], ana: &Client) -> String {
    let entry = |host: &Host| {
        format!("{}() {{ nsenter --all --target {} -- \"$@\"; }}\n", host.name(), host.init_pid())
    };
    let on_hosts: String = hosts.iter().map(entry).collect();
    format!(
        "PS1='ana@fleet:\\w$ '\n\
         export CURFEW_URL='{url}'\n\
         ca() {{ curfew-ca \"$@\" --config '{ca_config}'; }}\n\
         ssh() {{ command ssh -F '{ssh_config}' \"$@\"; }}\n\
         {on_hosts}",
        url = authority.url(),
        ca_config = authority.config_path().display(),
        ssh_config = ana.config_path().display(),
    )
}

fn welcome(authority: &Authority, hosts: &[Host]) -> String {
    let entry = |host: &Host| format!("  {:<12} {}, under Curfew\n", host.name(), host.address());
    let hosts: String = hosts.iter().map(entry).collect();
    format!(
        "\n  authority    {url} (hosts: {hosts_address})\n\
         {hosts}\n\
         You are ana@example.com: logged in, an operator, and in the role deploy on both hosts.\n\
         \n\
         \x20 curfew hosts           where you may go\n\
         \x20 curfew ssh deploy@db1  a session; --for 1m for a short one\n\
         \x20 curfew sessions        who is where; show ID tells one session\n\
         \x20 curfew lock …          ends somebody's sessions, yours too\n\
         \x20 ca identity list       the operator's commands of the authority\n\
         \x20 db1 COMMAND            runs a command on db1 as root; db1 bash -l is a shell there\n\
         \x20 exit                   takes everything down\n",
        url = authority.url(),
        hosts_address = authority.hosts_address(),
    )
}

#[expect(clippy::print_stdout, reason = "a command for people")]
fn say(text: &str) {
    println!("{text}");
}
