//! Fuzzes `npm_audit`; see `cairn::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::fuzz::run("npm_audit", bytes));
