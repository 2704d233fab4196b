//! Group commit: what waits at the same time is written together, by one statement, and is durable together.
//!
//! A commit waits for the disk. While one is under way, all that arrives collects behind it and becomes the next one:
//! the busier an instance is, the more requests share a commit, and one that comes alone waits for nobody.

use std::{
    future::Future,
    mem,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use tokio::sync::{Semaphore, oneshot};

use crate::{DatabaseError, clock};

/// What writes the items of a [`Group`].
pub trait WriteAll {
    /// What is written.
    type Item: Send + Sync;
    /// What became of it.
    type Outcome: Send;

    /// Writes all items, at least one, and gives an outcome for each, in order.
    ///
    /// # Errors
    /// None of the items is written then.
    fn write_all(
        &self,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Outcome>, DatabaseError>> + Send;
}

/// Items on their way into the database, written in groups.
pub struct Group<W: WriteAll> {
    queue: Mutex<Queue<W>>,
    /// Who has it writes for all that wait.
    turn: Semaphore,
}

struct Queue<W: WriteAll> {
    waiting: Vec<Waiting<W>>,
    /// How many have ever waited.
    tickets: u64,
}

struct Waiting<W: WriteAll> {
    ticket: u64,
    item: W::Item,
    outcome: oneshot::Sender<Result<W::Outcome, DatabaseError>>,
}

/// How long an item waits until its group is begun.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// A group that fails within this time fails for what is in it, not because the database is locked.
const AT_ONCE: Duration = Duration::from_secs(1);

impl<W: WriteAll> Group<W> {
    /// A group in which nothing waits.
    pub const fn new() -> Self {
        let queue = Queue { waiting: Vec::new(), tickets: 0 };
        Self { queue: Mutex::new(queue), turn: Semaphore::const_new(1) }
    }

    /// Has an item written, by this call or by another's, and gives its outcome.
    ///
    /// Where a group cannot be written, its items are, one by one: one that cannot be written spoils no other. The
    /// item of a caller that has gone is not written, unless that was begun before.
    ///
    /// # Errors
    /// Those of the writer; [`DatabaseError::Busy`] where nothing was begun within 5 s, and never will be;
    /// [`DatabaseError::Interrupted`] where the call that wrote this item was cancelled: what became of it is not known.
    pub async fn write(&self, writer: &W, item: W::Item) -> Result<W::Outcome, DatabaseError> {
        let (ticket, mut outcome) = self.queue().push(item);
        let turn = clock::within(MAX_WAIT, async {
            match select(&mut outcome, pin!(self.turn.acquire())).await {
                Either::Left((outcome, _)) => Err(outcome),
                Either::Right((turn, _)) => Ok(turn),
            }
        });
        let _turn = match turn.await {
            Some(Err(outcome)) => return outcome.unwrap_or(Err(DatabaseError::Interrupted)),
            Some(Ok(turn)) => turn,
            None if self.queue().withdraw(ticket) => return Err(DatabaseError::Busy),
            // It was begun, so it ends.
            None => return outcome.await.unwrap_or(Err(DatabaseError::Interrupted)),
        };
        // Written by the one before, or among those that wait now.
        let group = mem::take(&mut self.queue().waiting);
        self.write_group(writer, group).await;
        outcome.await.unwrap_or(Err(DatabaseError::Interrupted))
    }

    async fn write_group(&self, writer: &W, group: Vec<Waiting<W>>) {
        let (items, outcomes): (Vec<_>, Vec<_>) = group
            .into_iter()
            .filter(|waiting| !waiting.outcome.is_closed())
            .map(|waiting| (waiting.item, waiting.outcome))
            .unzip();
        if items.is_empty() {
            return;
        }
        let begun = Instant::now();
        let results = match writer.write_all(&items).await {
            Ok(results) => results.into_iter().map(Ok).collect(),
            Err(_) if items.len() > 1 && begun.elapsed() < AT_ONCE => one_by_one(writer, &items).await,
            Err(error) => items.iter().map(|_| Err(error.clone())).collect::<Vec<_>>(),
        };
        for (outcome, result) in outcomes.into_iter().zip(results) {
            // Whoever has gone meanwhile does not hear of it.
            let _ = outcome.send(result);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: WriteAll> Queue<W> {
    /// Has an item wait; gives its ticket, and where its outcome will arrive.
    fn push(&mut self, item: W::Item) -> (u64, oneshot::Receiver<Result<W::Outcome, DatabaseError>>) {
        let (outcome, receiver) = oneshot::channel();
        let ticket = self.tickets;
        self.tickets += 1;
        self.waiting.push(Waiting { ticket, item, outcome });
        (ticket, receiver)
    }

    /// Takes an item back; `false` where its group was begun already.
    fn withdraw(&mut self, ticket: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.ticket != ticket);
        self.waiting.len() < before
    }
}

impl<W: WriteAll> Default for Group<W> {
    fn default() -> Self {
        Self::new()
    }
}

async fn one_by_one<W: WriteAll>(writer: &W, items: &[W::Item]) -> Vec<Result<W::Outcome, DatabaseError>> {
    let begun = Instant::now();
    let mut results = Vec::new();
    for item in items {
        results.push(match writer.write_all(std::slice::from_ref(item)).await {
            Ok(mut outcomes) => outcomes.pop().ok_or(DatabaseError::UnexpectedRow),
            Err(error) => Err(error),
        });
        // Now it is the database after all.
        if let (true, Some(Err(error))) = (begun.elapsed() > AT_ONCE, results.last()) {
            let error = error.clone();
            results.resize_with(items.len(), || Err(error.clone()));
            break;
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    /// Writes numbers, slowly; not 13, and no group with it.
    #[derive(Default)]
    struct Numbers {
        written: Mutex<Vec<Vec<u32>>>,
        locked: AtomicBool,
    }

    impl WriteAll for Numbers {
        type Item = u32;
        type Outcome = u32;

        async fn write_all(&self, items: &[u32]) -> Result<Vec<u32>, DatabaseError> {
            let duration = if self.locked.load(Ordering::Relaxed) { 1100 } else { 10 };
            tokio::time::sleep(Duration::from_millis(duration)).await;
            if self.locked.load(Ordering::Relaxed) || items.contains(&13) {
                return Err(DatabaseError::Statement("no".to_owned()));
            }
            self.written.lock().unwrap().push(items.to_vec());
            Ok(items.iter().map(|item| item * 2).collect())
        }
    }

    #[derive(Clone)]
    struct Table(Arc<(Group<Numbers>, Numbers)>);

    impl Table {
        fn new() -> Self {
            Self(Arc::new((Group::new(), Numbers::default())))
        }

        fn write(&self, item: u32) -> tokio::task::JoinHandle<Result<u32, DatabaseError>> {
            let table = self.clone();
            tokio::spawn(async move { table.0.0.write(&table.0.1, item).await })
        }

        fn written(&self) -> Vec<Vec<u32>> {
            self.0.1.written.lock().unwrap().clone()
        }
    }

    async fn pause(millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    #[tokio::test]
    async fn what_arrives_during_a_write_is_the_next_group_and_each_has_its_own_outcome() {
        let table = Table::new();
        let calls: Vec<_> = (1..=9).map(|item| table.write(item)).collect();
        for (item, call) in (1..).zip(calls) {
            assert_eq!(call.await.unwrap().unwrap(), item * 2);
        }
        table.write(10).await.unwrap().unwrap();
        assert_eq!(table.written(), [vec![1], (2..=9).collect(), vec![10]]);
    }

    #[tokio::test]
    async fn an_item_that_cannot_be_written_spoils_no_other() {
        let table = Table::new();
        let calls: Vec<_> = [1, 2, 13, 3].into_iter().map(|item| table.write(item)).collect();
        let mut results = Vec::new();
        for call in calls {
            results.push(call.await.unwrap().ok());
        }
        assert_eq!(results, [Some(2), Some(4), None, Some(6)]);
        assert_eq!(table.written(), [[1], [2], [3]]);
    }

    #[tokio::test]
    async fn a_locked_database_fails_a_group_once_and_not_item_by_item() {
        let table = Table::new();
        table.0.1.locked.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        let calls: Vec<_> = (1..=9).map(|item| table.write(item)).collect();
        for call in calls {
            assert!(call.await.unwrap().is_err());
        }
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn the_item_of_a_caller_that_has_gone_is_not_written_and_nobody_waits_for_it() {
        let table = Table::new();
        let first = table.write(1);
        pause(2).await;
        let (gone, stays) = (table.write(2), table.write(3));
        pause(2).await;
        gone.abort();
        assert_eq!(stays.await.unwrap().unwrap(), 6);
        assert_eq!(first.await.unwrap().unwrap(), 2);
        assert_eq!(table.written(), [[1], [3]]);
    }

    #[tokio::test]
    async fn when_the_call_that_writes_is_cancelled_the_others_of_its_group_hear_of_it_and_the_rest_goes_on()
    {
        let table = Table::new();
        let first = table.write(1);
        pause(2).await;
        let (writes, waits) = (table.write(2), table.write(3));
        first.await.unwrap().unwrap();
        pause(2).await;
        let later = table.write(4);
        writes.abort();
        assert!(matches!(waits.await.unwrap(), Err(DatabaseError::Interrupted)));
        assert_eq!(later.await.unwrap().unwrap(), 8);
        assert_eq!(table.written(), [[1], [4]]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_begun_in_time_is_never_written() {
        let table = Table::new();
        let turn = table.0.0.turn.acquire().await.unwrap();
        let call = table.write(1);
        assert!(matches!(call.await.unwrap(), Err(DatabaseError::Busy)));
        drop(turn);
        assert_eq!(table.write(2).await.unwrap().unwrap(), 4);
        assert_eq!(table.written(), [[2]]);
    }
}
