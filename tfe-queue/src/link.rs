//! A session with a broker that comes back by itself.
//!
//! A broker is optional, so a call must never wait for long only because it is away: while the first attempt of an
//! outage is under way calls wait for it, and from its failure on they fail at once, until a task in the background
//! has the next session. Nothing but the link connects, so a thousand failing calls are still one attempt at a time.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    backoff::{Backoff, LONGEST_PAUSE},
    clock,
    failure::Failure,
    queue::CALL_TIMEOUT,
};

/// Pause of a receiver after a failure.
const AWAY_PAUSE: Duration = Duration::from_millis(100);

/// How sessions with one broker are made.
#[async_trait]
pub(crate) trait Connect: Send + Sync + 'static {
    type Session: Clone + Send + Sync + 'static;

    /// The broker's name for the log.
    fn broker(&self) -> &'static str;

    /// A new session, ready for use. Ended after [`CALL_TIMEOUT`].
    async fn connect(&self) -> Result<Self::Session, Failure>;

    /// Returns why when the session is of no use any more; noticing is what keeps the next call from failing.
    async fn ended(&self, session: &Self::Session) -> Failure;
}

/// Keeps a session with a broker, until it is dropped.
pub(crate) struct Link<S> {
    state: watch::Receiver<State<S>>,
    _keeper: Background,
}

/// A session in use.
#[derive(Clone)]
pub(crate) struct Lease<S> {
    pub(crate) session: S,
    broken: Arc<Notify>,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Background(JoinHandle<()>);

enum State<S> {
    /// An attempt is under way that may well succeed.
    Connecting,
    Up(Lease<S>),
    Away(Failure),
}

impl<S: Clone + Send + Sync + 'static> Link<S> {
    /// Begins to connect in the background of the current runtime.
    pub(crate) fn new(connect: impl Connect<Session = S>) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        Self { state, _keeper: Background::spawn(keep(connect, sender)) }
    }

    /// The session, or why there is none.
    pub(crate) async fn session(&self) -> Result<Lease<S>, Failure> {
        let mut state = self.state.clone();
        let settled = timeout(CALL_TIMEOUT, state.wait_for(|state| !matches!(state, State::Connecting))).await;
        match settled.as_ref().map(Result::as_deref) {
            Ok(Ok(State::Up(lease))) => Ok(lease.clone()),
            Ok(Ok(State::Away(failure))) => Err(failure.clone()),
            _ => Err(Failure::new("the connection is not ready yet")),
        }
    }

    /// Looks for something until there is some or `wait` has passed. A broker that is away is waited for as well, but
    /// after [`CALL_TIMEOUT`] its failure is told.
    ///
    /// `look` returns something as soon as there is some, and nothing at the deadline it is given or any time before.
    pub(crate) async fn keep_looking<'a, T>(
        &self,
        wait: Duration,
        look: impl Fn(Instant) -> BoxFuture<'a, Result<Vec<T>, Failure>>,
    ) -> Result<Vec<T>, Failure> {
        let deadline = clock::later(wait);
        // Until when failures are put up with, once there was one.
        let mut patience = None;
        loop {
            match look(deadline).await {
                Ok(found) if !found.is_empty() || Instant::now() >= deadline => return Ok(found),
                Ok(_) => patience = None,
                Err(failure) => {
                    let patience = *patience.get_or_insert_with(|| deadline.min(clock::later(CALL_TIMEOUT)));
                    if Instant::now() >= patience {
                        return Err(failure);
                    }
                    sleep(AWAY_PAUSE).await;
                    self.wait_until_up(patience).await;
                }
            }
        }
    }

    /// Waits for a session, but not beyond `deadline`.
    async fn wait_until_up(&self, deadline: Instant) {
        let mut state = self.state.clone();
        // What comes of it is found out by whoever asks for the session next.
        let _ = timeout_at(deadline, state.wait_for(|state| matches!(state, State::Up(_)))).await;
    }
}

impl<S> Lease<S> {
    /// Says that this session is of no use; the link makes another one. Later sessions are not touched by it.
    pub(crate) fn give_up(&self) {
        self.broken.notify_one();
    }
}

impl<S> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Background {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes one session after the other. Ends with the link, whose drop aborts it.
async fn keep<C: Connect>(connect: C, state: watch::Sender<State<C::Session>>) {
    let mut backoff = Backoff::new();
    loop {
        match attempt(&connect).await {
            Ok(session) => {
                let begin = Instant::now();
                tracing::info!(broker = connect.broker(), "connected");
                let lease = Lease { session, broken: Arc::default() };
                state.send_replace(State::Up(lease.clone()));
                let reason = tokio::select! {
                    () = lease.broken.notified() => Failure::new("a call failed or was not answered"),
                    reason = connect.ended(&lease.session) => reason,
                };
                tracing::warn!(broker = connect.broker(), %reason, "the connection is lost; a new one is made");
                state.send_replace(State::Connecting);
                // A broker that takes connections and drops them at once gets the longer pauses too.
                if begin.elapsed() > LONGEST_PAUSE {
                    backoff.reset();
                }
            }
            Err(failure) => {
                if !matches!(*state.borrow(), State::Away(_)) {
                    tracing::warn!(broker = connect.broker(), reason = %failure, "it cannot be reached; this is tried again until it is");
                }
                state.send_replace(State::Away(failure));
            }
        }
        backoff.pause().await;
    }
}

async fn attempt<C: Connect>(connect: &C) -> Result<C::Session, Failure> {
    timeout(CALL_TIMEOUT, connect.connect()).await.unwrap_or_else(|_| Err(Failure::timeout()))
}
