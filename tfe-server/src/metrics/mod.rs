//! Figures for Prometheus: what is asked, what the parts do, what runs there are, what the process takes.

mod measured;
mod process;
mod snapshots;

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tfe_core::{
    job::Job,
    record::Record,
    run::{Run, Status},
};
use tfe_storage::{BlobObserver, Query};

pub(crate) use self::measured::{MeasuredStore, MeasuredVault};
use crate::{app::App, error::ApiError, health::Condition};

/// The shortest time that is told apart from others, and how many doublings of it are: 1 ms to 16 s.
const SHORTEST_SECONDS: f64 = 0.001;
const DOUBLINGS: u16 = 15;
/// The states of jobs that wait or are worked on: the queue.
const JOB_STATES: [&str; 2] = ["queued", "claimed"];

/// The figures of this process; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    requests: Family<Request, Counter>,
    request_seconds: Family<Route, Histogram>,
    calls: Family<Call, Counter>,
    call_seconds: Family<Operation, Histogram>,
    blob_bytes: Family<Transfer, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    part: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    part: &'static str,
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Transfer {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

impl Default for Figures {
    fn default() -> Self {
        let histogram = || Histogram::new(exponential_buckets(SHORTEST_SECONDS, 2.0, DOUBLINGS));
        Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(histogram),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(histogram),
            blob_bytes: Family::default(),
        }
    }
}

impl Metrics {
    /// A request was answered. `route` is the pattern and not the path, so that there are few.
    pub(crate) fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.0.request_seconds.get_or_create(&Route { route: route.clone() }).observe(took.as_secs_f64());
        self.0.requests.get_or_create(&Request { method, route, status }).inc();
    }

    /// A part of the system was called.
    pub(crate) fn call(&self, part: &'static str, operation: &'static str, ok: bool, took: Duration) {
        self.0.call_seconds.get_or_create(&Operation { part, operation }).observe(took.as_secs_f64());
        self.0.calls.get_or_create(&Call { part, operation, outcome: if ok { "ok" } else { "error" } }).inc();
    }

    /// All figures, in the text format of Prometheus.
    pub(crate) async fn render(&self, app: &App) -> Result<String, ApiError> {
        let mut registry = Registry::with_prefix("tfe");
        let Figures { requests, request_seconds, calls, call_seconds, blob_bytes } = &*self.0;
        registry.register("http_requests", "Requests that were answered", requests.clone());
        registry.register("http_request_seconds", "Seconds until the answer began", request_seconds.clone());
        registry.register("calls", "Calls of the store and the vault", calls.clone());
        registry.register("call_seconds", "Seconds that calls of the store and the vault took", call_seconds.clone());
        registry.register("blob_bytes", "Bytes of blobs that were written and asked for", blob_bytes.clone());
        registry.register("runs", "Runs that are not over, by status", runs(app).await?);
        registry.register("jobs", "Jobs that wait for a runner or have one: the queue", jobs(app).await?);
        registry.register("part_works", "Whether a part of the system works (1) or not (0)", parts(app));
        snapshots::register(&mut registry, app);
        process::register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).map_err(ApiError::internal)?;
        Ok(text)
    }
}

impl BlobObserver for Metrics {
    fn wrote(&self, bytes: u64) {
        self.0.blob_bytes.get_or_create(&Transfer { direction: "written" }).inc_by(bytes);
    }

    fn read(&self, bytes: u64) {
        self.0.blob_bytes.get_or_create(&Transfer { direction: "read" }).inc_by(bytes);
    }
}

/// All figures of a server, in the text format of Prometheus.
pub async fn render(app: &App) -> Result<String, ApiError> {
    app.metrics.render(app).await
}

async fn runs(app: &App) -> Result<Family<State, Gauge>, ApiError> {
    let going = Status::ALL.iter().filter(|status| !status.is_final()).map(|status| status.as_str());
    by_status::<Run>(app, going).await
}

async fn jobs(app: &App) -> Result<Family<State, Gauge>, ApiError> {
    by_status::<Job>(app, JOB_STATES.into_iter()).await
}

/// How many records there are in each of these states.
async fn by_status<T: Record>(app: &App, states: impl Iterator<Item = &'static str>) -> Result<Family<State, Gauge>, ApiError> {
    let family = Family::<State, Gauge>::default();
    for status in states {
        let total = app.store.query(&Query::of::<T>().equals("status", status).limit(1).counted()).await?.total;
        family.get_or_create(&State { status: status.to_owned() }).set(i64::try_from(total).unwrap_or(i64::MAX));
    }
    Ok(family)
}

fn parts(app: &App) -> Family<Part, Gauge> {
    let family = Family::<Part, Gauge>::default();
    for check in app.health.report().into_iter().flat_map(|report| report.checks) {
        family.get_or_create(&Part { part: check.name }).set(i64::from(check.condition != Condition::Error));
    }
    family
}
