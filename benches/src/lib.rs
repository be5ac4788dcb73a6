//! Measures a cluster of real processes, and beside each figure the limit of the machine that it
//! runs on, in the same run.
//!
//! [`run`] starts `cairn dev` with three nodes and a bare HTTP server ([`bare`]), measures what
//! the machine can do at best ([`machine`]), puts load on the cluster ([`load`]) as each of
//! [`measures`] says, and gives a [`Table`]. `README.md` has the method and the results.

pub mod bare;
mod bench;
mod content;
mod load;
mod machine;
mod measures;
mod process;
mod record;
mod scale;
mod steady;
mod table;

pub use bench::{Options, run};
pub use measures::{FormatName, Measure};
pub use record::recorded;
pub use scale::Scale;
pub use table::{Figure, Row, Table};
