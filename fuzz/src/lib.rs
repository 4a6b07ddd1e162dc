//! What every target holds to: an input costs at most 100 ms of its thread's CPU time and 64 MiB of memory, and
//! what others wrote comes out cleaned and bounded.

pub mod stage;

use std::future::Future;
use std::time::Duration;

use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};

/// `cargo fuzz` gives nobody the peak of one input.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Longest CPU time of one input; the build is instrumented, and asserts what a release does not.
const CPU: Duration = Duration::from_millis(100);
/// Most memory that one input may take, in bytes.
const MEMORY: usize = 64 * 1024 * 1024;

/// What `text` says may stand behind the sign that it was cut.
const CUT: usize = '…'.len_utf8();

/// A target: the check, within what an input may cost.
#[macro_export]
macro_rules! target {
    (|$data:ident| $check:block) => {
        libfuzzer_sys::fuzz_target!(|$data: &[u8]| { $crate::within_bounds(|| $check) });
    };
}

/// Does it, and ends the process where it took too long or too much.
pub fn within_bounds<T>(check: impl FnOnce() -> T) -> T {
    let (held, began) = (HEAP.current_usage(), cpu());
    HEAP.reset_peak_usage();
    let done = check();
    let took = cpu().saturating_sub(began);
    let most = HEAP.peak_usage().saturating_sub(held);
    assert!(took <= CPU, "one input took {took:?} of CPU time");
    assert!(most <= MEMORY, "one input took {most} bytes of memory");
    done
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The data as text, where it is UTF-8.
pub fn text(data: &[u8]) -> &str {
    std::str::from_utf8(data).unwrap_or_default()
}

/// The data up to this separator, and what follows it.
pub fn split<'d>(data: &'d [u8], separator: &[u8]) -> (&'d [u8], &'d [u8]) {
    let at = data.windows(separator.len()).position(|window| window == separator);
    at.map_or((data, &[]), |at| (&data[..at], &data[at + separator.len()..]))
}

/// What others wrote is shown: it has nothing that forges a line, moves a cursor or turns the direction of
/// writing, and no more than `most` bytes. Not by rolecall's own list, which is what is tried.
///
/// # Panics
/// It is not so.
#[track_caller]
pub fn cleaned(shown: &str, most: usize) {
    one_line(shown);
    assert!(shown.len() <= most + CUT, "{} bytes: {shown:?}", shown.len());
}

/// As [`cleaned`], of what has no bound of its own.
///
/// # Panics
/// It is not so.
#[track_caller]
pub fn one_line(shown: &str) {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let forges = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let odd = shown.chars().find(|c| forges(*c) || turns(*c));
    assert!(odd.is_none(), "{odd:?} in {shown:?}");
}

/// Runs it on a runtime of this thread.
///
/// # Panics
/// The host gives no runtime.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}
