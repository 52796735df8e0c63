//! Compiles `bpf/session.bpf.c` and hands the object to `src/kernel/bpf.rs` as `SESSION_BPF`.
//!
//! Needs clang with the bpf target (`CLANG` names another one). libbpf's headers come from
//! `libbpf-sys`, the version that is linked; nothing is taken from the machine's kernel.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["session.bpf.c", "session.h", "vmlinux.h"] {
        println!("cargo::rerun-if-changed=bpf/{input}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");

    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let object_path = out_dir.join("session.bpf.o");
    let arch = match variable("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => return Err(format!("no BPF build for the architecture {other}").into()),
    };
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-c"])
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"])
        // Paths of the build machine have no place in a shipped object.
        .args(["-fdebug-compilation-dir=.", "-fno-ident"])
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        .arg("-Ibpf")
        .arg("-isystem")
        .arg(variable("DEP_BPF_INCLUDE")?)
        .arg("bpf/session.bpf.c")
        .arg("-o")
        .arg(&object_path)
        .status()
        .map_err(|error| format!("cannot run {clang}: {error}; install clang, or set CLANG"))?;
    if !status.success() {
        return Err(format!("{clang} could not compile bpf/session.bpf.c: {status}").into());
    }
    println!("cargo::rustc-env=SESSION_BPF={}", object_path.display());
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
