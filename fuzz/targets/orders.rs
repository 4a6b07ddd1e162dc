//! The file of the orders that stand.

#![no_main]

use std::time::Duration;

use rolecall::fuzzing::orders;
use rolecall::look::stamp::Stamp;
use rolecall::verdict::order::MOST_REASON;
use rolecall::verdict::state::Wish;
use rolecall_fuzz::{cleaned, target};

target!(|data| {
    let now = Stamp::new(Duration::from_secs(1_000));
    for (boot, wall) in [("boot", 1_000_000), ("another", i64::MAX), ("", i64::MIN)] {
        let orders = match orders(data, boot, now, wall) {
            Ok(orders) => orders,
            Err(error) => return cleaned(&error.to_string(), MOST_REASON),
        };
        assert!(orders.len() <= 256);
        for order in orders {
            cleaned(&order.by, MOST_REASON);
            cleaned(&order.why, MOST_REASON);
            // Two names and a slash.
            cleaned(&order.target.to_string(), 65);
            assert_eq!(Wish::read(order.wish.as_str()), Some(order.wish));
            assert!(order.until.is_none_or(|until| until > now), "{order:?}");
            let _ = order.stands(now);
        }
    }
});
