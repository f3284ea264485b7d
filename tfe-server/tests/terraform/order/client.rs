//! Whoever queues runs, and asks again when the server dies before it answers.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tfe_cli::{Client, Host, NewRun, Run, pack_files};
use tfe_core::secret::Secret;

use crate::harness::{Demo, PATIENCE};

/// The pause before a server that is away is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// A workspace with a configuration.
#[derive(Debug)]
pub(super) struct Place {
    workspace: String,
    configuration: String,
}

/// What became of a run.
#[derive(Debug)]
pub(super) struct Result {
    pub(super) run: String,
    pub(super) status: String,
    pub(super) additions: Option<u64>,
}

/// Queues runs, one after the other.
#[derive(Debug)]
pub(super) struct Queuer {
    client: Client,
    organization: String,
    unanswered: AtomicUsize,
}

impl Queuer {
    pub(super) fn new(server: &Demo) -> Self {
        let api = format!("{}/api/v2/", server.text("url")).parse().unwrap();
        let token = Secret::from(server.text("token").to_owned());
        let client = Client::new(&Host { name: "the server".to_owned(), api, token, authority: None }).unwrap();
        Self { client, organization: server.text("organization").to_owned(), unanswered: AtomicUsize::new(0) }
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// So many workspaces.
    pub(super) async fn places(&self, count: usize) -> Vec<Place> {
        let mut places = Vec::new();
        for number in 0..count {
            let workspace = self.client.create_workspace(&self.organization, &format!("queue-{number}")).await.unwrap().id;
            let configuration = self.client.create_configuration_version(&workspace, false).await.unwrap();
            self.client.upload(&configuration, pack_files(&[("main.tf", "resource \"terraform_data\" \"a\" {}\n")])).await.unwrap();
            places.push(Place { workspace, configuration: configuration.id });
        }
        places
    }

    /// Queues a run, which has that number in its message, and returns its id. When nobody answers it is not known whether there is
    /// one now, so that is looked up before it is asked for once more.
    pub(super) async fn queue(&self, place: &Place, number: usize) -> String {
        let new = NewRun {
            workspace_id: place.workspace.clone(),
            configuration_version_id: Some(place.configuration.clone()),
            message: number.to_string(),
            ..NewRun::default()
        };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(run) = self.client.create_run(&new).await {
                return run.id;
            }
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            if let Some(run) = self.newest(place).await.filter(|run| run.message == new.message) {
                return run.id;
            }
        }
        panic!("run {number} cannot be queued");
    }

    /// The newest run of a workspace, as soon as a server tells.
    async fn newest(&self, place: &Place) -> Option<Run> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.client.runs(&place.workspace, 1).await {
                Ok(runs) => return runs.into_iter().next(),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        panic!("no server is back");
    }

    /// All runs that there are.
    pub(super) async fn results(&self, places: &[Place]) -> Vec<Result> {
        let mut results = Vec::new();
        for place in places {
            for run in self.client.runs(&place.workspace, usize::MAX).await.unwrap() {
                let plan = self.client.plan(run.plan_id.as_deref().unwrap()).await.unwrap();
                results.push(Result { run: run.id, status: run.status, additions: plan.resource_additions });
            }
        }
        results
    }
}
