//! The invariants hold of every seed, of what once broke them, and of inputs that are made from these. The same
//! inputs in each run; `make fuzz` tries others.

use super::*;

/// How many inputs of each target.
const RUNS: usize = 2000;

fn check(target: &Target, runs: usize) {
    let mut campaign = Campaign::new(target, 1).unwrap();
    for seed in target.seeds().unwrap() {
        let behaviour = (target.run)(&seed);
        campaign.note(seed, behaviour);
    }
    let before = campaign.behaviours();
    assert!(before > 2, "{}: the seeds are alike", target.name);
    for _ in 0..runs {
        let input = campaign.next_input();
        let behaviour = (target.run)(&input);
        campaign.note(input, behaviour);
    }
    assert!(campaign.behaviours() > before, "{}", target.name);
}

/// A test for each target, so that they run side by side and a failure names one.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check(Target::of(stringify!($name)).unwrap(), RUNS);
        })*
    };
}

each_target!(tests);
