//! See `blindfold_fuzz::signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::signature(data));
