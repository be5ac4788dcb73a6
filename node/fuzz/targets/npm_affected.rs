//! Fuzzes `npm_affected`; see `cairn::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::fuzz::run("npm_affected", bytes));
