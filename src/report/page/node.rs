//! One node: its services, what was polled, and the votes of its repmgr cluster.

use std::time::SystemTime;

use crate::look::measure;
use crate::report::majority::Majority;
use crate::report::page::html::Html;
use crate::report::page::places::node_id;
use crate::report::page::service;
use crate::report::page::words::{explained, span};
use crate::report::status::{Explained, Node, Source};

/// Everything about the node at this place; `strip`: the history of a service of it.
pub(crate) fn section(
    at: usize,
    node: &Node,
    made: SystemTime,
    strip: &dyn Fn(&str) -> Html,
) -> Html {
    let mut out = Html::new();
    out.raw("<section class=\"node\" id=\"");
    node_id(&mut out, at);
    out.raw("\" aria-labelledby=\"");
    node_id(&mut out, at);
    out.raw("h\">\n<h2 id=\"");
    node_id(&mut out, at);
    out.raw("h\"><span data-key=\"node\">").text(&node.node).raw("</span> <small>");
    out.raw("<span data-key=\"role\">").text(node.role.unwrap_or("role unknown")).raw("</span>");
    if let Some(timeline) = node.timeline {
        out.raw(", timeline <span data-key=\"timeline\">").number(timeline.into()).raw("</span>");
    }
    if let Some(cluster) = &node.cluster {
        out.raw(", cluster <span data-key=\"cluster\">").text(cluster).raw("</span>");
    }
    out.raw("</small></h2>\n<div class=\"cards\">\n");
    for (index, of) in node.services.iter().enumerate() {
        out.add(&service::card(node, (at, index), of, (made, &strip(&of.service))));
    }
    out.raw("</div>\n<div class=\"cards\">\n");
    for source in &node.sources {
        polled(&mut out, &node.node, source);
    }
    out.raw("</div>\n</section>\n");
    out
}

/// What one source knows of it.
fn polled(out: &mut Html, node: &str, source: &Source) {
    out.raw("<section class=\"box\" data-key=\"source\">\n<h3>Polled: <span data-key=\"kind\">");
    out.raw(source.kind).raw("</span></h3>\n<dl class=\"facts\">\n<div><dt>Saw</dt><dd>");
    out.raw("<span data-key=\"role\">").text(source.role.unwrap_or("no role")).raw("</span>");
    match source.good_ms {
        Some(ms) => {
            out.raw(", <span data-key=\"good\">");
            span(out, ms);
            out.raw(" ago</span>");
        }
        None => _ = out.raw(", no result that can still be used"),
    }
    out.raw("</dd></div>\n<div><dt>Last poll</dt><dd data-key=\"looked\">");
    match source.looked_ms {
        Some(ms) => {
            span(out, ms);
            out.raw(" ago");
        }
        None => _ = out.raw("none has ended yet"),
    }
    out.raw("</dd></div>\n");
    if let Some(error) = &source.error {
        failed(out, "It failed", error);
    }
    if let Some(lag) = source.lag_bytes {
        out.raw("<div><dt>Behind</dt><dd><span data-key=\"lag\">");
        out.text(&measure::size(lag)).raw("</span></dd></div>\n");
    }
    if source.unlocked == Some(true) {
        out.raw("<div><dt>Lock</dt><dd>no node holds the leader lock</dd></div>\n");
    }
    out.raw("</dl>\n");
    if let Some(majority) = &source.majority {
        votes(out, node, majority, source);
    } else if !source.peers.is_empty() {
        peers(out, source);
    }
    if !source.repmgrd.is_empty() {
        out.raw("<h4>repmgrd</h4>\n<dl class=\"facts\">\n");
        for repmgrd in &source.repmgrd {
            out.raw("<div><dt>node ").text(&repmgrd.node_id.to_string()).raw("</dt><dd>");
            explained(out, &repmgrd.why);
            out.raw("</dd></div>\n");
        }
        out.raw("</dl>\n");
    }
    out.raw("</section>\n");
}

/// Each vote of a repmgr cluster.
fn votes(out: &mut Html, node: &str, majority: &Majority, source: &Source) {
    out.raw("<table>\n<caption>Votes for ").text(node).raw(": <b data-key=\"votes\">");
    out.count(majority.votes).raw("</b> of <b data-key=\"electors\">").count(majority.electors);
    out.raw("</b>. More than half are needed.</caption>\n<thead><tr><th scope=\"col\">Node</th>");
    out.raw(
        "<th scope=\"col\">Registered as</th><th scope=\"col\">Vote</th></tr></thead>\n<tbody>\n",
    );
    for ballot in &majority.ballots {
        out.raw("<tr class=\"v-").raw(ballot.side).raw("\" data-key=\"ballot\"><th scope=\"row\">");
        out.text(&ballot.node_id.to_string()).raw(" ").text(&ballot.name).raw("</th><td>");
        out.raw(ballot.registered).raw(if ballot.active { "" } else { ", inactive" });
        out.raw("</td><td><span class=\"vote\"><span aria-hidden=\"true\">").raw(
            match ballot.side {
                "for" => "✓",
                "against" => "✗",
                _ => "–",
            },
        );
        out.raw("</span> ").raw(match ballot.side {
            "for" => "for",
            "against" => "against",
            _ => "no vote",
        });
        out.raw("</span> <span data-key=\"vote\">").text(&ballot.vote).raw("</span>");
        let peer = source.peers.iter().find(|peer| peer.node_id == ballot.node_id);
        if let Some(error) = peer.and_then(|peer| peer.error.as_ref()) {
            out.raw("; its last poll failed: ");
            explained(out, error);
        }
        out.raw("</td></tr>\n");
    }
    out.raw("</tbody></table>\n");
}

/// The other nodes that were polled, where no votes are counted.
fn peers(out: &mut Html, source: &Source) {
    out.raw("<h4>Other nodes of the cluster</h4>\n<dl class=\"facts\">\n");
    for peer in &source.peers {
        out.raw("<div><dt>node ").text(&peer.node_id.to_string()).raw("</dt><dd>");
        match (&peer.error, peer.good_ms) {
            (Some(error), _) => explained(out, error),
            (None, Some(ms)) => {
                out.raw("answered ");
                span(out, ms);
                out.raw(" ago");
            }
            (None, None) => _ = out.raw("not polled yet"),
        }
        out.raw("</dd></div>\n");
    }
    out.raw("</dl>\n");
}

fn failed(out: &mut Html, how: &'static str, error: &Explained) {
    out.raw("<div><dt>").raw(how).raw("</dt><dd data-key=\"error\">");
    explained(out, error);
    out.raw("</dd></div>\n");
}
