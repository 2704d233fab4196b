//! The whole run: every target under every load, round by round.

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use launch::{Group, Host, SpinVersion};
use serde::Serialize;
use tempfile::TempDir;

use crate::{
    database,
    generator::Measurement,
    load::Load,
    machine::Machine,
    process::{check_interrupt, end_on_signals},
    report::{Cell, Row, rows, table},
    target::{Running, Server, Target, TargetPid},
};

/// Measures the services and compares them with a native server.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// In less than two minutes: fewer loads, 64 connections, two short rounds. What else is given still counts.
    #[arg(long)]
    quick: bool,
    /// Measures these targets only: embedded, spin, baseline, or the name of a --target.
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    only: Vec<String>,
    /// Also measures servers that are running, with the original's API. May be repeated.
    #[arg(long, value_name = "NAME=ISSUANCE_URL,VERIFICATION_URL")]
    target: Vec<Running>,
    /// The process of a --target, whose CPU and memory are then measured too. May be repeated.
    #[arg(long, value_name = "NAME=PID")]
    target_pid: Vec<TargetPid>,
    /// What to send [default: all but ping].
    #[arg(long, value_enum, value_delimiter = ',')]
    load: Vec<Load>,
    /// How many connections [default: 1,16,64,256].
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// How many credentials, and as many audit rows, are there before. May be repeated. A million take 0.6 GB on the
    /// disk for each target, and once more.
    #[arg(long, value_delimiter = ',', default_value = "10000")]
    rows: Vec<u64>,
    /// How often each target is measured under each load [default: 3].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// How long, in seconds [default: 5].
    #[arg(long)]
    seconds: Option<f64>,
    /// For how many seconds each is loaded before that [default: 2].
    #[arg(long)]
    warm_up: Option<f64>,
    /// An argument more for `spin up`, such as --spin-arg=--max-instance-reuse-count=1. The embedded host gets it too,
    /// if it has such an option. May be repeated.
    #[arg(long, allow_hyphen_values = true)]
    spin_arg: Vec<String>,
    /// Where the databases are while it runs. It should be on a disk [default: target].
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Writes everything as JSON to a file; without one to the standard output, and the table to the standard error.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// What is measured, and how long.
#[derive(Debug, Serialize)]
struct Plan {
    loads: Vec<Load>,
    connections: Vec<usize>,
    rows: Vec<u64>,
    rounds: u32,
    seconds: f64,
    warm_up: f64,
    spin_args: Vec<String>,
}

impl Plan {
    fn new(options: &Options) -> Self {
        fn or<T: Clone>(given: &[T], default: &[T]) -> Vec<T> {
            if given.is_empty() { default } else { given }.to_vec()
        }
        let quick = options.quick;
        let loads: &[Load] =
            if quick { &[Load::CheckHit, Load::VerifyHit, Load::Issue, Load::Mixed] } else { &Load::ALL };
        Self {
            loads: or(&options.load, loads),
            connections: or(&options.connections, if quick { &[64] } else { &[1, 16, 64, 256] }),
            rows: options.rows.clone(),
            rounds: options.rounds.unwrap_or(if quick { 2 } else { 3 }),
            seconds: options.seconds.unwrap_or(if quick { 2.0 } else { 5.0 }),
            warm_up: options.warm_up.unwrap_or(if quick { 1.0 } else { 2.0 }),
            spin_args: options.spin_arg.clone(),
        }
    }
}

/// Measures, prints, and fails where any answer was wrong.
///
/// # Errors
/// A target does not start; an answer was wrong or did not come; something that was confirmed is not in the database;
/// a signal.
pub(crate) fn run(options: &Options) -> Result<()> {
    end_on_signals()?;
    let plan = Plan::new(options);
    ensure!(
        plan.seconds > 0.0 && plan.warm_up >= 0.0 && plan.seconds + plan.warm_up < 86_400.0,
        "--seconds and --warm-up must be times of less than a day"
    );
    ensure!(!plan.connections.contains(&0), "--connections must be at least 1");
    let targets = targets(options)?;

    let parent = options.data_dir.clone().unwrap_or_else(launch::target_folder);
    fs::create_dir_all(&parent)?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(parent.canonicalize()?)?;
    let machine = Machine::with_data_in(folder.path())?;
    let names: Vec<_> = targets.iter().map(Target::name).collect();
    say(&describe(&machine, folder.path(), &names));

    let mut bench = Bench { folder: &folder, plan: &plan, cells: Vec::new(), faults: Vec::new() };
    for (index, size) in plan.rows.iter().enumerate() {
        // How much is in those that are running already is not known: once is enough.
        let of_this_size =
            targets.iter().filter(|target| index == 0 || !matches!(target, Target::Running(_)));
        bench.measure(*size, &of_this_size.collect::<Vec<_>>())?;
    }
    let (cells, mut faults) = (bench.cells, bench.faults);
    let rows = rows(&cells, Target::BASELINE);
    print(options, &plan, &machine, &rows)?;
    for Row { cell, summary } in &rows {
        if summary.errors > 0 {
            let first = cell.rounds.iter().find_map(|round| round.errors.first.as_deref());
            faults.push(format!(
                "{}, {} at {} connections: {} errors; the first: {}",
                cell.target,
                cell.load,
                cell.connections,
                summary.errors,
                first.unwrap_or("not known")
            ));
        }
    }
    ensure!(faults.is_empty(), "not all was well:\n  {}", faults.join("\n  "));
    Ok(())
}

/// What is to be measured, in the order in which it will be.
fn targets(options: &Options) -> Result<Vec<Target>> {
    let mut all = vec![
        Target::Baseline,
        Target::Embedded(known_to_embedded_host(&options.spin_arg)?),
        Target::Spin(options.spin_arg.clone()),
    ];
    for running in &options.target {
        ensure!(
            all.iter().all(|other| other.name() != running.name),
            "there are two targets {}",
            running.name
        );
        let pid = options.target_pid.iter().find(|pid| pid.name == running.name).map(|found| found.pid);
        all.push(Target::Running(Running { pid, ..running.clone() }));
    }
    for TargetPid { name, .. } in &options.target_pid {
        ensure!(options.target.iter().any(|target| target.name == *name), "there is no --target {name}");
    }
    for name in &options.only {
        ensure!(all.iter().any(|target| target.name() == name), "there is no target {name}");
    }
    if !options.only.is_empty() {
        all.retain(|target| options.only.iter().any(|name| name == target.name()));
    }
    if all.iter().any(|target| target.name() == Target::SPIN)
        && let Err(reason) = SpinVersion::on_path()
    {
        ensure!(!options.only.iter().any(|name| name == Target::SPIN), "spin cannot be measured: {reason}");
        say(&format!("spin is left out: {reason}"));
        all.retain(|target| target.name() != Target::SPIN);
    }
    Ok(all)
}

/// Those of Spin's arguments that the embedded host has too.
fn known_to_embedded_host(arguments: &[String]) -> Result<Vec<String>> {
    if arguments.is_empty() {
        return Ok(Vec::new());
    }
    let host = launch::program("release", Host::EMBEDDED)?;
    let help = Command::new(&host).arg("--help").output().with_context(|| host.display().to_string())?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let (known, unknown): (Vec<_>, Vec<_>) = arguments.iter().cloned().partition(|argument| {
        let option = argument.split('=').next().unwrap_or_default();
        help.split([' ', '\n', ',', '=']).any(|word| word == option)
    });
    if !unknown.is_empty() {
        say(&format!("for spin only, as the embedded host does not know it: {}", unknown.join(" ")));
    }
    Ok(known)
}

struct Bench<'a> {
    folder: &'a TempDir,
    plan: &'a Plan,
    cells: Vec<Cell>,
    /// What was confirmed and is not in a database.
    faults: Vec<String>,
}

impl Bench<'_> {
    /// All loads with so many rows there before.
    fn measure(&mut self, size: u64, targets: &[&Target]) -> Result<()> {
        let databases = self.folder.path().join(format!("rows-{size}"));
        fs::create_dir(&databases)?;
        say(&format!("writing databases with {size} credentials and audit rows"));
        database::prefill(&databases, size)?;
        for load in &self.plan.loads {
            self.measure_load(*load, size, &databases, targets)?;
        }
        fs::remove_dir_all(databases)?;
        Ok(())
    }

    /// One load, on fresh databases, at every number of connections. The rounds of the targets take turns.
    fn measure_load(&mut self, load: Load, size: u64, databases: &Path, targets: &[&Target]) -> Result<()> {
        let mut servers = Vec::new();
        for target in targets {
            check_interrupt()?;
            let folder = self.folder.path().join(target.name());
            fs::create_dir(&folder)?;
            servers.push(Server::start(target, databases, &folder)?);
        }
        let first = self.cells.len();
        for connections in &self.plan.connections {
            let mut rounds = vec![Vec::new(); targets.len()];
            for _ in 0..self.plan.rounds {
                for ((target, server), rounds) in targets.iter().zip(&servers).zip(&mut rounds) {
                    let known = (!matches!(target, Target::Running(_))).then_some(size);
                    let measurement = self
                        .generate(load, *connections, server, known)
                        .with_context(|| format!("{}, {load} at {connections} connections", target.name()))?;
                    say(&progress(load, *connections, target, &measurement));
                    ensure!(
                        measurement.throughput > 0.0,
                        "{} gave no right answer to {load}: {}",
                        target.name(),
                        measurement.errors.first.as_deref().unwrap_or("it gave none at all")
                    );
                    rounds.push(measurement);
                }
            }
            for (target, rounds) in targets.iter().zip(rounds) {
                let rows = (!matches!(target, Target::Running(_))).then_some(size);
                let (connections, target) = (*connections, target.name().to_owned());
                self.cells.push(Cell { rows, load, connections, target, rounds });
            }
        }
        for (target, server) in targets.iter().zip(servers) {
            let own = || self.cells[first..].iter().filter(|cell| cell.target == target.name());
            if own().flat_map(|cell| &cell.rounds).any(|round| round.errors.total() > 0)
                && let Some(words) = server.last_words()
            {
                say(&format!("there were errors; what {} said last:\n{words}", target.name()));
            }
            if let Some(found) = server.kill_and_count()? {
                let own = self.cells[first..].iter().filter(|cell| cell.target == target.name());
                let confirmed =
                    own.flat_map(|cell| &cell.rounds).fold((size, size), |(issued, verified), round| {
                        (issued + round.issued, verified + round.verified)
                    });
                self.faults
                    .extend(lost(confirmed, found).map(|lost| format!("{}, {load}: {lost}", target.name())));
            }
            fs::remove_dir_all(self.folder.path().join(target.name()))?;
        }
        Ok(())
    }

    /// Runs the load generator, as a process of its own.
    fn generate(
        &self,
        load: Load,
        connections: usize,
        server: &Server,
        prefilled: Option<u64>,
    ) -> Result<Measurement> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("load").args(["--load", &load.to_string(), "--connections", &connections.to_string()]);
        command.args(["--issuance", &server.issuance.to_string()]);
        command.args(["--verification", &server.verification.to_string()]);
        command.args(["--seconds", &self.plan.seconds.to_string()]);
        command.args(["--warm-up", &self.plan.warm_up.to_string()]);
        if let Some(prefilled) = prefilled {
            command.args(["--prefilled", &prefilled.to_string()]);
        }
        if let Some(pid) = server.pid {
            command.args(["--pid", &pid.to_string()]);
        }
        let mut generator = Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let mut found = String::new();
        generator.child.stdout.take().context("no standard output")?.read_to_string(&mut found)?;
        let status = generator.wait()?;
        check_interrupt()?;
        ensure!(status.success(), "the load generator failed ({status})");
        Ok(serde_json::from_str(&found)?)
    }
}

/// What was confirmed and cannot be found, of credentials and audit rows.
fn lost(confirmed: (u64, u64), found: (u64, u64)) -> Option<String> {
    let lost = |confirmed: u64, found: u64, what: &str| {
        (found < confirmed).then(|| format!("{} of {confirmed} confirmed {what} are lost", confirmed - found))
    };
    let lost = [lost(confirmed.0, found.0, "credentials"), lost(confirmed.1, found.1, "audit rows")];
    let lost: Vec<_> = lost.into_iter().flatten().collect();
    (!lost.is_empty()).then(|| lost.join(", "))
}

fn describe(machine: &Machine, folder: &Path, targets: &[&str]) -> String {
    let mut text = format!(
        "targets: {}\ndatabases: {} ({})\nmachine: {}, {} cores, Linux {}",
        targets.join(", "),
        folder.display(),
        machine.file_system,
        machine.processor,
        machine.cores,
        machine.kernel
    );
    if machine.in_memory() {
        text += "\nwarning: the databases are in memory, where an fsync costs nothing; --data-dir takes them to a disk";
    }
    if machine.load_average > 0.5 {
        text += &format!("\nwarning: the machine is at work already (load average {})", machine.load_average);
    }
    text
}

fn progress(load: Load, connections: usize, target: &Target, measurement: &Measurement) -> String {
    let mut text = format!(
        "{load} at {connections}: {} {:.0}/s, p99 {:.2} ms",
        target.name(),
        measurement.throughput,
        measurement.latency.p99
    );
    if measurement.errors.total() > 0 {
        text += &format!(", {} errors", measurement.errors.total());
    }
    text
}

/// Says what is being done. On stderr, as Cargo does.
fn say(text: &str) {
    eprintln!("{text}");
}

fn print(options: &Options, plan: &Plan, machine: &Machine, rows: &[Row<'_>]) -> Result<()> {
    let table = table(rows);
    let Some(file) = &options.json else {
        println!("\n{table}");
        return Ok(());
    };
    let json = serde_json::json!({"machine": machine, "plan": plan, "results": rows});
    let json = serde_json::to_string_pretty(&json)? + "\n";
    if file == Path::new("-") {
        eprintln!("\n{table}");
        print!("{json}");
        return Ok(());
    }
    println!("\n{table}");
    match fs::write(file, json) {
        Ok(()) => Ok(()),
        Err(error) => bail!("cannot write {}: {error}", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_confirmed_must_be_there_and_more_may_be() {
        assert_eq!(lost((10, 5), (10, 5)), None);
        assert_eq!(lost((10, 5), (11, 9)), None);
        assert_eq!(lost((10, 5), (8, 5)).unwrap(), "2 of 10 confirmed credentials are lost");
        assert_eq!(lost((10, 5), (10, 4)).unwrap(), "1 of 5 confirmed audit rows are lost");
    }
}
