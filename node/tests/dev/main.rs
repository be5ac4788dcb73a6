//! `cairn dev` as its user meets it: real processes, real signals, what it prints.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod administration;
mod harness;
mod life;
mod manuals;
