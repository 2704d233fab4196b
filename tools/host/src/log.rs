//! Lines on stderr and stdout. A line that cannot be written (full disk, closed pipe) is lost, where `eprintln!` and
//! `println!` would panic.

/// Writes a line to stderr.
macro_rules! log {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

/// Writes a line to stdout.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

pub(crate) use {log, say};
