//! Seats for those who are listened to at one time.
//!
//! There is always room for one more. Where all places are taken, one ends that has said nothing yet and
//! has been there the longest: of those who came from where most came from, so that one address cannot
//! take the places of the others. That there was no room is so never an answer to anybody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Seats for those who come from a `K`. Clones are the same places.
#[derive(Clone)]
pub struct Seats<K>(Arc<Mutex<Inner<K>>>);

struct Inner<K> {
    most: usize,
    next: u64,
    /// The oldest first.
    taken: Vec<Taken<K>>,
}

struct Taken<K> {
    id: u64,
    from: K,
    spoke: bool,
    /// Whether what it wants has come, heard or not.
    asked: Box<dyn Fn() -> bool + Send>,
    end: Box<dyn FnOnce() + Send>,
}

/// One place; free again once it is dropped.
pub struct Seat<K> {
    id: u64,
    places: Seats<K>,
    /// Another one was ended for it.
    pub made_room: bool,
}

impl<K: PartialEq + Copy> Seats<K> {
    /// This many; one at least.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner { most: most.max(1), next: 0, taken: Vec::new() })))
    }

    /// A place for one who comes from there; `end` is called where it has to make room for another, for
    /// which it is silent as long as it neither spoke nor `asked`.
    pub fn take(
        &self,
        from: K,
        asked: impl Fn() -> bool + Send + 'static,
        end: impl FnOnce() + Send + 'static,
    ) -> Seat<K> {
        let mut inner = self.inner();
        let goes = (inner.taken.len() >= inner.most).then(|| inner.silent_goes(from));
        let gone = goes.map(|at| inner.taken.remove(at));
        let id = inner.next;
        inner.next += 1;
        let (asked, end) = (Box::new(asked), Box::new(end));
        inner.taken.push(Taken { id, from, spoke: false, asked, end });
        drop(inner);
        let made_room = gone.is_some();
        if let Some(gone) = gone {
            (gone.end)();
        }
        Seat { id, places: self.clone(), made_room }
    }
}

impl<K> Seats<K> {
    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.inner().taken.len()
    }

    fn inner(&self) -> MutexGuard<'_, Inner<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: PartialEq + Copy> Inner<K> {
    /// Who goes for one more who comes from `newcomer`, once those who have asked are known.
    fn silent_goes(&mut self, newcomer: K) -> usize {
        loop {
            let at = self.goes(newcomer);
            let Some(taken) = self.taken.get_mut(at) else { return at };
            if taken.spoke || !(taken.asked)() {
                return at;
            }
            taken.spoke = true;
        }
    }

    /// Who goes for one more who comes from `newcomer`.
    fn goes(&self, newcomer: K) -> usize {
        let crowd = |from: K| {
            let here = self.taken.iter().filter(|taken| taken.from == from).count();
            here + usize::from(from == newcomer)
        };
        let mut goes = (0, false, 0);
        for (at, taken) in self.taken.iter().enumerate() {
            let (silent, crowd) = (!taken.spoke, crowd(taken.from));
            // Of equals the first stays the choice: it is the oldest.
            if at == 0 || (silent, crowd) > (goes.1, goes.2) {
                goes = (at, silent, crowd);
            }
        }
        goes.0
    }
}

impl<K> Seat<K> {
    /// Whoever has the place has said what it wants.
    pub(crate) fn spoke(&self) {
        if let Some(taken) = self.places.inner().taken.iter_mut().find(|of| of.id == self.id) {
            taken.spoke = true;
        }
    }
}

impl<K> Drop for Seat<K> {
    fn drop(&mut self) {
        self.places.inner().taken.retain(|taken| taken.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use proptest::prelude::*;

    use super::*;

    type Ended = Arc<AtomicBool>;

    fn take(places: &Seats<u8>, from: u8) -> (Seat<u8>, Ended) {
        let ended = Ended::default();
        let end = Arc::clone(&ended);
        (places.take(from, || false, move || end.store(true, Ordering::Relaxed)), ended)
    }

    fn ended(of: &[(Seat<u8>, Ended)]) -> Vec<usize> {
        let ended = of.iter().enumerate().filter(|(_, (_, ended))| ended.load(Ordering::Relaxed));
        ended.map(|(at, _)| at).collect()
    }

    #[test]
    fn the_oldest_silent_one_of_the_crowd_makes_room() {
        let places = Seats::new(4);
        let mut here: Vec<_> = [7, 1, 1, 1].map(|from| take(&places, from)).into();
        assert!(ended(&here).is_empty());
        here[1].0.spoke();
        // HAProxy at 7 is the oldest, and stays: the others crowd.
        here.push(take(&places, 8));
        assert_eq!(ended(&here), [2]);
        assert!(here[4].0.made_room && !here[3].0.made_room);
        here.push(take(&places, 1));
        assert_eq!(ended(&here), [2, 3]);
    }

    #[test]
    fn one_that_spoke_goes_only_where_nobody_is_silent() {
        let places = Seats::new(2);
        let mut here: Vec<_> = [1, 1].map(|from| take(&places, from)).into();
        for (place, _) in &here {
            place.spoke();
        }
        here.push(take(&places, 2));
        assert_eq!(ended(&here), [0]);
        here.push(take(&places, 1));
        assert_eq!(ended(&here), [0, 2], "the one that spoke stays");
    }

    #[test]
    fn one_that_has_asked_and_was_not_heard_yet_is_not_silent() {
        let places = Seats::new(3);
        let ended = Ended::default();
        let end = Arc::clone(&ended);
        let asked = places.take(1, || true, move || end.store(true, Ordering::Relaxed));
        let here: Vec<_> = (0..20).map(|_| take(&places, 1)).collect();
        assert!(!ended.load(Ordering::Relaxed));
        assert_eq!(here.iter().filter(|(_, ended)| ended.load(Ordering::Relaxed)).count(), 18);
        drop(asked);
    }

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let places = Seats::new(1);
        drop(take(&places, 1));
        let (_second, ended) = take(&places, 2);
        assert_eq!(places.taken(), 1);
        drop(take(&places, 3));
        assert!(ended.load(Ordering::Relaxed));
        assert_eq!(places.taken(), 0);
    }

    proptest! {
        /// However many come from wherever, there is room, and an address alone keeps what it has.
        #[test]
        fn whoever_comes_has_room_and_no_crowd_drives_out_one_that_is_alone(
            most in 2usize..6, crowd in proptest::collection::vec(1u8..3, 0..40)
        ) {
            let places = Seats::new(most);
            let mut here = vec![take(&places, 9)];
            for from in crowd {
                here.push(take(&places, from));
                prop_assert!(places.taken() <= most);
                prop_assert!(!here.last().unwrap().1.load(Ordering::Relaxed));
            }
            // With at least as many places as addresses nobody is driven out by a crowd.
            if most >= 3 {
                prop_assert!(!ended(&here).contains(&0));
            }
        }
    }
}
