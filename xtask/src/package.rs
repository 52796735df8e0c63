//! `package`: the Debian packages of the authority, the host half and the program of people, by one command.
//!
//! What lies where stands in one table; manual pages and completions are made by the programs themselves, so that they are
//! what `--help` says. Their scripts (`packaging/debian`) call our own `install` and `uninstall` and little else.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    step::{Failure, cargo, root, say, step},
    work::release_dir,
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wish {
    /// Where the programs lie that were built; built now when absent.
    programs: Option<PathBuf>,
    /// Where the packages go.
    out: Option<PathBuf>,
    /// Another version than that of this tree, to try an upgrade.
    version: Option<String>,
}

/// One package.
struct Package {
    name: &'static str,
    summary: &'static str,
    /// Beside what its programs link to.
    depends: &'static str,
    programs: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str)],
    conffiles: &'static [&'static str],
    /// The program that prints its manual pages and completions.
    speaks: &'static str,
}

impl Wish {
    /// Reads the arguments; nothing when they make no sense.
    pub(crate) fn parse(args: &[String]) -> Option<Self> {
        let mut wish = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let value = args.next()?.clone();
            match arg.as_str() {
                "--programs" => wish.programs = Some(value.into()),
                "--out" => wish.out = Some(value.into()),
                "--version" => wish.version = Some(value),
                _ => return None,
            }
        }
        Some(wish)
    }

    /// Builds what is not built, and makes every package.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let programs = match &self.programs {
            Some(programs) => programs.clone(),
            None => {
                step("optimised programs", &mut cargo(["build", "--release", "--workspace"]))?;
                release_dir()
            }
        };
        let out = self.out.clone().unwrap_or_else(|| programs.join("packages"));
        let version = self.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
        fs::create_dir_all(&out).map_err(failed(&out))?;
        for package in PACKAGES {
            let made = package.make(&programs, &out, version)?;
            say(&format!("{}", made.display()));
        }
        Ok(())
    }
}

impl Package {
    fn make(&self, programs: &Path, out: &Path, version: &str) -> Result<PathBuf, Failure> {
        let tree = out.join(format!(".{}", self.name));
        if tree.exists() {
            fs::remove_dir_all(&tree).map_err(failed(&tree))?;
        }
        let mut linked = Vec::new();
        for (name, place) in self.programs {
            let to = tree.join(place);
            let mode = if place.ends_with(".so") { 0o644 } else { 0o755 };
            put(&programs.join(name), &to, mode)?;
            quiet(Command::new("strip").arg("--strip-unneeded").arg(&to))?;
            linked.push(to);
        }
        for (from, place) in self.files {
            put(&root().join(from), &tree.join(place), 0o644)?;
        }
        let licence = root().join("LICENSE-MIT");
        let licence = fs::read_to_string(&licence).map_err(failed(&licence))?;
        write(&tree.join(self.doc("copyright")), &format!("{LICENCES}\n{licence}"), 0o644)?;
        put(&root().join("CHANGELOG.md"), &tree.join(self.doc("CHANGELOG.md")), 0o644)?;
        self.speak(&programs.join(self.speaks), &tree)?;
        self.control(&tree, &linked, version)?;
        let architecture = said(Command::new("dpkg").arg("--print-architecture"))?;
        let file = out.join(format!("{}_{version}_{architecture}.deb", self.name));
        let mut build = Command::new("dpkg-deb");
        build.args(["--root-owner-group", "-Zzstd", "-z9", "--build"]).arg(&tree).arg(&file);
        quiet(&mut build)?;
        fs::remove_dir_all(&tree).map_err(failed(&tree))?;
        Ok(file)
    }

    fn doc(&self, name: &str) -> String {
        format!("usr/share/doc/{}/{name}", self.name)
    }

    /// Manual pages and completions, from the program's own text.
    fn speak(&self, program: &Path, tree: &Path) -> Result<(), Failure> {
        let pages = tree.join("usr/share/man/man1");
        fs::create_dir_all(&pages).map_err(failed(&pages))?;
        quiet(Command::new(program).args(["man", "--out"]).arg(&pages))?;
        for page in fs::read_dir(&pages).map_err(failed(&pages))? {
            let page = page.map_err(failed(&pages))?.path();
            quiet(Command::new("gzip").args(["-n9"]).arg(&page))?;
        }
        for (shell, place) in [
            ("bash", format!("usr/share/bash-completion/completions/{}", self.speaks)),
            ("zsh", format!("usr/share/zsh/vendor-completions/_{}", self.speaks)),
            ("fish", format!("usr/share/fish/vendor_completions.d/{}.fish", self.speaks)),
        ] {
            let script = said(Command::new(program).args(["completions", shell]))?;
            write(&tree.join(place), &format!("{script}\n"), 0o644)?;
        }
        Ok(())
    }

    fn control(&self, tree: &Path, linked: &[PathBuf], version: &str) -> Result<(), Failure> {
        let control = tree.join("DEBIAN");
        let architecture = said(Command::new("dpkg").arg("--print-architecture"))?;
        let libraries = libraries(linked, &tree.with_extension("shlibdeps"))?;
        let text = format!(
            "Package: {}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: The Curfew authors <curfew@example.invalid>\n\
             Section: admin\nPriority: optional\nDepends: {libraries}{}\nDescription: {}\n \
             Curfew gives temporary access to production over stock OpenSSH, and ends it on time.\n",
            self.name, self.depends, self.summary
        );
        write(&control.join("control"), &text, 0o644)?;
        if !self.conffiles.is_empty() {
            let lines: String = self.conffiles.iter().map(|line| format!("{line}\n")).collect();
            write(&control.join("conffiles"), &lines, 0o644)?;
        }
        for script in ["postinst", "prerm", "postrm"] {
            let from = root().join("packaging/debian").join(format!("{}.{script}", self.name));
            if from.exists() {
                put(&from, &control.join(script), 0o755)?;
            }
        }
        Ok(())
    }
}

/// The packages of the libraries that these programs link to, as a list that goes on.
fn libraries(programs: &[PathBuf], folder: &Path) -> Result<String, Failure> {
    // What the tool insists on.
    write(
        &folder.join("debian/control"),
        "Source: curfew\n\nPackage: curfew\nArchitecture: any\n",
        0o644,
    )?;
    let mut ask = Command::new("dpkg-shlibdeps");
    ask.current_dir(folder)
        .arg("-O")
        .args(programs.iter().map(|path| format!("-e{}", path.display())));
    let answer = said(&mut ask)?;
    fs::remove_dir_all(folder).map_err(failed(folder))?;
    let list = answer.strip_prefix("shlibs:Depends=").unwrap_or_default().trim();
    Ok(if list.is_empty() { String::new() } else { format!("{list}, ") })
}

fn put(from: &Path, to: &Path, mode: u32) -> Result<(), Failure> {
    let bytes = fs::read(from).map_err(failed(from))?;
    write_bytes(to, &bytes, mode)
}

fn write(to: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    write_bytes(to, text.as_bytes(), mode)
}

fn write_bytes(to: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    fs::write(to, bytes).map_err(failed(to))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(failed(to))
}

/// What a command printed, without the line's end.
fn said(command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().map_err(|error| Failure::new("package", format!("{name}: {error}")))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new("package", format!("{name}: {}", why.trim_end())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn quiet(command: &mut Command) -> Result<(), Failure> {
    said(command).map(drop)
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let path = path.to_owned();
    move |error| Failure::new("package", format!("{}: {error}", path.display()))
}

/// What stands before the text of the MIT licence; Debian has that of the other.
const LICENCES: &str = "Curfew may be used under the Apache License 2.0 (/usr/share/common-licenses/Apache-2.0) or under the MIT licence, at your option:\n";

/// The one table of what lies where.
const PACKAGES: &[Package] = &[
    Package {
        name: "curfew-ca",
        summary: "authority for temporary access over SSH",
        depends: "systemd",
        programs: &[("curfew-ca", "usr/bin/curfew-ca")],
        files: &[
            ("systemd/curfew-ca.service", "usr/lib/systemd/system/curfew-ca.service"),
            ("systemd/curfew-ca.sysusers.conf", "usr/lib/sysusers.d/curfew-ca.conf"),
            ("systemd/curfew-ca.tmpfiles.conf", "usr/lib/tmpfiles.d/curfew-ca.conf"),
            ("packaging/ca.toml", "etc/curfew/ca.toml"),
            ("packaging/roles.toml", "etc/curfew/roles.toml"),
            ("packaging/policy/default.cedar", "usr/share/doc/curfew-ca/examples/default.cedar"),
            (
                "packaging/policy/regulated/policy.cedar",
                "usr/share/doc/curfew-ca/examples/regulated/policy.cedar",
            ),
            (
                "packaging/policy/regulated/policy.test.toml",
                "usr/share/doc/curfew-ca/examples/regulated/policy.test.toml",
            ),
            (
                "packaging/policy/small-team/policy.cedar",
                "usr/share/doc/curfew-ca/examples/small-team/policy.cedar",
            ),
            (
                "packaging/policy/small-team/policy.test.toml",
                "usr/share/doc/curfew-ca/examples/small-team/policy.test.toml",
            ),
            (
                "packaging/policy/two-person/policy.cedar",
                "usr/share/doc/curfew-ca/examples/two-person/policy.cedar",
            ),
            (
                "packaging/policy/two-person/policy.test.toml",
                "usr/share/doc/curfew-ca/examples/two-person/policy.test.toml",
            ),
        ],
        conffiles: &["/etc/curfew/ca.toml", "/etc/curfew/roles.toml"],
        speaks: "curfew-ca",
    },
    Package {
        name: "curfew-agent",
        summary: "ends and records SSH sessions on a host",
        depends: "openssh-server (>= 1:8.2), libpam-runtime, systemd",
        programs: &[
            ("curfew-agent", "usr/bin/curfew-agent"),
            ("curfew-link", "usr/bin/curfew-link"),
            ("curfew-principals", "usr/lib/curfew/curfew-principals"),
            ("curfew-pty", "usr/lib/curfew/curfew-pty"),
            ("curfew-recorder", "usr/lib/curfew/curfew-recorder"),
            ("curfew-files", "usr/lib/curfew/curfew-files"),
            ("libpam_curfew.so", "usr/lib/x86_64-linux-gnu/security/pam_curfew.so"),
        ],
        files: &[
            ("systemd/curfew-agent.service", "usr/lib/systemd/system/curfew-agent.service"),
            ("systemd/curfew-files.service", "usr/lib/systemd/system/curfew-files.service"),
            ("systemd/curfew-files.socket", "usr/lib/systemd/system/curfew-files.socket"),
            ("systemd/curfew-link.service", "usr/lib/systemd/system/curfew-link.service"),
            ("systemd/curfew-recorder.service", "usr/lib/systemd/system/curfew-recorder.service"),
            ("systemd/curfew-recorder.socket", "usr/lib/systemd/system/curfew-recorder.socket"),
            ("systemd/curfew.sysusers.conf", "usr/lib/sysusers.d/curfew.conf"),
            ("systemd/curfew.tmpfiles.conf", "usr/lib/tmpfiles.d/curfew.conf"),
            ("packaging/agent.toml", "usr/share/doc/curfew-agent/examples/agent.toml"),
        ],
        conffiles: &[],
        speaks: "curfew-agent",
    },
    Package {
        name: "curfew",
        summary: "asks for temporary access over SSH, and gives it back",
        depends: "openssh-client (>= 1:8.2)",
        programs: &[("curfew", "usr/bin/curfew")],
        files: &[],
        conffiles: &[],
        speaks: "curfew",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_a_package_is_in_the_tree_and_has_one_place() {
        let mut places = Vec::new();
        for package in PACKAGES {
            for (from, place) in package.files {
                assert!(root().join(from).is_file(), "{from}");
                places.push(*place);
            }
            places.extend(package.programs.iter().map(|(_, place)| *place));
            for conffile in package.conffiles {
                assert!(package.files.iter().any(|(_, place)| format!("/{place}") == *conffile));
            }
        }
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count, "two packages cannot own one file");
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let parse = |line: &str| {
            Wish::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(parse(""), Some(Wish::default()));
        assert_eq!(parse("--version 0.0.9").unwrap().version.as_deref(), Some("0.0.9"));
        assert!(parse("--version").is_none() && parse("--fast yes").is_none());
    }
}
