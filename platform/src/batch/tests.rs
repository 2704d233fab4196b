//! The rules of batches, with paused time.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures_util::future::join_all;

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
    Late,
    Interrupted,
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Late => Self::Late,
            BatchError::Interrupted => Self::Interrupted,
        }
    }
}

impl Transient for Error {
    fn is_transient(&self) -> bool {
        *self == Self::Busy
    }
}

impl Batch for Numbers {
    type Item = u32;
    type Output = u32;
    type Error = Error;

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
        self.run_within(5000, item)
    }

    fn run_within(&self, millis: u64, item: u32) -> tokio::task::JoinHandle<Result<u32, Error>> {
        let batcher = self.clone();
        let deadline = Deadline::after(Duration::from_millis(millis));
        tokio::spawn(async move { batcher.0.run(item, deadline).await })
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
async fn a_batch_that_is_retried_admits_new_items() {
    let batcher = Shared::failing(13);
    let first = batcher.run(1);
    pause(850).await;
    let second = batcher.run(2);
    for (call, output) in [(first, 2), (second, 4)] {
        assert_eq!(call.await.unwrap(), Ok(output));
    }
    assert_eq!(batcher.ran(), [vec![1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn each_item_of_a_batch_that_is_retried_fails_at_its_own_deadline() {
    // Whichever call runs the batch, the others go on without it.
    for millis in [[1000, 2000, 4000], [4000, 1000, 2000], [2000, 4000, 1000]] {
        let batcher = Shared::failing(30);
        let begun = Instant::now();
        let calls = millis.map(|millis| {
            let call = batcher.run_within(millis, 7);
            async move { (call.await.unwrap(), begun.elapsed(), millis) }
        });
        for (result, waited, millis) in join_all(calls).await {
            assert_eq!(result, if millis < 3000 { Err(Error::Busy) } else { Ok(14) });
            let end = Duration::from_millis(millis.min(3010));
            assert!(end <= waited && waited <= end + Duration::from_millis(100), "{millis}: {waited:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_waits_for_another_batch_is_late_at_its_deadline_and_never_run() {
    let batcher = Arc::new(Batcher::new(Slow::default(), 1));
    let run = |millis| {
        let batcher = Arc::clone(&batcher);
        let begun = Instant::now();
        tokio::spawn(async move {
            let result = batcher.run((), Deadline::after(Duration::from_millis(millis))).await;
            (result, begun.elapsed().as_millis())
        })
    };
    let (first, late, next) = (run(5000), run(1000), run(6000));
    assert_eq!(late.await.unwrap(), (Err(Error::Late), 1000));
    assert_eq!(first.await.unwrap(), (Ok(()), 3000));
    assert_eq!(next.await.unwrap(), (Ok(()), 6000));
    assert_eq!(batcher.batch().0.load(Ordering::Relaxed), 2);
}

/// Takes 3 s per batch and counts the items.
#[derive(Default)]
struct Slow(AtomicU32);

impl Batch for Slow {
    type Item = ();
    type Output = ();
    type Error = Error;

    async fn run(&self, items: &[()], _: Deadline) -> Result<Vec<()>, Error> {
        self.0.fetch_add(items.len() as u32, Ordering::Relaxed);
        pause(3000).await;
        Ok(items.to_vec())
    }
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

/// A batch that ends only by its deadline.
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
            (batcher.run(item, Deadline::of_request()).await.is_err(), begun.elapsed())
        }));
        pause(200).await;
    }
    for call in calls {
        let (failed, waited) = call.await.unwrap();
        assert!(failed && waited <= Duration::from_millis(5100), "{waited:?}");
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
