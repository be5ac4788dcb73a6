//! One kind of client each: what it asks, and what it makes of the answers.

pub mod generic;
pub mod npm;
pub mod oci;
pub mod tokens;
