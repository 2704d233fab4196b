//! `--trace-calls`: a line for each call that a component makes.
//!
//! The bindings and wasmtime report calls to the crate `log`, which is otherwise off. A line is `call: ` with an
//! interface and its function (`types [method]fields.copy-all`), or with an operation on a stream, a future (`read`)
//! or the component's own task (`task.return`). `event` is not a call: something woke the instance.

use rust_log::{LevelFilter, Log, Metadata, Record};

use crate::log::log;

/// How wasmtime's reports begin, and their names here. A report without a name is left out.
const BUILT_IN: [(&str, &str); 10] = [
    ("guest_read result", ""),
    ("guest_read ", "read"),
    ("guest_write result", ""),
    ("guest_write ", "write"),
    ("guest cancel read ", "cancel-read"),
    ("guest cancel write ", "cancel-write"),
    ("guest_drop_readable: ", "drop-readable"),
    ("guest_drop_writable: ", "drop-writable"),
    ("subtask_drop ", "subtask.drop"),
    ("deliver event ", "event"),
];

/// Writes the lines from now on.
pub(crate) fn trace() {
    // Fails only if this logger is set already.
    let _ = rust_log::set_logger(&Calls);
    rust_log::set_max_level(LevelFilter::Trace);
}

struct Calls;

impl Log for Calls {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("wasmtime") || metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata())
            && let Some(call) = call(&record.args().to_string())
        {
            log!("call: {call}");
        }
    }

    fn flush(&self) {}
}

/// The call in a report, if there is one.
fn call(report: &str) -> Option<String> {
    if let Some(import) = report.strip_prefix("wit-bindgen import;") {
        // module="types" function="[method]fields.copy-all"
        let mut names = import.split('"').skip(1).step_by(2);
        return Some(format!("{} {}", names.next()?, names.next()?));
    }
    let (_, name) = BUILT_IN.iter().find(|(beginning, _)| report.starts_with(beginning))?;
    (!name.is_empty()).then(|| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::call;

    #[test]
    fn calls_are_named_and_other_reports_left_out() {
        for (report, name) in [
            (
                r#"wit-bindgen import; module="types" function="[method]fields.get""#,
                Some("types [method]fields.get"),
            ),
            ("guest_read 1 from TableId(3) (handle 2; state TableId(1)); Open", Some("read")),
            ("guest_read result for TableId(3) (handle 2; state TableId(1)): Blocked", None),
            ("guest_drop_readable: drop reader TableId(3)", Some("drop-readable")),
            ("handle work item GuestCall", None),
            (r#"call name="user-agent""#, None),
        ] {
            assert_eq!(call(report).as_deref(), name, "{report}");
        }
    }
}
