//! What templates can do with values: fields with their methods, and functions.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use regex::Regex;

use super::{Value, time};
use crate::zscore::{number, span};

/// What is wrong with a step.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) depends_on_data: bool,
}

impl Wrong {
    pub(super) fn always(message: String) -> Self {
        Self { message, depends_on_data: false }
    }

    pub(super) fn of_data(message: String) -> Self {
        Self { message, depends_on_data: true }
    }
}

type Answer = Result<Value, Wrong>;

const NAMES: &[&str] = &[
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "len",
    "index",
    "slice",
    "print",
    "println",
    "printf",
    "html",
    "urlquery",
    "toUpper",
    "toLower",
    "title",
    "trimSpace",
    "join",
    "match",
    "safeHtml",
    "safeUrl",
    "reReplaceAll",
    "stringSlice",
    "date",
    "toJson",
    "humanize",
    "humanize1024",
    "humanizePercentage",
    "humanizeDuration",
];

/// The function of this name.
pub(super) fn known(name: &str) -> Option<&'static str> {
    NAMES.iter().copied().find(|known| *known == name)
}

/// `value.name`, where `arguments` are given to a method.
pub(super) fn field(value: &Value, name: &str, arguments: &[Value]) -> Answer {
    let method = match (value, name, arguments) {
        (Value::Map(map), "SortedPairs", []) => {
            let pair = |(name, value): (&String, &Value)| {
                Value::record([("Name", Value::text(name)), ("Value", value.clone())])
            };
            Some(Value::List(map.iter().map(pair).collect()))
        }
        (Value::Map(map), "Names", []) => Some(Value::List(map.keys().map(|name| Value::text(name)).collect())),
        (Value::Map(map), "Values", []) => Some(Value::List(map.values().cloned().collect())),
        (Value::Map(map), "Remove", [Value::List(names)]) => {
            let is_kept = |name: &str| !names.iter().any(|removed| removed.as_text() == Some(name));
            let kept = map.iter().filter(|(name, _)| is_kept(name));
            Some(Value::Map(Arc::new(kept.map(|(name, value)| (name.clone(), value.clone())).collect())))
        }
        (Value::List(list), "Firing" | "Resolved", []) => {
            let wanted = name.to_lowercase();
            let is_it = |alert: &&Value| match alert {
                Value::Record(fields) => fields.get("Status").and_then(Value::as_text) == Some(&wanted),
                _ => false,
            };
            Some(Value::List(list.iter().filter(is_it).cloned().collect()))
        }
        (Value::List(list), "Names" | "Values", []) => {
            let wanted = &name[..name.len() - 1];
            Some(Value::List(list.iter().map(|pair| field(pair, wanted, &[])).collect::<Result<_, _>>()?))
        }
        (Value::Time(at), "Format", [layout]) => Some(Value::text(&time::format(*at, text(layout)?))),
        (Value::Time(at), "Unix", []) => Some(Value::Int(at.0.div_euclid(1_000_000_000))),
        (Value::Time(_), "UTC" | "Local", []) => Some(value.clone()),
        (Value::Time(at), "IsZero", []) => Some(Value::Bool(at.0 <= time::ZERO.0)),
        _ => None,
    };
    if let Some(found) = method {
        return Ok(found);
    }
    match value {
        Value::Map(map) if arguments.is_empty() => Ok(map.get(name).cloned().unwrap_or_else(|| Value::text(""))),
        Value::Record(fields) if arguments.is_empty() => match fields.get(name) {
            Some(found) => Ok(found.clone()),
            None => {
                let known: Vec<&str> = fields.keys().copied().collect();
                Err(Wrong::always(format!("there is no field .{name}; expected one of {}", known.join(", "))))
            }
        },
        value => Err(Wrong::always(format!("{} has no .{name} with {} arguments", value.kind(), arguments.len()))),
    }
}

/// Calls a function, whose result has hardly more than `most` bytes.
pub(super) fn call(name: &str, arguments: &[Value], most: usize) -> Answer {
    match (name, arguments) {
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            Ok(Value::Bool(others.iter().any(|other| is_same(first, other))))
        }
        ("ne", [a, b]) => Ok(Value::Bool(!is_same(a, b))),
        ("lt", [a, b]) => Ok(Value::Bool(order(a, b)? == Ordering::Less)),
        ("le", [a, b]) => Ok(Value::Bool(order(a, b)? != Ordering::Greater)),
        ("gt", [a, b]) => Ok(Value::Bool(order(a, b)? == Ordering::Greater)),
        ("ge", [a, b]) => Ok(Value::Bool(order(a, b)? != Ordering::Less)),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("slice", [value, ends @ ..]) => slice(value, ends),
        ("print", all) => Ok(Value::text(&all.iter().map(Value::printed).collect::<String>())),
        ("println", all) => {
            let all: Vec<String> = all.iter().map(Value::printed).collect();
            Ok(Value::text(&(all.join(" ") + "\n")))
        }
        ("printf", [format, values @ ..]) => printf(text(format)?, values, most),
        ("toUpper", [value]) => Ok(Value::text(&text(value)?.to_uppercase())),
        ("toLower", [value]) => Ok(Value::text(&text(value)?.to_lowercase())),
        ("title", [value]) => Ok(Value::text(&titled(text(value)?))),
        ("trimSpace", [value]) => Ok(Value::text(text(value)?.trim())),
        ("join", [between, Value::List(list)]) => join(text(between)?, list, most),
        ("match", [pattern, value]) => Ok(Value::Bool(regex(pattern)?.is_match(text(value)?))),
        ("reReplaceAll", [pattern, with, value]) => replaced(&regex(pattern)?, text(with)?, text(value)?, most),
        ("safeHtml" | "safeUrl", [value]) => Ok(Value::Safe(text(value)?.into())),
        ("html", [value]) => Ok(Value::Safe(escaped(&value.printed()).into())),
        ("urlquery", [value]) => Ok(Value::text(&query(&value.printed()))),
        ("stringSlice", all) => Ok(Value::List(all.into())),
        ("date", [layout, Value::Time(at)]) => Ok(Value::text(&time::format(*at, text(layout)?))),
        ("toJson", [value]) => {
            let mut out = String::new();
            json(value, &mut out);
            Ok(Value::Safe(out.into()))
        }
        ("humanize" | "humanize1024" | "humanizePercentage" | "humanizeDuration", [value]) => humanized(name, value),
        (name, arguments) => {
            let given: Vec<&str> = arguments.iter().map(Value::kind).collect();
            Err(Wrong::always(format!("{name} cannot be given ({})", given.join(", "))))
        }
    }
}

fn text(value: &Value) -> Result<&str, Wrong> {
    value.as_text().ok_or_else(|| Wrong::always(format!("expected text, got {}", value.kind())))
}

fn is_same(a: &Value, b: &Value) -> bool {
    match (a.as_text(), b.as_text(), a.as_number(), b.as_number()) {
        (Some(a), Some(b), ..) => a == b,
        (.., Some(a), Some(b)) => a.total_cmp(&b) == Ordering::Equal,
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering, Wrong> {
    match (a.as_text(), b.as_text(), a.as_number(), b.as_number()) {
        (Some(a), Some(b), ..) => Ok(a.cmp(b)),
        (.., Some(a), Some(b)) => Ok(a.total_cmp(&b)),
        _ => Err(Wrong::always(format!("{} and {} have no order", a.kind(), b.kind()))),
    }
}

fn length(value: &Value) -> Answer {
    let length = match value {
        Value::Text(text) | Value::Safe(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        value => return Err(Wrong::always(format!("{} has no length", value.kind()))),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(value: &Value, key: &Value) -> Answer {
    match (value, key) {
        (Value::List(list), Value::Int(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| list.get(at)).cloned();
            found.ok_or_else(|| Wrong::of_data(format!("there is no element {at} of {}", list.len())))
        }
        (Value::Map(map), Value::Text(name) | Value::Safe(name)) => {
            Ok(map.get(&**name).cloned().unwrap_or_else(|| Value::text("")))
        }
        (value, key) => Err(Wrong::always(format!("{} has no index that is {}", value.kind(), key.kind()))),
    }
}

fn slice(value: &Value, ends: &[Value]) -> Answer {
    let end = |at: usize| match ends.get(at) {
        None => Ok(None),
        Some(Value::Int(end)) => Ok(usize::try_from(*end).ok()),
        Some(other) => Err(Wrong::always(format!("expected a number, got {}", other.kind()))),
    };
    let (from, to) = (end(0)?.unwrap_or(0), end(1)?);
    let found = match value {
        Value::Text(text) | Value::Safe(text) => text.get(from..to.unwrap_or(text.len())).map(Value::text),
        Value::List(list) => list.get(from..to.unwrap_or(list.len())).map(|part| Value::List(part.into())),
        value => return Err(Wrong::always(format!("{} has no parts", value.kind()))),
    };
    found.ok_or_else(|| Wrong::of_data("there is no such part".to_owned()))
}

fn regex(pattern: &Value) -> Result<Regex, Wrong> {
    let build = regex::RegexBuilder::new(text(pattern)?).size_limit(1 << 20).build();
    build.map_err(|error| Wrong::always(format!("bad regular expression: {error}")))
}

fn too_long(most: usize) -> Wrong {
    Wrong::of_data(format!("makes more than {most} bytes"))
}

fn replaced(pattern: &Regex, with: &str, text: &str, most: usize) -> Answer {
    let (mut out, mut behind) = (String::new(), 0);
    for found in pattern.captures_iter(text) {
        let whole = found.get_match();
        out.push_str(&text[behind..whole.start()]);
        found.expand(with, &mut out);
        behind = whole.end();
        if out.len() > most {
            return Err(too_long(most));
        }
    }
    out.push_str(&text[behind..]);
    Ok(Value::text(&out))
}

fn join(between: &str, list: &[Value], most: usize) -> Answer {
    let mut out = String::new();
    for (i, value) in list.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { between });
        value.write(&mut out);
        if out.len() > most {
            return Err(too_long(most));
        }
    }
    Ok(Value::text(&out))
}

fn titled(text: &str) -> String {
    let (mut out, mut is_first) = (String::with_capacity(text.len()), true);
    for c in text.chars() {
        if is_first {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        is_first = !c.is_alphanumeric() && c != '_' && c != '\'';
    }
    out
}

/// `%s`, `%v`, `%d`, `%f`, `%g`, `%q`, `%t` and `%%`, with a width and digits.
fn printf(format: &str, values: &[Value], most: usize) -> Answer {
    let (mut out, mut rest, mut values) = (String::new(), format, values.iter());
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let length = rest.find(|c: char| c.is_ascii_alphabetic() || c == '%').ok_or_else(|| unknown_verb(rest))?;
        let (flags, verb) = (&rest[..length], &rest[length..=length]);
        rest = &rest[length + 1..];
        if verb == "%" {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| Wrong::always("printf lacks a value".to_owned()))?;
        let (width, digits) = flags.split_once('.').map_or((flags, None), |(width, digits)| (width, Some(digits)));
        let digits = match digits.map(str::parse::<usize>) {
            None => None,
            Some(Ok(digits)) if digits <= 30 => Some(digits),
            Some(_) => return Err(unknown_verb(flags)),
        };
        pad(&verbose(verb, value, digits)?, width, &mut out)?;
        if out.len() > most {
            return Err(too_long(most));
        }
    }
    out.push_str(rest);
    Ok(Value::text(&out))
}

fn unknown_verb(verb: &str) -> Wrong {
    Wrong::always(format!("printf does not know %{verb}"))
}

fn verbose(verb: &str, value: &Value, digits: Option<usize>) -> Result<String, Wrong> {
    let expected = |what: &str| Wrong::always(format!("printf: %{verb} expects {what}, got {}", value.kind()));
    Ok(match verb {
        "s" | "v" => match digits {
            Some(most) => value.printed().chars().take(most).collect(),
            None => value.printed(),
        },
        "q" => format!("{:?}", value.printed()),
        "d" => match value {
            Value::Int(value) => value.to_string(),
            _ => return Err(expected("a whole number")),
        },
        "f" | "g" => {
            let value = value.as_number().ok_or_else(|| expected("a number"))?;
            match (verb, digits) {
                ("f", digits) => format!("{value:.0$}", digits.unwrap_or(6)),
                (_, None) => value.to_string(),
                (_, Some(_)) => return Err(unknown_verb("g with digits")),
            }
        }
        "t" => match value {
            Value::Bool(value) => value.to_string(),
            _ => return Err(expected("a truth value")),
        },
        verb => return Err(unknown_verb(verb)),
    })
}

/// Appends `text`, as wide as `width` says, which may begin with `-` or `0`.
fn pad(text: &str, width: &str, out: &mut String) -> Result<(), Wrong> {
    let (is_left, is_zero) = (width.starts_with('-'), width.starts_with('0'));
    let number = width.trim_start_matches(['-', '0']);
    let wanted = match number.parse() {
        _ if number.is_empty() => 0,
        Ok(wanted @ 0..=1_000) => wanted,
        _ => return Err(unknown_verb(width)),
    };
    let missing = usize::saturating_sub(wanted, text.chars().count());
    let padding = (if is_zero { "0" } else { " " }).repeat(missing);
    let (before, after) = if is_left { ("", padding.as_str()) } else { (padding.as_str(), "") };
    out.push_str(before);
    out.push_str(text);
    out.push_str(after);
    Ok(())
}

fn humanized(name: &str, value: &Value) -> Answer {
    let parsed = value.as_text().and_then(|text| text.parse().ok());
    let value = value.as_number().or(parsed);
    let value = value.ok_or_else(|| Wrong::always(format!("{name} expects a number")))?;
    Ok(Value::text(&match name {
        "humanizePercentage" => format!("{}%", number(value * 100.0)),
        "humanizeDuration" => span(Duration::try_from_secs_f64(value).unwrap_or_default()),
        "humanize1024" => humanize(value, &[(1u64 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")]),
        _ => humanize(value, &[(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")]),
    }))
}

/// With a prefix and four digits, as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "round numbers")]
fn humanize(value: f64, prefixes: &[(u64, &str)]) -> String {
    let prefix = prefixes.iter().find(|(size, _)| value.abs() >= *size as f64);
    prefix.map_or_else(|| number(value), |(size, letter)| format!("{}{letter}", number(value / *size as f64)))
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&#34;").replace('\'', "&#39;")
}

fn query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// As JSON, in which text is also safe within a script.
fn json(value: &Value, out: &mut String) {
    let mut list = |open: char, close: char, items: &mut dyn Iterator<Item = (Option<&str>, &Value)>| {
        out.push(open);
        for (i, (name, value)) in items.enumerate() {
            out.push_str(if i == 0 { "" } else { "," });
            if let Some(name) = name {
                quoted(name, out);
                out.push(':');
            }
            json(value, out);
        }
        out.push(close);
    };
    match value {
        Value::List(values) => list('[', ']', &mut values.iter().map(|value| (None, value))),
        Value::Map(map) => list('{', '}', &mut map.iter().map(|(name, value)| (Some(name.as_str()), value))),
        Value::Record(map) => list('{', '}', &mut map.iter().map(|(name, value)| (Some(*name), value))),
        Value::Nothing => out.push_str("null"),
        Value::Number(value) if !value.is_finite() => out.push_str("null"),
        Value::Bool(_) | Value::Int(_) | Value::Number(_) => value.write(out),
        Value::Time(at) => quoted(&time::format(*at, "2006-01-02T15:04:05Z07:00"), out),
        Value::Text(text) | Value::Safe(text) => quoted(text, out),
    }
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() || matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
