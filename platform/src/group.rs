//! Groups: what waits at the same time is done together, by one statement.
//!
//! A statement costs several calls of the host, and one that writes waits for the disk too. While one is under way, all
//! that arrives collects behind it and becomes the next one: the busier an instance is, the more requests share a
//! statement and its commit, and one that comes alone waits for nobody.

use std::{
    future::Future,
    mem,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use tokio::sync::{Semaphore, oneshot};

use crate::DatabaseError;

/// What is done in a [`Group`].
pub trait Work {
    /// What one request asks for.
    type Item: Send + Sync;
    /// What it gets.
    type Outcome: Send;

    /// Does it for all items, at least one, and gives an outcome for each, in order.
    ///
    /// # Errors
    /// For none of the items anything is done then.
    fn carry_out(
        &self,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Outcome>, DatabaseError>> + Send;
}

/// Items that wait for their work to be done, in groups.
pub struct Group<W: Work> {
    work: W,
    waiting: Mutex<Vec<Waiting<W>>>,
    /// Who has it does the work for all that wait.
    turn: Semaphore,
}

struct Waiting<W: Work> {
    item: W::Item,
    outcome: oneshot::Sender<Result<W::Outcome, DatabaseError>>,
}

/// A group that fails within this time fails for what is in it, not because the database is locked.
const AT_ONCE: Duration = Duration::from_secs(1);

impl<W: Work> Group<W> {
    /// A group in which nothing waits yet, for this work.
    pub const fn new(work: W) -> Self {
        Self { work, waiting: Mutex::new(Vec::new()), turn: Semaphore::const_new(1) }
    }

    /// Has the work done for an item, by this call or by another's, and gives its outcome.
    ///
    /// Where it cannot be done for a group, it is for its items one by one: one that is at fault spoils no other.
    /// Nothing is done for a caller that has gone, unless that was begun before. An item waits for one group at most
    /// before its own is begun, so for as long as the work for two groups may take.
    ///
    /// # Errors
    /// Those of the work; [`DatabaseError::Interrupted`] where the call that did this item's was cancelled: what became
    /// of it is not known.
    pub async fn join(&self, item: W::Item) -> Result<W::Outcome, DatabaseError> {
        let (sender, mut outcome) = oneshot::channel();
        self.waiting().push(Waiting { item, outcome: sender });
        let turn = match select(&mut outcome, pin!(self.turn.acquire())).await {
            Either::Left((outcome, _)) => return outcome.unwrap_or(Err(DatabaseError::Interrupted)),
            Either::Right((turn, _)) => turn,
        };
        // This item is among those that wait now, unless it was done just before the turn came.
        let group = mem::take(&mut *self.waiting());
        self.carry_out(group).await;
        drop(turn);
        outcome.await.unwrap_or(Err(DatabaseError::Interrupted))
    }

    async fn carry_out(&self, group: Vec<Waiting<W>>) {
        let (items, outcomes): (Vec<_>, Vec<_>) = group
            .into_iter()
            .filter(|waiting| !waiting.outcome.is_closed())
            .map(|waiting| (waiting.item, waiting.outcome))
            .unzip();
        if items.is_empty() {
            return;
        }
        let begun = Instant::now();
        let results = match self.work.carry_out(&items).await {
            Ok(results) => results.into_iter().map(Ok).collect(),
            Err(_) if items.len() > 1 && begun.elapsed() < AT_ONCE => one_by_one(&self.work, &items).await,
            Err(error) => items.iter().map(|_| Err(error.clone())).collect::<Vec<_>>(),
        };
        for (outcome, result) in outcomes.into_iter().zip(results) {
            // Whoever has gone meanwhile does not hear of it.
            let _ = outcome.send(result);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting<W>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn one_by_one<W: Work>(work: &W, items: &[W::Item]) -> Vec<Result<W::Outcome, DatabaseError>> {
    let begun = Instant::now();
    let mut results = Vec::new();
    for item in items {
        results.push(match work.carry_out(std::slice::from_ref(item)).await {
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

    impl Work for Numbers {
        type Item = u32;
        type Outcome = u32;

        async fn carry_out(&self, items: &[u32]) -> Result<Vec<u32>, DatabaseError> {
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
    struct Table(Arc<Group<Numbers>>);

    impl Table {
        fn new() -> Self {
            Self(Arc::new(Group::new(Numbers::default())))
        }

        fn write(&self, item: u32) -> tokio::task::JoinHandle<Result<u32, DatabaseError>> {
            let table = self.clone();
            tokio::spawn(async move { table.0.join(item).await })
        }

        fn written(&self) -> Vec<Vec<u32>> {
            self.0.work.written.lock().unwrap().clone()
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
        table.0.work.locked.store(true, Ordering::Relaxed);
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
}
