//! See `blindfold_fuzz::object`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::object(data));
