#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tollgate::internals::targets::top(data);
});
