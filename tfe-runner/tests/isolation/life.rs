//! How sandboxed programs are stopped, and how their end is told.

use std::{fs, os::unix::fs::MetadataExt, process::Command, thread};

use tfe_runner::isolation::{Isolation, IsolationConfig, Level, probe, probe_at};

use super::bench::{Bench, holds, is_root, running, signal, supervisor, until};

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
            assert_eq!(bench.run(&isolation, &format!("exit {code}")).status.code(), Some(code));
        }
        for number in [2, 6, 9, 15] {
            let ended = bench.run(&isolation, &format!("kill -{number} $$"));
            assert_eq!(signal(ended.status), Some(number), "{isolation:?} {:?} {}", ended.status, ended.output);
        }
    }
}

#[test]
fn an_interrupt_reaches_the_engine_once_and_it_ends_by_itself() {
    let bench = Bench::new();
    for isolation in both(&bench) {
        let (mut child, output) = bench.start(&isolation, PATIENT);
        until("the engine", || holds(&output, "ready"));
        send("-INT", child.id());
        assert_eq!(child.wait().unwrap().code(), Some(7));
        let text = fs::read_to_string(output).unwrap();
        assert_eq!(text.matches("interrupted").count(), 1, "{text}");
        assert!(text.contains("saved"));
        fs::remove_file(bench.own().join("stop")).unwrap();
    }
}

#[test]
fn the_end_of_the_supervisor_interrupts_the_engine() {
    let bench = Bench::new();
    for isolation in both(&bench) {
        // What the kernel watches is the thread that started it.
        let (mut child, output) = thread::scope(|scope| {
            let started = scope.spawn(|| {
                let (child, output) = bench.start(&isolation, PATIENT);
                until("the engine", || holds(&output, "ready"));
                (child, output)
            });
            started.join().unwrap()
        });
        assert_eq!(child.wait().unwrap().code(), Some(7));
        assert!(holds(&output, "interrupted"));
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
        assert!(bench.run(&isolation, &script).status.success());
        isolation.executor(&supervisor()).clean().unwrap();
        until("the end of all", || running(&format!("sleep {seconds}")) == 0);
    }
}

#[test]
fn killing_the_launcher_ends_everything_at_once() {
    let bench = Bench::new();
    let script = "trap '' INT TERM HUP; setsid sleep 71000003 & sleep 71000003 & echo ready; wait";
    let (mut child, output) = bench.start(&bench.sandboxed(), script);
    until("the engine", || holds(&output, "ready") && running("sleep 71000003") == 2);
    // Only the launcher, and not its group.
    send("-KILL", child.id());
    assert_eq!(signal(child.wait().unwrap()), Some(9));
    until("the end of all", || running("sleep 71000003") == 0);
}

#[test]
fn a_run_cannot_end_its_sandbox_without_ending_itself() {
    let bench = Bench::new();
    let ended = bench.run(&bench.sandboxed(), "kill -9 1; echo on; exit 3");
    assert_eq!((ended.status.code(), ended.output.contains("on")), (Some(3), true));
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
        let ended = bench.run(&isolation, "exec /nowhere/terraform");
        assert!(!ended.status.success());
        assert!(ended.output.contains("/nowhere/terraform"), "{}", ended.output);
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
