//! A host that may not join is told why, stays as it was, and spends no token.

use tests::{FleetError, Host, Output, Site, Token, eventually};

#[test]
fn a_host_joins_once_with_one_token() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.fleet.host("db1")?;
    let said = site.enrol(&db1, &site.token(&db1)?)?.ok()?;
    assert!(said.text().contains("This host is db1, env=prod."), "{said:?}");

    let before = state(&db1)?;
    let again = site.enrol(&db1, &site.token(&db1)?)?;
    refused(&again, &["enrolled already as db1", "`curfew-agent uninstall --purge`"]);
    assert_eq!(state(&db1)?, before);
    Ok(())
}

#[test]
fn a_used_token_opens_nothing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db2] = site.fleet.hosts(["db1", "db2"])?;
    let token = site.token(&db1)?;
    site.enrol(&db1, &token)?.done()?;
    let before = state(&db2)?;
    let second = site.enrol(&db2, &token)?;
    refused(&second, &["used already, by db1", "`curfew-ca host token db1`"]);
    assert_eq!(state(&db2)?, before);
    assert_eq!(site.listing(["host", "list"])?.len(), 1);
    Ok(())
}

#[test]
fn an_expired_token_opens_nothing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.fleet.host("db1")?;
    let token = ["host", "token", "db1", "--valid", "1s", "--json"];
    let made = site.authority.run(token)?.ok()?;
    let made: serde_json::Value = serde_json::from_str(made.text()).expect("a token as JSON");
    let expires = made["expires"].as_u64().expect("a moment in milliseconds");
    let secret = made["token"].as_str().expect("a secret").to_owned();
    eventually("the token has expired", || {
        let now = db1.run(["date", "+%s%3N"]).map(|said| said.text().parse::<u64>());
        now.is_ok_and(|now| now.is_ok_and(|now| now > expires))
    })?;
    let before = state(&db1)?;
    let late = site.enrol(&db1, &Token { secret, fingerprint: site.fingerprint()? })?;
    refused(&late, &["this token has expired", "`curfew-ca host token db1`"]);
    assert_eq!(state(&db1)?, before);
    Ok(())
}

#[test]
fn an_unknown_token_and_one_of_another_authority_open_nothing() -> Result<(), FleetError> {
    let (site, other) = (Site::open()?, Site::open()?);
    let db1 = site.fleet.host("db1")?;
    let before = state(&db1)?;
    let fingerprint = site.fingerprint()?;
    let foreign = Token { fingerprint: fingerprint.clone(), ..other.token(&db1)? };
    let cut = Token { secret: site.token(&db1)?.secret.split_off(1), fingerprint };
    for token in [foreign, cut] {
        let said = site.enrol(&db1, &token)?;
        refused(&said, &["has made no such token", "`curfew-ca host token NAME`"]);
    }
    assert_eq!(state(&db1)?, before);
    Ok(())
}

#[test]
fn an_authority_with_another_fingerprint_is_told_nothing() -> Result<(), FleetError> {
    let (site, other) = (Site::open()?, Site::open()?);
    let db1 = site.fleet.host("db1")?;
    let before = state(&db1)?;
    let token = site.token(&db1)?;
    let wrong = Token { fingerprint: other.fingerprint()?, ..token.clone() };
    let said = site.enrol(&db1, &wrong)?;
    let expected = wrong.fingerprint.as_str();
    refused(&said, &["is not the one you named", expected, "offered root", "Nothing was sent."]);
    assert_eq!(state(&db1)?, before);
    assert!(!site.authority.log().contains("enrolment"), "{}", site.authority.log());

    // Nothing was sent, so the token is good still.
    site.enrol(&db1, &token)?.done()
}

#[test]
fn an_authority_that_does_not_answer_leaves_the_host_as_it_was() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.fleet.host("db1")?;
    let (token, before) = (site.token(&db1)?, state(&db1)?);
    site.authority.stop()?;
    let said = site.enrol(&db1, &token)?;
    let address = site.authority.hosts_address().to_string();
    refused(&said, &["does not answer", &address, "Connection refused"]);
    assert_eq!(state(&db1)?, before);
    site.authority.serve()?;
    site.enrol(&db1, &token)?.done()
}

#[test]
fn a_mistyped_address_does_not_stick() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.fleet.host("db1")?;
    let token = site.token(&db1)?;
    let mistyped = format!("{}:1", site.fleet.authority_address());
    let args = ["--authority", &mistyped, "--fingerprint", &token.fingerprint];
    let said = db1.run_with_input(
        ["curfew-agent", "enroll"].into_iter().chain(args),
        token.secret.as_bytes(),
    )?;
    refused(&said, &["does not answer", &mistyped]);
    site.enrol(&db1, &token)?.done()
}

#[test]
fn only_root_joins() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.fleet.host("db1")?;
    db1.add_user("deploy")?;
    let (token, before) = (site.token(&db1)?, state(&db1)?);
    let address = site.authority.hosts_address().to_string();
    let args = ["--authority", &address, "--fingerprint", &token.fingerprint];
    let enroll = ["runuser", "-u", "deploy", "--", "curfew-agent", "enroll"];
    let said = db1.run_with_input(enroll.into_iter().chain(args), token.secret.as_bytes())?;
    refused(&said, &["must be run by root"]);
    assert_eq!(state(&db1)?, before);
    site.enrol(&db1, &token)?.done()
}

#[test]
fn what_is_no_fingerprint_or_no_token_is_said_so() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.fleet.host("db1")?;
    let (token, before) = (site.token(&db1)?, state(&db1)?);
    let junk = Token { fingerprint: "deadbeef".to_owned(), ..token.clone() };
    let said = site.enrol(&db1, &junk)?;
    assert_eq!(said.status.code(), Some(64), "{said:?}");
    assert!(said.stderr.contains("--fingerprint") && said.stderr.contains("SHA256:"), "{said:?}");
    let nothing = Token { secret: String::new(), ..token };
    refused(&site.enrol(&db1, &nothing)?, &["there is no token", "`curfew-ca host token`"]);
    assert_eq!(state(&db1)?, before);
    Ok(())
}

/// It failed with 1, and standard error says all of this.
fn refused(said: &Output, words: &[&str]) {
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "no {word:?} in {said:?}");
    }
}

/// Every file that enrolment could touch, with its mode, owner and content.
fn state(host: &Host) -> Result<String, FleetError> {
    let look = "find /etc/curfew /etc/ssh /etc/pam.d /var/lib/curfew /var/lib/curfew-link \
                -printf '%p %M %u\\n' 2>/dev/null | sort; \
                find /etc/curfew /etc/ssh /etc/pam.d /var/lib/curfew /var/lib/curfew-link \
                -type f -exec sha256sum {} + 2>/dev/null | sort";
    Ok(host.run(["sh", "-c", look])?.stdout)
}
