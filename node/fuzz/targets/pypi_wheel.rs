//! Fuzzes `pypi_wheel`; see `cairn::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::fuzz::run("pypi_wheel", bytes));
