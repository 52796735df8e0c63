//! Terminals of sessions: what stands between them and the client is not noticed, and cannot be got around.

use tests::{FleetError, Site};

#[test]
fn a_terminal_is_relayed_and_what_is_typed_is_counted() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    shell.enter("tty; ps -o user= -C curfew-recorder")?;
    shell.wait_for("/dev/pts/")?;
    let seen = shell.wait_for("curfew-r")?;
    println!("{seen}");
    let session = site.session(&ana, &db1)?;
    shell.enter("exit 7")?;
    assert_eq!(shell.wait()?.code(), Some(7));
    println!("{}", db1.journal("curfew-agent")?);
    println!("{}", db1.journal("curfew-recorder")?);
    site.ended(&session)?;
    for record in ana.records(&session)? {
        println!("{record}");
    }
    Ok(())
}
