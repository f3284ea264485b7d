//! Nodes: servers of one installation, each with its own parts over the one store, that crash, freeze and are started again.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::{
    clock::NodeClock,
    gate::{Gate, Standing},
    messages::{BadQueue, BadSignals},
    mutated,
    mutation::Mutation,
    store::NodeStore,
    vault::OpenVault,
    world::{Tasks, World},
};
use crate::{
    app::{App, Parts, Settings},
    health::Health,
    http::signed::Signer,
    metrics::Metrics,
    reconcile,
    service::{self, waiting::Orders},
};

/// One process of a server.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) app: App,
    pub(super) gate: Arc<Gate>,
    pub(super) clock: Arc<NodeClock>,
    /// What it does, for itself and for those who ask.
    pub(super) tasks: Tasks,
    shutdown: CancellationToken,
}

/// The nodes of an installation by their place; the process in a place may be dead.
#[derive(Debug)]
pub(super) struct Nodes {
    world: Arc<World>,
    places: Mutex<Vec<Arc<Node>>>,
}

impl Node {
    fn start(world: &Arc<World>, name: &str) -> Arc<Self> {
        let (gate, clock) = (Arc::new(Gate::default()), Arc::new(NodeClock::new(world.began)));
        let store = NodeStore { world: world.clone(), node: name.to_owned(), gate: gate.clone(), clock: clock.clone() };
        let app = App::new(Parts {
            store: Arc::new(store),
            blobs: world.blobs.clone(),
            vault: Arc::new(OpenVault),
            queue: Arc::new(BadQueue { world: world.clone(), gate: gate.clone(), queue: world.queue.clone() }),
            coordination: Arc::new(BadSignals { world: world.clone(), topics: world.topics.clone() }),
            clock: clock.clone(),
            entropy: world.clone(),
            health: Health::new(None),
            metrics: Metrics::default(),
            orders: Orders::default(),
            snapshots: None,
            signer: Signer::new(&[0; 32]),
            settings: Settings { node: name.to_owned(), ..Settings::default() },
            started_at: tfe_core::time::Clock::now(clock.as_ref()),
        });
        let node = Arc::new(Self { app, gate, clock, tasks: Tasks::default(), shutdown: CancellationToken::new() });
        node.work(world);
        node
    }

    fn work(&self, world: &Arc<World>) {
        if !world.is(Mutation::NoReconciler) {
            world.spawn(&self.tasks, reconcile::run(self.app.clone(), self.shutdown.clone()));
        }
        if world.faults.nodes_tell {
            world.spawn(&self.tasks, service::nodes::run(self.app.clone(), self.shutdown.clone()));
        }
        if let Some(mutation) = world.mutation {
            world.spawn(&self.tasks, mutated::run(self.app.clone(), mutation));
        }
    }

    /// Whether calls are answered.
    pub(super) fn is_alive(&self) -> bool {
        self.gate.standing() != Standing::Dead
    }

    /// Whether it does what a node does, and goes on.
    pub(super) fn is_working(&self) -> bool {
        self.is_alive() && !self.shutdown.is_cancelled()
    }

    /// The process dies in the middle of whatever it does.
    pub(super) fn crash(&self) {
        self.gate.set(Standing::Dead);
        self.tasks.end();
    }

    /// The process is asked to end. Whoever asked must [end](Self::crash) it after a while.
    pub(super) fn ask_to_end(&self) {
        self.shutdown.cancel();
    }
}

impl Nodes {
    /// Starts so many nodes.
    pub(super) fn start(world: &Arc<World>, count: usize) -> Self {
        let places = (0..count).map(|place| Node::start(world, &format!("node-{place}"))).collect();
        Self { world: world.clone(), places: Mutex::new(places) }
    }

    pub(super) fn count(&self) -> usize {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The process in a place, counted round and round.
    pub(super) fn at(&self, place: usize) -> Arc<Node> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places[place % places.len()].clone()
    }

    /// Some node.
    pub(super) fn any(&self) -> Arc<Node> {
        self.at(self.world.chance.index(self.count()))
    }

    /// Starts a node in the place of one that died, under its name or another.
    pub(super) fn restart(&self, place: usize, name: &str) {
        let node = Node::start(&self.world, name);
        self.world.tell(|| format!("{name} starts in place {place}"));
        self.places.lock().unwrap_or_else(PoisonError::into_inner)[place] = node;
    }
}
