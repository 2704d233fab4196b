//! Groups: what waits at the same time is done together, by one statement or one request.
//!
//! Each of these costs several calls of the host, and a statement that writes waits for the disk too. While one is under
//! way, all that arrives collects behind it and becomes the next one: the busier an instance is, the more requests share
//! a statement and its commit, and one that comes alone waits for nobody.

use std::{
    future::Future,
    mem,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use tokio::sync::{Semaphore, oneshot};

/// What is done in a [`Group`].
pub trait Work {
    /// What one request asks for.
    type Item: Send + Sync;
    /// What it gets.
    type Outcome: Send;
    /// Why it gets nothing.
    type Error: Clone + Send + From<Interrupted>;

    /// Whether an error passes by itself, soon: then the work is tried again, for 5 s in all.
    fn passes(error: &Self::Error) -> bool;

    /// Does it for all items, at least one, and gives an outcome for each, in order.
    ///
    /// # Errors
    /// For none of the items anything is done then.
    fn carry_out(
        &self,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Outcome>, Self::Error>> + Send;
}

/// The request that did this one's work too was cancelled: it may have been done or not.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request that did this one's work was cancelled")]
pub struct Interrupted;

/// Items that wait for their work to be done, in groups.
pub struct Group<W: Work> {
    work: W,
    waiting: Mutex<Vec<Waiting<W>>>,
    /// Who has it does the work for all that wait.
    turn: Semaphore,
}

struct Waiting<W: Work> {
    item: W::Item,
    outcome: oneshot::Sender<Result<W::Outcome, W::Error>>,
}

/// For how long work is tried again while it fails for what passes.
const PATIENCE: Duration = Duration::from_secs(5);

/// A try that fails within this time fails for what is in it; what it waits for in vain takes 5 s.
const AT_ONCE: Duration = Duration::from_secs(3);

/// For how long newcomers may join a group that is tried again: later, they would have too little of its 5 s.
const OPEN: Duration = Duration::from_secs(1);

impl<W: Work> Group<W> {
    /// A group in which nothing waits yet, for this work. So many groups of items may be under way `at_once`.
    pub const fn new(work: W, at_once: usize) -> Self {
        Self { work, waiting: Mutex::new(Vec::new()), turn: Semaphore::const_new(at_once) }
    }

    /// Has the work done for an item, by this call or by another's, and gives its outcome.
    ///
    /// Where it cannot be done for a group, it is for its items one by one: one that is at fault spoils no other.
    /// Nothing is done for a caller that has gone, unless that was begun before. An item waits for one group at most
    /// before its own is begun, so for as long as the work for two groups may take.
    ///
    /// # Errors
    /// Those of the work; [`Interrupted`] where the call that did this item's was cancelled: what became of it is not
    /// known.
    pub async fn join(&self, item: W::Item) -> Result<W::Outcome, W::Error> {
        let (sender, mut outcome) = oneshot::channel();
        self.waiting().push(Waiting { item, outcome: sender });
        let turn = match select(&mut outcome, pin!(self.turn.acquire())).await {
            Either::Left((outcome, _)) => return outcome.unwrap_or(Err(Interrupted.into())),
            Either::Right((turn, _)) => turn,
        };
        // This item is among those that wait now, unless it was done just before the turn came.
        self.carry_out().await;
        drop(turn);
        outcome.await.unwrap_or(Err(Interrupted.into()))
    }

    /// Does the work for all that wait now.
    async fn carry_out(&self) {
        let begun = Instant::now();
        let (mut items, mut outcomes) = (Vec::new(), Vec::new());
        let results = loop {
            // Who came while the work could not be done joins in.
            if items.is_empty() || begun.elapsed() < OPEN {
                let waiting = mem::take(&mut *self.waiting());
                for Waiting { item, outcome } in waiting.into_iter().filter(|one| !one.outcome.is_closed()) {
                    items.push(item);
                    outcomes.push(outcome);
                }
            }
            if items.is_empty() {
                return;
            }
            let tried = Instant::now();
            match self.work.carry_out(&items).await {
                Ok(results) => break results.into_iter().map(Ok).collect(),
                Err(error) if W::passes(&error) && begun.elapsed() < PATIENCE => {}
                Err(error) if !W::passes(&error) && items.len() > 1 && tried.elapsed() < AT_ONCE => {
                    break one_by_one(&self.work, &items).await;
                }
                Err(error) => break items.iter().map(|_| Err(error.clone())).collect::<Vec<_>>(),
            }
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

async fn one_by_one<W: Work>(work: &W, items: &[W::Item]) -> Vec<Result<W::Outcome, W::Error>> {
    let mut results = Vec::new();
    for item in items {
        let begun = Instant::now();
        let result = loop {
            match work.carry_out(std::slice::from_ref(item)).await {
                Err(error) if W::passes(&error) && begun.elapsed() < PATIENCE => {}
                Err(error) => break Err(error),
                Ok(mut outcomes) => break outcomes.pop().ok_or(Interrupted.into()),
            }
        };
        let failure = result.as_ref().err().cloned();
        results.push(result);
        // What takes so long is no longer the fault of one.
        if let Some(error) = failure.filter(|_| begun.elapsed() > AT_ONCE) {
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
        atomic::{AtomicBool, AtomicU32, Ordering},
    };

    use super::*;
    use crate::DatabaseError;

    /// Writes numbers, slowly; not 13, and no group with it.
    #[derive(Default)]
    struct Numbers {
        written: Mutex<Vec<Vec<u32>>>,
        locked: AtomicBool,
        /// How many tries find the database locked for a moment.
        busy: AtomicU32,
    }

    impl Work for Numbers {
        type Item = u32;
        type Outcome = u32;
        type Error = DatabaseError;

        fn passes(error: &DatabaseError) -> bool {
            matches!(error, DatabaseError::Locked(_))
        }

        async fn carry_out(&self, items: &[u32]) -> Result<Vec<u32>, DatabaseError> {
            let duration = if self.locked.load(Ordering::Relaxed) { 3100 } else { 10 };
            tokio::time::sleep(Duration::from_millis(duration)).await;
            let one_less = |busy: u32| busy.checked_sub(1);
            if self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                return Err(DatabaseError::Locked("for now".to_owned()));
            }
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
            Self(Arc::new(Group::new(Numbers::default(), 1)))
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
    async fn who_comes_while_the_database_is_locked_joins_the_group_that_waits() {
        let table = Table::new();
        table.0.work.busy.store(3, Ordering::Relaxed);
        let first = table.write(1);
        pause(5).await;
        let second = table.write(2);
        assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (2, 4));
        assert_eq!(table.written(), [[1, 2]]);
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
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
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
        assert!(matches!(waits.await.unwrap(), Err(DatabaseError::Interrupted(_))));
        assert_eq!(later.await.unwrap().unwrap(), 8);
        assert_eq!(table.written(), [[1], [4]]);
    }
}
