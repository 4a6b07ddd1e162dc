//! Tasks that stand still while their host does: nothing of them runs until the gate opens.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
pub struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: Option<Waker>,
    /// For a poller: when its last look began, in ms of the simulation, and whether it is under way.
    look: Option<(u64, bool)>,
}

impl Gate {
    pub fn close(&self) {
        self.0.lock().unwrap().closed = true;
    }

    pub fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.closed = false;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    pub fn look_began(&self, at: u64) {
        self.0.lock().unwrap().look = Some((at, true));
    }

    pub fn look_ended(&self) {
        if let Some((_, under_way)) = &mut self.0.lock().unwrap().look {
            *under_way = false;
        }
    }

    /// When the look began after which this poller waits for the next one.
    pub fn rests_since(&self) -> Option<u64> {
        self.0.lock().unwrap().look.filter(|(_, under_way)| !under_way).map(|(began, _)| began)
    }

    /// Polls the inner future through this gate.
    pub fn around<F: Future>(self: &Arc<Self>, inner: F) -> Gated<F> {
        Gated { gate: Arc::clone(self), inner: Box::pin(inner) }
    }
}

pub struct Gated<F> {
    gate: Arc<Gate>,
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        {
            let mut state = self.gate.0.lock().unwrap();
            if state.closed {
                state.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.inner.as_mut().poll(cx)
    }
}
