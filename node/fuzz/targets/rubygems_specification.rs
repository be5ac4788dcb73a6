//! Fuzzes `rubygems_specification`; see `cairn::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::fuzz::run("rubygems_specification", bytes));
