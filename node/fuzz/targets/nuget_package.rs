//! Fuzzes `nuget_package`; see `cairn::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::fuzz::run("nuget_package", bytes));
