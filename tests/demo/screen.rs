//! What the reader sees: plain words, colour on top where a terminal shows it and nobody minds.

use std::fmt::Display;
use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::Duration;

/// See <https://no-color.org>.
static COLOUR: LazyLock<bool> = LazyLock::new(|| {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|v| v == "dumb");
    std::io::stdout().is_terminal() && !unwanted && !dumb
});

/// The colours used, each for one kind of thing.
#[derive(Debug, Clone, Copy)]
pub enum Ink {
    /// A heading.
    Bold,
    /// A READY, an UP, a write that was taken.
    Good,
    /// A loss, a danger.
    Bad,
}

/// `text` in colour where that is wanted.
pub fn ink(ink: Ink, text: &str) -> String {
    let code = match ink {
        Ink::Bold => "1",
        Ink::Good => "32",
        Ink::Bad => "31",
    };
    if *COLOUR { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A heading with an empty line before it.
pub fn heading(text: &str) {
    println!("\n{}", ink(Ink::Bold, text));
}

/// A line below a heading.
pub fn say(text: &str) {
    println!("{}", format!("   {text}").trim_end());
}

/// A line of the timeline: what happened, and how long after the kill.
pub fn event(after: Duration, what: &str, detail: &str) {
    println!("{}", format!("   {:>6} ms   {what:<22} {detail}", after.as_millis()).trim_end());
}

/// A row of a table: its name, then what holds for the first server and for the second.
pub fn row(name: &str, one: &str, two: &str) {
    let good = ["READY", "UP"];
    let cell = |text: &str| {
        let padded = format!("{text:<18}");
        if good.contains(&text) { ink(Ink::Good, &padded) } else { padded }
    };
    println!("   {name:<24}{}{}", cell(one), cell(two).trim_end());
}

/// Something to try: what it does, and the command.
pub fn try_it(what: &str, how: impl Display) {
    println!("   {what:<28}{how}");
}
