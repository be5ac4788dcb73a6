//! Fuzzes `pypi_metadata`; see `cairn::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::fuzz::run("pypi_metadata", bytes));
