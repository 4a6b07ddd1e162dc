//! The operators' orders: who gave which, why, and until when.

use std::time::SystemTime;

use crate::report::page::html::Html;
use crate::report::page::words::{moment_after, moment_before, span};
use crate::report::status::{Order, Status};

/// What to do about a damaged file of orders.
pub(crate) const ORDER_AGAIN: &str =
    "no order from before is in effect: give again those that you still need";

/// Most orders that are told.
pub const MOST: usize = 50;

/// What to do about an order.
pub(crate) fn todo(order: &Order) -> String {
    format!("remove the order once it is no longer needed: rolecall auto {}", order.target)
}

/// Every order that stands, each once. One that is in effect is told also where no file keeps it any more.
pub(crate) fn all(status: &Status) -> Vec<&Order> {
    let services = status.nodes.iter().flat_map(|node| &node.services);
    let mut all: Vec<&Order> = Vec::new();
    for order in status.orders.iter().chain(services.filter_map(|service| service.order.as_ref())) {
        if !all.contains(&order) {
            all.push(order);
        }
    }
    all
}

/// The orders and their file; nothing where there are none and it is well.
pub(crate) fn section(status: &Status, made: SystemTime) -> Html {
    let mut out = Html::new();
    let orders = all(status);
    if orders.is_empty() && status.orders_damaged.is_none() {
        return out;
    }
    out.raw("<section class=\"box\" id=\"orders\" aria-labelledby=\"orders-h\">\n<h2 id=\"orders-h\">Orders</h2>\n");
    if let Some(damaged) = &status.orders_damaged {
        out.raw("<p data-key=\"orders_damaged\">").text(damaged).raw("</p>\n");
        out.raw("<p class=\"todo\"><b>What to do:</b> ").raw(ORDER_AGAIN).raw("</p>\n");
    }
    let more = orders.len().saturating_sub(MOST);
    for order in orders.into_iter().take(MOST) {
        out.raw("<div class=\"order\" data-key=\"order\"><p><b>").text(order.order).raw(" ");
        out.text(&order.target).raw("</b></p>\n<dl class=\"facts\">\n");
        out.raw("<div><dt>Given by</dt><dd>").text(&order.by).raw(", ");
        span(&mut out, order.since_ms);
        out.raw(" ago, at ");
        moment_before(&mut out, made, order.since_ms);
        out.raw("</dd></div>\n<div><dt>Because</dt><dd>");
        out.text(if order.why.is_empty() { "no reason was given" } else { &order.why });
        out.raw("</dd></div>\n<div><dt>In effect</dt><dd>");
        until(&mut out, order, made);
        out.raw("</dd></div>\n");
        if !in_effect(status, order) {
            out.raw("<div><dt>Counts</dt><dd>nowhere: a narrower order is in effect, or its target is gone</dd></div>\n");
        }
        out.raw("</dl></div>\n");
    }
    if more > 0 {
        out.raw("<p>And ").count(more).raw(" more: <code>rolecall status</code> has all.</p>\n");
    }
    out.raw("</section>\n");
    out
}

fn in_effect(status: &Status, order: &Order) -> bool {
    let mut services = status.nodes.iter().flat_map(|node| &node.services);
    services.any(|service| service.order.as_ref() == Some(order))
}

/// Until when an order is in effect.
pub(crate) fn until(out: &mut Html, order: &Order, made: SystemTime) {
    match order.ends_ms {
        Some(ms) => {
            out.raw("until ");
            moment_after(out, made, ms);
            out.raw(", for ");
            span(out, ms);
            out.raw(" more");
        }
        None => _ = out.raw("until it is removed"),
    }
    if order.forced {
        out.raw(", by force");
    }
    if order.waits {
        out.raw(", once a poll shows that the node is fit");
    }
}

/// The order that is in effect for one service, in one line.
pub(crate) fn line(out: &mut Html, order: &Order, made: SystemTime) {
    out.raw("<span data-key=\"order\">").text(order.order).raw("</span> for ");
    out.text(&order.target).raw(", by <span data-key=\"by\">").text(&order.by).raw("</span>, ");
    until(out, order, made);
    if !order.why.is_empty() {
        out.raw(": <span data-key=\"why\">").text(&order.why).raw("</span>");
    }
}
