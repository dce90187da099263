//! See `blindfold_fuzz::certificate_extension`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::certificate_extension(data));
