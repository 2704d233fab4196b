//! Secrets and data that the documented commands write are ignored by git and stay out of the image.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use e2e::{read, tools, workspace};
use toml::Table;

use super::{between, one, run};

/// The documents that contain commands.
fn documents() -> Vec<String> {
    let docs = fs::read_dir(workspace().join("docs")).unwrap().map(|file| file.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut texts: Vec<_> = docs.map(|path| fs::read_to_string(path).unwrap()).collect();
    texts.extend(["README.md", "tools/host/README.md", "tools/bench/README.md"].map(read));
    texts
}

/// The commands in a document: fenced or indented blocks, and inline code that writes to a file.
fn commands(document: &str) -> Vec<String> {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    for (number, part) in document.split("```").enumerate() {
        if number % 2 == 1 {
            // Skip the name of the language.
            blocks.push(part.split_once('\n').map_or("", |(_, block)| block).to_owned());
        } else {
            prose += part;
        }
    }
    blocks.extend(prose.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned));
    let code = prose.split('`').skip(1).step_by(2);
    blocks.extend(code.filter(|code| code.contains(" > ")).map(str::to_owned));
    blocks
}

/// The files and folders that a command line writes, given its words.
fn written(words: &[&str]) -> Vec<String> {
    let mut written = Vec::new();
    let follows = |names: &[&str]| {
        let pairs = words.windows(2).filter(|pair| names.contains(&pair[0]));
        pairs.map(|pair| pair[1].to_owned()).collect::<Vec<_>>()
    };
    written.extend(follows(&[">", ">>", "-out", "-keyout", "--output", ".backup", "tee"]));
    match words {
        [.., "mkdir", folder] => written.push(format!("{}/", folder.trim_end_matches('/'))),
        ["install" | "mv" | "cp", .., target] => written.push((*target).to_owned()),
        ["perf", "record", ..] => written.push("perf.data".to_owned()),
        _ if words.iter().any(|word| *word == "curl" || word.ends_with("(curl")) => {
            written.extend(follows(&["-o"]));
        }
        _ => {}
    }
    written
}

/// The paths in the project's folder that the documented commands write.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for block in documents().iter().flat_map(|document| commands(document)) {
        let mut folder = String::new();
        let block = block.replace("\\\n", " ");
        for line in block.lines().flat_map(|line| line.split(['|', ';', '&'])) {
            // Drop what the shell would remove.
            let line = line.split(" #").next().unwrap().replace(['"', '\'', '(', ')'], " ");
            let words: Vec<_> = line.split_whitespace().collect();
            if let ["cd", to] = words[..] {
                folder = if to == "-" { String::new() } else { format!("{to}/") };
            }
            for name in written(&words) {
                for database in ["issuance", "verification"] {
                    let name = name.replace("$name", database);
                    let is_name =
                        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
                    if is_name && !name.starts_with('/') && name.bytes().any(|byte| byte.is_ascii_lowercase())
                    {
                        names.insert(format!("{folder}{name}"));
                    }
                }
            }
        }
    }
    names
}

/// Paths that the files in `deploy/` and the hosts write in addition.
fn others() -> Vec<String> {
    let listen = read("deploy/nginx/listen.conf");
    // Compose mounts the folder at this path.
    let keys = between(&listen, " /etc/nginx/", ';').into_iter().map(|name| format!("deploy/nginx/{name}"));
    let prometheus = read("deploy/prometheus/prometheus.yml");
    let token = one(&prometheus, "credentials_file: ", '\n');
    let databases = read("runtime-config.toml");
    let databases = between(&databases, "path = \"", '"').into_iter();
    let mut others: Vec<_> =
        databases.flat_map(|file| [file.to_owned(), format!("{file}-wal"), format!("{file}-shm")]).collect();
    assert_eq!(others.len(), 6);
    others.extend(keys);
    others.push(format!("deploy/prometheus/{token}"));
    // Default paths of Prometheus and Spin, and copies of .env.
    let more =
        ["deploy/prometheus/data/wal/1", ".spin/logs/a.txt", ".env", ".env.old", "deploy/kubernetes/.env"];
    others.extend(more.map(str::to_owned));
    others
}

/// All written paths, each folder as a file in it.
fn made() -> BTreeSet<String> {
    let mut made = names();
    made.extend(others());
    let made: BTreeSet<_> =
        made.into_iter().map(|name| if name.ends_with('/') { name + "file" } else { name }).collect();
    // The search must find at least these.
    for name in [
        ".env",
        "deploy/kubernetes/.env",
        "deploy/nginx/certificate.pem",
        "deploy/nginx/key.pem",
        "deploy/prometheus/metrics-token.txt",
        "issuance-backup.db",
        "issuance.dump",
        "load.json",
        "old/file",
        "perf.data",
        "revoked.txt",
        "verification-backup.db",
        "verification.dump",
    ] {
        assert!(made.contains(name), "{name} is not among {made:?}");
    }
    assert!(made.iter().any(|name| name.ends_with(".csv")), "no export is among {made:?}");
    made
}

#[test]
fn git_ignores_what_the_documents_write_and_nothing_of_the_project() {
    let Some(git) = tools::find("git", "GIT", &[]) else { return };
    // In a new repository only the project's rules apply, and the project itself need not be a checkout.
    let folder = tempfile::tempdir().unwrap();
    let git = |folder: &Path, arguments: &[&str]| {
        let mut command = Command::new(&git);
        command.args(["-c", "core.excludesFile=/dev/null"]).args(arguments).current_dir(folder);
        command
    };
    run(&mut git(folder.path(), &["init", "--quiet"]));
    fs::copy(workspace().join(".gitignore"), folder.path().join(".gitignore")).unwrap();
    for name in made() {
        let output = git(folder.path(), &["check-ignore", "--quiet", "--no-index", &name]).output().unwrap();
        assert!(output.status.success(), ".gitignore lacks {name}");
    }
    if workspace().join(".git").exists() {
        let ignored =
            run(&mut git(workspace(), &["ls-files", "--ignored", "--cached", "--exclude-standard"]));
        assert_eq!(ignored, "", ".gitignore covers files of the project");
    }
}

/// Whether a name matches a pattern, where `*` is any text without a slash.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.split_once('/'), name.split_once('/')) {
        (Some(("**", pattern)), split) => {
            matches(pattern, name) || split.is_some_and(|(_, name)| matches(&format!("**/{pattern}"), name))
        }
        (Some((first, pattern)), Some((folder, name))) => matches(first, folder) && matches(pattern, name),
        (None, None) => match pattern.split_once('*') {
            Some((start, end)) => name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
            None => pattern == name,
        },
        _ => false,
    }
}

/// Whether the rules leave a file out of the build. The last rule that matches the file or a folder above it decides.
fn left_out(rules: &str, file: &str) -> bool {
    let paths: Vec<_> =
        file.match_indices('/').map(|(end, _)| &file[..end]).chain(std::iter::once(file)).collect();
    let rules = rules.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut decisive = rules.filter(|rule| {
        let pattern = rule.trim_start_matches('!');
        assert!(pattern.matches('*').count() <= 3 && !pattern.contains(['?', '[', '\\']), "{rule}");
        paths.iter().any(|path| matches(pattern, path))
    });
    decisive.next_back().is_some_and(|rule| !rule.starts_with('!'))
}

#[test]
fn rules_for_the_image_are_read_as_docker_reads_them() {
    let rules = "# all\n*\n!src\n!a.txt\n**/secret*\n!deploy/config.toml\n";
    for (file, out) in [
        ("other", true),
        ("src", false),
        ("src/main.rs", false),
        ("src/secret.txt", true),
        ("src/deep/secret", true),
        ("secrets/key", true),
        ("a.txt", false),
        ("deep/a.txt", true),
        ("deploy/key.pem", true),
        ("deploy/config.toml", false),
    ] {
        assert_eq!(left_out(rules, file), out, "{file}");
    }
}

#[test]
fn the_image_is_built_without_what_the_documents_write_and_with_what_it_needs() {
    let rules = read("deploy/Dockerfile.dockerignore");
    for name in made() {
        assert!(left_out(&rules, &name), "Dockerfile.dockerignore lets {name} in");
    }
    let manifest: Table = read("Cargo.toml").parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let mut needed: Vec<_> =
        members.iter().map(|member| format!("{}/Cargo.toml", member.as_str().unwrap())).collect();
    assert!(needed.len() > 8);
    needed.extend(["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "spin.toml"].map(str::to_owned));
    // Files that the components embed or that cargo xtask dist copies.
    needed.extend(["openapi.yaml", "web/static/index.html", ".env.example", "LICENSE"].map(str::to_owned));
    let dockerfile = read("deploy/Dockerfile");
    needed.extend(between(&dockerfile, "\nCOPY ", ' ').into_iter().map(str::to_owned));
    for file in needed.iter().filter(|file| *file != "." && !file.starts_with("--")) {
        assert!(workspace().join(file).exists(), "there is no {file}");
        assert!(!left_out(&rules, file), "Dockerfile.dockerignore leaves {file} out");
    }
}
