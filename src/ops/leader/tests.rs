//! The loop around the election, on a clock that jumps, with a record in memory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::Timestamp;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{election::Record, *};
use crate::ops::shutdown::Shutdown;

#[derive(Clone, Default)]
struct Memory {
    record: Arc<Mutex<Option<Record>>>,
    versions: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    hangs: Arc<AtomicBool>,
}

impl Memory {
    fn write(&self, holder: Option<&str>) -> Answer {
        let record = Record {
            holder: holder.map(str::to_owned),
            resource_version: self.versions.fetch_add(1, Ordering::Relaxed).to_string(),
            duration: Duration::from_secs(15),
            transitions: 0,
        };
        *self.record.lock().unwrap() = Some(record.clone());
        Answer::Record(record)
    }

    fn holder(&self) -> Option<String> {
        self.record.lock().unwrap().as_ref().and_then(|record| record.holder.clone())
    }

    /// A candidate with its own connection to this record.
    fn candidate(&self, name: &str) -> Running {
        let hangs = Arc::<AtomicBool>::default();
        let store = Self { hangs: Arc::clone(&hangs), ..self.clone() };
        let (leadership, release) = (Leadership::contested(), Shutdown::default());
        let (name, told, wish) = (name.to_owned(), leadership.clone(), release.requested());
        let task = tokio::spawn(async move { take_part(store, name, &told, wish).await });
        Running { leadership, release, hangs, task }
    }
}

impl Store for Memory {
    async fn perform(
        &self,
        action: Action,
        us: &str,
        seen: Option<&Record>,
        _: Timestamp,
    ) -> Result<Answer, String> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_millis(5)).await;
        let current = self.record.lock().unwrap().clone();
        Ok(match (action, &current) {
            (Action::Look | Action::Wait, Some(record)) => Answer::Record(record.clone()),
            (Action::Look | Action::Wait | Action::Take | Action::Renew, None) => Answer::Absent,
            _ if current.as_ref() == seen => self.write(Some(us)),
            _ => Answer::Conflict,
        })
    }

    async fn release(&self, seen: &Record) -> Result<Answer, String> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let current = self.record.lock().unwrap().clone();
        Ok(if current.as_ref() == Some(seen) { self.write(None) } else { Answer::Conflict })
    }
}

struct Running {
    leadership: Leadership,
    release: Shutdown,
    hangs: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Running {
    fn leads(&self) -> bool {
        self.leadership.may_act(Moment::now())
    }

    async fn becomes(&self, leading: bool) -> Duration {
        let begun = Instant::now();
        let mut watch = self.leadership.watch();
        let wait = watch.wait_for(|leads| *leads == leading);
        timeout(Duration::from_secs(60), wait).await.unwrap().unwrap();
        assert_eq!(self.leads(), leading);
        begun.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_hands_over_when_it_goes() {
    let memory = Memory::default();
    let one = memory.candidate("one");
    assert!(one.becomes(true).await < Duration::from_millis(100));
    let two = memory.candidate("two");
    sleep(Duration::from_secs(120)).await;
    assert!(one.leads() && !two.leads());

    one.release.request();
    one.task.await.unwrap();
    assert!(!one.leadership.may_act(Moment::now()));
    assert!(two.becomes(true).await < Duration::from_millis(2200));
    assert_eq!(memory.holder().as_deref(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cut_off_stops_before_another_begins() {
    let memory = Memory::default();
    let one = memory.candidate("one");
    one.becomes(true).await;
    let two = memory.candidate("two");
    sleep(Duration::from_secs(3)).await;
    one.hangs.store(true, Ordering::Relaxed);
    assert!(one.becomes(false).await <= Duration::from_secs(10));
    assert!(!two.leads());
    let gap = two.becomes(true).await;
    assert!(gap >= Duration::from_secs(4) && gap <= Duration::from_secs(8), "{gap:?}");

    one.hangs.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    assert!(two.leads() && !one.leads());
}

#[tokio::test(start_paused = true)]
async fn a_release_that_hangs_does_not_hold_up_the_end() {
    let memory = Memory::default();
    let one = memory.candidate("one");
    one.becomes(true).await;
    one.hangs.store(true, Ordering::Relaxed);
    one.release.request();
    timeout(RELEASE * 2, one.task).await.unwrap().unwrap();
    assert!(!one.leadership.may_act(Moment::now()));
}

#[tokio::test(start_paused = true)]
async fn a_release_finds_a_record_that_changed_meanwhile() {
    let memory = Memory::default();
    let one = memory.candidate("one");
    one.becomes(true).await;
    memory.write(Some("one"));
    one.release.request();
    one.task.await.unwrap();
    assert_eq!(memory.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn one_that_stands_by_takes_nothing_along() {
    let memory = Memory::default();
    let one = memory.candidate("one");
    one.becomes(true).await;
    let two = memory.candidate("two");
    sleep(Duration::from_secs(5)).await;
    two.release.request();
    two.task.await.unwrap();
    assert!(one.leads());
    assert_eq!(memory.holder().as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_stays_with_its_holder() {
    let memory = Memory::default();
    let one = memory.candidate("one");
    one.becomes(true).await;
    let two = memory.candidate("two");
    sleep(Duration::from_secs(5)).await;
    *memory.record.lock().unwrap() = None;
    for _ in 0..600 {
        sleep(Duration::from_millis(100)).await;
        assert!(one.leads() && !two.leads());
    }
}

#[tokio::test(start_paused = true)]
async fn costs_few_requests() {
    let memory = Memory::default();
    let one = memory.candidate("one");
    one.becomes(true).await;
    let before = memory.requests.load(Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    let requests = memory.requests.load(Ordering::Relaxed) - before;
    assert!(requests <= 16, "{requests} a minute");
}

#[test]
fn without_an_election_it_always_leads() {
    let leadership = Leadership::always();
    assert!(leadership.may_act(Moment::now()) && *leadership.watch().borrow());
}
