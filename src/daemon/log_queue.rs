//! The way of the log from those who log to where it is written, which may be slow or stand still.
//!
//! Whoever logs only adds to a bounded queue; a thread of its own hands each event to the real
//! subscriber, which may wait for as long as it likes. What finds no room is counted, and told once
//! events flow again. So no thread that looks or answers ever waits for a log.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use tracing::field::{Field, Value, Visit, display};
use tracing::{Event, Metadata, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::Context;

use crate::host::clock::wall_time;

/// Events that may wait to be written.
pub(crate) const EVENTS: usize = 4096;
/// Bytes of their texts that may wait: a thirty-second part of the shipped unit's `MemoryMax`.
pub(crate) const BYTES: usize = 4 * 1024 * 1024;
/// Bytes of one field of an event; the rest is cut off.
pub(crate) const FIELD: usize = 8192;
/// How long the end of the process waits until everything is written.
pub(crate) const FLUSH: Duration = Duration::from_millis(500);

/// The queue, as a layer that puts every event into it. Clones share the events.
#[derive(Clone, Default)]
pub struct Queue(Arc<Shared>);

/// Has the last events written when it is dropped, for [`FLUSH`] at most.
pub struct Flush(Queue);

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.flush(FLUSH);
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    came: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<Waiting>,
    bytes: usize,
    /// Events that found no room and were not told of yet.
    dropped: u64,
    /// One is being written.
    busy: bool,
}

/// One event, with its values in the order of its fields.
struct Waiting {
    of: &'static Metadata<'static>,
    values: Vec<Option<Kept>>,
    at: SystemTime,
    bytes: usize,
}

enum Kept {
    Text(String),
    /// What `Debug` or `Display` wrote.
    Shown(String),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

impl Queue {
    /// Starts the thread that hands each event to the subscriber that `open` gives. Both may block.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn write_by<S: Subscriber>(
        &self,
        open: impl FnOnce() -> S + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        let run = move || {
            let sink = open();
            loop {
                shared.next().hand_to(&sink);
                // It flows.
                let dropped = shared.ended();
                if dropped > 0 {
                    let hint = "the target of the log was too slow or did not answer";
                    TELLS.set(true);
                    warn!(dropped, hint, "{dropped} lines of this log were dropped");
                    TELLS.set(false);
                }
            }
        };
        thread::Builder::new().name("log".to_owned()).spawn(run).map(drop)
    }

    /// What has the last events written at the end of the process.
    pub(crate) fn flushed_at_the_end(&self) -> Flush {
        Flush(self.clone())
    }

    fn push(&self, event: Waiting) {
        let mut state = self.0.state();
        let full = state.events.len() >= EVENTS || state.bytes + event.bytes > BYTES;
        // What tells of the dropped finds room: else it would be the next one, and its count lost.
        if full && !TELLS.get() {
            state.dropped += 1;
            return;
        }
        state.bytes += event.bytes;
        state.events.push_back(event);
        drop(state);
        self.0.came.notify_one();
    }

    fn flush(&self, within: Duration) {
        let waiting = |state: &mut State| state.busy || !state.events.is_empty();
        // However it ends, nothing more can be done.
        let _ = self.0.written.wait_timeout_while(self.0.state(), within, waiting);
    }
}

impl<S: Subscriber> Layer<S> for Queue {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.push(Waiting::of(event));
    }
}

impl Shared {
    /// What a panic elsewhere left behind is a queue all the same.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Waiting {
        let mut state = self.state();
        loop {
            if let Some(event) = state.events.pop_front() {
                state.bytes -= event.bytes;
                state.busy = true;
                return event;
            }
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// One was written; returns how many were dropped that nobody was told of.
    fn ended(&self) -> u64 {
        let mut state = self.state();
        state.busy = false;
        self.written.notify_all();
        std::mem::take(&mut state.dropped)
    }
}

impl Waiting {
    fn of(event: &Event<'_>) -> Self {
        let of = event.metadata();
        let values = of.fields().iter().map(|_| None).collect();
        let mut kept = Self { of, values, at: wall_time(), bytes: 0 };
        event.record(&mut kept);
        kept
    }

    fn keep(&mut self, field: &Field, value: Kept) {
        self.bytes += match &value {
            Kept::Text(text) | Kept::Shown(text) => text.len(),
            _ => 0,
        };
        if let Some(place) = self.values.get_mut(field.index()) {
            *place = Some(value);
        }
    }

    fn hand_to(&self, sink: &impl Subscriber) {
        let shown: Vec<_> = self
            .values
            .iter()
            .map(|value| match value {
                Some(Kept::Shown(text)) => Some(display(text)),
                _ => None,
            })
            .collect();
        let values: Vec<Option<&dyn Value>> = self
            .values
            .iter()
            .zip(&shown)
            .map(|(value, shown)| {
                Some(match value.as_ref()? {
                    Kept::Shown(_) => shown.as_ref()? as &dyn Value,
                    Kept::Text(text) => text,
                    Kept::Signed(number) => number,
                    Kept::Unsigned(number) => number,
                    Kept::Float(number) => number,
                    Kept::Bool(is) => is,
                })
            })
            .collect();
        HAPPENED.set(Some(self.at));
        sink.event(&Event::new(self.of, &self.of.fields().value_set_all(&values)));
    }
}

fn cut(mut text: String) -> String {
    if text.len() > FIELD {
        let end = (0..=FIELD).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
    }
    text
}

impl Visit for Waiting {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.keep(field, Kept::Shown(cut(format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, Kept::Text(cut(value.to_owned())));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, Kept::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, Kept::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, Kept::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, Kept::Bool(value));
    }
}

thread_local! {
    /// This thread tells how many were dropped.
    static TELLS: Cell<bool> = const { Cell::new(false) };
    /// When what is being written happened.
    static HAPPENED: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

/// The time at which an event happened, in UTC to the microsecond, however long it waited.
pub struct Happened;

impl FormatTime for Happened {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        let at = HAPPENED.get().unwrap_or_else(wall_time);
        write!(to, "{}", humantime::format_rfc3339_micros(at))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use tracing::info;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Writes what it is given to a channel, each time once it is let.
    #[derive(Clone)]
    struct Gate(Arc<Mutex<mpsc::Receiver<()>>>, mpsc::Sender<String>);

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // Once nobody holds it any more, everything goes through.
            let _ = self.0.lock().unwrap().recv();
            self.1.send(String::from_utf8_lossy(line).into_owned()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (mpsc::Sender<()>, impl Subscriber, mpsc::Receiver<String>) {
        let (let_through, held) = mpsc::channel();
        let (out, written) = mpsc::channel();
        let gate = Gate(Arc::new(Mutex::new(held)), out);
        let layer = tracing_subscriber::fmt::layer().with_timer(Happened).with_ansi(false);
        let layer = layer.with_target(false).with_writer(move || gate.clone());
        (let_through, tracing_subscriber::registry().with(layer), written)
    }

    // It sets the log of the process, and the program of `make mutants` has other tests that do.
    #[cfg(not(mutants))]
    #[test]
    fn a_sink_that_stands_still_blocks_nobody_and_the_dropped_are_told_once_it_flows() {
        let (let_through, sink, written) = gated();
        let queue = Queue::default();
        queue.write_by(|| sink).unwrap();
        // Global, for the thread that writes tells of the dropped by the log of the process.
        let log = tracing_subscriber::registry().with(queue.clone());
        tracing::subscriber::set_global_default(log).unwrap();
        for number in 0..EVENTS + 1000 {
            info!(number, "one of many");
        }
        let state = queue.0.state();
        assert!(state.events.len() <= EVENTS, "{} events wait", state.events.len());
        let dropped = state.dropped;
        assert!(dropped >= 999, "{dropped}");
        drop(state);
        queue.flush(Duration::from_millis(10));
        drop(let_through);
        let told = written.iter().find(|line| line.contains("lines of this log were dropped"));
        let wanted = format!(" {dropped} lines of this log were dropped");
        assert!(
            told.as_ref().is_some_and(|l| l.contains("WARN") && l.contains(&wanted)),
            "{told:?}"
        );
        drop(queue.flushed_at_the_end());
        assert!(queue.0.state().events.is_empty());
    }

    #[test]
    fn an_event_is_written_as_it_would_have_been_without_the_queue() {
        let (let_through, sink, written) = gated();
        drop(let_through);
        let (direct_through, direct, directly) = gated();
        drop(direct_through);
        let queue = Queue::default();
        queue.write_by(|| sink).unwrap();
        let say = || {
            let (shown, text) = (std::net::Ipv4Addr::LOCALHOST, "a \"b\"\nc");
            let none: Option<&str> = None;
            let some = Some(-7i64);
            info!(%shown, text, none, some, yes = true, half = 0.5, big = u64::MAX, "hello {text}");
        };
        tracing::subscriber::with_default(direct, say);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(queue), say);
        let words = |line: String| line.split_once(' ').unwrap().1.to_owned();
        assert_eq!(words(written.recv().unwrap()), words(directly.recv().unwrap()));
    }

    #[test]
    fn bytes_are_bounded_as_events_are() {
        let queue = Queue::default();
        let log = tracing_subscriber::registry().with(queue.clone());
        tracing::subscriber::with_default(log, || {
            for _ in 0..2 * BYTES / FIELD {
                info!(long = "ä".repeat(FIELD), "hello");
            }
        });
        let state = queue.0.state();
        assert!(state.bytes <= BYTES, "{} bytes wait", state.bytes);
        assert!(state.bytes > BYTES / 2 && state.dropped > 0);
    }
}
