//! The way to the database's server: TLS to the one that is meant, or no way at all.

use crate::authority::{run, settings};
use crate::postgres::{Database, Identity, Server};

/// Somebody who signs servers' certificates.
struct Root {
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
}

impl Root {
    fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut about = rcgen::CertificateParams::new(Vec::new()).unwrap();
        about.distinguished_name.push(rcgen::DnType::CommonName, name);
        about.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = about.self_signed(&key).unwrap();
        Self { certificate, key }
    }

    fn sign(&self, name: &str) -> Identity {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let about = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_der(self.certificate.der(), &self.key).unwrap();
        let certificate = about.signed_by(&key, &issuer).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// Sets an authority up on a database; how it ended, and what it complained.
fn init(url: &str, root: Option<&Root>) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let root = root.map_or_else(String::new, |root| {
        let path = dir.path().join("root.pem");
        std::fs::write(&path, root.certificate.pem()).unwrap();
        format!(", root_certificate = {:?}", path.display().to_string())
    });
    let config = format!("{}ledger = {{ url = {url:?}{root} }}\n", settings(dir.path()));
    std::fs::write(dir.path().join("ca.toml"), config).unwrap();
    let made = run(dir.path(), &["init", "--unencrypted"]);
    let has_state = dir.path().join("state/user_ca").exists();
    assert_eq!(made.status.success(), has_state, "half an authority was left: {made:?}");
    (made.status.success(), String::from_utf8(made.stderr).unwrap())
}

#[test]
fn a_ledger_crosses_the_network_only_to_the_server_that_is_meant() {
    let (root, other) = (Root::new("ours"), Root::new("somebody's"));
    let meant = Database::on(Server::over_tcp(Some(&root.sign("localhost"))));
    let url = meant.url_over_tcp("localhost");
    // Signed by somebody else, or under another name.
    for (url, root, complaint) in [
        (&url, Some(&other), "UnknownIssuer"),
        (&meant.url_over_tcp("127.0.0.1"), Some(&root), "certificate not valid for name"),
    ] {
        let (is_made, said) = init(url, root);
        assert!(!is_made && said.contains(complaint), "{said}");
    }
    assert_eq!(meant.ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'ledger'"), "0");
    // Nobody who only listens has an answer to a wish for TLS.
    let plain = Database::on(Server::over_tcp(None));
    let (is_made, said) = init(&plain.url_over_tcp("localhost"), Some(&root));
    assert!(!is_made && said.contains("server does not support TLS"), "{said}");
    let (is_made, said) = init(&url, Some(&root));
    assert!(is_made, "{said}");
}

#[tokio::test]
async fn every_connection_of_an_authority_is_over_tls() {
    let root = Root::new("ours");
    let database = Database::on(Server::over_tcp(Some(&root.sign("localhost"))));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.pem");
    std::fs::write(&path, root.certificate.pem()).unwrap();
    let table = format!(
        "ledger = {{ url = {:?}, root_certificate = {:?} }}\n",
        database.url_over_tcp("localhost"),
        path.display().to_string()
    );
    let authority = crate::authority::Authority::start_with(&table, Some(database.clone()));
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    crate::certificate::issue(&authority, &token, &crate::certificate::ask("db1")).await.unwrap();
    let ways = database.ask(
        "SELECT ssl, count(*) > 1 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'curfew-ca' GROUP BY ssl",
    );
    assert_eq!(ways, "t|t");
    assert!(authority.run(&["ledger", "verify"]).contains("hold"));
}
