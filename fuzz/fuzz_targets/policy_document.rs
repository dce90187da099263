//! See `blindfold_fuzz::policy_document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::policy_document(data));
