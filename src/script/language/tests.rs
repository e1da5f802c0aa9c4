//! What Rhai and its functions are not to do to the process.

use std::process::Command;
use std::sync::Arc;

use rhai::config::hashing::get_hashing_seed;

use super::*;
use crate::hook::{HookSet, How, Role, Run};
use crate::script::tests::{facts, in_role, unchecked};
use crate::script::{OnError, Script, threads};

/// A script that notes a tag and a count, and then calls a function of the library.
const TEXT: &str = "fn request(r) { r.tag(\"before\", \"1\"); r.count(\"seen\"); r.header(\"x-a\").to_upper(); r.tag(\"behind\", \"2\"); }";

/// The script, with a function that panics where the field is `bad`.
fn panics(on_error: OnError) -> Script {
    let source = Source {
        on_error,
        ..in_role(Role::Forward, TEXT)
    };
    let mut language = Language::compile(&source).unwrap();
    let to_upper = |text: ImmutableString| -> ImmutableString {
        if text == "bad" {
            // As a panic, without a message in the output of the tests.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        text
    };
    language.engine.register_fn("to_upper", to_upper);
    let script = unchecked(source);
    threads::put(&script, language);
    script
}

fn run_of(script: &Script, value: &str) -> Run {
    let facts = facts(Role::Forward, &[("x-a", value)]);
    Run::new(Arc::new(HookSet::default().with(script.clone())), facts)
}

fn tags(run: &Run) -> Vec<&str> {
    run.notes.tags().iter().map(|tag| &*tag.name).collect()
}

#[test]
fn a_panic_in_a_function_of_the_library_costs_its_own_request() {
    let script = panics(OnError::Deny);
    for _ in 0..3 {
        let mut run = run_of(&script, "good");
        run.request().unwrap();
        assert_eq!(tags(&run), ["before", "behind"]);
        let mut run = run_of(&script, "bad");
        let stop = run.request().unwrap_err();
        // A failure: 500, and one more in tollgate_hook_failures_total.
        assert!(matches!(stop.how, How::Failed(why) if &*why == "it panicked"));
        assert_eq!(tags(&run), ["before"]);
        assert_eq!(run.notes.counts().len(), 1);
    }
    let script = panics(OnError::Skip);
    let mut run = run_of(&script, "bad");
    run.request().unwrap();
    // What the call wanted is undone, and the failure is noted.
    assert_eq!(tags(&run), [""; 0]);
    assert_eq!(&*run.notes.skipped()[0].reason, "it panicked");
}

/// Says the seed, for the test below; a test of its own for a process of its own.
#[test]
fn the_seed_of_a_process() {
    let _engine = bare_engine(&Limits::default());
    eprintln!("seed: {:?}", get_hashing_seed());
    assert!(get_hashing_seed().is_some());
}

#[test]
fn no_two_processes_find_cases_of_a_switch_by_the_same_hashes() {
    let seeds = [(); 2].map(|()| {
        let test = "script::language::tests::the_seed_of_a_process";
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", test, "--nocapture"]).output();
        let output = String::from_utf8(output.unwrap().stderr).unwrap();
        let seed = output.lines().find(|line| line.contains("seed: Some("));
        seed.unwrap_or_else(|| panic!("{output}")).to_owned()
    });
    assert_ne!(seeds[0], seeds[1]);
}
