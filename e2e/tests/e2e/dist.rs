//! `cargo xtask dist`, which writes a folder that runs without Rust.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{Databases, Setup, databases, needs_own_host, wasi, workspace};
use wasmparser::{Parser, Payload};

/// The output of `cargo xtask dist`.
struct Dist {
    folder: PathBuf,
    /// The name of the folder and of the archive without its extension.
    name: String,
    checksum: String,
}

impl Dist {
    /// Runs the command on the sources in this folder, with the crates in this Cargo home.
    fn build(sources: &Path, cargo_home: &Path) -> Self {
        let database = databases().build();
        let output = Command::new(env!("CARGO"))
            .args(["xtask", "dist", "--wasi", &wasi().to_string(), "--database", &database.to_string()])
            .current_dir(sources)
            .env("CARGO_HOME", cargo_home)
            .env("CARGO_TARGET_DIR", sources.join("target"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let folder = PathBuf::from(String::from_utf8(output.stdout).unwrap().lines().next().unwrap());
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let checksum = fs::read_to_string(folder.with_file_name(format!("{name}.tar.gz.sha256"))).unwrap();
        Self { folder, name, checksum }
    }
}

/// The interfaces that a module or component imports.
fn imports(wasm: &[u8]) -> Vec<String> {
    let mut imports = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ImportSection(section) => {
                imports.extend(section.into_imports().map(|import| import.unwrap().module.to_owned()));
            }
            Payload::ComponentImportSection(section) => {
                imports.extend(section.into_iter().map(|import| import.unwrap().name.0.to_owned()));
            }
            _ => {}
        }
    }
    imports
}

fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(|| env::home_dir().unwrap().join(".cargo"), PathBuf::from)
}

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Copies the sources and the Cargo home to other paths.
fn elsewhere() -> io::Result<(PathBuf, PathBuf)> {
    let sources = Path::new(env!("CARGO_TARGET_TMPDIR")).join("elsewhere");
    let cargo_home = sources.with_file_name("another-cargo-home");
    fs::create_dir_all(&sources)?;
    let link = |from: &Path, to: &Path| {
        if to.is_symlink() {
            fs::remove_file(to)?
        }
        symlink(from, to)
    };
    for entry in fs::read_dir(workspace())? {
        let entry = entry?;
        if !matches!(entry.file_name().to_str(), Some("target" | ".git" | ".env" | ".spin" | "data")) {
            link(&entry.path(), &sources.join(entry.file_name()))?;
        }
    }
    link(&self::cargo_home(), &cargo_home)?;
    Ok((sources, cargo_home))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dist_folder_has_everything_a_host_needs_and_the_same_bytes_wherever_it_is_built() {
    needs_own_host!();
    let here = Dist::build(workspace(), &cargo_home());

    let moved = tempfile::tempdir().unwrap();
    let dist = here.folder.parent().unwrap();
    run(dist, "sha256sum", &["--check", "--strict", &format!("{}.tar.gz.sha256", here.name)]);
    let archive = dist.join(format!("{}.tar.gz", here.name));
    run(moved.path(), "tar", &["--strip-components=1", "-xzf", archive.to_str().unwrap()]);
    let mut names: Vec<_> =
        fs::read_dir(moved.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let mut expected = vec![
        ".env.example",
        "LICENSE",
        "README.md",
        "issuance.wasm",
        "runtime-config.toml",
        "spin.toml",
        "verification.wasm",
        "web.wasm",
    ];
    expected.retain(|name| databases() == Databases::Files || *name != "runtime-config.toml");
    assert_eq!(names, expected);
    for component in ["issuance", "verification"] {
        let wasm = fs::read(moved.path().join(format!("{component}.wasm"))).unwrap();
        let imports = imports(&wasm);
        assert!(imports.iter().any(|import| import.contains("variables")), "{imports:?}");
        // Hosts refuse components that import an interface which they lack.
        let (own, other) = databases().either(("sqlite", "postgres"), ("postgres", "sqlite"));
        let has = |interface| imports.iter().any(|import: &String| import.contains(interface));
        assert!(has(own) && !has(other), "{imports:?}");
    }
    let manifest = fs::read_to_string(moved.path().join("spin.toml")).unwrap();
    assert!(!manifest.contains("target/") && !manifest.contains(".build]"), "{manifest}");

    let mut setup = Setup::new();
    if databases() == Databases::Postgres {
        setup = setup.with_server();
    }
    let app = setup.start_from(moved).await;
    assert_eq!(app.issue("a").await.status, 201);
    assert_eq!(app.verify("a").await.json()["status"], "valid");
    assert_eq!(app.get("/").await.status, 200);

    // Both builds are made in the same way.
    if databases() != Databases::Files {
        return;
    }
    let (sources, cargo_home) = elsewhere().unwrap();
    let there = Dist::build(&sources, &cargo_home);
    assert_ne!(there.folder, here.folder);
    assert_eq!(there.checksum, here.checksum);
}
