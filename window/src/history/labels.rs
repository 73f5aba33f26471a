//! Labels as a JSON object of texts: what every reader of Parquet can take apart.

use std::fmt::Write;

use crate::Labels;

/// `{"name":"value",...}`, by name.
pub(super) fn write(labels: &Labels) -> String {
    let mut out = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        write_text(name, &mut out);
        out.push(':');
        write_text(value, &mut out);
    }
    out.push('}');
    out
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0'..='\x1f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Reads what [`write`] has written; `None` for anything else.
pub(super) fn read(text: &str) -> Option<Labels> {
    let mut rest = text.strip_prefix('{')?;
    let mut pairs: Vec<(String, String)> = Vec::new();
    if rest == "}" {
        return Some(Labels::default());
    }
    loop {
        let (name, after) = read_text(rest)?;
        let (value, after) = read_text(after.strip_prefix(':')?)?;
        pairs.push((name, value));
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after == "}" => return Some(Labels::from_pairs(pairs)),
            None => return None,
        }
    }
}

/// A text and what follows it.
fn read_text(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut out = String::new();
    loop {
        let special = rest.find(['"', '\\'])?;
        out.push_str(&rest[..special]);
        let after = &rest[special + 1..];
        if rest[special..].starts_with('"') {
            return Some((out, after));
        }
        rest = match after.strip_prefix('u') {
            Some(code) => {
                out.push(char::from_u32(u32::from_str_radix(code.get(..4)?, 16).ok()?)?);
                &code[4..]
            }
            None => {
                out.extend(after.chars().next().filter(|c| matches!(c, '"' | '\\')));
                after.strip_prefix(['"', '\\'])?
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for pairs in [&[][..], &[("a", "1")], &[("a", "\"\\\n\u{1f}é☃{},:"), ("b", "\\u0041"), ("\"", "x")]] {
            let labels = Labels::from_pairs(pairs.iter().copied());
            assert_eq!(read(&write(&labels)), Some(labels));
        }
        assert_eq!(write(&Labels::from_pairs([("b", "\n"), ("a", "\"")])), r#"{"a":"\"","b":"\u000a"}"#);
    }

    #[test]
    fn anything_else_is_refused_without_a_panic() {
        let whole = r#"{"a":"\u000a","b":"\\"}"#;
        assert!(read(whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), None);
        }
        for text in
            ["", "{,}", r#"{"a":1}"#, r#"{"a":"b"}x"#, r#"{"a":"\u12é4"}"#, r#"{"a":"\n"}"#, r#"{"a":"\ud800"}"#]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
