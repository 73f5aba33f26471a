//! Cutting and escaping text.

/// At most `most` characters of `text`, the last of which says that there was more.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept + "…"
}

/// Without characters that no reader can see but a program might obey; line breaks become spaces.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Parts of `parts` from the first on as long as they fit into `room` characters together, with `between`
/// between them; and how many did not fit.
pub(super) fn fitting(parts: &[String], between: &str, room: usize) -> (String, usize) {
    let mut out = String::new();
    let mut left = room;
    for (i, part) in parts.iter().enumerate() {
        let wanted = part.chars().count() + if i == 0 { 0 } else { between.chars().count() };
        if wanted > left {
            return (out, parts.len() - i);
        }
        left -= wanted;
        if i > 0 {
            out.push_str(between);
        }
        out.push_str(part);
    }
    (out, 0)
}

/// For text and attributes of HTML.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
