//! A connection string of libpq's, in both forms.

#![no_main]

use rolecall::config::conninfo::{Conninfo, places};
use rolecall::config::secret::Secret;
use rolecall::look::place::Place;
use rolecall_fuzz::{one_line, target, text};

target!(|data| {
    let text = text(data);
    if let Ok(places) = places(text) {
        assert!(!places.is_empty() && places.len() <= 8);
        for place in places {
            // Printed, it leads to the same server.
            let again =
                rolecall::config::conninfo::places(&place.to_string()).expect("it is read again");
            let leads = |place: &Place| (place.name().to_owned(), place.hostaddr, place.port);
            assert_eq!(leads(&again[0]), leads(&place));
            let _ = (place.is_here(), place.socket_dir());
        }
    }
    match text.parse::<Conninfo>() {
        Ok(read) => {
            let shown = read.to_string();
            let again: Conninfo = shown.parse().expect("what is printed is read again");
            let who =
                |read: &Conninfo| (read.user.clone(), read.dbname.clone(), read.place.to_string());
            assert_eq!(who(&again), who(&read));
            // Whatever the password is, it is not shown.
            let other = Conninfo {
                password: read.password.as_ref().map(|_| Secret::new("")),
                ..read.clone()
            };
            assert_eq!((other.to_string(), format!("{other:?}")), (shown, format!("{read:?}")));
        }
        Err(error) => {
            one_line(&error.problem);
            one_line(&error.hint);
        }
    }
});
