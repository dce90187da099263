//! See `blindfold_fuzz::key_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::key_record(data));
