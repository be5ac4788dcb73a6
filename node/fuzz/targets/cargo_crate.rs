//! Fuzzes `cargo_crate`; see `cairn::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::fuzz::run("cargo_crate", bytes));
