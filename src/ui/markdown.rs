//! Just enough Markdown for runbooks: headings, lists, paragraphs, code, bold and links.
//!
//! Everything goes through maud, so that no HTML from a file reaches the page; what is not known
//! stays as it was typed.

use maud::{Markup, html};

use super::page::is_web;

/// A piece of a document.
#[derive(Debug, PartialEq)]
enum Block {
    Heading(usize, String),
    Paragraph(String),
    Items { is_numbered: bool, items: Vec<String> },
    Code(String),
}

/// Renders `text`.
pub(super) fn render(text: &str) -> Markup {
    html! {
        @for block in blocks(text) {
            @match block {
                Block::Heading(1, text) => h1 { (inline(&text)) },
                Block::Heading(2, text) => h2 { (inline(&text)) },
                Block::Heading(_, text) => h3 { (inline(&text)) },
                Block::Paragraph(text) => p { (inline(&text)) },
                Block::Items { is_numbered: true, items } => ol { @for item in items { li { (inline(&item)) } } },
                Block::Items { is_numbered: false, items } => ul { @for item in items { li { (inline(&item)) } } },
                Block::Code(text) => pre { code { (text) } },
            }
        }
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines();
    // Whether the next line goes on with the last block.
    let mut open = false;
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|line| !line.trim().starts_with("```")).collect();
            blocks.push(Block::Code(code.join("\n")));
            open = false;
            continue;
        }
        if let Some((is_numbered, item)) = item(trimmed) {
            match blocks.last_mut() {
                Some(Block::Items { is_numbered: before, items }) if open && *before == is_numbered => {
                    items.push(item.to_owned());
                }
                _ => blocks.push(Block::Items { is_numbered, items: vec![item.to_owned()] }),
            }
            open = true;
            continue;
        }
        let level = trimmed.chars().take_while(|c| *c == '#').count();
        match blocks.last_mut() {
            _ if trimmed.is_empty() => open = false,
            _ if level > 0 && trimmed[level..].starts_with(' ') => {
                blocks.push(Block::Heading(level, trimmed[level..].trim().to_owned()));
                open = false;
            }
            Some(Block::Paragraph(text)) if open => append(text, trimmed),
            Some(Block::Items { items, .. }) if open => {
                if let Some(item) = items.last_mut() {
                    append(item, trimmed);
                }
            }
            _ => {
                blocks.push(Block::Paragraph(trimmed.to_owned()));
                open = true;
            }
        }
    }
    blocks
}

fn append(text: &mut String, more: &str) {
    text.push(' ');
    text.push_str(more);
}

/// The text of a list item, and whether its list is numbered.
fn item(line: &str) -> Option<(bool, &str)> {
    if let Some(text) = line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")) {
        return Some((false, text));
    }
    let digits = line.find(|c: char| !c.is_ascii_digit()).filter(|n| *n > 0)?;
    line[digits..].strip_prefix(". ").map(|text| (true, text))
}

/// Code, bold and links within a line.
pub(super) fn inline(text: &str) -> Markup {
    let next = ["`", "**", "["].into_iter().filter_map(|mark| Some((text.find(mark)?, mark))).min();
    let Some((at, mark)) = next else { return html! { (text) } };
    let (before, rest) = (&text[..at], &text[at + mark.len()..]);
    let read = match mark {
        "`" => rest.split_once('`').map(|(code, rest)| (html! { code { (code) } }, rest)),
        "**" => rest.split_once("**").map(|(bold, rest)| (html! { strong { (inline(bold)) } }, rest)),
        _ => link(rest),
    };
    match read {
        Some((markup, rest)) => html! { (before) (markup) (inline(rest)) },
        None => html! { (before) (mark) (inline(rest)) },
    }
}

/// `text](address)`: a link, if the address is a web address or a path of ours.
fn link(rest: &str) -> Option<(Markup, &str)> {
    let (text, rest) = rest.split_once("](")?;
    let (address, rest) = rest.split_once(')')?;
    let is_ours = address.starts_with('/') && !address.starts_with("//");
    (is_ours || is_web(address)).then(|| (html! { a href=(address) { (text) } }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(render(text).into_string(), expected);
    }

    #[test]
    fn blocks_and_marks_are_rendered() {
        check("# A\n\nOne\ntwo.\n\n## B", "<h1>A</h1><p>One two.</p><h2>B</h2>");
        check("- a\n  more\n- b\n\n1. x\n2. y", "<ul><li>a more</li><li>b</li></ul><ol><li>x</li><li>y</li></ol>");
        check("```\n# a\n<b>\n```", "<pre><code># a\n&lt;b&gt;</code></pre>");
        check(
            "Use `a*b` or **bold `c`**, see [here](/x).",
            "<p>Use <code>a*b</code> or <strong>bold <code>c</code></strong>, see <a href=\"/x\">here</a>.</p>",
        );
    }

    #[test]
    fn no_html_and_no_foreign_scheme_gets_through() {
        check("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>");
        check("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>");
        check("[a](//evil.example)", "<p>[a](//evil.example)</p>");
        check("`<i>` **<b>**", "<p><code>&lt;i&gt;</code> <strong>&lt;b&gt;</strong></p>");
    }

    #[test]
    fn marks_without_an_end_stay_as_they_are() {
        check("2 ** 3 and [x and `y", "<p>2 ** 3 and [x and `y</p>");
    }
}
