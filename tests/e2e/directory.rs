//! Who is deactivated in the directory is gone from every host.

use std::time::Duration;

use tests::{FleetError, Person, Site, Stopwatch, eventually};

#[test]
fn who_is_deactivated_by_the_directory_is_gone_from_the_host() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let directory = Directory::new(&site, &ops)?;
    let id = directory.call("POST /Users userName ana@example.com")?;
    let mut shell = ana.ssh("deploy", &db1).shell()?;
    shell.wait_for("deploy@db1")?;
    shell.enter("for n in 1 2 3; do setsid nohup sleep 4711 >/dev/null 2>&1 & done")?;
    eventually("her work is under way", || {
        db1.processes_like("sleep 4711").is_ok_and(|found| found.len() >= 3)
    })?;

    let stopwatch = Stopwatch::start();
    directory.call(&format!("PATCH /Users/{id} active false"))?;
    eventually("nothing of hers is left", || {
        db1.processes_like("sleep 4711").is_ok_and(|left| left.is_empty())
    })?;
    let took = stopwatch.elapsed();
    println!("from the directory's call to the last process gone: {} ms", took.as_millis());
    // The call itself, a program that makes it, and looking at the host are in it.
    assert!(took < Duration::from_secs(30), "{took:?}");
    shell.wait()?;
    assert!(shell.screen().contains("deactivated by the directory"), "{}", shell.screen());
    assert!(!ana.curfew(["ssh", "deploy@db1", "--", "true"])?.succeeded());

    directory.call(&format!("PATCH /Users/{id} active true"))?;
    ana.log_in(&site)?;
    ana.curfew(["ssh", "deploy@db1", "--", "true"])?.done()
}

/// A directory, which speaks from where a person sits.
struct Directory<'a> {
    place: &'a Person,
    url: String,
}

impl<'a> Directory<'a> {
    fn new(site: &Site, place: &'a Person) -> Result<Self, FleetError> {
        let made = site.authority.run(["scim", "token", "okta", "--json"])?.ok()?;
        let home = place.client.home_dir();
        std::fs::write(home.join("scim.json"), made.text())
            .map_err(|error| site.broken(&error.to_string()))?;
        std::fs::write(home.join("scim.py"), CALL)
            .map_err(|error| site.broken(&error.to_string()))?;
        Ok(Self { place, url: site.authority.url() })
    }

    /// Does a call that must work, and says the id of what it was about.
    fn call(&self, what: &str) -> Result<String, FleetError> {
        let home = self.place.client.home_dir();
        let script = home.join("scim.py").display().to_string();
        let home = home.display().to_string();
        let words = [script.as_str(), home.as_str(), self.url.as_str()];
        let said = self.place.client.run("python3", words.into_iter().chain(what.split(' ')))?;
        Ok(said.ok()?.text().to_owned())
    }
}

/// One call: `METHOD PATH NAME VALUE`.
const CALL: &str = r#"
import json, ssl, sys, urllib.request
home, url, method, path, name, value = sys.argv[1:]
token = json.load(open(f"{home}/scim.json"))["token"]
root = json.load(open(f"{home}/.config/curfew/authority.json"))["root"]
value = {"true": True, "false": False}.get(value, value)
schemas = "urn:ietf:params:scim:"
if method == "POST":
    body = {"schemas": [schemas + "schemas:core:2.0:User"], name: value}
else:
    operation = {"op": "replace", "path": name, "value": value}
    body = {"schemas": [schemas + "api:messages:2.0:PatchOp"], "Operations": [operation]}
request = urllib.request.Request(
    f"{url}/scim/v2{path}",
    method=method,
    data=json.dumps(body).encode(),
    headers={"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"},
)
context = ssl.create_default_context(cadata=root)
print(json.load(urllib.request.urlopen(request, context=context))["id"])
"#;
