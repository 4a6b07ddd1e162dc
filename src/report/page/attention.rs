//! What wants a person: everything that is not as it should be, the most urgent first, each with its cause and
//! what to do. `rolecall status` ends with the exit code of the worst of them.

use std::collections::BTreeMap;

use crate::reply::asks::QUIET_MS;
use crate::report::page::html::Html;
use crate::report::page::level::{ASK_HERE, Level, of_service, quiet};
use crate::report::page::orders::{self, ORDER_AGAIN};
use crate::report::page::places::Place;
use crate::report::page::whole::CORRECT;
use crate::report::page::words::badge;
use crate::report::status::{Explained, Node, Source, Status};
use crate::verdict::state::State;

/// Most of them that are told; the places that they are about have all.
pub const MOST: usize = 50;
/// Most places that are named for one of them.
pub const MOST_IN_ONE: usize = 12;

/// One thing that wants a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// How much.
    pub(crate) level: Level,
    /// What it is about, and where on the page that stands: whatever has the same cause and the same remedy.
    about: Vec<(String, Place)>,
    /// The cause.
    pub(crate) why: String,
    /// The remedy.
    pub(crate) todo: Option<String>,
}

/// Everything that wants a person, the most urgent first.
pub(crate) fn items(status: &Status) -> Vec<Item> {
    let mut items = Vec::new();
    for (at, node) in status.nodes.iter().enumerate() {
        of_node(&mut items, at, node);
    }
    of_the_whole(&mut items, status);
    // One cause that many have in common is told once.
    let mut told: Vec<Item> = Vec::new();
    let mut places = BTreeMap::new();
    for item in items {
        let cause = (item.level, item.why.clone(), item.todo.clone());
        let at = *places.entry(cause).or_insert(told.len());
        match told.get_mut(at) {
            Some(same) => same.about.extend(item.about),
            None => told.push(item),
        }
    }
    told.sort_by_key(|item| std::cmp::Reverse(item.level));
    told
}

fn of_node(items: &mut Vec<Item>, at: usize, node: &Node) {
    for (index, service) in node.services.iter().enumerate() {
        let (level, place) = (of_service(service), Place::Service(at, index));
        let about = format!("{} of {}: {}", service.service, node.node, badge(service.state).0);
        let mut say = |level, why: &str, todo: Option<&str>| {
            let (why, todo) = (why.to_owned(), todo.map(str::to_owned));
            items.push(Item { level, about: vec![(about.clone(), place)], why, todo });
        };
        let quiet = quiet(service);
        let by_itself = level == Level::Critical
            || service.alarm.is_some()
            || service.state == State::Drain.as_str();
        // An order is told once, whatever it is about.
        let ordered = service.order.is_some() && service.why.reason.starts_with("ordered");
        if by_itself && !ordered {
            say(level, &service.why.detail, service.why.hint);
        }
        if let Some(quiet) = quiet {
            say(Level::Warning, quiet, Some(ASK_HERE));
        }
    }
    for source in &node.sources {
        of_source(items, at, node, source);
    }
}

fn of_source(items: &mut Vec<Item>, at: usize, node: &Node, source: &Source) {
    let about = format!("{} of {}", source.kind, node.node);
    let mut say = |about: &str, why: &str, todo: Option<&str>| {
        let (about, why, todo) = (about.to_owned(), why.to_owned(), todo.map(str::to_owned));
        let about = vec![(about, Place::Node(at))];
        items.push(Item { level: Level::Warning, about, why, todo });
    };
    // A service says the same, with the kind before it.
    let told = |error: &Explained| {
        let same =
            |why: &Explained| why.reason == error.reason && why.detail.ends_with(&error.detail);
        node.services.iter().any(|service| same(&service.why))
    };
    if let Some(error) = source.error.as_ref().filter(|error| !told(error)) {
        say(&about, &error.detail, error.hint);
    }
    if source.unlocked == Some(true) {
        let todo = "patronictl list shows who may become the leader";
        say(&about, "Patroni knows nobody who holds the leader lock", Some(todo));
    }
    for repmgrd in &source.repmgrd {
        let about = format!("repmgrd of node {}, seen by {}", repmgrd.node_id, node.node);
        say(&about, &repmgrd.why.detail, repmgrd.why.hint);
    }
}

fn of_the_whole(items: &mut Vec<Item>, status: &Status) {
    let mut say = |section, about: &str, why: String, todo: Option<&str>| {
        let (about, todo) = (about.to_owned(), todo.map(str::to_owned));
        let about = vec![(about, Place::Section(section))];
        items.push(Item { level: Level::Warning, about, why, todo });
    };
    if let Some(refused) = &status.refused_config {
        let why = format!("the last reload was refused: {}", refused.detail);
        say("config", "Configuration", why, Some(CORRECT));
    }
    if let Some(damaged) = &status.orders_damaged {
        say("orders", "Orders", damaged.clone(), Some(ORDER_AGAIN));
    }
    for order in orders::all(status) {
        let about = format!("Order {} {}", order.order, order.target);
        let mut why = format!("given by {}", order.by);
        if !order.why.is_empty() {
            why = format!("{why}: {}", order.why);
        }
        say("orders", &about, why, Some(&orders::todo(order)));
    }
    for question in status.unknown_questions.iter().filter(|question| question.last_ms <= QUIET_MS)
    {
        let why = format!("asked {:?}: {}", question.question, question.why.detail);
        say("questions", &format!("Service {}", question.service), why, question.why.hint);
    }
    if let Some(fence) = &status.fence {
        if let Some(because) = fence.because.as_ref().filter(|_| fence.acts) {
            say("fence", "Fence", format!("ends sessions: {}", because.detail), because.hint);
        }
        if let Some(error) = &fence.error {
            say("fence", "Fence", error.detail.clone(), error.hint);
        }
    }
}

/// How well all is.
pub(crate) fn worst(items: &[Item]) -> Level {
    items.iter().map(|item| item.level).max().unwrap_or(Level::Well)
}

/// The list; nothing where all is well.
pub(crate) fn section(items: &[Item]) -> Html {
    let mut out = Html::new();
    if items.is_empty() {
        return out;
    }
    out.raw(
        "<section aria-labelledby=\"attention\">\n<h2 id=\"attention\">What needs attention</h2>\n",
    );
    out.raw("<ul class=\"attention\">\n");
    for item in items.iter().take(MOST) {
        out.raw("<li class=\"").raw(item.level.class()).raw("\" data-key=\"item\"><p><strong>");
        out.raw(item.level.word()).raw("</strong>");
        for (index, (about, at)) in item.about.iter().enumerate().take(MOST_IN_ONE) {
            out.raw(if index == 0 { " " } else { ", " }).raw("<a href=\"#");
            at.anchor(&mut out);
            out.raw("\">").text(about).raw("</a>");
        }
        if let Some(more) = item.about.len().checked_sub(MOST_IN_ONE).filter(|more| *more > 0) {
            out.raw(", and ").count(more).raw(" more");
        }
        out.raw("</p>\n<p>").text(&item.why).raw("</p>\n");
        if let Some(todo) = &item.todo {
            out.raw("<p class=\"todo\"><b>What to do:</b> ").text(todo).raw("</p>");
        }
        out.raw("</li>\n");
    }
    out.raw("</ul>\n");
    if let Some(more) = items.len().checked_sub(MOST).filter(|more| *more > 0) {
        out.raw("<p>And ").count(more).raw(" more, which stand below.</p>\n");
    }
    out.raw("</section>\n");
    out
}
