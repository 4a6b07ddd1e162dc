//! Who sits behind the control socket: where operators give orders and ask what is known.
//!
//! A line of JSON in, JSON out, the end (`control`). Each client has a thread while it is served, so that
//! none waits for another one that says nothing; what changes something happens one after another. The kernel
//! tells who it is. Root and rolecall's own user may; with `group` also whoever the socket's mode lets in. An
//! order stands once it is on disk.

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use serde_json::{Value, json};
use socket2::{SockRef, Type};
use tracing::{info, warn};

use crate::config::Control;
use crate::control::book::{Ending, OrderBook, Refused};
use crate::control::protocol::{self, BECOME, CLIENT, QUESTION, Question};
use crate::host::clock::Clock;
use crate::host::failure::{Exit, Failure};
use crate::host::seats::{Seat, Seats};
use crate::host::seldom::Seldom;
use crate::host::{accounts, unix_socket};
use crate::look::stamp::Stamp;
use crate::report::view::View;
use crate::watch::keeper::Orders;

/// How often orders that have ended are taken out of the file.
const TIDY: Duration = Duration::from_millis(250);

/// Pause after one client made room for another: so each has some 80 ms to ask in, however many come. The
/// others wait in the kernel's queue meanwhile.
const ROOM_EVERY: Duration = Duration::from_millis(10);

/// The open socket and the orders.
pub struct Desk {
    listener: UnixListener,
    by_group: bool,
    book: OrderBook,
    clock: Clock,
    me: u32,
    /// Those that are served, by their users.
    places: Seats<u32>,
    /// Held while something is changed.
    changing: Mutex<()>,
    /// Warnings of what clients do.
    odd: Mutex<Seldom>,
}

impl Desk {
    /// Opens the socket, for so many clients at one time, and reads the orders that stand.
    ///
    /// # Errors
    /// The socket cannot be opened; another rolecall has it, or the orders.
    pub fn open(config: &Control, view: View, clients: usize) -> Result<(Self, Orders), Failure> {
        let listener = listen(config)?;
        let (clock, by_group) = (view.clock.clone(), config.group.is_some());
        let (book, orders) = OrderBook::open(&config.state, view)?;
        let me = rustix::process::geteuid().as_raw();
        let (places, changing, odd) = (Seats::new(clients), Mutex::default(), Mutex::default());
        Ok((Self { listener, by_group, book, clock, me, places, changing, odd }, orders))
    }

    /// What is left to do once the daemon looks no more.
    pub(crate) fn ending(&self) -> Ending {
        self.book.ending()
    }

    /// Serves for as long as the process lives.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn serve(self) -> io::Result<()> {
        // `accept` gives up after it, so that the orders are tidied though nobody asks.
        SockRef::from(&self.listener).set_read_timeout(Some(TIDY))?;
        let desk = Arc::new(self);
        let run = move || {
            loop {
                match desk.listener.accept().and_then(|(stream, _)| serve_client(&desk, stream)) {
                    Ok(another_went) => {
                        if another_went {
                            thread::sleep(ROOM_EVERY);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => {
                        desk.odd(&format_args!(
                            "the control socket cannot serve a client: {error}"
                        ));
                        thread::sleep(TIDY);
                    }
                }
                let _changing = desk.changing();
                desk.book.tidy();
            }
        };
        thread::Builder::new().name("control".to_owned()).spawn(run).map(drop)
    }

    /// What others can bring about as often as they like is warned of now and then.
    fn odd(&self, what: &dyn std::fmt::Display) {
        let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = odd.may(self.clock.now()) {
            warn!(untold, "{what}");
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, mut stream: &UnixStream, place: &Seat<u32>) {
        let answer = match self.who(stream) {
            Ok(who) => match hear(stream, &self.clock, place) {
                Ok((question, until)) => self.answer(question, &who, stream, until),
                Err(error) => {
                    self.odd(&format_args!(
                        "{who} sent something to the control socket that is not a question: \
                         {error}"
                    ));
                    let hint = "use rolecall status, ready, drain, maint or auto";
                    Refused::new("rolecall cannot read the question", hint).json()
                }
            },
            Err(who) => {
                let hint = "to let this user in, set `group` of [control] to one of its groups";
                self.odd(&format_args!("{who} was refused at the control socket; hint: {hint}"));
                let what = format!("{who} may not use the control socket");
                Refused::new(what, BECOME).with(Exit::Permission).json()
            }
        };
        let told = stream
            .set_write_timeout(Some(CLIENT))
            .and_then(|()| stream.write_all(format!("{answer}\n").as_bytes()));
        if let Err(error) = told {
            info!(%error, "a client of the control socket did not get its answer");
        }
    }

    /// Who it is; `Err` where it may not ask.
    fn who(&self, stream: &UnixStream) -> Result<Who, String> {
        let peer = rustix::net::sockopt::socket_peercred(stream);
        let peer = peer.map_err(|error| format!("an unknown user ({error})"))?;
        let uid = peer.uid.as_raw();
        let who = match accounts::user(uid) {
            Some(name) => format!("{name} (uid {uid})"),
            None => format!("uid {uid}"),
        };
        if may_ask(uid, self.me, self.by_group) { Ok(Who { uid, who }) } else { Err(who) }
    }

    /// Does what is asked, where whoever asked is still there to be told and means it still.
    fn answer(
        &self,
        question: Question,
        who: &Who,
        stream: &UnixStream,
        until: Option<Stamp>,
    ) -> Value {
        let _changing = question.acts().then(|| self.changing());
        let late = until.is_some_and(|until| until <= self.clock.now());
        if question.acts() && (late || is_gone(stream)) {
            info!(
                %who,
                "an order was not carried out, because whoever gave it no longer waits for the \
                 answer"
            );
            let what = "nothing was done, because rolecall was busy for too long";
            return Refused::new(what, "try again").with(Exit::Unavailable).json();
        }
        let done = match question {
            Question::Status => return json!({ "ok": self.book.status() }),
            Question::History { target, since_ms } => {
                let since = since_ms.map(Duration::from_millis);
                return match self.book.history(target.as_deref(), since) {
                    Ok(page) => json!({ "ok": page }),
                    Err(refused) => refused.json(),
                };
            }
            Question::Auto { target, sudo } => self.book.auto(&target, &who.by(sudo)),
            Question::Order { order, target, for_ms, reason, force, sudo } => {
                let lasts = for_ms.map(Duration::from_millis);
                self.book.order(&order, &target, lasts, (&who.by(sudo), &reason), force)
            }
        };
        match done {
            Ok(said) => json!({ "ok": said }),
            Err(refused) => refused.json(),
        }
    }
}

/// Who sits at the other end of a connection, as the kernel tells it.
struct Who {
    uid: u32,
    who: String,
}

impl Who {
    /// Who gives an order. Of root it is worth knowing who became it; that name is root's own claim.
    fn by(&self, sudo: Option<String>) -> String {
        match sudo.filter(|name| self.uid == 0 && protocol::is_name(name)) {
            Some(name) => format!("root (sudo: {name})"),
            None => self.who.clone(),
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.who)
    }
}

/// Whether a user may ask; with a group the socket's mode has let in nobody else.
fn may_ask(uid: u32, me: u32, by_group: bool) -> bool {
    uid == 0 || uid == me || by_group
}

/// Serves a client on a thread of its own. Whether another one made room for it.
fn serve_client(desk: &Arc<Desk>, stream: UnixStream) -> io::Result<bool> {
    // A user who cannot be told is a crowd of its own.
    let from = rustix::net::sockopt::socket_peercred(&stream);
    let from = from.map_or(u32::MAX, |peer| peer.uid.as_raw());
    let stream = Arc::new(stream);
    let (ends, asks) = (Arc::clone(&stream), Arc::clone(&stream));
    let asked = move || has_asked(&asks, RecvFlags::DONTWAIT) == Ok(true);
    let place = desk.places.take(from, asked, move || {
        // Its thread reads or writes, and that ends. One that is gone has ended already.
        let _ = ends.shutdown(Shutdown::Both);
    });
    let (desk, another_went) = (Arc::clone(desk), place.made_room);
    let run = move || desk.client(&stream, &place);
    thread::Builder::new().name("client".to_owned()).spawn(run)?;
    Ok(another_went)
}

/// Whether the other side has closed the connection, and not only said that it asks no more.
fn is_gone(stream: &UnixStream) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&at_once)).is_ok()
        && asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// Whether a whole line waits to be read.
fn has_asked(stream: &UnixStream, how: RecvFlags) -> Result<bool, Errno> {
    let mut line = [0; QUESTION];
    let (count, _) = recv(stream, &mut line, RecvFlags::PEEK | how)?;
    Ok(line.iter().take(count).any(|byte| *byte == b'\n'))
}

fn hear(
    mut stream: &UnixStream,
    clock: &Clock,
    place: &Seat<u32>,
) -> io::Result<(Question, Option<Stamp>)> {
    let until = clock.now().plus(CLIENT);
    let mut heard = Vec::new();
    let mut more = [0; 512];
    loop {
        let left = until.since(clock.now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the question took too long to arrive",
            ));
        }
        stream.set_read_timeout(Some(left))?;
        // Before it is taken out of the socket, where those look who need room.
        match has_asked(stream, RecvFlags::empty()) {
            Ok(true) => place.spoke(),
            Ok(false) => {}
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let count = stream.read(&mut more)?;
        heard.extend_from_slice(more.get(..count).unwrap_or_default());
        if let Some(line) =
            heard.split(|byte| *byte == b'\n').next().filter(|line| line.len() < heard.len())
        {
            return Question::read(line);
        }
        if count == 0 || heard.len() > QUESTION {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the question is not a line, or it is too long",
            ));
        }
    }
}

fn listen(config: &Control) -> Result<UnixListener, Failure> {
    let path = &config.socket;
    let listener = UnixListener::from(unix_socket::bind(path, Type::STREAM)?);
    let failed = |error: io::Error| unix_socket::failed(path, &error);
    // Between the two nobody else is let in: who may ask is decided by who it is.
    if let Some(group) = &config.group {
        let gid = accounts::group(group)?;
        chown(path, None, Some(gid)).map_err(|error| {
            failed(error).hint(
                "check that rolecall's user is in the group: systemd adds it with \
                 SupplementaryGroups=, and docs/control.md shows the drop-in for the packaged unit",
            )
        })?;
    }
    fs::set_permissions(path, Permissions::from_mode(config.mode)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_asks_no_more_is_still_there_and_one_that_closed_is_gone() {
        let (desk, mut client) = UnixStream::pair().unwrap();
        assert!(!is_gone(&desk));
        client.write_all(b"question\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(!is_gone(&desk));
        drop(client);
        assert!(is_gone(&desk));
    }

    #[test]
    fn who_became_root_by_sudo_is_named_and_nobody_else_can_name_himself() {
        let by = |uid, sudo: &str| Who { uid, who: "x".to_owned() }.by(Some(sudo.to_owned()));
        assert_eq!(by(0, "anna"), "root (sudo: anna)");
        assert_eq!(by(0, "CORP\\anna"), "root (sudo: CORP\\anna)");
        for (uid, claim) in [(1000, "anna"), (0, ""), (0, "a b"), (0, "a)\n"), (0, &"a".repeat(65))]
        {
            assert_eq!(by(uid, claim), "x", "{uid} {claim}");
        }
        assert_eq!(Who { uid: 0, who: "x".to_owned() }.by(None), "x");
    }

    #[test]
    fn a_stranger_may_not_ask_whatever_the_sockets_mode() {
        for (uid, by_group, may) in
            [(0, false, true), (998, false, true), (1000, false, false), (1000, true, true)]
        {
            assert_eq!(may_ask(uid, 998, by_group), may, "uid {uid}, with a group: {by_group}");
        }
    }
}
