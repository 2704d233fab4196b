//! The commands as scripts run them, on the project's own folder.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use e2e::{Setup, needs_own_host, on_spin, workspace};

/// Prints how the command ended. In the background of a script SIGINT is ignored, and every child inherits that.
const IN_THE_BACKGROUND: &str = r#"trap '' INT; "$0" "$@" & echo "id $!"; wait $!; echo "status $?""#;

const SIGNALS: [&str; 3] = ["INT", "TERM", "HUP"];

/// Runs a command in the background of a script, sends it a signal once it serves, and returns how it ended. What it
/// started, and what the server's address is, must be gone then.
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
    assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    let mut rest = String::new();
    // To the end of all that holds stdout.
    stdout.read_to_string(&mut rest).unwrap();
    script.wait().unwrap();
    while TcpStream::connect(&address).is_ok() {
        assert!(sent.elapsed() < Duration::from_secs(20), "{signal}: the server was left running");
        thread::sleep(Duration::from_millis(50));
    }
    rest.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn up_in_the_background_of_a_script_ends_on_each_signal_with_all_that_it_started() {
    needs_own_host!();
    for signal in SIGNALS {
        let mut script = Command::new("sh");
        script.args(["-c", IN_THE_BACKGROUND, env!("CARGO"), "xtask", "up", "--listen", "127.0.0.1:0"]);
        script.args(["--host", if on_spin() { "spin" } else { "embedded" }]);
        script.env("SPIN_VARIABLE_LOG_LEVEL", "off");
        assert_eq!(end_with(signal, &mut script), "status 0", "{signal}");
    }
}

#[test]
fn tests_in_the_background_of_a_script_end_on_each_signal_with_the_hosts_that_they_started() {
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
