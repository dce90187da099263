//! See `blindfold_fuzz::spiffe_id`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::spiffe_id(data));
