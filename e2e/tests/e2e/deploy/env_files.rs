//! Programs read a line of an `.env` as docs/deploy.md says.

use std::{fs, path::PathBuf, process::Command};

use e2e::{Setup, needs_own_host, read, tools};
use futures_util::future::join_all;

use super::python_tool;

/// Stands in for the document's `X`, because responses show its value.
const NAME: &str = "SPIN_VARIABLE_WORKER_ID";

/// Cells of the table that are not values.
const REFUSED: &str = "refuses the file";
const RUN: &str = "runs `b`";

/// A row of the table: the file's line, and how each program reads it.
struct Row {
    file: String,
    spin: String,
    systemd: String,
    kustomize: String,
    shell: String,
}

/// The value in a cell.
fn cell(text: &str) -> String {
    if [REFUSED, RUN].contains(&text) {
        return text.to_owned();
    }
    let text = text.replace("` and the value of `b`", "later`").replace("` and the blanks", "  `");
    let text = text.replace("` and the carriage return", "\r`");
    let text = text.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
    text.unwrap_or_else(|| panic!("{text:?} is not a value")).to_owned()
}

fn rows() -> Vec<Row> {
    let page = read("docs/deploy.md");
    let table = page.split("| in the file |").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows: Vec<_> = table
        .lines()
        .skip(2)
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [file, spin, _, systemd, kustomize, shell] = cells[..] else { panic!("{line}") };
            let file = file.replace("` and blanks", "  `").replace("` and a carriage return", "\r`");
            let file = file.replace("`, then `", "\n").replace('`', "").replace("X=", &format!("{NAME}="));
            Row {
                file: format!("b=later\n{file}\n"),
                spin: cell(spin),
                systemd: cell(systemd),
                kustomize: cell(kustomize),
                shell: cell(shell),
            }
        })
        .collect();
    assert!(rows.len() > 10);
    rows
}

#[tokio::test]
async fn spin_and_the_embedded_host_read_env_as_documented() {
    needs_own_host!();
    let (refused, read): (Vec<_>, Vec<_>) = rows().into_iter().partition(|row| row.spin == REFUSED);
    for row in refused {
        let entries: Result<Vec<_>, _> = dotenvy::from_read_iter(row.file.as_bytes()).collect();
        assert!(entries.is_err(), "{}", row.file);
    }
    join_all(read.into_iter().map(|row| async move {
        let write = |data: &std::path::Path| fs::write(data.with_file_name(".env"), &row.file).unwrap();
        let app = Setup::new().start_with_files(write).await;
        assert_eq!(app.get("/health").await.json()["worker"], row.spin, "{}", row.file);
    }))
    .await;
}

#[test]
fn a_shell_reads_env_as_documented() {
    for row in rows() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".env"), &row.file).unwrap();
        let script = format!("b() {{ printf '%s' '{RUN}'; }}; . ./.env; printf '%s' \"${NAME}\"");
        let output =
            Command::new("sh").args(["-c", &script]).current_dir(folder.path()).env_clear().output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), row.shell, "{}", row.file);
    }
}

#[test]
fn kustomize_reads_env_as_documented() {
    let Some(kubectl) = python_tool("kubectl", "KUBECTL") else { return };
    for row in rows() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".env"), &row.file).unwrap();
        let kustomization = "configMapGenerator: [{ name: x, envs: [.env] }]";
        fs::write(folder.path().join("kustomization.yaml"), kustomization).unwrap();
        let output = Command::new(&kubectl).arg("kustomize").arg(folder.path()).output().unwrap();
        if row.kustomize == REFUSED {
            assert!(!output.status.success(), "{}", row.file);
            continue;
        }
        let made: serde_json::Value =
            serde_saphyr::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap();
        assert_eq!(made["data"][NAME], row.kustomize, "{}", row.file);
    }
}

/// One of systemd's own programs. It reads such files with the same parser but then expands `$`, unlike
/// `EnvironmentFile`.
fn systemd_reader() -> Option<PathBuf> {
    let name = "30-systemd-environment-d-generator";
    tools::find(
        name,
        "SYSTEMD_ENVIRONMENT_D_GENERATOR",
        &[&format!("/usr/lib/systemd/user-environment-generators/{name}")],
    )
}

#[test]
fn systemd_reads_env_as_documented() {
    let Some(reader) = systemd_reader() else { return };
    for row in rows().iter().filter(|row| !row.file.contains('$')) {
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("environment.d");
        fs::create_dir(&configuration).unwrap();
        fs::write(configuration.join("test.conf"), &row.file).unwrap();
        let output =
            Command::new(&reader).env_clear().env("XDG_CONFIG_HOME", folder.path()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        // The output is quoted for a shell.
        let words = shell_words::split(&printed).unwrap();
        let value = words.iter().find_map(|word| word.strip_prefix(NAME)?.strip_prefix('='));
        assert_eq!(value, Some(&*row.systemd), "{}", row.file);
    }
}
