//! What is about no single node: the configuration, the fence, and questions that name nothing.

use std::time::SystemTime;

use crate::report::page::html::Html;
use crate::report::page::words::{explained, moment_before, span};
use crate::report::status::{Fence, Question, Refused, Status};

/// What to do about a refused configuration.
pub(crate) const CORRECT: &str =
    "correct the file (`rolecall check` names each mistake with its line) and reload again";

/// All of it, as far as there is something to say.
pub(crate) fn sections(status: &Status, made: SystemTime) -> Html {
    let mut out = Html::new();
    if let Some(refused) = &status.refused_config {
        config(&mut out, refused, made);
    }
    if let Some(fence) = &status.fence {
        of_fence(&mut out, fence);
    }
    if !status.unknown_questions.is_empty() {
        questions(&mut out, &status.unknown_questions);
    }
    out
}

fn config(out: &mut Html, refused: &Refused, made: SystemTime) {
    out.raw("<section class=\"box\" id=\"config\" aria-labelledby=\"config-h\">\n");
    out.raw("<h2 id=\"config-h\">Configuration</h2>\n<p>The last reload was refused, at ");
    moment_before(out, made, refused.since_ms);
    out.raw(", ");
    span(out, refused.since_ms);
    out.raw(" ago. The configuration before it is in effect.</p>\n<p data-key=\"refused\">");
    out.text(&refused.detail).raw("</p>\n<p class=\"todo\"><b>What to do:</b> ").raw(CORRECT);
    out.raw("</p>\n</section>\n");
}

fn of_fence(out: &mut Html, fence: &Fence) {
    out.raw("<section class=\"box\" id=\"fence\" aria-labelledby=\"fence-h\">\n");
    out.raw("<h2 id=\"fence-h\">Fence</h2>\n<dl class=\"facts\">\n<div><dt>Now</dt><dd>");
    match (&fence.because, fence.since_ms) {
        (Some(because), Some(ms)) if fence.acts => {
            out.raw("it has been ending sessions for ");
            span(out, ms);
            out.raw(": ");
            explained(out, because);
        }
        _ => _ = out.raw("it ends no sessions"),
    }
    out.raw("</dd></div>\n<div><dt>So far</dt><dd><span data-key=\"ended\">").number(fence.ended);
    out.raw("</span> sessions were told to end");
    if let Some(ms) = fence.last_ms {
        out.raw(", the last one ");
        span(out, ms);
        out.raw(" ago");
    }
    out.raw("; <span data-key=\"failed\">")
        .number(fence.failed)
        .raw("</span> attempts failed</dd></div>\n");
    if let Some(error) = &fence.error {
        out.raw("<div><dt>Last attempt</dt><dd>");
        explained(out, error);
        out.raw("</dd></div>\n");
    }
    out.raw("</dl>\n</section>\n");
}

fn questions(out: &mut Html, questions: &[Question]) {
    out.raw("<section class=\"box\" id=\"questions\" aria-labelledby=\"questions-h\">\n");
    out.raw("<h2 id=\"questions-h\">Questions that name nothing here</h2>\n<dl class=\"facts\">\n");
    for question in questions {
        out.raw("<div data-key=\"question\"><dt>")
            .text(&question.service)
            .raw("</dt><dd>asked <code>");
        out.text(&question.question).raw("</code> ").number(question.count).raw(" times, last by ");
        out.text(question.by.as_deref().unwrap_or("an unknown address")).raw(", ");
        span(out, question.last_ms);
        out.raw(" ago: ");
        explained(out, &question.why);
        out.raw("</dd></div>\n");
    }
    out.raw("</dl>\n</section>\n");
}
