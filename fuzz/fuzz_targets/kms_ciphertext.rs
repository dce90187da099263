//! See `blindfold_fuzz::kms_ciphertext`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::kms_ciphertext(data));
