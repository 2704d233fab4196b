//! Where the figures come from: without it they mean little.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

/// The machine, as far as it tells.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// The kind of file system that the databases are on.
    pub(crate) file_system: String,
    /// Processes that ran or wanted to within the last minute, before the bench began.
    pub(crate) load_average: f64,
}

impl Machine {
    /// The machine, with its databases in this folder.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub(crate) fn with_data_in(folder: &Path) -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            processor: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: file_system(&fs::read_to_string("/proc/self/mountinfo")?, &folder.canonicalize()?)
                .context("the file system is not known")?,
            load_average: load.split(' ').next().unwrap_or_default().parse()?,
        })
    }

    /// Whether the databases are in memory, where an fsync costs nothing.
    pub(crate) fn in_memory(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }
}

/// The kind of file system that a path is on, from `mountinfo` of proc(5).
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        Some((Path::new(mount.split(' ').nth(4)?), file_system.split(' ').next()?))
    });
    // The longest that holds it; of two at the same place the later, which hides the other.
    let mount = mounts.filter(|(at, _)| path.starts_with(at)).max_by_key(|(at, _)| at.components().count());
    mount.map(|(_, file_system)| file_system.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_on_the_file_system_that_is_mounted_closest_above_it() {
        let mounts = "\
            20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            21 20 0:5 / /dev rw - devtmpfs devtmpfs rw\n\
            22 20 0:19 / /data rw - xfs /dev/vdb rw\n\
            23 20 0:19 / /data rw - tmpfs tmpfs rw";
        assert_eq!(file_system(mounts, Path::new("/data/a")).unwrap(), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/database")).unwrap(), "ext4");
        assert_eq!(file_system("", Path::new("/")), None);
    }
}
