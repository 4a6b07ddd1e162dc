//! A line at the control socket, and the words of an order in it.

#![no_main]

use rolecall::control::protocol::{MOST_REPEATED, Question};
use rolecall::verdict::order::Target;
use rolecall::verdict::state::Wish;
use rolecall_fuzz::{cleaned, one_line, target};

target!(|data| {
    let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let (question, until) = match Question::read(line) {
        Ok(read) => read,
        Err(error) => return cleaned(&error.to_string(), MOST_REPEATED),
    };
    let again = question.line(until).expect("it is JSON");
    assert_eq!(again.matches('\n').count(), 1, "{again:?}");
    let (read, read_until) = Question::read(again.trim_end().as_bytes()).expect("it is read again");
    assert_eq!((format!("{read:?}"), read_until), (format!("{question:?}"), until));
    let (Question::Order { target, .. } | Question::Auto { target, .. }) = &question else {
        assert!(!question.acts());
        return;
    };
    assert!(question.acts());
    if let Question::Order { order, .. } = &question
        && let Some(wish) = Wish::read(order)
    {
        assert_eq!(wish.as_str(), order);
    }
    // A name that is a service's and a node's means neither.
    let (services, nodes) = (["primary", "replica", "both"], ["pg1", "pg2", "both"]);
    match Target::read(target, &services, &nodes) {
        Ok(read) => {
            let shown = read.to_string();
            one_line(&shown);
            assert_eq!(Target::read(&shown, &services, &nodes), Ok(read), "{shown}");
        }
        Err(known) => one_line(&known),
    }
});
