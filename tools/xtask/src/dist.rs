//! `cargo xtask dist`: a folder with everything that a host needs to run the application without Rust.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use launch::{Database, Manifest, Wasi, target_folder, workspace};
use sha2::{Digest, Sha256};

use crate::build::build_reproducibly;

/// Copied as they are.
const FILES: [&str; 2] = [".env.example", "LICENSE"];

/// Copied too, if the databases are files.
const RUNTIME_CONFIG: &str = "runtime-config.toml";

/// Writes the folder, an archive of it and the archive's checksum to `target/dist`, and prints their names.
pub(crate) fn dist(wasi: Wasi, database: Database) -> Result<()> {
    let mut manifest = Manifest::of_project()?;
    let mut name = format!("kube-credentials-{}-wasi-{wasi}", manifest.version()?);
    let mut files = Vec::from(FILES);
    match database {
        Database::Sqlite => files.push(RUNTIME_CONFIG),
        Database::Postgres => {
            name += "-postgres";
            manifest.use_postgres()?;
        }
    }
    let components = manifest.components();
    let wasm = build_reproducibly(&components, wasi, database)?;

    let dist = target_folder().join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    for component in components {
        let file = format!("{component}.wasm");
        fs::copy(wasm.join(&file), folder.join(&file)).with_context(|| format!("cannot copy {file}"))?;
    }
    for file in files {
        fs::copy(workspace().join(file), folder.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    manifest.set_sources(|component| format!("{component}.wasm"));
    fs::write(folder.join("spin.toml"), manifest.to_string())?;
    fs::write(folder.join("README.md"), readme(&name, wasi, database))?;

    let archive = archive(&folder, &name)?;
    fs::write(dist.join(format!("{name}.tar.gz")), &archive)?;
    // As sha256sum --check reads it.
    let checksum = format!("{}  {name}.tar.gz\n", hex::encode(Sha256::digest(&archive)));
    fs::write(dist.join(format!("{name}.tar.gz.sha256")), &checksum)?;
    println!("{}\n{checksum}", folder.display());
    Ok(())
}

/// A compressed tar archive of the folder, under this name. Its bytes depend on names and contents only.
fn archive(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let mut names: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    let compressed = GzBuilder::new().write(Vec::new(), Compression::best());
    let mut archive = tar::Builder::new(compressed);
    archive.mode(tar::HeaderMode::Deterministic);
    for file in names {
        archive.append_file(Path::new(name).join(&file), &mut File::open(folder.join(&file))?)?;
    }
    let mut compressed = archive.into_inner()?;
    compressed.flush()?;
    Ok(compressed.finish()?)
}

fn readme(name: &str, wasi: Wasi, database: Database) -> String {
    let spin = match wasi {
        Wasi::V0_2 => "Spin 3.0 or newer, SpinKube or a Spin-compatible cloud",
        Wasi::V0_3 => "Spin 4.1 or newer",
    };
    let (option, and_config, databases) = match database {
        Database::Sqlite => (
            " --runtime-config-file runtime-config.toml",
            " and `runtime-config.toml`",
            "The databases are in `data/`, which Spin makes; keep them and the secret.",
        ),
        Database::Postgres => (
            "",
            "",
            "The databases are on the PostgreSQL servers that `.env` must name, in `SPIN_VARIABLE_ISSUANCE_DATABASE_HOST` and\n\
             `SPIN_VARIABLE_VERIFICATION_DATABASE_HOST`, with their passwords; keep them and the secret.",
        ),
    };
    format!(
        r"# {name}

Kube Credentials for WASI {wasi}: runs on {spin} (https://spinframework.dev/install).

Run it here:

```sh
umask 077                             # files are readable by you only: secrets, databases, logs
install -m 600 .env.example .env      # then add a secret, from: openssl rand -hex 32
spin up{option}
```

It serves http://127.0.0.1:3000. {databases}

Push it to a registry, and run it from there, in a folder with `.env`{and_config}:

```sh
spin registry push registry.example/kube-credentials:1
spin up --from registry.example/kube-credentials:1{option}
```

The variables that can be set are in `.env.example`. The project's README and its `docs/` describe the API and operation.
"
    )
}
