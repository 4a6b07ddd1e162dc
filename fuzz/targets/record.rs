//! The record of a yes, in a folder that others may write to.

#![no_main]

use std::path::Path;
use std::time::Duration;

use rolecall::look::role::Role;
use rolecall::look::stamp::Stamp;
use rolecall::verdict::policy::Pool;
use rolecall::verdict::policy::{Electorate, TwoNode};
use rolecall::verdict::policy::{Policy, Trust};
use rolecall::watch::record::Records;
use rolecall_fuzz::target;

fn policy() -> Policy {
    let electorate = Electorate {
        life: Duration::from_millis(1700),
        memory: Duration::from_secs(2),
        two_node: TwoNode::Maint,
        trust_refused: true,
    };
    let trust = Trust {
        hold_by_repmgr: false,
        lock: None,
        hold: Duration::ZERO,
        look: Duration::from_millis(1300),
        knows_lag: true,
        electorate: Some(electorate),
    };
    let settle = Duration::from_millis(3800);
    Policy {
        roles: vec![Role::Primary],
        pool: Pool::default(),
        lag: None,
        settle,
        trust: vec![trust],
    }
}

target!(|data| {
    let records = Records::in_dir(Path::new("/nonexistent"), "boot".to_owned());
    for ms in [0, 1_000, 5_000, 9_000, u64::MAX] {
        let now = Stamp::new(Duration::from_millis(ms));
        if let Some(yes) = records.read(data, now, &policy()) {
            assert!(yes.since <= now && now < yes.good_until, "{yes:?}");
            assert!(yes.handed_over.is_none_or(|at| yes.since <= at && at <= now), "{yes:?}");
        }
    }
});
