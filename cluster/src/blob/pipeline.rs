//! Work that goes on beside whoever brings it: items are taken in order, off the async threads,
//! one job at a time, and only so many wait.

use super::pool::{Pool, Working};

/// What takes the items.
pub(super) trait Stage: Send + 'static {
    /// What is brought.
    type Item: Send + 'static;

    /// Takes the next item. Errors are the stage's to remember.
    fn take(&mut self, item: Self::Item);
}

/// A stage and what waits for it.
///
/// A call that is broken off may lose the stage; whoever breaks it off must not call again.
pub(super) struct Pipeline<S: Stage> {
    pool: Pool,
    state: State<S>,
    waiting: Vec<S::Item>,
    most: usize,
}

enum State<S> {
    Idle(S),
    Busy(Working<S>),
    Lost,
}

const LOST: &str = "not used after a call was broken off";

impl<S: Stage> Pipeline<S> {
    /// A pipeline in which up to `most` items wait while the stage is busy.
    pub(super) fn new(pool: Pool, stage: S, most: usize) -> Self {
        Self {
            pool,
            state: State::Idle(stage),
            waiting: Vec::new(),
            most,
        }
    }

    /// The stage, if it has nothing to do.
    pub(super) fn idle(&mut self) -> Option<&mut S> {
        match &mut self.state {
            State::Idle(stage) if self.waiting.is_empty() => Some(stage),
            _ => None,
        }
    }

    /// Brings an item; waits only if too many do.
    pub(super) async fn push(&mut self, item: S::Item) {
        self.waiting.push(item);
        let busy = matches!(&self.state, State::Busy(job) if !job.is_finished());
        if !busy || self.waiting.len() >= self.most {
            self.dispatch().await;
        }
    }

    /// The stage after everything that was brought.
    pub(super) async fn caught_up(&mut self) -> &mut S {
        if !self.waiting.is_empty() {
            self.dispatch().await;
        }
        self.settle().await;
        match &mut self.state {
            State::Idle(stage) => stage,
            State::Busy(_) | State::Lost => unreachable!("settled above"),
        }
    }

    /// Takes the stage out for good, if nothing is being done with it.
    pub(super) fn take_idle(&mut self) -> Option<S> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Idle(stage) => Some(stage),
            State::Busy(_) | State::Lost => None,
        }
    }

    /// Takes the stage out for good, after everything that was brought.
    pub(super) async fn take_stage(&mut self) -> S {
        self.caught_up().await;
        self.take_idle().expect("caught up above")
    }

    async fn settle(&mut self) {
        if let State::Busy(job) = &mut self.state {
            self.state = State::Idle(job.await);
        }
    }

    /// Begins a job for what waits.
    async fn dispatch(&mut self) {
        self.settle().await;
        let State::Idle(mut stage) = std::mem::replace(&mut self.state, State::Lost) else {
            panic!("{LOST}");
        };
        let items = std::mem::take(&mut self.waiting);
        let work = move || {
            items.into_iter().for_each(|item| stage.take(item));
            stage
        };
        self.state = State::Busy(self.pool.start(work).await);
    }
}
