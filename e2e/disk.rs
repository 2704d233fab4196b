//! A small disk that a test can fill.

use std::{
    io::{BufRead, BufReader, Write, stderr},
    os::unix::{fs::chown, process::CommandExt},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use launch::postgres_user;
use tempfile::TempDir;

/// A file system in memory for the user who runs PostgreSQL. It is mounted in a namespace of its own, which takes no
/// privileges, and disappears with this process.
#[derive(Debug)]
pub struct Disk {
    /// Runs in the namespace, with the file system as its working folder.
    shell: Child,
    output: BufReader<ChildStdout>,
    #[expect(dead_code, reason = "it removes the folder when dropped")]
    mount_point: TempDir,
}

impl Disk {
    /// Mounts one. Where the system or a container forbids that, the test is skipped: no tool would help.
    pub fn mount(megabytes: u32) -> Option<Self> {
        let mount_point = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh"]).current_dir(mount_point.path());
        if let Some(user) = postgres_user() {
            chown(mount_point.path(), Some(user), Some(user)).unwrap();
            command.uid(user).gid(user);
        }
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(shell.stdout.take().unwrap());
        let mut disk = Self { shell, output, mount_point };
        if disk.run(&format!("mount -t tmpfs -o size={megabytes}m,mode=700 tmpfs . && cd \"$(pwd)\"")) {
            return Some(disk);
        }
        let _ = writeln!(stderr(), "skipped a test: no file system can be mounted in a user namespace here");
        None
    }

    /// Its root.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/cwd", self.shell.id()).into()
    }

    /// Takes all space that is left.
    pub fn fill(&mut self) {
        assert!(!self.run("cat /dev/zero 2> /dev/null > filler"), "the disk is not full");
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub fn free(&mut self) {
        assert!(self.run("rm filler"), "the disk is still full");
    }

    /// Whether a command succeeds.
    fn run(&mut self, command: &str) -> bool {
        let mut status = String::new();
        // Without a namespace there is no shell.
        let _ = writeln!(self.shell.stdin.as_ref().unwrap(), "{command}; echo $?");
        self.output.read_line(&mut status).unwrap();
        status == "0\n"
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
