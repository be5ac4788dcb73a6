//! Tasks under supervision, on the in-memory metadata.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::kv::Kv;
use crate::node_id::NodeId;
use crate::seams::Seams;
use crate::seams::testing::MovedClock;

const KIND: TaskKind = TaskKind::Scrub;

/// Counts to `goal` in every round, a step for each permit.
struct Counting {
    goal: u64,
    permits: Semaphore,
    steps: Mutex<Vec<u64>>,
    /// The step at which it panics, once.
    panic_at: AtomicU64,
    /// The step at which it fails, once.
    fail_at: AtomicU64,
    rounds: AtomicU64,
}

impl Counting {
    fn to(goal: u64) -> Arc<Self> {
        Arc::new(Self {
            goal,
            permits: Semaphore::new(0),
            steps: Mutex::default(),
            panic_at: AtomicU64::new(u64::MAX),
            fail_at: AtomicU64::new(u64::MAX),
            rounds: AtomicU64::new(0),
        })
    }

    fn steps(&self) -> Vec<u64> {
        self.steps.lock().unwrap().clone()
    }
}

#[async_trait]
impl Task for Counting {
    async fn round(&self, work: &Work) -> anyhow::Result<Next> {
        let cursor = work.cursor();
        let first = if cursor.is_empty() {
            0
        } else {
            crate::record::number(&cursor)?
        };
        for step in first..self.goal {
            self.permits.acquire().await?.forget();
            if self
                .panic_at
                .compare_exchange(step, u64::MAX, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                panic!("step {step} is too much");
            }
            if self
                .fail_at
                .compare_exchange(step, u64::MAX, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                anyhow::bail!("step {step} does not work");
            }
            self.steps.lock().unwrap().push(step);
            work.progress(step + 1, self.goal);
            work.save((step + 1).to_be_bytes().to_vec()).await;
            work.moved(1, 10).await;
        }
        self.rounds.fetch_add(1, Ordering::SeqCst);
        Ok(Next::Period)
    }
}

struct Stage {
    kv: Kv,
    clock: Arc<MovedClock>,
    tasks: Tasks,
    shutdown: CancellationToken,
    tracker: TaskTracker,
}

impl Stage {
    fn new() -> Self {
        let (seams, clock) = MovedClock::seams();
        Self::on(Kv::in_memory(seams.clone()), seams, clock)
    }

    fn on(kv: Kv, seams: Seams, clock: Arc<MovedClock>) -> Self {
        let config = TasksConfig {
            look_every: Duration::from_millis(5),
        };
        Self {
            tasks: Tasks::new(config, NodeId(7), kv.clone(), seams),
            kv,
            clock,
            shutdown: CancellationToken::new(),
            tracker: TaskTracker::new(),
        }
    }

    fn run(&self, task: &Arc<Counting>) {
        let task: Arc<dyn Task> = task.clone();
        self.tasks.spawn(KIND, task, &self.tracker, self.shutdown.clone());
    }

    /// The process ends, and another one begins on the same metadata.
    async fn restart(self) -> Self {
        self.shutdown.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        let (seams, clock) = MovedClock::seams();
        Self::on(self.kv.clone(), seams, clock)
    }

    /// Pauses the task through any node's `tasks`; says how many steps it had done when it stood.
    async fn pause(&self, tasks: &Tasks, task: &Counting) -> u64 {
        tasks
            .configure(KIND, |settings| settings.paused = true)
            .await
            .unwrap();
        // It stands after the step in which it learns of that.
        while self.state().await.phase != Phase::Paused {
            task.permits.add_permits(1);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.state().await.done
    }

    async fn state(&self) -> TaskState {
        let statuses = self.tasks.statuses(&self.kv.local()).await.unwrap();
        statuses.into_iter().next().unwrap().state
    }

    async fn until(&self, reached: impl Fn(&TaskState) -> bool) -> TaskState {
        loop {
            let state = self.state().await;
            if reached(&state) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test]
async fn rounds_follow_each_other_by_their_period() {
    let stage = Stage::new();
    let task = Counting::to(2);
    stage.run(&task);
    task.permits.add_permits(100);
    let state = stage.until(|state| state.completed.is_some()).await;
    assert_eq!((state.done, state.total, state.items, state.bytes), (2, 2, 2, 20));
    assert_eq!(task.steps(), [0, 1]);
    stage.clock.advance(KIND.usual_period() - Duration::from_secs(60));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(task.rounds.load(Ordering::SeqCst), 1, "it is not due yet");
    stage.clock.advance(Duration::from_secs(61));
    stage
        .until(|state| {
            state.completed > Some(state.started.unwrap()) || task.rounds.load(Ordering::SeqCst) == 2
        })
        .await;
    while task.steps() != [0, 1, 0, 1] {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_panic_or_a_failure_is_shown_and_the_round_goes_on_where_it_was() {
    let stage = Stage::new();
    let task = Counting::to(4);
    task.panic_at.store(1, Ordering::SeqCst);
    task.fail_at.store(3, Ordering::SeqCst);
    task.permits.add_permits(100);
    stage.run(&task);
    let state = stage.until(|state| state.restarts == 1).await;
    assert_eq!(state.phase, Phase::Failed);
    assert_eq!(state.last_failure.unwrap().reason, "panicked: step 1 is too much");
    let state = stage.until(|state| state.restarts == 2).await;
    assert_eq!(state.last_failure.unwrap().reason, "step 3 does not work");
    let state = stage.until(|state| state.completed.is_some()).await;
    assert_eq!(task.steps(), [0, 1, 2, 3], "no step was done twice");
    assert_eq!((state.phase, state.items), (Phase::Idle, 4));
}

#[tokio::test]
async fn a_task_goes_on_where_it_was_when_the_process_ended() {
    let stage = Stage::new();
    let task = Counting::to(1000);
    stage.run(&task);
    task.permits.add_permits(3);
    stage.until(|state| state.done == 3).await;
    // What is written every few seconds is written when it is paused.
    let done = stage.pause(&stage.tasks, &task).await;
    let stage = stage.restart().await;
    let task = Counting::to(done + 2);
    task.permits.add_permits(5000);
    stage.run(&task);
    stage.until(|state| state.phase == Phase::Paused).await;
    assert!(task.steps().is_empty());
    stage
        .tasks
        .configure(KIND, |settings| settings.paused = false)
        .await
        .unwrap();
    let state = stage.until(|state| state.completed.is_some()).await;
    assert_eq!(task.steps(), [done, done + 1], "the rest of the round");
    assert_eq!(state.items, done + 2);
    stage.clock.advance(KIND.usual_period());
    while task.steps().get(2) != Some(&0) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_paused_task_stands_still_on_every_node_and_goes_on_when_it_may() {
    let stage = Stage::new();
    let (seams, clock) = MovedClock::seams();
    let other = Stage::on(stage.kv.clone(), seams, clock);
    let task = Counting::to(1000);
    stage.run(&task);
    let stood = stage.pause(&other.tasks, &task).await;
    task.permits.add_permits(5000);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(task.steps().len() as u64, stood);
    other
        .tasks
        .configure(KIND, |settings| settings.paused = false)
        .await
        .unwrap();
    stage.until(|state| state.completed.is_some()).await;
    assert_eq!(task.steps().len(), 1000);
}

#[tokio::test]
async fn another_round_begins_when_an_operator_asks_for_it() {
    let stage = Stage::new();
    let task = Counting::to(1);
    task.permits.add_permits(100);
    stage.run(&task);
    stage.until(|state| state.completed.is_some()).await;
    stage.clock.advance(Duration::from_secs(1));
    let at = Some(stage.clock.at());
    stage
        .tasks
        .configure(KIND, |settings| settings.run_at = at)
        .await
        .unwrap();
    while task.rounds.load(Ordering::SeqCst) != 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stage.tasks.wake(KIND);
    while task.rounds.load(Ordering::SeqCst) != 3 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn every_node_tells_how_the_tasks_of_all_nodes_stand() {
    let stage = Stage::new();
    let task = Counting::to(1);
    task.permits.add_permits(1);
    stage.run(&task);
    stage.until(|state| state.completed.is_some()).await;
    let (seams, _) = MovedClock::seams();
    let elsewhere = Tasks::new(TasksConfig::default(), NodeId(8), stage.kv.clone(), seams);
    loop {
        let told = elsewhere.statuses(&stage.kv.local()).await.unwrap();
        if let [only] = &told[..]
            && only.state.completed.is_some()
        {
            assert_eq!((only.node, only.task, only.state.items), (NodeId(7), KIND, 1));
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let stage = Stage::new();
    let zero = |settings: &mut TaskSettings| settings.bytes_per_second = Some(0);
    assert!(matches!(
        stage.tasks.configure(KIND, zero).await,
        Err(SettingsError::NoRate)
    ));
    let never = |settings: &mut TaskSettings| settings.period_seconds = Some(0);
    assert!(matches!(
        stage.tasks.configure(KIND, never).await,
        Err(SettingsError::NoPeriod)
    ));
    assert_eq!(
        stage.tasks.settings(&stage.kv.local(), KIND).await.unwrap(),
        TaskSettings::default()
    );
}
