//! Several nodes in one process, over loopback and mutual TLS.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod leaving;
mod several_disks;
mod support;
mod three_nodes;
mod upgrade;
