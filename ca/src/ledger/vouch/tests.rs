use super::super::tests::{NOW, ledger};
use super::super::{Joining, NewToken};
use super::*;

const LIFE: Duration = Duration::from_secs(600);

fn host() -> HostName {
    "db1".parse().unwrap()
}

fn host_authority() -> Fingerprint {
    let key = crate::key::given::keyring().oldest(Purpose::Host).unwrap();
    wire::certificate::fingerprint(key.public().key_data())
}

fn print(of: &str) -> Fingerprint {
    Fingerprint::of(of.as_bytes())
}

fn vouch(keys: &[&str]) -> Vouch {
    let keys = keys.iter().map(|key| print(key)).collect();
    Vouch { keys, lifetime: LIFE }
}

fn addresses(names: &[&str]) -> Vec<Address> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// Lets a host join that has one key; gives its enrolment.
async fn join(ledger: &Ledger, name: &str, (address, key): (&str, &str)) -> u64 {
    let token = NewToken {
        host: name.parse().unwrap(),
        addresses: addresses(&[address]),
        labels: Vec::new(),
        until: NOW.after(LIFE),
    };
    let hash = crate::random::sha256(&[name.as_bytes()]);
    ledger.make_token(Actor::local(), (token, hash), NOW).await.unwrap();
    let joining = Joining { vouch: vouch(&[key]), agent_key: None };
    let enrolled = ledger.enrol(hash, joining, NOW).await.unwrap();
    assert_eq!(enrolled.vouched().keys(), [print(key)]);
    assert_eq!(enrolled.vouched().window(), Window { from: NOW, until: NOW.after(LIFE) });
    enrolled.enrolment()
}

async fn joined() -> (tempfile::TempDir, Ledger, u64) {
    let (dir, ledger) = ledger();
    let enrolment = join(&ledger, "db1", ("10.0.0.1", "old")).await;
    (dir, ledger, enrolment)
}

fn later() -> Timestamp {
    NOW.after(Duration::from_secs(400))
}

async fn renew(
    ledger: &Ledger,
    enrolment: u64,
    (keys, proof): (&[&str], Proof),
) -> Result<Vouched, LedgerError> {
    ledger.renew_host((host(), enrolment), (vouch(keys), proof), later()).await
}

#[tokio::test]
async fn a_renewal_has_the_names_and_the_life_of_its_own_moment() {
    let (_dir, ledger, enrolment) = joined().await;
    let to = (Some(addresses(&["db1.example.com", "db1"])), None);
    ledger.change_host((Actor::local(), host()), to, NOW).await.unwrap();
    let row = ledger.hosts().await.unwrap().remove(0);
    let before = row.certified.unwrap();
    assert!(before.differs(&row.name, &row.addresses, &host_authority()));
    let vouched = renew(&ledger, enrolment, (&["old"], Proof::None)).await.unwrap();
    assert_eq!(vouched.addresses(), addresses(&["db1.example.com", "db1"]));
    assert_eq!(vouched.window().until, later().after(LIFE));
    assert!(vouched.entry() > enrolment);
    let row = ledger.hosts().await.unwrap().remove(0);
    let after = row.certified.unwrap();
    assert_eq!(after.names, ["db1", "db1.example.com"]);
    assert!(!after.differs(&row.name, &row.addresses, &host_authority()));
    assert!(after.differs(&row.name, &row.addresses, &print("another authority")));
}

#[tokio::test]
async fn a_new_key_is_certified_to_the_agent_alone() {
    let (_dir, ledger, enrolment) = joined().await;
    let refused = renew(&ledger, enrolment, (&["old", "new"], Proof::None)).await;
    let Err(LedgerError::Vouch(refusal)) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal, VouchRefusal::NewKey(print("new")));
    let vouched = renew(&ledger, enrolment, (&["new"], Proof::Agent)).await.unwrap();
    assert_eq!(vouched.keys(), [print("new")]);
    // The key that the host does not have any more is a stranger's from now on.
    let now = later().after(Duration::from_secs(60));
    let old = ledger.renew_host((host(), enrolment), (vouch(&["old"]), Proof::None), now).await;
    assert!(matches!(old, Err(LedgerError::Vouch(VouchRefusal::NewKey(_)))));
}

#[tokio::test]
async fn who_is_removed_or_enrolled_anew_is_not_certified() {
    let (_dir, ledger, enrolment) = joined().await;
    let another = renew(&ledger, enrolment + 1, (&["old"], Proof::Agent)).await;
    assert!(matches!(another, Err(LedgerError::NotFound(_))));
    let link = (print("tls"), Window { from: NOW, until: later() });
    ledger.renew_link((host(), enrolment), link.clone(), later()).await.unwrap();
    ledger.remove_host(Actor::local(), host(), NOW).await.unwrap();
    let removed = renew(&ledger, enrolment, (&["old"], Proof::Agent)).await;
    assert!(matches!(removed, Err(LedgerError::NotFound(_))));
    let removed = ledger.renew_link((host(), enrolment), link, later()).await;
    assert!(matches!(removed, Err(LedgerError::NotFound(_))));
}

#[tokio::test]
async fn who_asks_without_a_pause_or_a_key_is_refused() {
    let (_dir, ledger, enrolment) = joined().await;
    let none = renew(&ledger, enrolment, (&[], Proof::Agent)).await;
    assert!(matches!(none, Err(LedgerError::Vouch(VouchRefusal::NoKey))));
    drop(renew(&ledger, enrolment, (&["old"], Proof::Agent)).await.unwrap());
    let again = renew(&ledger, enrolment, (&["old"], Proof::Agent)).await;
    assert!(matches!(again, Err(LedgerError::Vouch(VouchRefusal::Soon(_)))));
}

#[tokio::test]
async fn a_host_cannot_be_given_what_another_is_called() {
    let (_dir, ledger, _) = joined().await;
    join(&ledger, "db2", ("10.0.0.2", "other")).await;
    for taken in ["10.0.0.2", "db2"] {
        let to = (Some(addresses(&[taken])), None);
        let refused = ledger.change_host((Actor::local(), host()), to, NOW).await;
        assert!(matches!(refused, Err(LedgerError::Conflict(_))), "{taken}");
    }
    let gone = (Actor::local(), "db9".parse().unwrap());
    let gone = ledger.change_host(gone, (None, None), NOW).await;
    assert!(matches!(gone, Err(LedgerError::NotFound(_))));
}

#[tokio::test]
async fn a_host_from_before_keeps_the_keys_that_it_enrolled_with() {
    let (dir, ledger, enrolment) = joined().await;
    drop(ledger);
    let path = dir.path().join("ledger.db");
    let connection = Connection::open(&path).unwrap();
    // As the version before left it: the columns are not there, the entry is.
    connection
        .execute_batch(
            "DROP TABLE spoiled; ALTER TABLE hosts DROP COLUMN spool_head; DROP TABLE habits; DROP INDEX incidents_by_host; DROP INDEX sessions_unjudged; DROP INDEX sessions_to_review; ALTER TABLE sessions DROP COLUMN oddness; ALTER TABLE sessions DROP COLUMN odd; ALTER TABLE sessions DROP COLUMN odd_entry; DROP TABLE notices; DROP TABLE key_requests; DROP TABLE breakglass_alarms; ALTER TABLE hosts DROP COLUMN group_keys; DROP TABLE kills; DROP TABLE acknowledgements; DROP TABLE breakglass_groups; DROP TABLE breakglass_receipts; DROP TABLE breakglass_reviews; DROP TABLE holds; DROP TABLE deletions; DROP TABLE deletion_sessions; DROP INDEX sessions_due; ALTER TABLE sessions DROP COLUMN review; DROP TABLE requests; DROP TABLE request_hosts; DROP TABLE approvals; DROP INDEX grants_by_request; \
             ALTER TABLE grants DROP COLUMN request; DROP TABLE streams; DROP TABLE search_blocks; DROP TABLE search_ranges; \
             DROP TABLE attempts; DELETE FROM counters WHERE name = 'attempts_forgotten'; DROP TABLE nodes; \
             DROP TABLE shared; DROP TABLE answered; DROP TABLE directory_users; DROP TABLE directory_groups; DROP TABLE directory_tokens; DROP TABLE subjects; DROP INDEX certificates_by_login_key; ALTER TABLE certificates DROP COLUMN login_key; DROP TABLE members; ALTER TABLE identities DROP COLUMN kind; ALTER TABLE hosts DROP COLUMN node; \
             DROP TABLE restores; DROP TABLE kept_locks; DROP TABLE authority_keys; DROP TABLE authority_told; DROP INDEX certificates_by_authority; \
             ALTER TABLE certificates DROP COLUMN authority; ALTER TABLE hosts DROP COLUMN keys; \
             ALTER TABLE hosts DROP COLUMN certified; ALTER TABLE hosts DROP COLUMN agent_key; \
             ALTER TABLE hosts DROP COLUMN krl; DROP TABLE krl; DROP TABLE incidents; DROP INDEX certificates_by_end; \
             PRAGMA user_version = 2;",
        )
        .unwrap();
    drop(connection);
    let ledger = super::super::tests::open(&path).unwrap();
    let row = ledger.hosts().await.unwrap().remove(0);
    assert_eq!(row.certified.as_ref().unwrap().keys, [print("old")]);
    assert!(row.certified.unwrap().differs(&row.name, &row.addresses, &host_authority()));
    assert!(renew(&ledger, enrolment, (&["new"], Proof::None)).await.is_err());
    drop(renew(&ledger, enrolment, (&["old"], Proof::None)).await.unwrap());
}
