//! What all pages have in common.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use detect::{Anomaly, Direction, Level};
use maud::{DOCTYPE, Markup, html};

use crate::rest::{Link, Problem, encoded};

/// Seconds between two pictures of a page that shows what is going on.
const REFRESH: &str = "5";

/// A page before it is rendered.
pub(super) struct Page {
    pub(super) title: String,
    /// Whether the browser should load it again by itself.
    pub(super) is_live: bool,
    /// Shown in the icon, so that a tab in the background tells the level.
    pub(super) level: Option<Level>,
    /// How the page links to others.
    pub(super) link: Link,
    pub(super) body: Markup,
}

impl Page {
    pub(super) fn response(self, status: StatusCode) -> Response {
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if self.is_live { meta http-equiv="refresh" content=(REFRESH); }
                    title { (self.title) " · Bellwether" }
                    link rel="stylesheet" href="/style.css";
                    link rel="icon" href=(icon(self.level));
                }
                body {
                    a.skip href="#content" { "Skip to content" }
                    header.top {
                        nav aria-label="Main" {
                            a.brand href=(self.link.to("/")) { "Bellwether" }
                            a href=(self.link.to("/runbooks")) { "Runbooks" }
                        }
                    }
                    main id="content" { (self.body) }
                }
            }
        };
        let mut response = Response::new(Body::from(document.into_string()));
        *response.status_mut() = status;
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
        response
    }
}

/// A dot in the colour of the level, with its number.
fn icon(level: Option<Level>) -> String {
    let colour = match level {
        None => "#6b7280",
        Some(Level::FullService) => "#15803d",
        Some(Level::NonCriticalOff) => "#a16207",
        Some(Level::CacheOnly) => "#c2410c",
        Some(Level::ReadOnly) => "#b91c1c",
        Some(Level::EmergencyMode) => "#7e1d5f",
    };
    let number = level.map_or_else(|| "B".to_owned(), |level| level.number().to_string());
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><circle cx='16' cy='16' r='16' fill='{colour}'/>\
         <text x='16' y='23' font-family='sans-serif' font-size='20' font-weight='700' fill='#fff' \
         text-anchor='middle'>{number}</text></svg>"
    );
    format!("data:image/svg+xml,{}", encoded(&svg))
}

/// A problem as a page.
pub(super) fn problem(problem: &Problem) -> Response {
    let title = problem.status.canonical_reason().unwrap_or("Error");
    let body = html! {
        section.panel {
            h1 { (title) }
            p { (problem.detail) }
            p { a href="/" { "Back to the overview" } }
        }
    };
    Page { title: title.to_owned(), is_live: false, level: None, link: Link::default(), body }.response(problem.status)
}

/// A cell that carries its column's name along, for narrow screens where there are no columns.
pub(crate) fn cell(label: &str, content: impl maud::Render) -> Markup {
    html! { td role="cell" data-label=(label) { div { (content) } } }
}

/// The same for numbers.
pub(crate) fn number_cell(label: &str, content: impl maud::Render) -> Markup {
    html! { td.number role="cell" data-label=(label) { div { (content) } } }
}

/// A table with a caption. The roles survive styles that lay it out differently.
pub(crate) fn table(caption: &str, columns: &[(&str, bool)], rows: &Markup) -> Markup {
    html! {
        table role="table" {
            caption { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for (name, is_number) in columns {
                        th.number[*is_number] role="columnheader" scope="col" { (name) }
                    }
                }
            }
            tbody role="rowgroup" { (rows) }
        }
    }
}

/// A word in a coloured frame.
pub(crate) fn badge(class: &str, text: &str) -> Markup {
    html! { span class={ "badge " (class) } { (text) } }
}

/// To which side, in a sign and a word for those who do not see it.
pub(super) fn arrow(a: &Anomaly) -> Markup {
    let (sign, word) = match a.direction {
        Direction::Up => ("↑", "up"),
        Direction::Down => ("↓", "down"),
    };
    html! { span title=(word) aria-hidden="true" { (sign) } span.unseen { (word) } }
}

/// Whether a link from a rule may be followed: rules are ours, but their templates quote telemetry.
pub(super) fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// How many there are, beside a heading.
pub(super) fn count(n: usize) -> Markup {
    html! { @if n > 0 { " " span.count { (n) } } }
}

/// What was left out of a table, and where it is.
pub(super) fn omitted(all: usize, shown: usize, rest: &str) -> Markup {
    html! { @if all > shown { p.more { (all - shown) " more: " a href=(rest) { "all as JSON" } } } }
}
