//! Clocks that differ: an authority whose time is not that of its hosts and people.

use tests::{FleetError, Site, eventually};

#[test]
fn a_clock_that_is_minutes_off_is_named_and_opens_nothing_too_early_or_too_late()
-> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    // The authority's clock, what curfew's exit code is, and what it says.
    let cases = [
        (-300, 0, "certificate 1, grant g1"),
        (300, 255, "db1 refused certificate 2: it is not valid yet"),
        (-1_200, 1, "this machine's clock is ahead of the authority's"),
        (0, 0, "certificate 4, grant g1"),
    ];
    for (secs, code, words) in cases {
        site.authority.set_clock_off(secs)?;
        site.wait_until_connected("db1")?;
        let said = ana.curfew(["ssh", "deploy@db1", "--", "true"])?;
        assert_eq!(said.status.code(), Some(code), "{secs} s: {said:?}");
        assert!(said.stderr.contains(words), "{secs} s: {said:?}");
        let plain = ana.ssh("deploy", &db1).run(["true"])?;
        assert_eq!(plain.succeeded(), code == 0, "{secs} s: {plain:?}");
        eventually("the clock is named while it is off", || {
            let status = site.authority.run(["status"]).map(|said| said.stdout);
            let named = |status: &String| status.contains("the clock of host db1 is");
            status.as_ref().is_ok_and(|status| named(status) == (secs != 0))
        })?;
    }
    Ok(())
}
