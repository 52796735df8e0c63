//! The units as they are shipped and installed, with the real programs in them: how much of the host they reach.

use tests::{FleetError, Host, Site};

#[test]
fn the_units_are_in_order_and_reach_little() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    // With somebody in, so that all that the agent needs is in use.
    let _shell = ana.shell("deploy", &db1)?;
    for (unit, most) in EXPOSED {
        assert!(db1.is_active(unit)?, "{unit}");
        let least = format!("--threshold={most}");
        let said = db1.run(["systemd-analyze", "security", "--no-pager", &least, unit])?;
        assert!(said.succeeded(), "{unit} is exposed beyond {most} tenths: {}", said.stdout);
        let said = db1.run(["systemd-analyze", "verify", "--man=no", unit])?.ok()?;
        let ours: Vec<&str> = said.stderr.lines().filter(|line| line.contains("curfew")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
    // What a line that takes a group of calls away must not take along: systemd counts both to one it calls @debug.
    for call in ["pidfd_getfd", "perf_event_open", "bpf"] {
        assert!(calls(&db1)?.iter().any(|allowed| allowed == call), "{call} is not allowed");
    }
    Ok(())
}

fn calls(host: &Host) -> Result<Vec<String>, FleetError> {
    let said = host
        .run(["systemctl", "show", "-p", "SystemCallFilter", "--value", "curfew-agent"])?
        .ok()?;
    Ok(said.text().split_whitespace().map(str::to_owned).collect())
}

/// Each unit, and the most that `systemd-analyze security` may say of it, in tenths.
const EXPOSED: [(&str, &str); 4] = [
    ("curfew-agent.service", "25"),
    ("curfew-link.service", "15"),
    ("curfew-recorder.service", "15"),
    ("curfew-files.service", "25"),
];
