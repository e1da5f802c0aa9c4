//! What a script adds to a request: the difference to the first line, which has no function in the phase.
//!
//! `cargo bench --features internals --bench script`. The whole hook compares a host, a path and a user, and reads a field;
//! two conditions hold and set a field each. The last line is a call that ends at its limit of operations.

use criterion::Criterion;
use tollgate::internals::script::Bench;

const SCRIPTS: [(&str, &str); 4] = [
    ("no function in the phase", "fn log(r) { }"),
    ("one field", "fn authorize(r) { r.set_header(\"x-team\", \"blue\"); }"),
    (
        "whole hook",
        "fn authorize(r) {
             if r.host_under(\"corp.example\") { r.set_header(\"x-team\", \"blue\"); }
             if r.path_under(\"/admin\") && r.user != \"root\" { return deny(403); }
             if (r.header(\"user-agent\") ?? \"\").contains(\"curl\") { r.set_header(\"x-client\", \"curl\"); }
         }",
    ),
    (
        "endless",
        "fn authorize(r) { if r.path == \"/page\" { loop { } } }",
    ),
];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("script");
    for (label, text) in SCRIPTS {
        let Some(bench) = Bench::new(text) else {
            eprintln!("{label}: the script has a fault");
            continue;
        };
        group.bench_function(label, |bencher| bencher.iter(|| bench.call()));
    }
    group.finish();
    criterion.final_summary();
}
