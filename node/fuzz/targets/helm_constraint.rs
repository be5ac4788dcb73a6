//! Fuzzes `helm_constraint`; see `cairn::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::fuzz::run("helm_constraint", bytes));
