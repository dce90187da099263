//! See `blindfold_fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::request(data));
