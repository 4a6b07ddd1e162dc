//! The fixtures themselves, before anything is built on them.

use std::time::Duration;

use crate::fixtures::{Ground, Postgres, Shutdown, eventually, lacks_postgres};

#[test]
fn a_standby_follows_its_primary_and_takes_over() {
    if lacks_postgres() {
        return;
    }
    let ground = Ground::new();
    let mut primary = Postgres::init(&ground, "pg1", ground.host(1));
    primary.start();
    let mut standby = Postgres::standby_of(&ground, "pg2", ground.host(2), &primary);
    standby.start();
    primary.execute("create table t as select 7 as n");
    primary.wait_caught_up(&standby);
    assert_eq!(standby.sql("select n from t"), "7");

    primary.pause();
    let asked = primary.try_value("select 1", Duration::from_millis(200));
    assert!(asked.is_err(), "a paused server answered");
    primary.resume();
    assert_eq!(primary.sql("select 1"), "1");

    primary.kill9();
    standby.promote();
    assert_eq!(standby.sql("select pg_is_in_recovery()"), "f");
    primary.start();
    assert_eq!(primary.sql("select pg_is_in_recovery()"), "f");
    primary.stop(Shutdown::Fast);
    assert!(primary.log_contains("database system is shut down"));
    eventually(Duration::from_secs(5), "refused", || {
        let answer = primary.try_value("select 1", Duration::from_millis(200));
        if answer.is_err() { Ok(()) } else { Err(answer) }
    });
}
