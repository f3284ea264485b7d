//! What happens to processes and machines while the world is stormy, and how all is made good again.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{faults::Faults, gate::Standing, machine::Machine, scene::Scene};

/// The pause between two blows, in milliseconds.
const PAUSE: std::ops::Range<u64> = 200..4_000;
/// How long a process is frozen: from nothing to beyond all leases, in milliseconds.
const FREEZE: std::ops::Range<u64> = 200..15_000;
/// How long a machine is away, in milliseconds: mostly shorter than the grace of an apply, and sometimes longer.
const AWAY: std::ops::Range<u64> = 200..20_000;
const LONG_AWAY: std::ops::Range<u64> = 60_000..90_000;
/// How wrong clocks may be, in milliseconds.
const WRONG: u64 = 30_000;
/// How long a node may take to end in order.
const END_TIME: Duration = Duration::from_secs(2);

/// Something that happens to a process or a machine.
#[derive(Debug, Clone, Copy)]
enum Blow {
    NodeCrash,
    NodeFreeze,
    NodeClock,
    RunnerCrash,
    RunnerFreeze,
    RunnerCutOff,
    MachineLost,
}

/// Strikes again and again, as often as the world's faults say.
pub(super) async fn run(scene: Arc<Scene>) {
    let blows = weighted(&scene.world.faults);
    while !blows.is_empty() {
        scene.world.wait(PAUSE).await;
        let blow = *scene.world.chance.pick(&blows);
        let scene = scene.clone();
        // Several may overlap.
        scene.clone().world.spawn(&scene.clone().blows, async move { strike(&scene, blow).await });
    }
}

/// Each kind as often as it has weight.
fn weighted(faults: &Faults) -> Vec<Blow> {
    let kinds = [
        (Blow::NodeCrash, faults.node_crash),
        (Blow::NodeFreeze, faults.node_freeze),
        (Blow::NodeClock, faults.node_clock),
        (Blow::RunnerCrash, faults.runner_crash),
        (Blow::RunnerFreeze, faults.runner_freeze),
        (Blow::RunnerCutOff, faults.runner_cut_off),
        (Blow::MachineLost, faults.machine_lost),
    ];
    kinds.into_iter().flat_map(|(blow, weight)| (0..weight).map(move |_| blow)).collect()
}

async fn strike(scene: &Scene, blow: Blow) {
    let chance = &scene.world.chance;
    let (place, machine) = (chance.index(scene.nodes.count()), chance.pick(&scene.machines).clone());
    scene.world.tell(|| format!("{blow:?} strikes place {place} or {}", machine.name));
    match blow {
        Blow::NodeCrash => node_crash(scene, place).await,
        Blow::NodeFreeze => {
            let node = scene.nodes.at(place);
            node.gate.set(Standing::Frozen);
            scene.world.wait(FREEZE).await;
            node.gate.set(Standing::Running);
        }
        Blow::NodeClock => {
            let between = i64::try_from(chance.of(0..2 * WRONG)).expect("it is small") - WRONG.cast_signed();
            let wrong = *chance.pick(&[-WRONG.cast_signed(), WRONG.cast_signed(), between]);
            scene.nodes.at(place).clock.step_to(wrong);
        }
        Blow::RunnerCrash => {
            let fell = if chance.happens(200) { Machine::lose_power } else { Machine::crash };
            fell(&machine);
            away(scene).await;
            restart(&machine);
        }
        Blow::RunnerFreeze => {
            let process = machine.process();
            process.gate.set(Standing::Frozen);
            scene.world.wait(FREEZE).await;
            process.gate.set(Standing::Running);
        }
        Blow::RunnerCutOff => {
            machine.is_cut_off.store(true, Relaxed);
            away(scene).await;
            machine.connect();
        }
        Blow::MachineLost => machine.lose_power(),
    }
}

/// A node dies, at once or in order, and is replaced by itself or by another one.
async fn node_crash(scene: &Scene, place: usize) {
    let (chance, node) = (&scene.world.chance, scene.nodes.at(place));
    if !node.is_alive() {
        return;
    }
    if chance.happens(300) {
        node.ask_to_end();
        tokio::time::sleep(END_TIME).await;
    }
    node.crash();
    scene.world.wait(AWAY).await;
    let name =
        if chance.happens(700) { node.app.settings.node.clone() } else { format!("node-{place}-at-{}", scene.world.age().as_millis()) };
    if !scene.nodes.at(place).is_alive() {
        scene.nodes.restart(place, &name);
    }
}

async fn away(scene: &Scene) {
    scene.world.wait(if scene.world.chance.happens(150) { LONG_AWAY } else { AWAY }).await;
}

fn restart(machine: &Arc<Machine>) {
    if !machine.is_alive() {
        machine.start();
    }
}

/// Ends all faults and brings back what is needed: nodes, and of the machines at least one for each queue. Others come back late or
/// never.
pub(super) fn heal(scene: &Scene) {
    scene.world.tell(|| "all is made good".to_owned());
    scene.world.calm();
    scene.blows.end();
    for place in 0..scene.nodes.count() {
        let node = scene.nodes.at(place);
        if node.is_working() {
            node.gate.set(Standing::Running);
            node.clock.step_to(0);
        } else {
            node.crash();
            scene.nodes.restart(place, &node.app.settings.node);
        }
    }
    for machine in &scene.machines {
        machine.connect();
        machine.process().gate.set(Standing::Running);
        let is_needed = !scene.machines.iter().any(|other| other.name != machine.name && other.queue == machine.queue && other.is_alive());
        match scene.world.chance.of(0..4) {
            _ if is_needed => restart(machine),
            0 if !machine.is_alive() => {}
            1..=2 if machine.disk().values().any(|spool| spool.is_changed) => come_late(scene, machine),
            _ => restart(machine),
        }
    }
}

/// A machine is away beyond the grace of an apply that it may be at, and comes back with its state.
fn come_late(scene: &Scene, machine: &Arc<Machine>) {
    machine.crash();
    machine.is_expected.store(true, Relaxed);
    let (late, world) = (machine.clone(), scene.world.clone());
    scene.world.spawn(&scene.late, async move {
        world.wait(LONG_AWAY).await;
        restart(&late);
        late.is_expected.store(false, Relaxed);
    });
}
