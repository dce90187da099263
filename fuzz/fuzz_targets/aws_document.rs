//! See `blindfold_fuzz::aws_document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::aws_document(data));
