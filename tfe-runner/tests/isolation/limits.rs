//! What one run may use of the machine.

use std::{fs, os::unix::fs::MetadataExt};

use tfe_runner::isolation::{Isolation, Limits, Sandbox};

use super::bench::{Bench, Left, until};

fn limited(bench: &Bench, limits: Limits) -> Isolation {
    Isolation::Sandbox(Sandbox { limits, ..bench.sandbox.clone() })
}

fn run(limits: Limits, script: &str) -> Left {
    let bench = Bench::new();
    bench.run(&limited(&bench, limits), script)
}

#[test]
fn temporary_files_are_bounded() {
    let limits = Limits { temporary_bytes: 1 << 20, ..Limits::default() };
    for directory in ["/tmp", "/dev/shm", "/var/tmp"] {
        let ended = run(
            limits,
            &format!("head -c 512K /dev/zero > {directory}/a && echo small; head -c 4M /dev/zero > {directory}/b || echo full"),
        );
        assert!(ended.output.contains("small") && ended.output.contains("full"), "{directory}: {}", ended.output);
    }
}

#[test]
fn a_file_is_bounded() {
    let limits = Limits { file_bytes: 1 << 20, ..Limits::default() };
    assert!(run(limits, "(head -c 4M /dev/zero > $OWN/big) || echo full").output.contains("full"));
}

#[test]
fn the_address_space_is_bounded() {
    let limits = Limits { address_space_bytes: 256 << 20, ..Limits::default() };
    let ended = run(limits, "perl -e '$x = \"x\" x (512 << 20); print \"had\"'; echo end");
    assert!(!ended.output.contains("had") && ended.output.contains("end"), "{}", ended.output);
}

#[test]
fn a_fork_bomb_is_held_and_ends_with_the_run() {
    let bench = Bench::new();
    let limits = Limits { processes: 40, ..Limits::default() };
    let script = "echo ready; perl -e 'while (1) { fork; select(undef, undef, undef, 0.01) }'";
    let (mut execution, bomb) = bench.start(&limited(&bench, limits), script);
    until("the bomb", || super::bench::holds(&bomb.output, "ready"));
    let Some(user) = bench.sandbox.user else { return execution.kill() };
    let of_user = || {
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        processes.filter(|entry| entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user)).count()
    };
    until("many processes", || of_user() > 30);
    assert!(of_user() <= 41);
    execution.kill();
    bomb.wait();
    until("none of them", || of_user() == 0);
}
