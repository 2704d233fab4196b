//! A whole run: every target under every load, round by round.

use std::{
    env, fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use launch::Group;

use crate::{
    database, interrupt,
    load::Load,
    machine::Machine,
    measurement::Measurement,
    options::{Options, Plan, targets},
    report::{Cell, Row, rows, table},
    target::{Server, Target},
};

/// Measures, prints, and fails if a response was wrong or missing, or a confirmed row was lost.
pub(crate) fn run(options: &Options) -> Result<()> {
    interrupt::handle_signals()?;
    let plan = Plan::new(options)?;
    let targets = targets(options)?;

    let parent = options.data_dir.clone().unwrap_or_else(launch::target_folder);
    fs::create_dir_all(&parent)?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(parent.canonicalize()?)?;
    let machine = Machine::with_data_in(folder.path())?;
    let names: Vec<_> = targets.iter().map(Target::name).collect();
    eprintln!("targets: {}\ndatabases: {}\n{machine}", names.join(", "), folder.path().display());

    let mut bench = Bench { folder: folder.path(), plan: &plan, cells: Vec::new(), failures: Vec::new() };
    for (index, size) in plan.rows.iter().enumerate() {
        // The size of a running target's databases is unknown, so measuring it once is enough.
        let of_this_size: Vec<_> = targets.iter().filter(|target| index == 0 || target.is_ours()).collect();
        bench.measure(*size, &of_this_size)?;
    }
    let (cells, mut failures) = (bench.cells, bench.failures);
    let rows = rows(&cells);
    print(options, &plan, &machine, &rows)?;
    for Row { cell, summary } in rows.iter().filter(|row| row.summary.errors > 0) {
        let first = cell.rounds.iter().find_map(|round| round.errors.first.as_deref());
        failures.push(format!(
            "{cell}: {} errors; the first: {}",
            summary.errors,
            first.unwrap_or("unknown")
        ));
    }
    ensure!(failures.is_empty(), "there were errors:\n  {}", failures.join("\n  "));
    Ok(())
}

struct Bench<'a> {
    folder: &'a Path,
    plan: &'a Plan,
    cells: Vec<Cell>,
    /// Confirmed rows that are missing from a database.
    failures: Vec<String>,
}

impl Bench<'_> {
    /// Measures all loads on databases that start with this many rows.
    fn measure(&mut self, size: u64, targets: &[&Target]) -> Result<()> {
        let databases = self.folder.join(format!("rows-{size}"));
        fs::create_dir(&databases)?;
        eprintln!("writing databases with {size} credentials and audit rows");
        database::prefill(&databases, size)?;
        for load in &self.plan.loads {
            self.measure_load(*load, size, &databases, targets)?;
        }
        fs::remove_dir_all(databases)?;
        Ok(())
    }

    /// Measures one load with each number of connections, on fresh databases. The targets take turns in each round.
    fn measure_load(&mut self, load: Load, size: u64, databases: &Path, targets: &[&Target]) -> Result<()> {
        let mut servers = Vec::new();
        for target in targets {
            interrupt::check()?;
            let folder = self.folder.join(target.name());
            fs::create_dir(&folder)?;
            servers.push((*target, Server::start(target, databases, size, &folder)?));
        }
        let first_cell = self.cells.len();
        for connections in &self.plan.connections {
            let mut cells: Vec<_> = targets
                .iter()
                .map(|target| Cell {
                    rows: target.is_ours().then_some(size),
                    load,
                    connections: *connections,
                    target: target.name().to_owned(),
                    bare: target.bare(),
                    rounds: Vec::new(),
                })
                .collect();
            for _ in 0..self.plan.rounds {
                for (cell, (_, server)) in cells.iter_mut().zip(&servers) {
                    let measurement = self.generate(cell, server).with_context(|| cell.to_string())?;
                    eprintln!("{cell}: {}", progress(&measurement));
                    ensure!(
                        measurement.throughput > 0.0,
                        "{cell}: no correct response: {}",
                        measurement.errors.first.as_deref().unwrap_or("no response at all")
                    );
                    cell.rounds.push(measurement);
                }
            }
            self.cells.extend(cells);
        }
        for (target, server) in servers {
            let name = target.name();
            let cells = self.cells[first_cell..].iter().filter(|cell| cell.target == name);
            let rounds: Vec<_> = cells.flat_map(|cell| &cell.rounds).collect();
            if rounds.iter().any(|round| round.errors.total() > 0)
                && let Some(log) = server.end_of_log()
            {
                eprintln!("there were errors; the end of the log of {name}:\n{log}");
            }
            if let Some(found) = server.kill_and_count()? {
                let issued = rounds.iter().map(|round| round.issued).sum::<u64>();
                let verified = rounds.iter().map(|round| round.verified).sum::<u64>();
                let lost = lost((size + issued, size + verified), found);
                self.failures.extend(lost.map(|lost| format!("{name}, {load}: {lost}")));
            }
            fs::remove_dir_all(self.folder.join(name))?;
        }
        Ok(())
    }

    /// Runs the load generator as a process of its own.
    fn generate(&self, cell: &Cell, server: &Server) -> Result<Measurement> {
        let mut command = Command::new(env::current_exe()?);
        command
            .arg("load")
            .args(["--load", &cell.load.to_string()])
            .args(["--connections", &cell.connections.to_string()])
            .args(["--issuance", &server.issuance.to_string()])
            .args(["--verification", &server.verification.to_string()])
            .args(["--seconds", &self.plan.seconds.to_string()])
            .args(["--warm-up", &self.plan.warm_up.to_string()]);
        if let Some(prefilled) = cell.rows {
            command.args(["--prefilled", &prefilled.to_string()]);
        }
        if let Some(pid) = server.pid {
            command.args(["--pid", &pid.to_string()]);
        }
        if let Some(pid) = server.database_pid() {
            command.args(["--database-pid", &pid.to_string()]);
        }
        let mut generator = Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let mut output = String::new();
        generator.child.stdout.take().context("no standard output")?.read_to_string(&mut output)?;
        let status = generator.wait()?;
        interrupt::check()?;
        ensure!(status.success(), "the load generator failed ({status})");
        Ok(serde_json::from_str(&output)?)
    }
}

/// How many confirmed credentials and audit rows are missing, in words.
fn lost(confirmed: (u64, u64), found: (u64, u64)) -> Option<String> {
    let lost = |confirmed: u64, found: u64, what: &str| {
        (found < confirmed).then(|| format!("{} of {confirmed} confirmed {what} are lost", confirmed - found))
    };
    let lost = [lost(confirmed.0, found.0, "credentials"), lost(confirmed.1, found.1, "audit rows")];
    let lost: Vec<_> = lost.into_iter().flatten().collect();
    (!lost.is_empty()).then(|| lost.join(", "))
}

fn progress(measurement: &Measurement) -> String {
    let mut text = format!("{:.0}/s, p99 {:.2} ms", measurement.throughput, measurement.latency.p99);
    if measurement.errors.total() > 0 {
        text += &format!(", {} errors", measurement.errors.total());
    }
    text
}

fn print(options: &Options, plan: &Plan, machine: &Machine, rows: &[Row<'_>]) -> Result<()> {
    let table = table(rows);
    let json = serde_json::json!({"machine": machine, "plan": plan, "results": rows});
    match &options.json {
        None => println!("\n{table}"),
        Some(file) if file == Path::new("-") => {
            eprintln!("\n{table}");
            println!("{json:#}");
        }
        Some(file) => {
            println!("\n{table}");
            fs::write(file, format!("{json:#}\n"))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_confirmed_must_be_found_and_more_may_be() {
        assert_eq!(lost((10, 5), (10, 5)), None);
        assert_eq!(lost((10, 5), (11, 9)), None);
        assert_eq!(lost((10, 5), (8, 5)).unwrap(), "2 of 10 confirmed credentials are lost");
        assert_eq!(lost((10, 5), (10, 4)).unwrap(), "1 of 5 confirmed audit rows are lost");
    }
}
