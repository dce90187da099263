//! See `blindfold_fuzz::response`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::response(data));
