//! The machine that the results come from.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result};
use procfs::{
    CpuInfo, Current, LoadAverage,
    process::{MountInfos, Process},
};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    /// The type of the file system that the databases are on.
    file_system: String,
    /// Over the minute before the run.
    load_average: f32,
}

impl Machine {
    /// This machine, with the databases in a folder.
    pub(crate) fn with_data_in(folder: &Path) -> Result<Self> {
        let mounts = Process::myself()?.mountinfo()?;
        Ok(Self {
            processor: CpuInfo::current()?.model_name(0).unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: file_system(mounts, &folder.canonicalize()?)
                .context("the file system is unknown")?,
            load_average: LoadAverage::current()?.one,
        })
    }
}

impl fmt::Display for Machine {
    /// With warnings about anything that distorts the results.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, kernel, file_system, load_average } = self;
        write!(f, "file system: {file_system}\nmachine: {processor}, {cores} cores, Linux {kernel}")?;
        if matches!(file_system.as_str(), "tmpfs" | "ramfs") {
            write!(f, "\nwarning: the databases are in memory, where fsync is free; use --data-dir")?;
        }
        if *load_average > 0.5 {
            write!(f, "\nwarning: the machine is busy (load average {load_average})")?;
        }
        Ok(())
    }
}

/// The type of a path's file system: that of the deepest mount above it, or the last of several there.
fn file_system(mounts: MountInfos, path: &Path) -> Option<String> {
    let mounts = mounts.into_iter().filter(|mount| path.starts_with(&mount.mount_point));
    Some(mounts.max_by_key(|mount| mount.mount_point.components().count())?.fs_type)
}

#[cfg(test)]
mod tests {
    use procfs::FromBufRead;

    use super::*;

    #[test]
    fn a_path_is_on_the_file_system_mounted_closest_above_it() {
        let mounts = "\
            20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            21 20 0:5 / /dev rw - devtmpfs devtmpfs rw\n\
            22 20 0:19 / /data rw - xfs /dev/vdb rw\n\
            23 20 0:19 / /data rw - tmpfs tmpfs rw";
        let file_system = |path| {
            file_system(MountInfos::from_buf_read(mounts.as_bytes()).unwrap(), Path::new(path)).unwrap()
        };
        assert_eq!(file_system("/data/a"), "tmpfs");
        assert_eq!(file_system("/database"), "ext4");
    }
}
