//! Where the figures come from: without it they mean little.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use procfs::{
    CpuInfo, Current, LoadAverage,
    process::{MountInfos, Process},
};
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
        let processors = CpuInfo::current()?;
        let mounts = Process::myself()?.mountinfo()?;
        Ok(Self {
            processor: processors.model_name(0).unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: file_system(mounts, &folder.canonicalize()?)
                .context("the file system is unknown")?,
            load_average: LoadAverage::current()?.one.into(),
        })
    }

    /// Whether the databases are in memory, where an fsync costs nothing.
    pub(crate) fn in_memory(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }
}

/// The type of the file system that a path is on: of the mounts that contain it the deepest, of those the last.
fn file_system(mounts: MountInfos, path: &Path) -> Option<String> {
    let mounts = mounts.into_iter().filter(|mount| path.starts_with(&mount.mount_point));
    Some(mounts.max_by_key(|mount| mount.mount_point.components().count())?.fs_type)
}

#[cfg(test)]
mod tests {
    use procfs::FromBufRead;

    use super::*;

    #[test]
    fn a_path_is_on_the_file_system_that_is_mounted_closest_above_it() {
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
