//! Background work under supervision: tasks that run for as long as the node does, one of each
//! kind, and that an operator can see, pause and slow down for the whole cluster.
//!
//! - A task works in *rounds*. A round that fails or panics is tried again, later each time; it
//!   never takes the node or another task with it.
//! - What is set for a kind ([`TaskSettings`]) is a record in the metadata and holds on all nodes.
//! - How a task stands ([`TaskState`]) is a record too, one for each node, written every few
//!   seconds while it changes: any node can tell, also of nodes that are gone.
//! - With it goes a *cursor*, by which a round goes on where the last one was when the process
//!   died. A round may therefore do its last few seconds again; whatever it does must be fit for that.
//!
//! ```text
//! collection               item     value
//! cluster/tasks            kind     TaskSettings
//! cluster/tasks/<kind>     node     StoredState
//! ```

mod kind;
mod metrics;
mod record;
mod supervisor;
#[cfg(test)]
mod tests;
mod throttle;
mod work;

pub use kind::{ParseTaskKindError, TaskKind};
pub use record::{Phase, SettingsError, TaskFailure, TaskSettings, TaskState, TaskStatus};
pub(crate) use record::{all_that_is_set, put_settings};
pub(crate) use supervisor::{Next, Task, Tasks, TasksConfig};
pub(crate) use work::Work;
