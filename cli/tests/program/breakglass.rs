//! Ceremonies of break-glass as programs: over a folder and over text, with everything that people do wrong. No authority, no network.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// A table at which custodians sit, each with a folder of their own.
struct Table {
    root: tempfile::TempDir,
}

const PASSPHRASE: &str = "a passphrase for tests";

impl Table {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("stick")).unwrap();
        Self { root }
    }

    /// Runs it, and holds that it ends with this code and says this.
    fn fails(&self, name: &str, words: &[&str], code: i32, part: &str) {
        let output = self.run(name, words);
        assert_eq!(output.status.code(), Some(code), "{part}: {}", said(&output));
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }

    fn stick(&self) -> PathBuf {
        self.root.path().join("stick")
    }

    fn at(&self, name: &str) -> PathBuf {
        let folder = self.root.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let secret = folder.join("passphrase");
        if !secret.exists() {
            fs::write(&secret, format!("{PASSPHRASE}\n")).unwrap();
            fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        }
        folder
    }

    /// `curfew breakglass` in the folder of `name`.
    fn curfew(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
        command.arg("breakglass").args(words).current_dir(self.at(name));
        command.env("CURFEW_HOME", self.at(name)).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, name: &str, words: &[&str]) -> Output {
        self.curfew(name, words).output().unwrap()
    }

    /// All of `names` at once, over the stick.
    fn together(&self, names: &[&str], words: impl Fn(&str) -> Vec<String>) -> Vec<Output> {
        let children: Vec<Child> = names
            .iter()
            .map(|name| {
                let words = words(name);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                self.curfew(name, &words).spawn().unwrap()
            })
            .collect();
        children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
    }

    fn keygen(&self, names: &[&str], threshold: &str) {
        let outputs = self.together(names, |name| self.keygen_words(name, names, threshold, true));
        outputs.iter().for_each(done);
        self.sweep();
    }

    fn keygen_words(&self, name: &str, names: &[&str], threshold: &str, over: bool) -> Vec<String> {
        let mut words: Vec<String> = ["keygen", "--name", name, "--threshold", threshold]
            .iter()
            .map(|word| (*word).to_owned())
            .collect();
        for name in names {
            words.extend(["--custodian".to_owned(), (*name).to_owned()]);
        }
        words.extend(["--expires", "2090-01-01", "--share", "my.share"].map(str::to_owned));
        words.extend(["--passphrase-file", "passphrase"].map(str::to_owned));
        words.extend(self.way(over));
        if over {
            words.push("--trust-exchange".to_owned());
        }
        words
    }

    fn way(&self, over_files: bool) -> Vec<String> {
        if over_files {
            vec![
                "--exchange".into(),
                self.stick().display().to_string(),
                "--patience".into(),
                "2m".into(),
            ]
        } else {
            vec!["--text".into()]
        }
    }

    fn request(&self, group: &Path, names: &[&str], more: &[&str]) -> (PathBuf, String) {
        let out = self.stick().join("request.txt");
        let (group, shown) = (group.display().to_string(), out.display().to_string());
        let mut words = vec!["request", "--group", &group, "--host", "db1", "--incident", "INC-42"];
        words.extend(["--reason", "the authority is gone", "--out", &shown]);
        for name in names {
            words.extend(["--custodian", name]);
        }
        words.extend(more);
        let asked = self.run("asker", &words);
        done(&asked);
        let text = String::from_utf8_lossy(&asked.stdout).into_owned();
        let code = text.lines().find_map(|line| line.trim().strip_prefix("code")).unwrap();
        (out, code.trim().to_owned())
    }

    fn sign_words(&self, request: &Path, code: &str, over_files: bool) -> Vec<String> {
        let mut words: Vec<String> =
            ["sign", "--share", "my.share", "--passphrase-file", "passphrase"]
                .map(str::to_owned)
                .to_vec();
        words.extend(["--request".into(), request.display().to_string()]);
        words.extend(["--certificate".into(), "cert.pub".into()]);
        words.extend(["--receipt".into(), "receipt.txt".into()]);
        words.extend(["--agree".into(), code.to_owned()]);
        words.extend(self.way(over_files));
        words
    }

    /// A stick that was wiped between two ceremonies.
    fn sweep(&self) {
        for entry in fs::read_dir(self.stick()).unwrap().flatten() {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
}

fn said(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{:?}\n{out}\n{err}", output.status.code())
}

fn ssh_keygen(path: &Path) -> String {
    let shown = Command::new("ssh-keygen").arg("-L").arg("-f").arg(path).output().unwrap();
    assert!(shown.status.success());
    String::from_utf8(shown.stdout).unwrap()
}

#[test]
fn two_of_three_sign_over_files_and_ssh_keygen_reads_it() {
    let table = Table::new();
    table.keygen(&["ann", "bob", "cem"], "2");
    let share = table.at("ann").join("my.share");
    assert_eq!(fs::metadata(&share).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!table.at("ann").join("my.share.new").exists());
    let groups: Vec<String> = ["ann", "bob", "cem"]
        .map(|name| fs::read_to_string(table.at(name).join("breakglass-group.txt")).unwrap())
        .to_vec();
    assert!(groups.iter().all(|group| *group == groups[0]));
    let group = table.at("bob").join("breakglass-group.txt");
    let (request, code) = table.request(&group, &["ann", "cem"], &["--from", "10.0.0.0/8"]);
    let signed = table.together(&["ann", "cem"], |_| table.sign_words(&request, &code, true));
    signed.iter().for_each(done);
    let listing = ssh_keygen(&table.at("ann").join("cert.pub"));
    for part in [
        "breakglass@db1",
        "Key ID: \"breakglass/INC-42/ann.cem/",
        "source-address 10.0.0.0/8",
        "permit-pty",
    ] {
        assert!(listing.contains(part), "{part}: {listing}");
    }
    let same = |name: &str| fs::read_to_string(table.at(name).join("cert.pub")).unwrap();
    assert_eq!(same("ann"), same("cem"));
    let shown =
        table.run("asker", &["show", &table.at("cem").join("receipt.txt").display().to_string()]);
    done(&shown);
    assert!(
        said(&shown).contains("ann, cem") && said(&shown).contains("kept by cem"),
        "{}",
        said(&shown)
    );
}

/// A program of one custodian, over text.
struct Seat {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Seat {
    fn open(table: &Table, name: &str, words: &[String]) -> Self {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = table.curfew(name, &words);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next letter that it shows.
    fn letter(&mut self) -> String {
        let mut letter = String::new();
        loop {
            let mut line = String::new();
            assert!(self.out.read_line(&mut line).unwrap() > 0, "no letter came: {letter}");
            if line.starts_with("CURFEW-1") || !letter.is_empty() {
                letter.push_str(&line);
            }
            if line.starts_with("END") {
                return letter;
            }
        }
    }

    fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn done(self) {
        let Self { mut child, out } = self;
        drop(child.stdin.take());
        let rest: Vec<String> = out.lines().map(Result::unwrap).collect();
        assert!(child.wait().unwrap().success(), "{rest:?}");
    }
}

/// Everybody reads everybody's letter, badly at first.
fn round(seats: &mut [Seat]) {
    let letters: Vec<String> = seats.iter_mut().map(Seat::letter).collect();
    for (index, seat) in seats.iter_mut().enumerate() {
        for (other, letter) in letters.iter().enumerate().filter(|(other, _)| *other != index) {
            if other == 0 {
                let misheard = letter.replacen("01 ", "01 Z", 1);
                seat.say(&misheard);
                seat.say("END of nothing\n");
            }
            seat.say(&letter.to_lowercase());
        }
    }
}

#[test]
fn three_of_five_sign_over_text_that_is_misheard_at_first() {
    let table = Table::new();
    let names = ["ann", "bob", "cem", "dan", "eve"];
    let mut seats: Vec<Seat> = names
        .iter()
        .map(|name| Seat::open(&table, name, &table.keygen_words(name, &names, "3", false)))
        .collect();
    round(&mut seats);
    seats.iter_mut().for_each(|seat| seat.say("perhaps\nyes\n"));
    round(&mut seats);
    round(&mut seats);
    seats.into_iter().for_each(Seat::done);
    let group = table.at("eve").join("breakglass-group.txt");
    let signers = ["bob", "dan", "eve"];
    let (request, code) = table.request(&group, &signers, &[]);
    let mut seats: Vec<Seat> = signers
        .iter()
        .map(|name| Seat::open(&table, name, &table.sign_words(&request, &code, false)))
        .collect();
    round(&mut seats);
    round(&mut seats);
    seats.into_iter().for_each(Seat::done);
    assert!(ssh_keygen(&table.at("dan").join("cert.pub")).contains("bob.dan.eve"));
}

#[test]
fn what_is_asked_for_wrongly_is_said() {
    let table = Table::new();
    table.keygen(&["ann", "bob", "cem"], "2");
    let group = table.at("ann").join("breakglass-group.txt").display().to_string();
    let fails = |name: &str, words: &[&str], code, part: &str| table.fails(name, words, code, part);
    let ask =
        ["request", "--group", &group, "--host", "db1", "--incident", "INC-1", "--reason", "r"];
    let with = |more: &[&'static str]| [ask.as_slice(), more].concat();
    fails("x", &with(&["--custodian", "ann"]), 64, "2 to 5 different custodians");
    fails(
        "x",
        &with(&["--custodian", "ann", "--custodian", "zoe", "--out", "a"]),
        64,
        "zoe is no custodian",
    );
    let two = ["--custodian", "ann", "--custodian", "bob"];
    let more = |more: &[&'static str]| with(&[two.as_slice(), more].concat());
    fails("x", &more(&["--for", "2h", "--out", "b"]), 64, "a minute to an hour");
    fails("x", &more(&["--at", "2020-01-01", "--out", "c"]), 64, "ended");
    fails("x", &more(&["--at", "2089-01-01", "--out", "d"]), 64, "by this machine's clock");
    fails("x", &more(&["--login", "a b", "--out", "e"]), 64, "login holds");
}

#[test]
fn what_people_do_wrong_is_said_and_harms_nothing() {
    let table = Table::new();
    table.keygen(&["ann", "bob", "cem"], "2");
    let group = table.at("ann").join("breakglass-group.txt").display().to_string();
    let fails = |name: &str, words: &[&str], code, part: &str| table.fails(name, words, code, part);
    // Nobody is asked where nobody sits.
    let words = table.keygen_words("ann", &["ann", "bob"], "2", false);
    let words: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| *word != "--text").collect();
    let words: Vec<&str> =
        words.iter().map(|word| if *word == "my.share" { "other.share" } else { word }).collect();
    fails("ann", &words, 64, "this is no terminal");
    let stick = table.stick().display().to_string();
    let mut words = table.keygen_words("ann", &["ann", "bob"], "2", true);
    let shown: Vec<&str> = words.iter().map(String::as_str).collect();
    fails("ann", &shown, 64, "is there already");
    words.truncate(0);
    let (request, code) = table.request(Path::new(&group), &["ann", "bob"], &[]);
    let request = request.display().to_string();
    let sign = ["sign", "--share", "my.share", "--request", &request, "--exchange", &stick];
    let with = |more: &[&'static str]| [sign.as_slice(), more].concat();
    fails(
        "ann",
        &with(&["--passphrase-file", "passphrase"]),
        64,
        "nobody can be asked; give --agree",
    );
    fails(
        "ann",
        &with(&["--passphrase-file", "passphrase", "--agree", "0000"]),
        1,
        "says something else",
    );
    let agreed = [sign.as_slice(), &["--passphrase-file", "passphrase", "--agree", &code]].concat();
    fails("cem", &agreed, 1, "cem is not among those who are asked");
    fs::write(table.at("ann").join("passphrase"), "another passphrase\n").unwrap();
    fails("ann", &agreed, 1, "the passphrase is wrong");
    fs::set_permissions(table.at("ann").join("passphrase"), fs::Permissions::from_mode(0o644))
        .unwrap();
    fails("ann", &agreed, 78, "can be read by others");
    fails("x", &["show", &request.replace("request.txt", "nothing")], 1, "cannot read");
    let text = fs::read_to_string(&request).unwrap();
    fs::write(&request, text.replacen("02 ", "02 Z", 1)).unwrap();
    fails("x", &["show", &request], 65, "line 02 was not copied correctly");
    assert!(!table.stick().join("commitment-ann.txt").exists());
}

#[test]
fn a_changed_request_and_a_false_part_make_no_certificate_and_are_named() {
    let table = Table::new();
    table.keygen(&["ann", "bob", "cem"], "2");
    let group = table.at("ann").join("breakglass-group.txt");
    let (request, code) = table.request(&group, &["ann", "bob"], &[]);
    let kept = table.root.path().join("bobs-request.txt");
    fs::copy(&request, &kept).unwrap();
    fs::remove_file(table.stick().join("request.key")).unwrap();
    let (other, other_code) = table.request(&group, &["ann", "bob"], &["--host", "db2"]);
    assert_ne!(code, other_code);
    // Bob was given another request than ann.
    let mut ann = table.sign_words(&other, &other_code, true);
    let mut bob = table.sign_words(&kept, &code, true);
    for words in [&mut ann, &mut bob] {
        let place = words.iter().position(|word| word == "2m").unwrap();
        words[place] = "3s".into();
    }
    let outputs = table
        .together(&["ann", "bob"], |name| if name == "ann" { ann.clone() } else { bob.clone() });
    for output in &outputs {
        assert!(
            !output.status.success() && said(output).contains("signs another request"),
            "{}",
            said(output)
        );
    }
    assert!(
        !table.at("ann").join("cert.pub").exists() && !table.at("bob").join("cert.pub").exists()
    );
}

#[test]
fn shares_are_made_anew_without_who_left_and_the_key_stays() {
    let table = Table::new();
    table.keygen(&["ann", "bob", "cem"], "2");
    let key = |name: &str| {
        let shown = table.run(name, &["show", "my.share"]);
        said(&shown).lines().find(|line| line.starts_with("ssh-ed25519")).unwrap().to_owned()
    };
    let before = key("ann");
    let old = fs::read(table.at("bob").join("my.share")).unwrap();
    let reshare = |_: &str| -> Vec<String> {
        let words = [
            "reshare",
            "--share",
            "my.share",
            "--stay",
            "ann",
            "--stay",
            "cem",
            "--trust-exchange",
            "--passphrase-file",
            "passphrase",
        ];
        words.iter().map(|word| (*word).to_owned()).chain(table.way(true)).collect()
    };
    table.together(&["ann", "cem"], reshare).iter().for_each(done);
    table.sweep();
    assert_eq!(key("ann"), before);
    assert_ne!(fs::read(table.at("ann").join("my.share")).unwrap(), old);
    let group = table.at("ann").join("breakglass-group.txt");
    let (request, code) = table.request(&group, &["ann", "cem"], &[]);
    let words = table.sign_words(&request, &code, true);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let left = table.run("bob", &words);
    assert!(said(&left).contains("another generation"), "{}", said(&left));
    table
        .together(&["ann", "cem"], |_| table.sign_words(&request, &code, true))
        .iter()
        .for_each(done);
}

#[test]
fn a_kit_holds_no_secret_and_says_what_to_do() {
    let table = Table::new();
    table.keygen(&["ann", "bob"], "2");
    let group = table.at("ann").join("breakglass-group.txt").display().to_string();
    let words = ["kit", "--group", &group, "--host", "db1=10.0.0.5", "--host", "db2=10.0.0.6"];
    let refused = table.run("x", &words);
    assert!(said(&refused).contains("needs libraries of the machine"), "{}", said(&refused));
    done(&table.run("x", &[words.as_slice(), &["--without-program"]].concat()));
    let kit = table.at("x").join("breakglass-kit");
    let page = fs::read_to_string(kit.join("instructions.html")).unwrap();
    for part in
        ["2 of 2 custodians: ann, bob", "<td>db2</td><td>10.0.0.6</td>", "breakglass@10.0.0.5"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains(['{', '}']) || !page.contains("{HOST}"), "something is not filled in");
    let hosts = fs::read_to_string(kit.join("hosts.txt")).unwrap();
    assert!(
        hosts.starts_with("db1 10.0.0.5 cert-authority,principals=\"breakglass@db1\" ssh-ed25519 "),
        "{hosts}"
    );
    let names: Vec<String> = fs::read_dir(&kit)
        .unwrap()
        .flatten()
        .map(|entry| fs::read_to_string(entry.path()).unwrap())
        .collect();
    assert!(names.iter().all(|text| !text.contains("CURFEW-1 SHARE")));
}
