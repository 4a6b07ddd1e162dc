//! A terminal that is drawn on whole, and left as it was found.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// To the other screen, without a cursor; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[H\u{1b}[2J";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// To the top left; the rest of a line, and of the screen, is cleared as it is written: so nothing flickers.
const HOME: &str = "\u{1b}[H";
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Lines of a terminal that does not say how many it has.
const USUAL_HEIGHT: usize = 24;

/// The terminal of this process, until it is dropped.
pub(super) struct Screen {
    out: io::Stdout,
    /// How its keyboard was, where it has one.
    before: Arc<Mutex<Option<Termios>>>,
}

impl Screen {
    /// Takes the terminal, whose keys come one by one and unseen from now on.
    ///
    /// # Errors
    /// It cannot be written to.
    pub(super) fn take() -> io::Result<Self> {
        let before = Arc::new(Mutex::new(set_keys()));
        // The program is built to end at once where it panics: nothing is dropped then.
        let (found, usual) = (Arc::clone(&before), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            restore(&found);
            usual(panic);
        }));
        let screen = Self { out: io::stdout(), before };
        write(&screen.out, ENTER)?;
        Ok(screen)
    }

    /// Puts these lines on it: as many as there is room for.
    ///
    /// # Errors
    /// It cannot be written to.
    pub(super) fn draw(&self, text: &str) -> io::Result<()> {
        let height = tcgetwinsize(&self.out).map_or(0, |size| usize::from(size.ws_row));
        write(&self.out, &frame(text, if height == 0 { USUAL_HEIGHT } else { height }))
    }
}

/// What draws these lines on so many.
fn frame(text: &str, height: usize) -> String {
    let count = text.lines().count();
    let mut frame = HOME.to_owned();
    // Without an end behind the last one: it would move everything up.
    let shown = if count > height { height.saturating_sub(1) } else { height };
    let mut lines: Vec<String> = text.lines().take(shown).map(str::to_owned).collect();
    if count > shown {
        lines.push(format!("({} more lines)", count - shown));
    }
    for (at, line) in lines.iter().enumerate() {
        frame.push_str(if at == 0 { "" } else { "\r\n" });
        frame.push_str(line);
        frame.push_str(CLEAR_LINE);
    }
    frame.push_str(CLEAR_BELOW);
    frame
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

/// Lets the keys come one by one, also those that would send a signal. How it was before; `None`: it has none.
fn set_keys() -> Option<Termios> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    let before = tcgetattr(&stdin).ok()?;
    let mut now = before.clone();
    now.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    now.special_codes[SpecialCodeIndex::VMIN] = 1;
    now.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&stdin, OptionalActions::Now, &now).ok()?;
    Some(before)
}

/// Leaves the terminal as it was found, once.
fn restore(before: &Mutex<Option<Termios>>) {
    // Nothing is left to do where even this fails.
    let _ = write(&io::stdout(), LEAVE);
    let before = before.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Writes all of it at once.
fn write(out: &io::Stdout, text: &str) -> io::Result<()> {
    let mut out = out.lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_clears_behind_each_line_and_below_the_last_and_moves_nothing_up() {
        assert_eq!(frame("one\ntwo\n", 24), "\u{1b}[Hone\u{1b}[K\r\ntwo\u{1b}[K\u{1b}[J");
        assert_eq!(frame("", 24), "\u{1b}[H\u{1b}[J");
        let many = "x\n".repeat(30);
        let drawn = frame(&many, 5);
        assert_eq!(drawn.matches("\r\n").count(), 4);
        assert!(drawn.contains("(26 more lines)"), "{drawn:?}");
        assert_eq!(frame(&"x\n".repeat(5), 5).matches('x').count(), 5);
    }
}
