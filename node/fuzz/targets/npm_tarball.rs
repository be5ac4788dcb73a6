//! Fuzzes `npm_tarball`; see `cairn::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::fuzz::run("npm_tarball", bytes));
