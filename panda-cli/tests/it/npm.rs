//! The npm package: packed, installed from its tarballs without a registry, and run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;

/// Packs the binary under test and installs the tarballs; returns the `panda` that npm put there.
fn install(folder: &Path) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let platform = format!("linux-{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" });
    let out = folder.join("dist");
    let packed = Command::new("node")
        .arg(repository.join("deploy/npm/pack.mjs"))
        .arg("--out")
        .arg(&out)
        .arg("--binary")
        .arg(format!("{platform}={}", env!("CARGO_BIN_EXE_panda")))
        .timeout(Duration::from_mins(2))
        .output()
        .expect("node runs; it is among what the tests need");
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let printed = String::from_utf8(packed.stdout).expect("paths are text");
    let tarballs: Vec<&str> = printed.lines().collect();
    assert_eq!(tarballs.len(), 2, "{printed}");

    let prefix = folder.join("prefix");
    let installed = Command::new("npm")
        .args([
            "install",
            "--global",
            "--offline",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
            "--prefix",
        ])
        .arg(&prefix)
        .args(&tarballs)
        .env("npm_config_cache", folder.join("cache"))
        .env("npm_config_registry", "http://127.0.0.1:1")
        .env("npm_config_userconfig", folder.join("npmrc"))
        .timeout(Duration::from_mins(2))
        .output()
        .expect("npm runs; it is among what the tests need");
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    prefix.join("bin/panda")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a signal needs a child that goes on")]
fn the_package_installs_from_its_tarballs_and_passes_everything_through() {
    let folder = tempfile::tempdir().unwrap();
    let panda = install(folder.path());
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&panda);
        command.args(arguments).env("PANDA_CONFIG_DIR", folder.path()).timeout(Duration::from_secs(30));
        command.output().unwrap()
    };
    let version = run(&["--version"]);
    assert_eq!(String::from_utf8(version.stdout).unwrap(), format!("panda {}\n", env!("CARGO_PKG_VERSION")));
    let slip = run(&["deplyo", "--json"]);
    assert_eq!(slip.status.code(), Some(2));
    assert!(String::from_utf8(slip.stdout).unwrap().contains("did you mean `deploy`?"));

    // A command that waits for its stdin: the signal that npm's script gets has to end the binary too.
    let mut child = std::process::Command::new(&panda)
        .args(["env", "set", "A", "-", "-a", "shop", "--server", "http://127.0.0.1:1"])
        .env("PANDA_CONFIG_DIR", folder.path())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    wait_for_child_of(child.id());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    let status = child.wait().unwrap();
    drop(stdin);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15), "{status:?}");
}

/// Waits until the script has started the binary.
fn wait_for_child_of(id: u32) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let path = format!("/proc/{id}/task/{id}/children");
    while std::fs::read_to_string(&path).is_ok_and(|children| children.trim().is_empty()) {
        assert!(std::time::Instant::now() < deadline, "the script started nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The handlers are set in the same turn as the start.
    std::thread::sleep(Duration::from_millis(200));
}
