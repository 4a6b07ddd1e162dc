use super::*;
use crate::look::stamp::Stamp;
use crate::verdict::state::Wish;

fn at(s: u64) -> Stamp {
    Stamp::new(Duration::from_secs(s))
}

fn file_with(path: &Path, lasts: Option<u64>) -> OrderFile {
    let mut file = OrderFile::open_in(path, "boot 1", at(1000), wall_clock());
    let order = Order::new(Target::default(), Wish::Maint, ("ann", "disk"), at(1000));
    file.add(order, lasts.map(Duration::from_secs)).unwrap();
    file
}

#[test]
fn an_order_survives_and_ends_when_it_was_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.json");
    let given = file_with(&path, Some(600)).orders();
    let wall = wall_clock();
    let left = |boot: &str, now: u64, wall: i64| {
        let orders = OrderFile::open_in(&path, boot, at(now), wall).orders();
        orders.first().map(|order| order.until.unwrap().since(at(now)).as_secs())
    };
    assert_eq!(OrderFile::open_in(&path, "boot 1", at(1100), wall).orders(), given);
    // Within the boot no step of the wall clock matters.
    assert_eq!(left("boot 1", 1100, wall + 1_000_000), Some(500));
    assert_eq!(left("boot 1", 1600, wall), None);
    // After another boot wall time counts, and never makes it longer than it was.
    assert!(left("boot 2", 10, wall + 100).is_some_and(|left| (499..=501).contains(&left)));
    assert_eq!(left("boot 2", 10, wall - 1_000_000), Some(600));
    assert_eq!(left("boot 2", 10, wall + 700), None);
    assert!(left("", 10, wall + 100).is_some_and(|left| (499..=501).contains(&left)));
}

#[test]
fn the_age_of_an_order_counts_over_boots() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.json");
    file_with(&path, None);
    let wall = wall_clock();
    let age = |boot: &str, now: u64, wall: i64| {
        let orders = OrderFile::open_in(&path, boot, at(now), wall).orders();
        orders[0].age(at(now)).as_secs()
    };
    assert_eq!(age("boot 1", 1100, wall + 1_000_000), 100);
    assert!((86_400..=86_401).contains(&age("boot 2", 10, wall + 86_400)));
    assert_eq!(age("boot 2", 10, wall - 1_000_000), 0);
}

#[test]
fn a_damaged_file_is_set_aside_and_nothing_of_it_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.json");
    file_with(&path, None);
    let good = fs::read_to_string(&path).unwrap();
    let other_version = good.replace("\"version\": 1", "\"version\": 2");
    let other_word = good.replace("\"maint\"", "\"main\"");
    let texts = ["", "{", "null", &good[..good.len() / 2], &other_version, &other_word];
    let damage = |text: &str| {
        fs::write(&path, text).unwrap();
        let file = OrderFile::open_in(&path, "boot 1", at(1100), 0);
        assert!(file.orders().is_empty() && !path.exists(), "{text:?}");
        file.damaged().unwrap().to_owned()
    };
    // Each is kept, and where is said.
    for (n, text) in texts.iter().enumerate() {
        let name =
            if n == 0 { "orders.damaged".to_owned() } else { format!("orders.damaged.{}", n + 1) };
        let kept = dir.path().join(name);
        assert!(damage(text).ends_with(&format!("it is kept as {}", kept.display())));
        assert_eq!(fs::read_to_string(kept).unwrap(), *text);
    }
    // There is an end to it: the first ones stay, and the newest.
    for n in 0..MOST_DAMAGED {
        damage(&format!("again {n}"));
    }
    let kept = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), MOST_DAMAGED);
    assert_eq!(kept("orders.damaged"), texts[0]);
    assert_eq!(kept(&format!("orders.damaged.{}", texts.len() + 1)), "again 0");
    assert_eq!(
        kept(&format!("orders.damaged.{MOST_DAMAGED}")),
        format!("again {}", MOST_DAMAGED - 1)
    );
}

/// What the file names is shown as it stands there, and others may have written it.
#[test]
fn a_file_whose_words_could_forge_a_line_is_damaged_and_that_is_said_on_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.json");
    file_with(&path, None);
    let good = fs::read_to_string(&path).unwrap();
    let long = format!("\"{}\": 1, \"boot\"", "a".repeat(5000));
    for (key, odd) in [
        ("\"node\": null", "\"node\": \"pg1\\nverdict changed\""),
        ("\"service\": null", "\"service\": \"\\u001b[31m\""),
        ("\"boot\"", "\"b\\u001b[31m\\u202e\""),
        ("\"boot\"", long.as_str()),
    ] {
        let text = good.replace(key, odd);
        assert_ne!(text, good);
        let error = Written::read(text.as_bytes()).map(|_| ()).unwrap_err().to_string();
        assert!(text::is_plain(&error) && error.len() < 2 * MOST_REASON, "{error:?}");
    }
}

#[test]
fn ready_stands_again_at_once_only_after_an_end_that_no_no_can_have_preceded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.json");
    let open = || OrderFile::open_in(&path, "boot 1", at(1100), wall_clock());
    let waits = |file: &OrderFile| -> Vec<bool> {
        file.orders().iter().map(|order| order.waits()).collect()
    };
    let target = |node: &str| Target { service: None, node: Some(node.to_owned()) };
    let lasts = Some(Duration::from_secs(600));
    let mut file = open();
    for node in ["pg1", "pg2"] {
        file.add(Order::new(target(node), Wish::Ready, ("ann", ""), at(1000)), lasts).unwrap();
    }
    let mut forced = Order::new(target("pg3"), Wish::Ready, ("ann", ""), at(1000));
    forced.forced = true;
    file.add(forced, lasts).unwrap();
    assert_eq!(waits(&file), [false; 3]);
    drop(file);
    // Killed: nobody knows what was seen last. What is forced is said against everything.
    let mut file = open();
    assert_eq!(waits(&file), [true, true, false]);
    // One of them was seen fit; the other one still waits after the next start.
    assert!(file.orders()[0].seen_fit());
    file.seal(at(1100)).unwrap();
    assert_eq!(waits(&open()), [false, true, false]);
    // It was true of that end only.
    assert_eq!(waits(&open()), [true, true, false]);

    // One that was dropped and still is in the file does not come back by the end either.
    let mut file = open();
    file.orders().iter().for_each(|order| _ = order.seen_fit());
    file.orders()[1].drop_it();
    file.seal(at(1100)).unwrap();
    let file = open();
    let nodes = file.orders();
    let nodes: Vec<_> = nodes.iter().filter_map(|order| order.target.node.as_deref()).collect();
    assert_eq!((nodes, waits(&file)), (vec!["pg1", "pg3"], vec![false, false]));
}

#[test]
fn where_it_cannot_be_written_that_ready_may_be_dropped_it_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.json");
    let open = || OrderFile::open_in(&path, "boot 1", at(1100), wall_clock());
    let mut file = open();
    let order = Order::new(Target::default(), Wish::Ready, ("ann", ""), at(1000));
    file.add(order, Some(Duration::from_secs(600))).unwrap();
    file.seal(at(1100)).unwrap();
    // In the way of the file that is written first.
    fs::create_dir(path.with_extension("new")).unwrap();
    assert!(open().orders()[0].waits());
}

#[test]
fn what_cannot_be_written_down_does_not_stand() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone/orders.json");
    let mut file = OrderFile::open_in(&path, "boot 1", at(0), 0);
    let order = Order::new(Target::default(), Wish::Maint, ("ann", ""), at(0));
    assert!(file.add(order, None).is_err());
    assert!(file.orders().is_empty());
}

#[test]
fn a_target_has_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = file_with(&dir.path().join("orders.json"), None);
    let order = Order::new(Target::default(), Wish::Drain, ("bob", ""), at(1001));
    file.add(order, None).unwrap();
    assert_eq!(file.orders().len(), 1);
    assert_eq!(file.remove(|order| order.wish == Wish::Drain).unwrap(), 1);
    assert!(file.orders().is_empty());
}

#[test]
fn there_are_so_many_orders_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.json");
    let mut file = OrderFile::open_in(&path, "boot 1", at(1000), wall_clock());
    let about = |number: usize| Target { node: Some(format!("n{number}")), ..Target::default() };
    let mut order = |number: usize| {
        let order = Order::new(about(number), Wish::Maint, ("ann", "disk"), at(1000));
        file.add(order, None)
    };
    for number in 0..MOST {
        order(number).unwrap();
    }
    assert!(order(MOST).unwrap_err().to_string().contains("already 256 orders"));
    // One about the same takes the place of the one before.
    order(0).unwrap();
    drop(file);
    let again = OrderFile::open_in(&path, "boot 1", at(1100), wall_clock());
    assert_eq!(again.orders().len(), MOST);
}
