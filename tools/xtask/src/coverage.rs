//! `cargo xtask coverage`: which lines the native tests run.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use launch::{Manifest, workspace};
use serde::Deserialize;

use crate::{
    build::cargo,
    process::{output, run, step},
};

pub(crate) fn coverage() -> Result<()> {
    output(cargo().args(["llvm-cov", "--version"]))
        .context("cargo-llvm-cov is missing; `bash .ci/tools` installs it")?;
    step("running the native tests");
    run(cargo().args(["llvm-cov", "--no-report"]))?;
    run(cargo().args(["llvm-cov", "report"]))?;
    run(cargo().args(["llvm-cov", "report", "--html"]))?;
    let report = output(cargo().args(["llvm-cov", "report", "--json", "--summary-only"]))?;
    let covered = covered_files(&report)?;
    println!(
        "Test modules are counted like other code. The end-to-end tests (cargo xtask test) are not counted: they run\n\
         the components as wasm. Only they cover these files:"
    );
    let components = Manifest::of_project()?.components();
    for package in components.iter().map(String::as_str).chain(["platform"]) {
        for file in files_with_code(&workspace().join(package).join("src"))? {
            if !covered.contains(&file) {
                println!("  {}", file.strip_prefix(workspace())?.display());
            }
        }
    }
    Ok(())
}

/// The files of a JSON report that have a covered line.
fn covered_files(report: &str) -> Result<BTreeSet<PathBuf>> {
    #[derive(Deserialize)]
    struct Report {
        data: Vec<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        filename: PathBuf,
        summary: Summary,
    }
    #[derive(Deserialize)]
    struct Summary {
        lines: Lines,
    }
    #[derive(Deserialize)]
    struct Lines {
        covered: u64,
    }
    let report: Report = serde_json::from_str(report).context("cannot read the report of cargo llvm-cov")?;
    let files = report.data.into_iter().flat_map(|data| data.files);
    Ok(files.filter(|file| file.summary.lines.covered > 0).map(|file| file.filename).collect())
}

/// The source files in a folder that have a function.
fn files_with_code(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_with_code(&path)?);
        } else if path.extension() == Some("rs".as_ref()) && fs::read_to_string(&path)?.contains("fn ") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_covered_line_is_not_covered() {
        let file = |name, covered| serde_json::json!({"filename": name, "summary": {"lines": {"count": 9, "covered": covered}}});
        let report = serde_json::json!({"data": [{"files": [file("a.rs", 1), file("b.rs", 0)]}]});
        assert_eq!(covered_files(&report.to_string()).unwrap(), ["a.rs".into()].into());
        assert!(covered_files("{}").is_err());
    }
}
