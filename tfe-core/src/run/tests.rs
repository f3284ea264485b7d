//! Properties of the machine and the queue, over random histories.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};

use super::{
    Effect, Event, Phase, PhaseRecord, PhaseResult, PhaseStatus, Run, RunOptions, Status, admissible, is_superseded_by, ready_since,
};
use crate::{id::Id, plan::Summary, time::Timestamp, workspace::Workspace};

fn run(sequence: u64, options: RunOptions) -> Run {
    Run {
        id: Id::from(format!("run-{sequence}")),
        created_at: Timestamp::from_millis(0),
        organization_id: Id::from("org-1"),
        workspace_id: Id::from("ws-1"),
        configuration_version_id: Id::from("cv-1"),
        sequence,
        status: Status::Pending,
        reached: BTreeMap::new(),
        options,
        variables: None,
        message: String::new(),
        source: String::new(),
        created_by: None,
        confirmed_by: None,
        cancel: None,
        error: None,
        plan_id: Id::from(format!("plan-{sequence}")),
        plan: PhaseRecord::default(),
        apply_id: Id::from(format!("apply-{sequence}")),
        apply: PhaseRecord::default(),
        artifacts: BTreeMap::new(),
    }
}

fn summary(has_changes: bool) -> Summary {
    Summary { add: u64::from(has_changes), has_changes, ..Summary::default() }
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Admitted),
        4 => Just(Event::Claimed),
        4 => any::<bool>().prop_map(|changes| Event::Ended(PhaseResult::Finished(summary(changes)))),
        1 => Just(Event::Ended(PhaseResult::Failed { reason: "failed".into(), summary: summary(false) })),
        1 => Just(Event::Ended(PhaseResult::Interrupted(summary(false)))),
        1 => any::<bool>().prop_map(|retry| Event::RunnerLost { retry }),
        1 => Just(Event::NeverReceived),
        1 => Just(Event::Failed { reason: "no engine".into() }),
        1 => Just(Event::Restored { reached: Timestamp::from_millis(0) }),
        2 => Just(Event::ConfirmRequested { by: None }),
        1 => Just(Event::DiscardRequested),
        1 => Just(Event::CancelRequested),
        1 => Just(Event::ForceCancelRequested),
    ]
}

fn options() -> impl Strategy<Value = RunOptions> {
    any::<[bool; 4]>().prop_map(|[plan_only, save_plan, auto_apply, allow_empty_apply]| RunOptions {
        plan_only,
        save_plan,
        auto_apply,
        allow_empty_apply,
        ..RunOptions::default()
    })
}

proptest! {
    #[test]
    fn a_run_moves_along_the_table_and_stays_where_it_ended(options in options(), history in vec((events(), 0_i64..20), 0..40)) {
        let mut now = Timestamp::from_millis(0);
        let mut run = run(1, options);
        for (event, seconds) in history {
            now = now.plus_seconds(seconds);
            let before = run.clone();
            let Ok(step) = run.clone().on(&event, now) else { continue };
            prop_assert!(!before.status.is_final(), "{} took {event:?}", before.status);
            prop_assert!(before.status == step.run.status || before.status.successors().contains(&step.run.status));
            prop_assert_eq!(&step.effects, &step.run.effects(), "effects follow from the stored run");
            run = step.run;
        }
        if run.status.is_final() {
            prop_assert!(run.plan.status.is_final() && run.apply.status.is_final(), "no log stays open");
            prop_assert_eq!(run.effects(), vec![Effect::Release]);
            prop_assert!(!run.holds_workspace());
        }
    }

    #[test]
    fn nothing_is_applied_unasked(options in options(), history in vec(events(), 0..40)) {
        let mut run = run(1, options);
        let mut confirmed = false;
        for event in history {
            if let Ok(step) = run.clone().on(&event, Timestamp::from_millis(0)) {
                confirmed |= matches!(event, Event::ConfirmRequested { .. });
                run = step.run;
            }
        }
        if run.apply.reached.contains_key(PhaseStatus::Running.as_str()) {
            prop_assert!(!run.options.plan_only);
            prop_assert!(confirmed || (run.options.auto_apply && !run.options.save_plan));
        }
    }

    #[test]
    fn an_apply_is_started_once(options in options(), history in vec(events(), 0..60)) {
        let mut run = run(1, options);
        let mut applies = 0;
        for event in history {
            if let Ok(step) = run.clone().on(&event, Timestamp::from_millis(0)) {
                applies += u32::from(run.status != Status::Applying && step.run.status == Status::Applying);
                // What never reached a runner was not started.
                applies -= u32::from(run.status == Status::Applying && event == Event::NeverReceived);
                run = step.run;
            }
        }
        prop_assert!(applies <= 1);
    }

    #[test]
    fn one_run_holds_the_workspace_and_the_order_is_kept(
        all in vec(options(), 1..8),
        history in vec((0_usize..8, events()), 0..120),
    ) {
        let mut workspace = workspace();
        let mut runs: Vec<Run> = all.into_iter().zip(1..).map(|(options, sequence)| run(sequence, options)).collect();
        let mut admitted = Vec::new();
        for (index, event) in history {
            let index = index % runs.len();
            let now = Timestamp::from_millis(0);
            if event == Event::Admitted {
                let waiting = runs.clone();
                for run in admissible(&workspace, &waiting) {
                    let step = run.clone().on(&Event::Admitted, now).unwrap();
                    if step.run.holds_workspace() {
                        prop_assert!(workspace.current_run_id.is_none());
                        workspace.current_run_id = Some(run.id.clone());
                        if run.status == Status::Pending {
                            admitted.push(run.sequence);
                        }
                    }
                    let slot = usize::try_from(run.sequence).unwrap() - 1;
                    runs[slot] = step.run;
                }
            } else if let Ok(step) = runs[index].clone().on(&event, now) {
                runs[index] = step.run;
                if runs[index].effects().contains(&Effect::Release) && workspace.current_run_id.as_ref() == Some(&runs[index].id) {
                    workspace.current_run_id = None;
                }
            }
            let holders: Vec<_> = runs.iter().filter(|run| run.holds_workspace()).collect();
            prop_assert!(holders.len() <= 1);
            prop_assert!(holders.iter().all(|run| workspace.current_run_id.as_ref() == Some(&run.id)));
        }
        prop_assert!(admitted.is_sorted(), "{admitted:?}");
    }
}

#[test]
fn every_status_can_reach_an_end() {
    for status in Status::ALL {
        let mut seen = BTreeSet::from([status.as_str()]);
        let mut open = vec![status];
        let mut ends = false;
        while let Some(status) = open.pop() {
            ends |= status.is_final();
            open.extend(status.successors().iter().filter(|next| seen.insert(next.as_str())));
        }
        assert!(ends, "{status} has no way out");
    }
}

#[test]
fn every_move_of_the_table_is_made_by_some_event() {
    let mut made = BTreeSet::new();
    let mut open = Vec::new();
    for bits in 0..16_u8 {
        let [plan_only, save_plan, auto_apply, allow_empty_apply] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        open.push(run(1, RunOptions { plan_only, save_plan, auto_apply, allow_empty_apply, ..RunOptions::default() }));
    }
    let events = [
        Event::Admitted,
        Event::Claimed,
        Event::Ended(PhaseResult::Finished(summary(true))),
        Event::Ended(PhaseResult::Finished(summary(false))),
        Event::Ended(PhaseResult::Failed { reason: String::new(), summary: summary(false) }),
        Event::Ended(PhaseResult::Interrupted(summary(false))),
        Event::RunnerLost { retry: true },
        Event::NeverReceived,
        Event::Failed { reason: String::new() },
        Event::Restored { reached: Timestamp::from_millis(0) },
        Event::ConfirmRequested { by: None },
        Event::DiscardRequested,
        Event::CancelRequested,
        Event::ForceCancelRequested,
    ];
    let mut seen = BTreeSet::new();
    while let Some(run) = open.pop() {
        for event in &events {
            let now = Timestamp::from_millis(0).plus_seconds(if run.cancel.is_some() { 60 } else { 0 });
            let Ok(step) = run.clone().on(event, now) else { continue };
            made.insert((run.status.as_str(), step.run.status.as_str()));
            let state = (step.run.status.as_str(), format!("{:?}{:?}", step.run.options, step.run.cancel));
            if seen.insert(state) {
                open.push(step.run);
            }
        }
    }
    for status in Status::ALL {
        for next in status.successors() {
            let expected = (status.as_str(), next.as_str());
            assert!(made.contains(&expected), "no event makes {expected:?}");
        }
    }
}

#[test]
fn force_cancel_needs_a_cancel_and_a_pause() {
    let now = Timestamp::from_millis(0);
    let mut run = run(1, RunOptions::default());
    for event in [Event::Admitted, Event::Claimed] {
        run = run.on(&event, now).unwrap().run;
    }
    assert!(!run.allows(&Event::ForceCancelRequested, now));
    run = run.on(&Event::CancelRequested, now).unwrap().run;
    assert_eq!(run.effects(), vec![Effect::Interrupt(Phase::Plan)]);
    assert!(!run.allows(&Event::ForceCancelRequested, now));
    let later = now.plus_seconds(super::FORCE_CANCEL_DELAY_SECONDS);
    run = run.on(&Event::ForceCancelRequested, later).unwrap().run;
    assert_eq!(run.effects(), vec![Effect::Kill(Phase::Plan)]);
    let end = run.on(&Event::Ended(PhaseResult::Interrupted(summary(false))), later).unwrap().run;
    assert_eq!(end.status, Status::ForceCanceled);
}

fn workspace() -> Workspace {
    let settings = crate::jsonapi::attributes(&serde_json::json!({ "name": "w" })).unwrap();
    Workspace {
        id: Id::from("ws-1"),
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        organization_id: Id::from("org-1"),
        project_id: Id::from("prj-1"),
        settings,
        tags: Vec::new(),
        tag_index: String::new(),
        lock: None,
        current_run_id: None,
        latest_run_id: None,
        run_count: 0,
        current_state_version_id: None,
        resource_count: 0,
    }
}

#[test]
fn a_run_is_ready_since_its_workspace_was_free_whenever_that_is_noticed() {
    let at = Timestamp::from_millis;
    let mut waiting = run(1, RunOptions::default());
    waiting.created_at = at(10);
    let free_since = |millis| Workspace { updated_at: at(millis), ..workspace() };
    let plan = |run: &Run, free| ready_since(run, Phase::Plan, &free_since(free), at(100));
    assert_eq!(plan(&waiting, 40), at(40), "noticed 60 later");
    assert_eq!(plan(&waiting, 5), at(10), "not before it was queued");
    assert_eq!(plan(&waiting, 400), at(100), "another clock is ahead");
    let mut looking = run(2, RunOptions { plan_only: true, ..RunOptions::default() });
    looking.created_at = at(10);
    assert_eq!(plan(&looking, 40), at(10), "it needs no free workspace");
    let apply = |run: &Run, free| ready_since(run, Phase::Apply, &free_since(free), at(100));
    assert_eq!(apply(&waiting, 40), at(100), "an apply that waited for nobody");
    waiting.reached.insert(Status::Confirmed.as_str().to_owned(), at(50));
    assert_eq!(apply(&waiting, 40), at(50));
    assert_eq!(apply(&waiting, 60), at(60));
}

#[test]
fn only_a_newer_look_at_the_same_branch_makes_a_look_pointless() {
    let look = |sequence, branch: Option<&str>| {
        run(sequence, RunOptions { plan_only: true, branch: branch.map(str::to_owned), ..RunOptions::default() })
    };
    let older = look(1, Some("main"));
    assert!(is_superseded_by(&older, &look(2, Some("main"))));
    assert!(!is_superseded_by(&older, &look(2, Some("other"))));
    assert!(!is_superseded_by(&look(2, Some("main")), &look(1, Some("main"))), "the newer one stays");
    assert!(!is_superseded_by(&look(1, None), &look(2, None)), "without a branch nothing is known");
    let applied = run(2, RunOptions { branch: Some("main".to_owned()), ..RunOptions::default() });
    assert!(!is_superseded_by(&older, &applied) && !is_superseded_by(&applied, &look(3, Some("main"))));
}

#[test]
fn an_apply_that_never_reached_its_runner_is_queued_again_and_one_that_was_lost_is_not() {
    let now = Timestamp::from_millis(0);
    let applying = || {
        let mut run = run(1, RunOptions::default());
        run.status = Status::Applying;
        run.apply.status = PhaseStatus::Running;
        run
    };
    assert_eq!(applying().on(&Event::NeverReceived, now).unwrap().run.status, Status::ApplyQueued);
    assert_eq!(applying().on(&Event::RunnerLost { retry: true }, now).unwrap().run.status, Status::Errored);
    let stopped = applying().on(&Event::CancelRequested, now).unwrap().run;
    assert_eq!(stopped.on(&Event::NeverReceived, now).unwrap().run.status, Status::Canceled);
}
