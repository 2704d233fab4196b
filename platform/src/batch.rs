//! Batching: requests that wait in an instance at the same time share a statement and its commit, or a call.

use std::{
    future::Future,
    mem,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{Either, select};
use tokio::sync::{Semaphore, oneshot};

use crate::Deadline;

/// An operation that handles several items at once.
pub trait Batch: Send + Sync {
    /// The input of one caller.
    type Item: Send + Sync;
    /// The result for one item.
    type Output: Send;
    /// Why the whole batch failed.
    type Error: Clone + Send + From<Interrupted>;

    /// Whether the same batch may succeed when retried at once. By default, none is retried.
    fn is_transient(_: &Self::Error) -> bool {
        false
    }

    /// Runs a batch to completion and returns an output for each item, in order.
    fn run(
        &self,
        items: &[Self::Item],
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<Self::Output>, Self::Error>> + Send;
}

/// The batch was dropped before it completed, so its effect is unknown.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the batch that this request was part of did not end")]
pub struct Interrupted;

/// Collects the items that arrive while a batch is running, and runs them as the next one.
///
/// The call that gets the permit runs the batch for every waiter. A batch that fails does so for all its items.
pub struct Batcher<B: Batch> {
    batch: B,
    queue: Mutex<Queue<B>>,
    permits: Semaphore,
}

struct Queue<B: Batch> {
    entries: Vec<Entry<B>>,
    /// How many entries have left the queue: the number of the first one that is in it.
    taken: u64,
}

struct Entry<B: Batch> {
    item: B::Item,
    output: oneshot::Sender<Result<B::Output, B::Error>>,
}

/// How long a call waits for the batch before its own and for its own, including retries after transient errors.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(5);

/// How long a batch that is being retried admits new items: later ones would be left too little time.
const ADMISSION: Duration = Duration::from_secs(1);

impl<B: Batch> Batcher<B> {
    /// A batcher that runs up to `concurrency` batches at a time.
    pub const fn new(batch: B, concurrency: usize) -> Self {
        let queue = Queue { entries: Vec::new(), taken: 0 };
        Self { batch, queue: Mutex::new(queue), permits: Semaphore::const_new(concurrency) }
    }

    /// The operation that runs the batches.
    pub fn batch(&self) -> &B {
        &self.batch
    }

    /// Runs an item as part of a batch and returns its output.
    ///
    /// The wait ends within 5 s plus one run of the batch: permits are granted in order of arrival, so the permit holder
    /// is the first in its batch, and the batch runs under its deadline.
    ///
    /// # Errors
    /// Those of the batch; [`Interrupted`] if the call that ran it was dropped.
    pub async fn run(&self, item: B::Item) -> Result<B::Output, B::Error> {
        let deadline = Deadline::after(MAX_WAIT);
        let (sender, mut output) = oneshot::channel();
        let number = self.queue().push(Entry { item, output: sender });
        let permit = match select(&mut output, pin!(self.permits.acquire())).await {
            Either::Left((output, _)) => return output.unwrap_or(Err(Interrupted.into())),
            Either::Right((permit, _)) => permit,
        };
        // Another call may have taken the item already: then those that came later are not this one's to run.
        if self.queue().has(number) {
            self.run_queued(deadline).await;
        }
        drop(permit);
        output.await.unwrap_or(Err(Interrupted.into()))
    }

    /// Runs all queued items.
    async fn run_queued(&self, deadline: Deadline) {
        let (mut items, mut outputs) = (Vec::new(), Vec::new());
        // The end of the time in which a batch that is being retried admits items.
        let mut admission = None;
        let result = loop {
            if admission.is_none_or(|end: Deadline| !end.has_passed()) {
                for Entry { item, output } in self.queue().take() {
                    items.push(item);
                    outputs.push(output);
                }
            }
            if items.is_empty() {
                return;
            }
            match self.batch.run(&items, deadline).await {
                Err(error) if B::is_transient(&error) && !deadline.has_passed() => {
                    admission.get_or_insert_with(|| Deadline::after(ADMISSION));
                }
                result => break result,
            }
        };
        // A send fails only if its caller was dropped meanwhile.
        match result {
            Ok(results) => {
                outputs.into_iter().zip(results).for_each(|(output, result)| drop(output.send(Ok(result))))
            }
            Err(error) => outputs.into_iter().for_each(|output| drop(output.send(Err(error.clone())))),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<B>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Batch> Queue<B> {
    /// Adds an entry, and gives its number.
    fn push(&mut self, entry: Entry<B>) -> u64 {
        self.entries.push(entry);
        self.taken + self.entries.len() as u64 - 1
    }

    fn has(&self, number: u64) -> bool {
        number >= self.taken
    }

    fn take(&mut self) -> Vec<Entry<B>> {
        self.taken += self.entries.len() as u64;
        mem::take(&mut self.entries)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::clock::Instant;

    /// Doubles numbers in 10 ms per batch; fails for 13.
    #[derive(Default)]
    struct Numbers {
        ran: Mutex<Vec<Vec<u32>>>,
        /// How many of the next runs fail with [`Error::Busy`], after 100 ms each.
        busy: AtomicU32,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Error {
        Busy,
        Unlucky,
        Interrupted,
    }

    impl From<Interrupted> for Error {
        fn from(_: Interrupted) -> Self {
            Self::Interrupted
        }
    }

    impl Batch for Numbers {
        type Item = u32;
        type Output = u32;
        type Error = Error;

        fn is_transient(error: &Error) -> bool {
            *error == Error::Busy
        }

        async fn run(&self, items: &[u32], _: Deadline) -> Result<Vec<u32>, Error> {
            let one_less = |busy: u32| busy.checked_sub(1);
            if self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                pause(100).await;
                return Err(Error::Busy);
            }
            pause(10).await;
            if items.contains(&13) {
                return Err(Error::Unlucky);
            }
            self.ran.lock().unwrap().push(items.to_vec());
            Ok(items.iter().map(|item| item * 2).collect())
        }
    }

    #[derive(Clone)]
    struct Shared(Arc<Batcher<Numbers>>);

    impl Shared {
        fn failing(busy: u32) -> Self {
            Self(Arc::new(Batcher::new(Numbers { busy: busy.into(), ..Numbers::default() }, 1)))
        }

        fn run(&self, item: u32) -> tokio::task::JoinHandle<Result<u32, Error>> {
            let batcher = self.clone();
            tokio::spawn(async move { batcher.0.run(item).await })
        }

        fn ran(&self) -> Vec<Vec<u32>> {
            self.0.batch.ran.lock().unwrap().clone()
        }
    }

    async fn pause(millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn items_that_arrive_during_a_batch_form_the_next_one_and_each_gets_its_own_output() {
        let batcher = Shared::failing(0);
        let calls: Vec<_> = (1..=9).map(|item| batcher.run(item)).collect();
        for (item, call) in (1..).zip(calls) {
            assert_eq!(call.await.unwrap(), Ok(item * 2));
        }
        assert_eq!(batcher.run(10).await.unwrap(), Ok(20));
        assert_eq!(batcher.ran(), [vec![1], (2..=9).collect(), vec![10]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_retried_admits_new_items_for_a_second() {
        let batcher = Shared::failing(13);
        let first = batcher.run(1);
        pause(850).await;
        let admitted = batcher.run(2);
        pause(300).await;
        let late = batcher.run(3);
        for (call, output) in [(first, 2), (admitted, 4), (late, 6)] {
            assert_eq!(call.await.unwrap(), Ok(output));
        }
        assert_eq!(batcher.ran(), [vec![1, 2], vec![3]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_fails_does_so_for_all_its_items_and_the_next_one_runs() {
        let batcher = Shared::failing(0);
        let calls: Vec<_> = [1, 2, 13, 3].into_iter().map(|item| batcher.run(item)).collect();
        let mut results = Vec::new();
        for call in calls {
            results.push(call.await.unwrap());
        }
        assert_eq!(results, [Ok(2), Err(Error::Unlucky), Err(Error::Unlucky), Err(Error::Unlucky)]);
        assert_eq!(batcher.run(4).await.unwrap(), Ok(8));
    }

    /// A batch that ends by its deadline only.
    struct Stalled;

    impl Batch for Stalled {
        type Item = ();
        type Output = ();
        type Error = Error;

        async fn run(&self, _: &[()], deadline: Deadline) -> Result<Vec<()>, Error> {
            deadline.within(std::future::pending::<()>()).await;
            Err(Error::Unlucky)
        }
    }

    /// Starts a call every 200 ms, and asserts that each ends in time.
    async fn assert_no_call_waits_longer<B>(batcher: Batcher<B>, item: B::Item)
    where
        B: Batch<Item: Copy + 'static, Output: 'static, Error: 'static> + 'static,
    {
        let batcher = Arc::new(batcher);
        let mut calls = Vec::new();
        for _ in 0..60 {
            let batcher = Arc::clone(&batcher);
            calls.push(tokio::spawn(async move {
                let begun = Instant::now();
                (batcher.run(item).await.is_err(), begun.elapsed())
            }));
            pause(200).await;
        }
        for call in calls {
            let (failed, waited) = call.await.unwrap();
            assert!(failed && waited <= MAX_WAIT + Duration::from_millis(100), "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_waits_longer_than_its_deadline_and_one_run() {
        for concurrency in [1, 2] {
            let busy = Numbers { busy: u32::MAX.into(), ..Numbers::default() };
            assert_no_call_waits_longer(Batcher::new(busy, concurrency), 1).await;
            assert_no_call_waits_longer(Batcher::new(Stalled, concurrency), ()).await;
        }
    }
}
