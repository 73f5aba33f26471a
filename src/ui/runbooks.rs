//! The runbooks that are shipped: what to do about each alert.

use axum::{extract::Path, http::StatusCode, response::Response};
use maud::html;

use super::{
    markdown,
    page::{self, Page},
};
use crate::rest::{Asked, Problem};

/// Name and text of every runbook, by name.
const RUNBOOKS: [(&str, &str); 10] = [
    ("anomaly", include_str!("../../runbooks/anomaly.md")),
    ("circuit-breaker-open", include_str!("../../runbooks/circuit-breaker-open.md")),
    ("conversion-drop", include_str!("../../runbooks/conversion-drop.md")),
    ("dfm-failures", include_str!("../../runbooks/dfm-failures.md")),
    ("high-error-ratio", include_str!("../../runbooks/high-error-ratio.md")),
    ("high-latency", include_str!("../../runbooks/high-latency.md")),
    ("margin-erosion", include_str!("../../runbooks/margin-erosion.md")),
    ("telemetry-gap", include_str!("../../runbooks/telemetry-gap.md")),
    ("traffic-drop", include_str!("../../runbooks/traffic-drop.md")),
    ("traffic-surge", include_str!("../../runbooks/traffic-surge.md")),
];

/// The text of a runbook, as Markdown.
pub(crate) fn runbook(name: &str) -> Option<&'static str> {
    RUNBOOKS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

pub(super) async fn list(asked: Asked) -> Response {
    let body = html! {
        section.panel {
            h1 { "Runbooks" }
            p { "What to do about each alert. Every alert links to its runbook." }
            ul { @for (name, text) in RUNBOOKS { li { a href=(asked.link.to(&format!("/runbooks/{name}"))) { (markdown::title(text)) } } } }
        }
    };
    Page { title: "Runbooks".to_owned(), is_live: false, level: None, link: asked.link, body }.response(StatusCode::OK)
}

pub(super) async fn one(asked: Asked, Path(name): Path<String>) -> Response {
    let Some(text) = runbook(&name) else {
        return page::problem(&Problem::not_found("runbook", &name));
    };
    let body = html! {
        article.panel.prose {
            p.crumbs { a href=(asked.link.to("/")) { "Overview" } " / " a href=(asked.link.to("/runbooks")) { "Runbooks" } }
            (markdown::render(text))
        }
    };
    Page { title: markdown::title(text).to_owned(), is_live: false, level: None, link: asked.link, body }
        .response(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runbook_says_what_an_engineer_needs() {
        for (name, text) in RUNBOOKS {
            assert!(!markdown::title(text).is_empty(), "{name} has no title");
            for section in ["## Symptom", "## Likely causes", "## Steps", "## Verification", "## Escalation"] {
                assert!(text.contains(section), "{name} has no section {section:?}");
            }
        }
    }
}
