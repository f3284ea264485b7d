//! How sandboxed programs are stopped, and how their end is told.

use std::{fs, os::unix::fs::MetadataExt, process::Command, thread};

use tfe_runner::isolation::{Ended, Isolation, IsolationConfig, Level, probe, probe_at};

use super::bench::{Bench, holds, is_root, running, supervisor, until};

fn send(signal: &str, process: impl ToString) {
    assert!(Command::new("/bin/kill").args([signal, &process.to_string()]).status().unwrap().success());
}

fn both(bench: &Bench) -> [Isolation; 2] {
    [bench.sandboxed(), Isolation::None]
}

/// Prints when it is ready, and again for each interrupt; ends when it has had one.
const PATIENT: &str =
    "trap 'echo interrupted; touch $OWN/stop' INT; echo ready; while [ ! -e $OWN/stop ]; do sleep 0.02; done; echo saved; exit 7";

#[test]
fn exit_codes_and_signals_come_through() {
    let bench = Bench::new();
    for isolation in both(&bench) {
        for code in [0, 1, 2, 125] {
            assert_eq!(bench.run(&isolation, &format!("exit {code}")).ended, Ended::Code(code));
        }
        for number in [2, 6, 9, 15] {
            let left = bench.run(&isolation, &format!("kill -{number} $$"));
            assert_eq!(left.ended, Ended::Signal(number), "{isolation:?} {}", left.output);
        }
    }
}

#[test]
fn an_interrupt_reaches_the_engine_once_and_it_ends_by_itself() {
    let bench = Bench::new();
    for isolation in both(&bench) {
        let (mut execution, engine) = bench.start(&isolation, PATIENT);
        until("the engine", || holds(&engine.output, "ready"));
        execution.interrupt();
        assert_eq!(engine.wait(), Ended::Code(7));
        let text = engine.text();
        assert_eq!(text.matches("interrupted").count(), 1, "{text}");
        assert!(text.contains("saved"));
        fs::remove_file(bench.own().join("stop")).unwrap();
    }
}

#[test]
fn the_end_of_the_supervisor_interrupts_the_engine() {
    let bench = Bench::new();
    for isolation in both(&bench) {
        // What the kernel watches, without a sandbox, is the thread that started it.
        let engine = thread::scope(|scope| {
            let started = scope.spawn(|| {
                let (_room, engine) = bench.start(&isolation, PATIENT);
                until("the engine", || holds(&engine.output, "ready"));
                engine
            });
            started.join().unwrap()
        });
        assert_eq!(engine.wait(), Ended::Code(7));
        assert!(holds(&engine.output, "interrupted"));
        fs::remove_file(bench.own().join("stop")).unwrap();
    }
}

#[test]
fn nothing_survives_the_end_of_the_engine() {
    for (level, seconds) in [(Level::Namespaces, 71_000_001), (Level::Landlock, 71_000_002)] {
        if level == Level::Landlock && !is_root() {
            continue;
        }
        let bench = Bench::with(level);
        let isolation = bench.sandboxed();
        let script = format!("setsid sleep {seconds} & (sleep {seconds} &) & nohup sleep {seconds} & sleep 0.1; true");
        let (mut execution, engine) = bench.start(&isolation, &script);
        assert_eq!(engine.wait(), Ended::Code(0));
        execution.clean().unwrap();
        assert_eq!(running(&format!("sleep {seconds}")), 0);
    }
}

#[test]
fn killing_the_launcher_ends_everything_at_once() {
    let bench = Bench::new();
    let script = "trap '' INT TERM HUP; setsid sleep 71000003 & sleep 71000003 & echo ready; wait";
    let (execution, engine) = bench.start(&bench.sandboxed(), script);
    until("the engine", || holds(&engine.output, "ready") && running("sleep 71000003") == 2);
    // Only the launcher, and not its group.
    send("-KILL", execution.processes()[0]);
    assert_eq!(engine.wait(), Ended::Signal(9));
    until("the end of all", || running("sleep 71000003") == 0);
}

#[test]
fn the_steps_of_a_job_share_a_place_and_nothing_of_one_lives_in_the_next() {
    let bench = Bench::new();
    let mut execution = bench.open(&bench.sandboxed());
    let first = bench.start_in(execution.as_mut(), "echo left > /tmp/note; setsid sleep 71000004 & sleep 0.1; exit 4");
    assert_eq!(first.wait(), Ended::Code(4));
    assert_eq!(running("sleep 71000004"), 0, "it ended before its end was told");
    let together = ["cat /tmp/note; sleep 0.3; exit 5", "sleep 71000005 & cat /tmp/note; exit 6"];
    let together = together.map(|script| bench.start_in(execution.as_mut(), script));
    assert_eq!(together.each_ref().map(|engine| (engine.wait(), engine.text())), [5, 6].map(|code| (Ended::Code(code), "left\n".into())));
    assert_eq!(running("sleep 71000005"), 0);
    let missing = bench.start_in(execution.as_mut(), "exec /nowhere/tofu");
    assert_eq!(missing.wait(), Ended::Code(127));
    let launcher = execution.processes()[0];
    execution.close();
    assert!(!std::path::Path::new(&format!("/proc/{launcher}")).exists(), "all of it has ended");
}

#[test]
fn an_interrupt_does_not_overtake_the_start() {
    let bench = Bench::new();
    let mut execution = bench.open(&bench.sandboxed());
    let engine = bench.start_sleep(execution.as_mut(), "71000006");
    execution.interrupt();
    assert_eq!(engine.wait(), Ended::Signal(2));
}

#[test]
fn what_is_started_where_nothing_is_left_fails() {
    let bench = Bench::new();
    let (mut execution, engine) = bench.start(&bench.sandboxed(), "sleep 71000007");
    execution.kill();
    assert_eq!(engine.wait(), Ended::Signal(9));
    assert_eq!(bench.start_in(execution.as_mut(), "true").wait(), Ended::Signal(9));
}

#[test]
fn why_a_sandbox_cannot_be_made_is_told_to_the_first_step() {
    let mut bench = Bench::new();
    bench.sandbox.readable.push("/nowhere/to/be/seen".into());
    let output = bench.own().join("said");
    let errors = fs::File::create(&output).unwrap();
    let mut execution = bench.sandboxed().executor(&supervisor()).open(errors).unwrap();
    assert_eq!(bench.start_in(execution.as_mut(), "true").wait(), Ended::Code(1));
    assert!(holds(&output, "/nowhere/to/be/seen"));
}

#[test]
fn a_run_cannot_end_its_sandbox_without_ending_itself() {
    let bench = Bench::new();
    let left = bench.run(&bench.sandboxed(), "kill -9 1; echo on; exit 3");
    assert_eq!((left.ended, left.output.contains("on")), (Ended::Code(3), true));
}

#[test]
fn an_environment_is_for_the_engine_and_not_for_its_launcher() {
    let bench = Bench::new();
    let (isolation, marker) = (bench.sandboxed(), "cannot be preloaded");
    let ended = bench.run_with(&isolation, "LD_PRELOAD", "/nowhere/evil.so", ":");
    assert_eq!(ended.output.matches(marker).count(), 1, "{}", ended.output);
}

#[test]
fn what_a_run_makes_belongs_to_its_own_user() {
    let bench = Bench::new();
    bench.run(&bench.sandboxed(), "touch $OWN/made");
    let owner = fs::metadata(bench.own().join("made")).unwrap().uid();
    assert_eq!(owner, bench.sandbox.user.unwrap_or(owner));
    assert!(!is_root() || owner != 0);
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let bench = Bench::new();
    for isolation in both(&bench) {
        let left = bench.run(&isolation, "exec /nowhere/terraform");
        assert_ne!(left.ended, Ended::Code(0));
        assert!(left.output.contains("/nowhere/terraform"), "{}", left.output);
    }
}

#[test]
fn what_a_machine_gives_is_tried() {
    let config = IsolationConfig::default();
    let guarantees = probe(&config, &supervisor()).unwrap();
    assert!(guarantees.is_enough() && guarantees.hidden_processes, "{guarantees}");
    // What is fallen back to. Without root there is no user of a run's own, so it would not do.
    let fallback = probe_at(&config, &supervisor(), Level::Landlock);
    assert_eq!(fallback.is_ok_and(|guarantees| guarantees.is_enough()), is_root());
    assert_eq!(probe(&IsolationConfig::none(), &supervisor()).unwrap().level, None);
}

#[test]
fn a_machine_without_any_sandbox_is_told_what_to_do() {
    // A supervisor that cannot start anything.
    let error = probe(&IsolationConfig::default(), &["/bin/false".into()]).unwrap_err().to_string();
    assert!(error.contains("isolation to \"none\""), "{error}");
}
