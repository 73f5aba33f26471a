//! Runbooks as pages: what to do about each alert.

use std::time::Duration;

use alerting::runbook::{Condition, OnFailure, Runbook, Step};
use axum::{extract::Path, http::StatusCode, response::Response};
use maud::{Markup, html};

use super::{
    format::span,
    markdown,
    page::{self, Page},
};
use crate::{
    rest::{Asked, Problem},
    runbooks,
};

pub(super) async fn list(asked: Asked) -> Response {
    let body = html! {
        section.panel {
            h1 { "Runbooks" }
            p { "What to do about each alert. Every alert links to its runbook." }
            ul {
                @for (name, runbook) in asked.shared.api.info().runbooks.iter() {
                    li { a href=(asked.link.to(&format!("/runbooks/{name}"))) { (runbook.title()) } }
                }
            }
        }
    };
    Page { title: "Runbooks".to_owned(), is_live: false, level: None, link: asked.link, body }.response(StatusCode::OK)
}

pub(super) async fn one(asked: Asked, Path(name): Path<String>) -> Response {
    let info = asked.shared.api.info();
    let Some(runbook) = info.runbooks.get(&name) else {
        return page::problem(&Problem::not_found("runbook", &name));
    };
    let body = html! {
        article.panel.prose {
            p.crumbs { a href=(asked.link.to("/")) { "Overview" } " / " a href=(asked.link.to("/runbooks")) { "Runbooks" } }
            @match runbook {
                runbooks::Page::Markdown(text) => (markdown::render(text)),
                runbooks::Page::Steps(runbook) => (whole(runbook)),
            }
        }
    };
    let title = runbook.title().to_owned();
    Page { title, is_live: false, level: None, link: asked.link, body }.response(StatusCode::OK)
}

fn whole(runbook: &Runbook) -> Markup {
    html! {
        h1 { (runbook.title) }
        h2 { "Trigger" }
        (markdown::render(&runbook.trigger))
        h2 { "Symptoms" }
        (list_of(&runbook.symptoms))
        @if !runbook.causes.is_empty() {
            h2 { "Likely causes" }
            (list_of(&runbook.causes))
        }
        h2 { "Steps" }
        ol { @for step in &runbook.steps { li { (one_step(step)) } } }
        h2 { "Verification" }
        (list_of(&runbook.verification))
        h2 { "Escalation" }
        (markdown::render(&runbook.escalation))
    }
}

fn list_of(items: &[String]) -> Markup {
    html! { ul { @for item in items { li { (markdown::inline(item)) } } } }
}

fn one_step(step: &Step) -> Markup {
    let time = |time: Duration| span(time.as_secs());
    html! {
        strong { (step.name) } ". "
        @if let Some(text) = &step.text { (markdown::inline(text)) " " }
        @if let Some(condition) = &step.condition {
            "Only " (match condition {
                Condition::AllStepsFailed => html! { "if all steps before have failed. " },
                Condition::AnyStepFailed => html! { "if a step before has failed. " },
                Condition::Query(query) => html! { "if " code { (query.text()) } ". " },
            })
        }
        @if let Some(action) = &step.action {
            "Action: " code {
                (action.name)
                @for (name, value) in &action.params { " " (name) "=" (value) }
            } ". "
        }
        @if let Some(wait) = step.wait { "Wait " (time(wait)) ". " }
        @if let Some(verify) = &step.verify {
            "Verify: " code { (verify.metric.text()) " " (verify.condition.operator) " " (verify.condition.number) }
            @if let Some(hold) = verify.hold { " for " (time(hold)) }
            @if let Some(deadline) = verify.deadline { ", within " (time(deadline)) }
            ". "
        }
        @match &step.on_failure {
            OnFailure::Abort => {},
            OnFailure::Continue => "If it fails, go on.",
            OnFailure::Escalate => "If it fails, escalate.",
            OnFailure::Step(name) => { "If it fails, go to " strong { (name) } "." },
        }
    }
}
