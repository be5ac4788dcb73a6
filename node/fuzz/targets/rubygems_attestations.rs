//! Fuzzes `rubygems_attestations`; see `cairn::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::fuzz::run("rubygems_attestations", bytes));
