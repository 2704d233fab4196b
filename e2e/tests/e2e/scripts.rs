//! The commands, run as scripts and Spin run them, in the project's own folder.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use e2e::{Setup, Wasi, needs_own_host, on_spin, read, workspace};

/// Prints the exit status of the command. SIGINT is ignored in the background of a script, also by child processes.
const IN_THE_BACKGROUND: &str = r#"trap '' INT; "$0" "$@" & echo "id $!"; wait $!; echo "status $?""#;

const SIGNALS: [&str; 3] = ["INT", "TERM", "HUP"];

/// Held by tests that write to `target/spin`.
fn workspace_lock() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command in the background of a script, sends it a signal once it serves, and returns how it ended. Nothing
/// may be left listening.
fn end_with(signal: &str, command: &mut Command) -> String {
    let mut script = command.current_dir(workspace()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(script.stdout.take().unwrap());
    let mut read_after = |prefix: &str| {
        let mut line = String::new();
        while stdout.read_line(&mut line).unwrap() > 0 {
            if let Some((_, rest)) = line.split_once(prefix) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("the command ended without {prefix:?}");
    };
    let id = read_after("id ");
    let address = read_after("Serving http://");
    TcpStream::connect(&address).unwrap();
    let sent = Instant::now();
    let sending = format!("kill -s {signal} {id}");
    assert!(Command::new("sh").args(["-c", &sending]).status().unwrap().success());
    let mut rest = String::new();
    // Read until no process holds stdout any more.
    stdout.read_to_string(&mut rest).unwrap();
    script.wait().unwrap();
    while TcpStream::connect(&address).is_ok() {
        assert!(sent.elapsed() < Duration::from_secs(20), "{signal}: the server was left running");
        thread::sleep(Duration::from_millis(50));
    }
    rest.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn up_in_a_background_script_ends_on_each_signal_with_everything_it_started() {
    needs_own_host!();
    let _lock = workspace_lock();
    for signal in SIGNALS {
        let mut script = Command::new("sh");
        script.args(["-c", IN_THE_BACKGROUND, env!("CARGO"), "xtask", "up", "--listen", "127.0.0.1:0"]);
        script.args(["--host", if on_spin() { "spin" } else { "embedded" }]);
        script.env("SPIN_VARIABLE_LOG_LEVEL", "off");
        assert_eq!(end_with(signal, &mut script), "status 0", "{signal}");
    }
}

#[test]
fn tests_in_a_background_script_end_on_each_signal_with_the_hosts_they_started() {
    needs_own_host!();
    for signal in SIGNALS {
        let mut script = Command::new("sh");
        script.args(["-c", IN_THE_BACKGROUND]).arg(env::current_exe().unwrap());
        script.args(["--exact", "--ignored", "--nocapture", "scripts::serves_until_a_signal_ends_it"]);
        assert_eq!(end_with(signal, &mut script), "status 130", "{signal}");
    }
}

#[tokio::test]
#[ignore = "a part of the test above"]
async fn serves_until_a_signal_ends_it() {
    let app = Setup::new().start().await;
    println!("Serving {}", app.base_url);
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// A fake Spin whose version is the name of its folder. Every command works like `spin build`.
const SPIN: &str = r#"
fn main() {
    let program = std::env::current_exe().unwrap();
    let version = program.parent().unwrap().file_name().unwrap().to_str().unwrap();
    if std::env::args().nth(1).unwrap() == "--version" {
        return println!("spin {version} (1a2b3c4 2026-08-01)");
    }
    for command in std::env::args().skip(2) {
        assert!(std::process::Command::new("/bin/sh").args(["-c", &command]).status().unwrap().success());
    }
}
"#;

fn fake_spins(folder: &Path) -> [PathBuf; 2] {
    let source = folder.join("spin.rs");
    fs::write(&source, SPIN).unwrap();
    ["3.6.3", "4.1.0"].map(|version| {
        let spin = folder.join(version);
        fs::create_dir(&spin).unwrap();
        let compiled = Command::new("rustc").args(["-o", "spin"]).arg(&source).current_dir(&spin).status();
        assert!(compiled.unwrap().success());
        spin
    })
}

/// The build command of each component in `spin.toml`, with the path of its wasm file.
fn components() -> Vec<(String, PathBuf)> {
    let manifest = read("spin.toml");
    let values = |key: &str| {
        let start = format!("{key} = \"");
        let lines = manifest.lines().filter_map(move |line| line.strip_prefix(&start)?.strip_suffix('"'));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let sources = values("source").into_iter().map(|source| workspace().join(source));
    values("command").into_iter().zip(sources).collect()
}

#[test]
fn the_build_commands_of_the_manifest_install_the_build_for_the_spin_that_runs_them() {
    needs_own_host!();
    let _lock = workspace_lock();
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = fake_spins(folder.path());
    let components = components();
    assert_eq!(components.len(), 3, "{components:?}");
    let commands = || components.iter().map(|(command, _)| command);
    let is_in_place = |wasi: Wasi| {
        for (_, source) in &components {
            let name = source.file_stem().unwrap().to_str().unwrap();
            assert!(
                fs::read(source).unwrap() == fs::read(wasi.built(launch::Database::Sqlite, name)).unwrap(),
                "{name}, {wasi}"
            );
        }
    };
    // Cargo may be configured to build elsewhere.
    let elsewhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("another-target");
    let run = |command: &mut Command, on_path: &Path| {
        let path = format!("{}:{}", on_path.display(), env::var("PATH").unwrap());
        command.current_dir(workspace()).env("PATH", path);
        assert!(command.status().unwrap().success(), "{command:?}");
    };
    for (wasi, spin, other) in [(Wasi::V0_2, &old, &new), (Wasi::V0_3, &new, &old), (Wasi::V0_2, &old, &new)]
    {
        for command in commands() {
            run(Command::new("sh").args(["-c", command]), spin);
        }
        is_in_place(wasi);
        // Run a Spin that is not on PATH while another one is.
        run(Command::new(other.join("spin")).arg("build").args(commands()), spin);
        is_in_place(if wasi == Wasi::V0_2 { Wasi::V0_3 } else { Wasi::V0_2 });
    }
    run(Command::new("sh").args(["-c", &components[2].0]).env("CARGO_TARGET_DIR", &elsewhere), &new);
    is_in_place(Wasi::V0_3);
}
