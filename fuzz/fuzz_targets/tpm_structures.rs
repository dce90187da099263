//! See `blindfold_fuzz::tpm_structures`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::tpm_structures(data));
