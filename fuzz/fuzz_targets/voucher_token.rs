//! See `blindfold_fuzz::voucher_token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blindfold_fuzz::voucher_token(data));
