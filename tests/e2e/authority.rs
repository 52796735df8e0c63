//! Our programs as a fleet carries them, and its authority: reached by its hosts, and back after
//! whatever happens to it.

use std::net::SocketAddr;

use tests::{Fleet, FleetError, Host};

#[test]
fn a_host_carries_our_programs_users_and_units() -> Result<(), FleetError> {
    let fleet = Fleet::boot()?;
    let db1 = fleet.host("db1")?;
    db1.run(["curfew-agent", "--version"])?.done()?;
    db1.run(["getent", "passwd", "curfew-link"])?.done()?;
    db1.run(["systemctl", "cat", "curfew-agent.service"])?.done()?;
    db1.run(["systemd-analyze", "verify", "curfew-agent.service", "curfew-link.service"])?
        .done()?;
    assert!(db1.has("/usr/lib/x86_64-linux-gnu/security/pam_curfew.so"));
    assert!(db1.has("/usr/lib/curfew/curfew-principals"));
    fleet.client("ana")?.run("curfew", ["--version"])?.done()
}

#[test]
fn a_host_reaches_its_authority_until_it_stops() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let mut authority = fleet.authority()?;
    let db1 = fleet.host("db1")?;
    assert!(takes_connections(&db1, authority.hosts_address())?);
    authority.stop()?;
    assert!(!takes_connections(&db1, authority.hosts_address())?);
    authority.serve()?;
    assert!(takes_connections(&db1, authority.hosts_address())?);
    Ok(())
}

#[test]
fn what_an_operator_added_survives_a_kill() -> Result<(), FleetError> {
    let fleet = Fleet::bare()?;
    let mut authority = fleet.authority()?;
    let ana = fleet.client("ana")?;
    let key_path = ana.key_path().with_extension("pub");
    let key = key_path.to_string_lossy();
    authority.run(["identity", "add", "ana@example.com", "--key", &key])?.done()?;
    authority.kill()?;
    authority.serve()?;
    let listing = authority.run(["identity", "list"])?.ok()?;
    assert!(listing.text().contains("ana@example.com"), "{listing:?}");
    Ok(())
}

/// Whether something at `address` takes a connection from `host`.
fn takes_connections(host: &Host, address: SocketAddr) -> Result<bool, FleetError> {
    let probe = format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port());
    Ok(host.run(["timeout", "1", "bash", "-c", &probe])?.succeeded())
}
