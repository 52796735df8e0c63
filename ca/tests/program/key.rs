//! The authority's keys as an operator meets them: in files, ssh-agents and tokens, and what is said when they fail.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::authority::{run, settings};

const PASSPHRASE: &str = "correct horse battery";
const PIN: &str = "87654321";

/// A folder with a `ca.toml` that says this of the keys.
fn place(keys: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca.toml"), settings(dir.path()) + keys).unwrap();
    fs::write(dir.path().join("roles.toml"), "").unwrap();
    dir
}

fn secret(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// What an authority that must not start says. It ends by itself.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("listening"), "{said}");
    said
}

fn program(dir: &Path, word: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curfew-ca"));
    command.arg("--config").arg(dir.join("ca.toml")).arg(word).env_remove("NOTIFY_SOCKET");
    command.env_remove("CREDENTIALS_DIRECTORY").stdin(Stdio::null());
    command
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn init_leaves_keys_plain_only_when_it_is_told_to() {
    let dir = place("");
    let said = refused(&mut program(dir.path(), "init"));
    contains(&said, &["--passphrase-file", "--unencrypted", "no terminal"]);
    assert!(!dir.path().join("state/user_ca").exists());
    let said = run(dir.path(), &["init", "--unencrypted"]);
    contains(
        &String::from_utf8(said.stdout).unwrap(),
        &["NOT encrypted", "Key user_ca: ssh-ed25519"],
    );
}

#[test]
fn a_passphrase_comes_from_a_credential_a_file_or_standard_input_and_must_be_right() {
    let dir = place("");
    let (path, credentials) = (dir.path(), tempfile::tempdir().unwrap());
    let mut init = program(path, "init");
    init.args(["--passphrase-file", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut init = init.spawn().unwrap();
    writeln!(init.stdin.take().unwrap(), "{PASSPHRASE}").unwrap();
    assert!(init.wait().unwrap().success());
    let stored = fs::read_to_string(path.join("state/order")).unwrap();
    assert!(stored.contains("AAAACmFlczI1Ni1jdHI"), "aes256-ctr");

    let said = refused(&mut program(path, "serve"));
    contains(
        &said,
        &["the key user_ca (file)", "no terminal", "curfew-ca.passphrase", "passphrase_file"],
    );
    let wrong = secret(credentials.path(), "curfew-ca.passphrase", "wrong horse\n");
    let mut serve = program(path, "serve");
    serve.env("CREDENTIALS_DIRECTORY", credentials.path());
    let said = refused(&mut serve);
    contains(&said, &["the key user_ca (file): the passphrase does not open", "state/user_ca"]);
    fs::write(&wrong, PASSPHRASE).unwrap();
    let mut serving = serving(serve.stderr(Stdio::piped()));
    stop(&mut serving);

    let named = secret(path, "named", PASSPHRASE);
    for it in ["user", "host", "order", "log"] {
        let mut config = fs::read_to_string(path.join("ca.toml")).unwrap();
        config.push_str(&format!("[keys.{it}]\npassphrase_file = {named:?}\n"));
        fs::write(path.join("ca.toml"), config).unwrap();
    }
    stop(&mut self::serving(program(path, "serve").stderr(Stdio::piped())));
    fs::set_permissions(&named, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(&mut program(path, "serve"));
    contains(&said, &["can be read by others (mode 644)", "chmod 600"]);
}

#[test]
fn a_person_at_a_terminal_is_asked_and_nothing_is_shown() {
    let dir = place("");
    let typed = |command: &str, keys: &str| {
        let program = env!("CARGO_BIN_EXE_curfew-ca");
        let line = format!("{program} --config {} {command}", dir.path().join("ca.toml").display());
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env_remove("CREDENTIALS_DIRECTORY");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = script.stdin.take().unwrap();
        let mut said = script.stdout.take().unwrap();
        let mut all = String::new();
        for key in keys.split_inclusive('\n') {
            // Typed once it is asked for: what comes before would be echoed.
            let mut byte = [0];
            while !all.ends_with(": ") && said.read(&mut byte).unwrap() == 1 {
                all.push(char::from(byte[0]));
            }
            input.write_all(key.as_bytes()).unwrap();
            all.push('|');
        }
        said.read_to_string(&mut all).unwrap();
        drop(input);
        (script.wait().unwrap().success(), all)
    };
    let (done, said) = typed("init", "first-of-these-two\nsecond-of-these-two\n");
    assert!(!done && said.contains("the two entries differ"), "{said}");
    assert!(!said.contains("these-two"), "{said}");
    let (done, said) = typed("init", "short\n");
    assert!(!done && said.contains("too short"), "{said}");
    let twice = format!("{PASSPHRASE}\n{PASSPHRASE}\n");
    let (done, said) = typed("init", &twice);
    assert!(done && said.contains("The authority is set up"), "{said}");
    assert!(!said.contains(PASSPHRASE) && !said.contains("NOT encrypted"), "{said}");
    let (done, said) = typed("serve", "\x03");
    assert!(!done && said.contains("nothing was entered"), "{said}");
    let (done, said) = typed("serve", "wrong horse\n");
    assert!(!done && said.contains("the passphrase does not open"), "{said}");
}

#[test]
fn a_key_of_ssh_keygen_can_be_taken_over_and_one_key_serves_one_purpose() {
    let dir = place("");
    let key = dir.path().join("old_ca");
    let bits = ["-q", "-t", "rsa", "-b", "3072", "-N", "", "-f"];
    let made = Command::new("ssh-keygen").args(bits).arg(&key).status();
    assert!(made.unwrap().success());
    let user = format!("user={}", key.display());
    let host = format!("host={}", key.display());
    let said = run(dir.path(), &["init", "--unencrypted", "--import", &user, "--import", &host]);
    assert_eq!(said.status.code(), Some(1));
    contains(&String::from_utf8(said.stderr).unwrap(), &["user_ca and host_ca are the same key"]);
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    let said = run(dir.path(), &["init", "--unencrypted", "--import", &user]);
    contains(&String::from_utf8(said.stdout).unwrap(), &["Key user_ca: ssh-rsa SHA256:"]);
    assert_eq!(run(dir.path(), &["init", "--import", "mail=/x"]).status.code(), Some(64));
    // A key that takes another's place later is refused too.
    fs::copy(dir.path().join("state/order"), dir.path().join("state/log")).unwrap();
    let said = refused(&mut program(dir.path(), "serve"));
    contains(&said, &["the key log (file): it offers the key SHA256:", "by rotation only"]);
}

/// A token in software in `dir`.
fn token(dir: &Path) -> PathBuf {
    let (conf, tokens) = (dir.join("softhsm2.conf"), dir.join("tokens"));
    fs::create_dir(&tokens).unwrap();
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    fs::write(&conf, text).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "curfew", "--so-pin", "12345678", "--pin", PIN])
        .env("SOFTHSM2_CONF", &conf)
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    conf
}

fn on_token(purpose: &str, token: &str, kind: &str, pin: &Path) -> String {
    format!(
        "[keys.{purpose}]\nbackend = \"pkcs11\"\nmodule = \"/usr/lib/softhsm/libsofthsm2.so\"\ntoken = {token:?}\nlabel = {purpose:?}\ntype = {kind:?}\npin_file = {pin:?}\n"
    )
}

#[test]
fn a_token_s_faults_are_told_apart() {
    let home = tempfile::tempdir().unwrap();
    let (conf, pin) = (token(home.path()), secret(home.path(), "pin", PIN));
    let keys = |token: &str| {
        on_token("user", token, "ecdsa-p256", &pin) + &on_token("order", token, "rsa-3072", &pin)
    };
    let dir = place(&keys("curfew"));
    let path = dir.path();
    let with = |word: &str| {
        let mut command = program(path, word);
        command.env("SOFTHSM2_CONF", &conf);
        command
    };
    let said: Output = with("init").arg("--unencrypted").output().unwrap();
    assert!(said.status.success(), "{said:?}");
    contains(&String::from_utf8(said.stdout).unwrap(), &["ecdsa-sha2-nistp256", "order: ssh-rsa"]);
    stop(&mut serving(with("serve").stderr(Stdio::piped())));

    fs::write(&pin, "00000000").unwrap();
    let said = refused(&mut with("serve"));
    contains(&said, &["the key user_ca (pkcs11)", "refuses the PIN", "not tried again"]);
    assert!(!said.contains("00000000"));
    fs::write(&pin, PIN).unwrap();
    let config = fs::read_to_string(path.join("ca.toml")).unwrap();
    let write = |text: &str| fs::write(path.join("ca.toml"), text).unwrap();
    write(&config.replace("token = \"curfew\"", "token = \"other\""));
    let said = refused(&mut with("serve"));
    contains(&said, &["has no token \"other\"; it has \"curfew\"", "plugged in"]);
    write(&config.replace("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/none.so"));
    contains(&refused(&mut with("serve")), &["the PKCS#11 module /usr/lib/none.so", "No such"]);
    write(&config);
    let gone = Command::new("pkcs11-tool")
        .args(["--module", "/usr/lib/softhsm/libsofthsm2.so", "--token-label", "curfew", "--login"])
        .args(["--pin", PIN, "--delete-object", "--type", "privkey", "--label", "user"])
        .env("SOFTHSM2_CONF", &conf)
        .output();
    assert!(gone.unwrap().status.success());
    let said = refused(&mut with("serve"));
    contains(&said, &["the token \"curfew\" holds no private key \"user\" that is SHA256:"]);
}

#[test]
fn no_secret_is_in_a_log_an_argument_or_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let (conf, pin) = (token(home.path()), secret(home.path(), "pin", PIN));
    let passphrase = secret(home.path(), "passphrase", PASSPHRASE);
    let mut keys = on_token("user", "curfew", "ed25519", &pin);
    for it in ["host", "order", "log"] {
        keys.push_str(&format!("[keys.{it}]\npassphrase_file = {passphrase:?}\n"));
    }
    let dir = place(&keys);
    let known = home.path().join("known");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&known)
        .status();
    assert!(made.unwrap().success());
    let said = program(dir.path(), "init")
        .env("SOFTHSM2_CONF", &conf)
        .args(["--import", &format!("host={}", known.display())])
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    let mut serve = program(dir.path(), "serve");
    serve.env("SOFTHSM2_CONF", &conf).env("CURFEW_LOG", "trace").stderr(Stdio::piped());
    let mut serving = serving(&mut serve);
    let proc = PathBuf::from(format!("/proc/{}", serving.child.id()));
    let mut seen = vec![said.stdout, said.stderr];
    seen.push(fs::read(proc.join("cmdline")).unwrap());
    seen.push(fs::read(proc.join("environ")).unwrap());
    let status = fs::read_to_string(proc.join("status")).unwrap();
    let limits = fs::read_to_string(proc.join("limits")).unwrap();
    stop(&mut serving);
    seen.push(std::mem::take(&mut serving.log).into_bytes());
    let private = fs::read_to_string(&known).unwrap();
    let lines: Vec<&str> = private.lines().filter(|line| !line.starts_with('-')).skip(1).collect();
    let mut state: Vec<Vec<u8>> = Vec::new();
    for entry in fs::read_dir(dir.path().join("state")).unwrap() {
        state.push(fs::read(entry.unwrap().path()).unwrap());
    }
    for secret in lines.into_iter().chain([PIN, PASSPHRASE]) {
        for bytes in seen.iter().chain(&state) {
            let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_there, "{secret} is in {}", String::from_utf8_lossy(bytes));
        }
    }
    // And the memory that holds them is held.
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let locked: u64 = locked.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(locked > 1024, "{status}");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
}

/// An authority that serves; killed when it is dropped.
struct Serving {
    child: Child,
    log: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts it and waits until it is ready.
fn serving(command: &mut Command) -> Serving {
    let mut child = command.spawn().unwrap();
    let mut said = child.stderr.take().unwrap();
    let (mut log, mut byte) = (String::new(), [0]);
    while !log.ends_with("the authority is ready") {
        assert_eq!(said.read(&mut byte).unwrap(), 1, "{log}");
        log.push(char::from(byte[0]));
    }
    // Nobody reads on: a full pipe would stop it.
    std::thread::spawn(move || drop(std::io::copy(&mut said, &mut std::io::sink())));
    Serving { child, log }
}

fn stop(serving: &mut Serving) {
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
}
