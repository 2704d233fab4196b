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

use crate::clock::Deadline;

/// An operation that handles several items at once.
pub trait Batch: Send + Sync {
    /// The input of one caller.
    type Item: Send + Sync;
    /// The result for one item.
    type Output: Send;
    /// Why the whole batch failed.
    type Error: Transient + Clone + Send + From<BatchError>;

    /// Runs a batch to completion and returns an output for each item, in order. The deadline is the first of all items'.
    fn run(
        &self,
        items: &[Self::Item],
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<Self::Output>, Self::Error>> + Send;
}

/// An error that may disappear if the operation is retried at once.
pub trait Transient {
    /// Whether a retry at once may succeed. By default, nothing is retried.
    fn is_transient(&self) -> bool {
        false
    }
}

/// Why there is no output for an item.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum BatchError {
    /// No batch had begun by the deadline.
    #[error("no turn before the deadline")]
    Late,
    /// The batch was dropped before it completed, so its effect is unknown.
    #[error("the batch that this request was part of did not end")]
    Interrupted,
}

/// Collects the items that arrive while a batch is running, and runs them as the next one.
///
/// The call that gets the permit runs the batch for every waiter. A batch that fails does so for all its items; after a
/// transient error it is retried without those whose deadline has passed, and with those that have arrived.
pub struct Batcher<B: Batch> {
    batch: B,
    queue: Mutex<Queue<B>>,
    permits: Semaphore,
}

struct Queue<B: Batch> {
    entries: Vec<Entry<B>>,
    /// The number of the next entry.
    next: u64,
}

struct Entry<B: Batch> {
    number: u64,
    item: B::Item,
    waiter: Waiter<B>,
}

/// The call that waits for the output of an item.
struct Waiter<B: Batch> {
    deadline: Deadline,
    sender: oneshot::Sender<Reply<B>>,
}

enum Reply<B: Batch> {
    Output(Result<B::Output, B::Error>),
    /// The item, to be queued again: the call that ran its batch is at its deadline, but this one is not.
    Again(B::Item),
}

impl<B: Batch> Batcher<B> {
    /// A batcher that runs up to `concurrency` batches at a time.
    pub const fn new(batch: B, concurrency: usize) -> Self {
        let queue = Queue { entries: Vec::new(), next: 0 };
        Self { batch, queue: Mutex::new(queue), permits: Semaphore::const_new(concurrency) }
    }

    /// The operation that runs the batches.
    pub fn batch(&self) -> &B {
        &self.batch
    }

    /// Runs an item as part of a batch and returns its output.
    ///
    /// The wait ends at the deadline, or with a run of the batch that has begun by then.
    ///
    /// # Errors
    /// Those of the batch, and [`BatchError`].
    pub async fn run(&self, mut item: B::Item, deadline: Deadline) -> Result<B::Output, B::Error> {
        loop {
            match self.submit(item, deadline).await? {
                Reply::Output(result) => return result,
                Reply::Again(returned) => item = returned,
            }
        }
    }

    async fn submit(&self, item: B::Item, deadline: Deadline) -> Result<Reply<B>, BatchError> {
        let (sender, mut reply) = oneshot::channel();
        let number = self.queue().push(item, Waiter { deadline, sender });
        let permit = pin!(self.permits.acquire());
        match deadline.within(select(&mut reply, permit)).await {
            Some(Either::Left((reply, _))) => return reply.map_err(|_| BatchError::Interrupted),
            Some(Either::Right((permit, _))) => {
                // Another call may have taken the item already; later ones are then not this call's to run.
                if self.queue().has(number) {
                    self.run_queued(deadline).await;
                }
                drop(permit);
            }
            None if self.queue().remove(number) => return Err(BatchError::Late),
            None => {}
        }
        reply.await.map_err(|_| BatchError::Interrupted)
    }

    /// Runs all queued items, and retries until the caller's deadline.
    async fn run_queued(&self, own_deadline: Deadline) {
        let (mut items, mut waiters) = (Vec::new(), Vec::<Waiter<B>>::new());
        loop {
            for Entry { item, waiter, .. } in self.queue().take() {
                items.push(item);
                waiters.push(waiter);
            }
            let Some(deadline) = waiters.iter().map(|waiter| waiter.deadline).min() else { return };
            let error = match self.batch.run(&items, deadline).await {
                Ok(outputs) => {
                    let all = waiters.into_iter().zip(outputs);
                    return all.for_each(|(waiter, output)| waiter.send(Reply::Output(Ok(output))));
                }
                Err(error) => error,
            };
            let now = Deadline::after(Duration::ZERO);
            let failed = mem::take(&mut items).into_iter().zip(mem::take(&mut waiters));
            for (item, waiter) in failed {
                if !error.is_transient() || waiter.deadline <= now {
                    waiter.send(Reply::Output(Err(error.clone())));
                } else if own_deadline <= now {
                    waiter.send(Reply::Again(item));
                } else {
                    items.push(item);
                    waiters.push(waiter);
                }
            }
            if items.is_empty() {
                return;
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<B>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Batch> Waiter<B> {
    fn send(self, reply: Reply<B>) {
        // Fails only if the call was dropped meanwhile.
        let _ = self.sender.send(reply);
    }
}

impl<B: Batch> Queue<B> {
    /// Adds an entry, and gives its number.
    fn push(&mut self, item: B::Item, waiter: Waiter<B>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.entries.push(Entry { number, item, waiter });
        number
    }

    fn has(&self, number: u64) -> bool {
        self.entries.iter().any(|entry| entry.number == number)
    }

    /// Removes an entry, if it is there.
    fn remove(&mut self, number: u64) -> bool {
        let length = self.entries.len();
        self.entries.retain(|entry| entry.number != number);
        self.entries.len() < length
    }

    fn take(&mut self) -> Vec<Entry<B>> {
        mem::take(&mut self.entries)
    }
}

#[cfg(test)]
mod tests;
