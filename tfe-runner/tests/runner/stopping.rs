//! What becomes of a job that is to end, or whose runner stays away.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};
use tfe_core::{run::Phase, secret::Secret};
use tfe_runner::{Courier, Letter, Runner, Timeouts, job::Outcome};

use crate::{Bench, PATIENCE, SLOW, config, control::MemoryControl, find, holds, job};

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_takes_too_long_saves_its_state_though_its_runner_is_gone() {
    let mut bench = Bench::start(SLOW);
    let timeouts = Timeouts { apply: Duration::from_secs(5), ..Timeouts::default() };
    bench.replace_runner(|config| config.timeouts = timeouts).await;
    bench.applying().await;
    bench.runner.abort();
    let spool = bench.home.path().join("spool");
    bench.until(|_| find(&spool, "done.json").then_some(())).await;
    bench.replace_runner(|_| {}).await;
    let Outcome::Failed { message, .. } = bench.applied().await else { panic!("{:?}", bench.applied().await) };
    assert!(message.contains("timeout of 5 seconds and was interrupted; raise runs.apply_timeout (TFE_APPLY_TIMEOUT)"), "{message}");
    assert!(message.contains("terraform_data.slow") && !message.contains("killed"), "{message}");
    assert!(bench.log(Phase::Apply).contains("Error: the apply was not done within its timeout"), "{}", bench.log(Phase::Apply));
    let state = bench.control.with(|records| records.state.clone()).unwrap();
    assert!(holds(&state, "first") && holds(&state, "slow"), "the engine has saved what it was making");
}

/// An engine that does nothing, and nothing when it is interrupted.
fn deaf_engine(bench: &Bench) -> PathBuf {
    let tools = bench.home.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let script = "#!/bin/sh\n[ $1 = version ] && echo '{\"terraform_version\": \"9.9.9\"}' && exit\ntrap 'echo deaf' INT\nwhile :; do echo waiting; sleep 0.1; done\n";
    fs::write(tools.join("terraform"), script).unwrap();
    fs::set_permissions(tools.join("terraform"), fs::Permissions::from_mode(0o755)).unwrap();
    tools
}

/// What one says that cannot reach anybody.
const COURIER: &str = "cat > /dev/null; echo nobody can be reached >&2";

fn courier(script: &str, letter: Option<Letter>) -> Courier {
    Courier { command: ["/bin/sh", "-c", script].map(Into::into).into(), letter, patience: Duration::from_millis(200) }
}

/// Takes the runner away in the middle of an apply, and brings one back once that has ended.
async fn orphaned(bench: &mut Bench, courier: Courier) {
    bench.replace_runner(|config| config.courier = Some(courier)).await;
    bench.applying().await;
    bench.runner.abort();
    let spool = bench.home.path().join("spool");
    bench.until(|_| find(&spool, "done.json").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_whose_runner_stays_away_is_interrupted_though_nobody_can_be_sent() {
    let mut bench = Bench::start(SLOW);
    orphaned(&mut bench, courier("echo sent > /dev/stderr", None)).await;
    bench.replace_runner(|_| {}).await;
    let Outcome::Failed { message, .. } = bench.applied().await else { panic!("{:?}", bench.applied().await) };
    assert!(message.contains("the worker of this apply died"), "{message}");
    assert!(bench.control.with(|records| holds(records.state.as_ref().unwrap(), "slow")), "the engine has saved what it was making");
    assert!(!bench.home.path().join("spool/courier.log").exists(), "nobody was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_courier_says_is_kept_beside_the_spool() {
    let mut bench = Bench::start(SLOW);
    let letter = Letter {
        name: "test".to_owned(),
        work_root: bench.home.path().join("work"),
        spool_root: bench.home.path().join("spool"),
        servers: Vec::new(),
        token: Secret::from("planted".to_owned()),
        authorities: Vec::new(),
        job: String::new(),
    };
    orphaned(&mut bench, courier(COURIER, Some(letter))).await;
    let log = bench.home.path().join("spool/courier.log");
    bench.until(|_| fs::read_to_string(&log).is_ok_and(|text| text == "nobody can be reached\n").then_some(())).await;
    bench.replace_runner(|_| {}).await;
    assert!(matches!(bench.applied().await, Outcome::Failed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_courier_that_reaches_nobody_leaves_its_job_to_a_runner_that_is_back() {
    let mut bench = Bench::start(SLOW);
    bench.applying().await;
    bench.runner.abort();
    let spool = bench.home.path().join("spool");
    bench.until(|_| (!is_locked(&spool.join("runner.lock"))).then_some(())).await;
    let nobody = Arc::new(MemoryControl::default());
    nobody.with(|records| records.is_away = true);
    let courier = Runner::new(config(&bench.home), nobody);
    let courier = tokio::spawn(async move { courier.bring_home(&job(Phase::Apply)).await });
    let follower = spool.join(job(Phase::Apply).as_str()).join("follower.lock");
    bench.until(|_| is_locked(&follower).then_some(())).await;
    bench.replace_runner(|_| {}).await;
    bench.go();
    assert!(matches!(bench.applied().await, Outcome::Applied { .. }));
    tokio::time::timeout(PATIENCE, courier).await.unwrap().unwrap();
}

fn is_locked(path: &Path) -> bool {
    Flock::lock(fs::File::open(path).unwrap(), FlockArg::LockExclusiveNonblock).is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_heed_a_cancel_is_killed_after_its_grace() {
    let mut bench = Bench::start("");
    let tools = deaf_engine(&bench);
    let timeouts = Timeouts { grace: Duration::from_secs(1), ..Timeouts::default() };
    bench.replace_runner(|config| (config.timeouts, config.tool_paths) = (timeouts, vec![tools])).await;
    bench.queue(Phase::Apply);
    let begun = bench.home.path().join("spool").join(job(Phase::Apply).as_str()).join("engines.json");
    bench.until(|_| begun.exists().then_some(())).await;
    bench.control.with(|records| records.interrupts = true);
    let (_, outcome) = bench.until(|records| records.outcomes.first().cloned()).await;
    assert!(matches!(outcome, Outcome::Canceled { .. }), "{outcome:?}");
    let log = bench.log(Phase::Apply);
    let stages = ["Asked to stop.", "What has not ended in 1 seconds is killed.", "Killed, since it was asked to stop"];
    let places: Vec<_> = stages.iter().map(|words| log.find(words)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_takes_too_long_and_does_not_end_is_killed() {
    let mut bench = Bench::start("");
    let tools = deaf_engine(&bench);
    let timeouts = Timeouts { plan: Duration::from_secs(1), grace: Duration::from_secs(1), ..Timeouts::default() };
    bench.replace_runner(|config| (config.timeouts, config.tool_paths) = (timeouts, vec![tools])).await;
    bench.queue(Phase::Plan);
    let (_, outcome) = bench.until(|records| records.outcomes.first().cloned()).await;
    let Outcome::Failed { message, .. } = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("timeout of 1 seconds and was interrupted, then killed"), "{message}");
    assert_eq!(bench.log(Phase::Plan).matches("deaf").count(), 1, "interrupted once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_goes_on_while_its_spool_cannot_be_written() {
    let bench = Bench::start(SLOW);
    bench.queue(Phase::Plan);
    bench.until(|records| (records.outcomes.len() == 1).then_some(())).await;
    // What is written first and then renamed has these names, which are taken.
    let spool = bench.home.path().join("spool").join(job(Phase::Apply).as_str());
    let taken = ["state.new", "engines.new"].map(|name| spool.join(name));
    for path in &taken {
        fs::create_dir_all(path).unwrap();
    }
    bench.queue(Phase::Apply);
    let troubled = || fs::read_to_string(spool.join("supervisor.log")).is_ok_and(|text| text.contains("nothing can be written"));
    bench.until(|_| troubled().then_some(())).await;
    bench
        .until(|records| {
            String::from_utf8_lossy(records.log.get(&job(Phase::Apply))?).contains("terraform_data.slow: Provisioning").then_some(())
        })
        .await;
    assert!(bench.control.with(|records| records.state.is_none()), "nothing could be spooled");
    for path in &taken {
        fs::remove_dir(path).unwrap();
    }
    bench.until(|records| records.state.as_ref().filter(|state| holds(state, "first")).map(drop)).await;
    bench.go();
    assert!(matches!(bench.applied().await, Outcome::Applied { summary } if summary.add == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_killed_apply_says_what_it_may_have_left() {
    let bench = Bench::start(SLOW);
    bench.applying().await;
    bench.control.with(|records| records.kills = true);
    assert!(matches!(bench.applied().await, Outcome::Canceled { .. }));
    let log = bench.log(Phase::Apply);
    assert!(log.contains("Killed, since the end was forced."), "{log}");
    assert!(log.contains("may exist without being in the state: terraform_data.slow"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_apply_keeps_what_was_made() {
    let bench = Bench::start(SLOW);
    bench.applying().await;
    bench.control.with(|records| records.interrupts = true);
    assert!(matches!(bench.applied().await, Outcome::Canceled { .. }));
    assert!(bench.control.with(|records| holds(records.state.as_ref().unwrap(), "first")));
}
