//! What to measure: the command line, and the plan that follows from it.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use launch::{Host, Wasi};
use serde::Serialize;

use crate::{
    load::Load,
    target::{HOSTED, Running, Target, TargetPid},
};

/// Measures the services and compares them with a component that does as little as possible.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Takes about two minutes: fewer loads, 64 connections, two short rounds, WASI 0.3 only. Other options override
    /// this.
    #[arg(long)]
    quick: bool,
    /// Measures only these targets: embedded, embedded-wasi-0.2, embedded-bare, the same with spin- and with -postgres,
    /// or the name of a --target.
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    only: Vec<String>,
    /// Also measures a running server with the same API. May be repeated.
    #[arg(long, value_name = "NAME=ISSUANCE_URL,VERIFICATION_URL")]
    target: Vec<Running>,
    /// The process of a --target, to measure its CPU time and memory. May be repeated.
    #[arg(long, value_name = "NAME=PID")]
    target_pid: Vec<TargetPid>,
    /// The kinds of load [default: all but ping].
    #[arg(long, value_enum, value_delimiter = ',')]
    load: Vec<Load>,
    /// The numbers of connections [default: 1,16,64,256].
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// How many credentials, and as many audit rows, the databases start with. A million take 0.6 GB of disk space for
    /// each target, and once more for the template.
    #[arg(long, value_delimiter = ',', default_value = "10000")]
    rows: Vec<u64>,
    /// How often each target is measured under each load [default: 3].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// The length of a round in seconds [default: 5].
    #[arg(long)]
    seconds: Option<f64>,
    /// How many seconds of load come before each round [default: 2].
    #[arg(long)]
    warm_up: Option<f64>,
    /// An additional argument for `spin up`, such as --spin-arg=--max-instance-reuse-count=1. The embedded host gets it
    /// too if it has that option. May be repeated.
    #[arg(long, allow_hyphen_values = true)]
    spin_arg: Vec<String>,
    /// The folder for the databases, which should be on a disk [default: target].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Writes every round as JSON to a file; without FILE to stdout, and the table to stderr.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
}

/// The options with their defaults.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) loads: Vec<Load>,
    pub(crate) connections: Vec<usize>,
    pub(crate) rows: Vec<u64>,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) warm_up: f64,
    spin_args: Vec<String>,
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        fn or<T: Clone>(chosen: &[T], default: &[T]) -> Vec<T> {
            if chosen.is_empty() { default } else { chosen }.to_vec()
        }
        let quick = options.quick;
        let loads: &[Load] =
            if quick { &[Load::CheckHit, Load::VerifyHit, Load::Issue, Load::Mixed] } else { &Load::ALL };
        let plan = Self {
            loads: or(&options.load, loads),
            connections: or(&options.connections, if quick { &[64] } else { &[1, 16, 64, 256] }),
            rows: options.rows.clone(),
            rounds: options.rounds.unwrap_or(if quick { 2 } else { 3 }),
            seconds: options.seconds.unwrap_or(if quick { 2.0 } else { 5.0 }),
            warm_up: options.warm_up.unwrap_or(if quick { 1.0 } else { 2.0 }),
            spin_args: options.spin_arg.clone(),
        };
        ensure!(
            plan.seconds > 0.0 && plan.warm_up >= 0.0 && plan.seconds + plan.warm_up < 86_400.0,
            "--seconds and --warm-up must be times of less than a day"
        );
        ensure!(!plan.connections.contains(&0), "--connections must be at least 1");
        Ok(plan)
    }
}

/// The targets to measure, in this order.
pub(crate) fn targets(options: &Options) -> Result<Vec<Target>> {
    let embedded_arguments = known_to_embedded_host(&options.spin_arg)?;
    let mut targets: Vec<_> = HOSTED
        .map(|(name, host, components)| {
            let arguments = if host == Host::Spin { &options.spin_arg } else { &embedded_arguments };
            Target::Hosted { name, host, components, arguments: arguments.clone() }
        })
        .into();
    let has = |targets: &[Target], name: &str| targets.iter().any(|target| target.name() == name);
    for running in &options.target {
        ensure!(!has(&targets, &running.name), "there are two targets {}", running.name);
        let pid = options.target_pid.iter().find(|pid| pid.name == running.name).map(|found| found.pid);
        targets.push(Target::Running(Running { pid, ..running.clone() }));
    }
    for TargetPid { name, .. } in &options.target_pid {
        ensure!(options.target.iter().any(|target| target.name == *name), "there is no --target {name}");
    }
    for name in &options.only {
        ensure!(has(&targets, name), "there is no target {name}");
    }
    if !options.only.is_empty() {
        targets.retain(|target| options.only.iter().any(|name| name == target.name()));
    } else if options.quick {
        targets.retain(|target| target.wasi() != Some(Wasi::V0_2));
    }
    let mut runnable = Vec::new();
    for target in targets {
        match target.check() {
            Ok(()) => runnable.push(target),
            Err(reason) if options.only.is_empty() => eprintln!("{} is left out: {reason}", target.name()),
            Err(reason) => bail!("{} cannot be measured: {reason}", target.name()),
        }
    }
    Ok(runnable)
}

/// The arguments that the embedded host knows too.
fn known_to_embedded_host(arguments: &[String]) -> Result<Vec<String>> {
    if arguments.is_empty() {
        return Ok(Vec::new());
    }
    let host = launch::program("release", Host::EMBEDDED)?;
    let help = Command::new(&host).arg("--help").output().with_context(|| host.display().to_string())?;
    let help = String::from_utf8_lossy(&help.stdout);
    let (known, unknown): (Vec<_>, Vec<_>) = arguments.iter().cloned().partition(|argument| {
        let option = argument.split('=').next().unwrap_or_default();
        help.split([' ', '\n', ',', '=']).any(|word| word == option)
    });
    if !unknown.is_empty() {
        eprintln!("for spin only, because the embedded host has no such option: {}", unknown.join(" "));
    }
    Ok(known)
}
