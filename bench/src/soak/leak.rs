//! What our programs take, and what lies about on the hosts: counted twice, it may not have grown.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::report::Row;

use super::scene::{HOSTS, Scene};

/// What was counted: by host or authority, and by what.
#[derive(Debug)]
pub(super) struct Census(BTreeMap<(String, String), u64>);

/// How much more of a thing there may be.
struct Allowed {
    more: u64,
    percent: u64,
}

impl Census {
    /// Counts now.
    pub(super) fn of(scene: &Scene) -> Result<Self> {
        let mut counted = BTreeMap::new();
        for host in &scene.hosts {
            let said = host.sh(COUNT)?.ok()?;
            take(&mut counted, host.name(), said.text())?;
        }
        let pid = scene.site.authority.pid().context("the authority does not run")?;
        let said = std::process::Command::new("bash")
            .args(["-euc", COUNT_ONE, "count", &pid.to_string(), "curfew-ca"])
            .output()?;
        take(&mut counted, "authority", &String::from_utf8(said.stdout)?)?;
        Ok(Self(counted))
    }

    /// A row a thing, with the largest growth of all hosts.
    pub(super) fn rows(&self, before: &Self) -> Vec<Row> {
        let mut worst: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for ((place, what), after) in &self.0 {
            let before = before.at(place, what);
            let known = worst.entry(what).or_insert((before, *after));
            if after.saturating_sub(before) > known.1.saturating_sub(known.0) {
                *known = (before, *after);
            }
        }
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let row = |(what, (before, after)): (&str, (u64, u64))| {
            Row::new("grown", what)
                .counted("before", whole(before))
                .counted("at_the_end", whole(after))
        };
        worst.into_iter().map(row).collect()
    }

    /// What grew more than it may.
    pub(super) fn grown(&self, before: &Self) -> Vec<String> {
        let told = |((place, what), after): (&(String, String), &u64)| {
            let before = before.at(place, what);
            let Allowed { more, percent } = allowed(what);
            let most =
                before.saturating_add(more).saturating_add(before.saturating_mul(percent) / 100);
            (*after > most).then(|| format!("{what} of {place} grew from {before} to {after}"))
        };
        self.0.iter().filter_map(told).collect()
    }

    fn at(&self, place: &str, what: &str) -> u64 {
        self.0.get(&(place.to_owned(), what.to_owned())).copied().unwrap_or_default()
    }
}

/// Memory settles slowly; threads and connections come and go; the last login's manager of units stays a while. Of what lies about
/// nothing may stay. What leaked at each of hundreds of logins would be more than any of this.
fn allowed(what: &str) -> Allowed {
    match what.rsplit(' ').next() {
        Some("kB") => Allowed { more: 4096, percent: 25 },
        Some("descriptors" | "threads" | "processes" | "cgroups") => {
            Allowed { more: 8, percent: 0 }
        }
        _ => Allowed { more: 0, percent: 0 },
    }
}

fn take(counted: &mut BTreeMap<(String, String), u64>, place: &str, said: &str) -> Result<()> {
    for line in said.lines() {
        let (what, number) = line.split_once('=').with_context(|| format!("odd line {line:?}"))?;
        let number = number.trim().parse().with_context(|| format!("odd line {line:?}"))?;
        counted.insert((place.to_owned(), what.to_owned()), number);
    }
    anyhow::ensure!(
        place == "authority" || counted.len() >= HOSTS.len(),
        "{place} counted nothing: {said}"
    );
    Ok(())
}

/// Of the process `$1`, called `$2`.
const COUNT_ONE: &str = r#"
of=/proc/$1
echo "$2 kB=$(awk '/^Pss_Anon:/ { print $2 }' $of/smaps_rollup)"
echo "$2 descriptors=$(ls $of/fd | wc -l)"
echo "$2 threads=$(ls $of/task | wc -l)"
"#;
/// Of a host.
const COUNT: &str = r#"
for unit in curfew-agent curfew-link curfew-files curfew-recorder; do
  of=/proc/$(systemctl show --property=MainPID --value $unit)
  echo "$unit kB=$(awk '/^Pss_Anon:/ { print $2 }' $of/smaps_rollup)"
  echo "$unit descriptors=$(ls $of/fd | wc -l)"
  echo "$unit threads=$(ls $of/task | wc -l)"
done
echo "all processes=$(ls -d /proc/[0-9]* | wc -l)"
echo "all cgroups=$(find /sys/fs/cgroup -type d | wc -l)"
echo "terminals=$(ls /dev/pts | grep -c '[0-9]' || :)"
echo "kept sessions=$(find /run/curfew/sessions -type f | wc -l)"
echo "kept logins=$(find /run/curfew/logins -type f | wc -l)"
echo "kept trees=$(find /run/curfew/trees -type f | wc -l)"
echo "kept recordings=$(find /var/lib/curfew/spool -name '*.tape' | wc -l)"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn census(lines: &str) -> Census {
        let mut counted = BTreeMap::new();
        take(&mut counted, "db1", lines).expect("they are lines of a census");
        Census(counted)
    }

    #[test]
    fn what_stays_is_told_and_what_only_settles_is_not() {
        let before = census("agent kB=4000\nagent descriptors=20\nkept sessions=0");
        let after = census("agent kB=5000\nagent descriptors=22\nkept sessions=0");
        assert!(after.grown(&before).is_empty());
        let after = census("agent kB=40000\nagent descriptors=40\nkept sessions=1");
        let grown = after.grown(&before);
        assert_eq!(grown.len(), 3, "{grown:?}");
        assert!(grown.contains(&"kept sessions of db1 grew from 0 to 1".to_owned()), "{grown:?}");
        assert_eq!(after.rows(&before).len(), 3);
    }
}
