//! A statement whose rows are read while it runs.

use tokio::sync::{mpsc, oneshot};

use crate::bindings::spin::sqlite::sqlite::{Error, RowResult};

/// The parts of a running statement, for the guest: columns first, then rows, then the outcome.
pub(crate) struct Running {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: mpsc::Receiver<RowResult>,
    pub(crate) outcome: oneshot::Receiver<Result<(), Error>>,
}

/// The other end, for the code that runs the statement.
pub(crate) struct Feed {
    pub(crate) columns: oneshot::Sender<Vec<String>>,
    pub(crate) rows: mpsc::Sender<RowResult>,
    pub(crate) outcome: oneshot::Sender<Result<(), Error>>,
}

impl Feed {
    /// Both ends. The guest's is ready as soon as the columns are known.
    pub(crate) fn new() -> (Self, impl Future<Output = Running>) {
        let (columns_sender, columns) = oneshot::channel();
        let (rows_sender, rows) = mpsc::channel(4);
        let (outcome_sender, outcome) = oneshot::channel();
        let feed = Self { columns: columns_sender, rows: rows_sender, outcome: outcome_sender };
        // If the statement fails before there are columns, the outcome says why.
        let running = async { Running { columns: columns.await.unwrap_or_default(), rows, outcome } };
        (feed, running)
    }
}

/// The error of a statement whose rows no one reads any more.
pub(crate) fn gone((): ()) -> Error {
    Error::Io("the component no longer listens".to_owned())
}
