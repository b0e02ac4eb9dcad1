//! The line to one server, as calls see it: connected, or failing at once.
//!
//! It is a circuit as well. Three calls in a row without an answer, or one lost connection, open it; then
//! calls fail without being sent, until the background has a connection and a server that is well.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::redis::address::Address;
use crate::redis::checkup::Vitals;
use crate::redis::invocation::Invocation;
use crate::redis::trouble::{Failure, Trouble, code_of};
use crate::redis::waits::Waits;

/// Calls in a row that may stay without an answer.
const UNANSWERED: u32 = 3;

/// The line to one server.
pub(super) struct Line {
    state: watch::Sender<State>,
    broken: Notify,
    unanswered: AtomicU32,
}

#[derive(Clone)]
enum State {
    Starting,
    Up(Arc<Up>),
    Down(Trouble),
}

/// A connection to a server that was found well.
pub(super) struct Up {
    pub(super) address: Address,
    pub(super) connection: MultiplexedConnection,
    pub(super) waits: Option<Waits>,
    vitals: Mutex<Vitals>,
}

/// What a server says to a script.
#[derive(Debug)]
pub(super) enum Answer {
    /// The script's result.
    Value(Value),
    /// Another node has the slot.
    Moved(Option<Address>),
    /// Another node is taking the slot over, and has these keys already.
    Ask(Option<Address>),
    /// Some of the keys are here and some there.
    TryAgain,
}

impl Line {
    /// A line that is about to be connected.
    pub(super) fn new() -> Self {
        let (state, _) = watch::channel(State::Starting);
        Self { state, broken: Notify::new(), unanswered: AtomicU32::new(0) }
    }

    /// Calls are sent from now on.
    pub(super) fn connected(&self, up: &Arc<Up>) {
        self.unanswered.store(0, Ordering::Release);
        let _before = self.state.send_replace(State::Up(Arc::clone(up)));
    }

    /// Calls fail at once from now on.
    pub(super) fn down(&self, trouble: Trouble) {
        let _before = self.state.send_replace(State::Down(trouble));
    }

    /// Comes back once a call has found the connection unusable, with the reason.
    pub(super) async fn broken(&self) -> Trouble {
        loop {
            self.broken.notified().await;
            // The news may be older than the connection.
            if let State::Down(trouble) = &*self.state.borrow() {
                return trouble.clone();
            }
        }
    }

    /// The connection as it is now.
    pub(super) fn now(&self) -> Result<Arc<Up>, Trouble> {
        match &*self.state.borrow() {
            State::Starting => Err(Trouble::Starting),
            State::Up(up) => Ok(Arc::clone(up)),
            State::Down(trouble) => Err(trouble.clone()),
        }
    }

    /// Whether steps could be made now, durable ones included.
    pub(super) fn ready(&self) -> Result<(), Trouble> {
        let up = self.now()?;
        up.waits.as_ref().map_or(Ok(()), |waits| enough(&up, waits, up.vitals().replicas))
    }

    /// The connection. Only the first attempt is waited for.
    async fn up(&self, deadline: Instant) -> Result<Arc<Up>, Trouble> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Starting));
        // What it answers holds the lock for reading: kept while it is read again, with a writer in
        // between, it would be for ever.
        drop(timeout_at(deadline, settled).await);
        self.now()
    }

    /// Runs a script; `durably` means that replicas have to have it.
    pub(super) async fn run(
        &self,
        invocation: &Invocation<'_>,
        asking: bool,
        durably: bool,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let up = self.up(deadline).await.map_err(Failure::NotSent)?;
        if let Some(waits) = up.waits.as_ref().filter(|_| durably) {
            return self.run_durably(&up, waits, invocation, asking, deadline).await;
        }
        let mut connection = up.connection.clone();
        self.await_answer(&up, deadline, invocation.run(&mut connection, asking)).await
    }

    async fn run_durably(
        &self,
        up: &Arc<Up>,
        waits: &Waits,
        invocation: &Invocation<'_>,
        asking: bool,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        enough(up, waits, up.vitals().replicas).map_err(Failure::NotSent)?;
        let mut have = waits.needed();
        let kept = async {
            let value = invocation.run(&mut waits.connection(), asking).await?;
            have = waits.acknowledged().await?;
            Ok(value)
        };
        let answer = self.await_answer(up, deadline, kept).await?;
        enough(up, waits, have).map_err(Failure::Sent)?;
        Ok(answer)
    }

    async fn await_answer(
        &self,
        up: &Arc<Up>,
        deadline: Instant,
        asked: impl Future<Output = Result<Value, RedisError>>,
    ) -> Result<Answer, Failure> {
        match timeout_at(deadline, asked).await {
            Err(_elapsed) => {
                let late = Trouble::Late(up.address.clone());
                if self.unanswered.fetch_add(1, Ordering::AcqRel).saturating_add(1) >= UNANSWERED {
                    self.give_up(up, &late);
                }
                Err(Failure::Sent(late))
            }
            Ok(Ok(value)) => {
                self.unanswered.store(0, Ordering::Release);
                Ok(Answer::Value(value))
            }
            Ok(Err(error)) => self.read(up, &error),
        }
    }

    /// What an error says about the call, and about the connection.
    fn read(&self, up: &Arc<Up>, error: &RedisError) -> Result<Answer, Failure> {
        let Some(code) = code_of(error) else {
            let lost = Trouble::Lost(up.address.clone());
            self.give_up(up, &lost);
            return Err(Failure::Sent(lost));
        };
        self.unanswered.store(0, Ordering::Release);
        let other = error.redirect_node();
        let other = other.and_then(|(text, _slot)| Address::parse_redirect(text, &up.address));
        match code.as_str() {
            "MOVED" => Ok(Answer::Moved(other)),
            "ASK" => Ok(Answer::Ask(other)),
            "TRYAGAIN" => Ok(Answer::TryAgain),
            "OOM" => Err(Failure::Full),
            // It is not the master any more, or not yet, or wants another login.
            "READONLY" | "LOADING" | "MASTERDOWN" | "UNBLOCKED" | "NOAUTH" => {
                let refused = refused(up, &code);
                self.give_up(up, &refused);
                Err(Failure::Sent(refused))
            }
            _ => Err(Failure::Sent(refused(up, &code))),
        }
    }

    /// Calls fail at once, and the background connects anew. Another connection is left alone.
    fn give_up(&self, up: &Arc<Up>, trouble: &Trouble) {
        let changed = self.state.send_if_modified(|state| match state {
            State::Up(current) if Arc::ptr_eq(current, up) => {
                *state = State::Down(trouble.clone());
                true
            }
            State::Starting | State::Up(_) | State::Down(_) => false,
        });
        if changed {
            self.broken.notify_one();
        }
    }
}

impl Up {
    /// A connection to a server in this state.
    pub(super) fn new(
        address: Address,
        connection: MultiplexedConnection,
        waits: Option<Waits>,
        vitals: Vitals,
    ) -> Self {
        Self { address, connection, waits, vitals: Mutex::new(vitals) }
    }

    /// How the server was when it was last asked.
    pub(super) fn vitals(&self) -> Vitals {
        *self.vitals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is now.
    pub(super) fn examined(&self, vitals: Vitals) {
        *self.vitals.lock().unwrap_or_else(PoisonError::into_inner) = vitals;
    }
}

fn enough(up: &Up, waits: &Waits, have: u64) -> Result<(), Trouble> {
    let (address, need) = (up.address.clone(), waits.needed());
    if have < need { Err(Trouble::TooFewReplicas { address, have, need }) } else { Ok(()) }
}

fn refused(up: &Up, code: &str) -> Trouble {
    Trouble::Refused { address: up.address.clone(), code: code.to_owned() }
}
