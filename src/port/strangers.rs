//! What the log is told of strangers: who may not ask, and what was asked that names nothing here.
//!
//! Whoever counts them says whether one is the first of its kind. That one is a warning; the others are for those
//! who look for them, since one that knocks every second must not fill the log.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

use tracing::{debug, warn};

use crate::reply::strays::Stray;

/// Who asked is in no `allow`; `door` is what has that key.
pub(crate) fn not_allowed(first: bool, what: &str, door: &dyn Display, peer: Option<IpAddr>) {
    let peer = peer.map(|peer| peer.to_canonical().to_string());
    let peer = peer.as_deref().unwrap_or("an unknown address");
    if first {
        let hint = "if HAProxy or your monitoring asks from this address, add it or its network to `allow`";
        warn!(peer, hint, "{what} from {peer} refused: the address is not in `allow` of {door}");
    } else {
        debug!(peer, "{what} from {peer} refused again: the address is not in `allow` of {door}");
    }
}

/// A question that names nothing was answered with `unknown`, or its connection made room for another.
pub(crate) fn names_nothing(first: bool, addr: SocketAddr, stray: &Stray) {
    let Stray { service, question, why, .. } = stray;
    let (service, what) = (&**service, why.what());
    if first {
        warn!(%addr, service, question, hint = why.hint(), "{what}: {why}");
    } else {
        debug!(%addr, service, question, "{what} again: {why}");
    }
}
