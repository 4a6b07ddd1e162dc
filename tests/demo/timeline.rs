//! Waiting for several things at once, and telling each as it comes.

use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::now;

/// Below what a reader notices, above what the machine does.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Something that is to happen.
pub struct Happening<'a> {
    /// What it is called on the screen.
    pub what: &'static str,
    /// How it is explained there.
    pub detail: &'static str,
    seen: Box<dyn Fn() -> Option<Stamp> + 'a>,
}

impl<'a> Happening<'a> {
    /// `seen` tells when it happened, once it has.
    pub fn new(
        what: &'static str,
        detail: &'static str,
        seen: impl Fn() -> Option<Stamp> + 'a,
    ) -> Self {
        Self { what, detail, seen: Box::new(seen) }
    }
}

/// Waits until all of `awaited` have happened; `tell` hears of each as soon as it is seen.
///
/// # Errors
/// What has not happened `within`.
pub fn await_all<'a>(
    within: Duration,
    awaited: impl IntoIterator<Item = Happening<'a>>,
    mut tell: impl FnMut(Stamp, &Happening),
) -> Result<(), String> {
    let began = now();
    let mut awaited: Vec<Happening> = awaited.into_iter().collect();
    loop {
        let looked = awaited.into_iter().map(|happening| ((happening.seen)(), happening));
        let (mut seen, rest): (Vec<_>, Vec<_>) = looked.partition(|(at, _)| at.is_some());
        seen.sort_by_key(|(at, _)| *at);
        for (at, happening) in seen {
            tell(at.unwrap_or_else(now), &happening);
        }
        awaited = rest.into_iter().map(|(_, happening)| happening).collect();
        if awaited.is_empty() {
            return Ok(());
        }
        if now().since(began) > within {
            let missing: Vec<&str> = awaited.iter().map(|h| h.what).collect();
            return Err(format!("not within {within:?}: {}", missing.join(", ")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
