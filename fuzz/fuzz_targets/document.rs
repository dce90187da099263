//! See `blindfold_fuzz::document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::document(data));
