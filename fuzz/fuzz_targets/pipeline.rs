#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| formicary_fuzz::run("pipeline", input));
