//! Functions beside Polars' own: reading labels and attributes, and cutting time into steps.

use std::sync::Arc;

use polars::prelude::{
    BaseColumnUdf, ChunkApply, Column, DataType, Field, Int64Chunked, IntoColumn, NewChunkedArray, PolarsResult,
    Schema, StringChunked, TimeUnit, TimeZone, polars_bail, polars_ensure, polars_err, udf::UserDefinedFunction,
};
use polars_sql::function_registry::FunctionRegistry;

/// `json_text(column, 'name')`: what a JSON object has under a name, as text; null without it.
const JSON_TEXT: &str = "json_text";
/// `time_bucket('5m', time)`: the beginning of the step that a time is in.
const TIME_BUCKET: &str = "time_bucket";

/// `instant('2026-01-31T12:00:00Z')`: a time, to compare with columns of times.
const INSTANT: &str = "instant";

/// Gives statements these functions.
#[derive(Debug)]
pub(super) struct Functions;

impl FunctionRegistry for Functions {
    fn register(&mut self, name: &str, _: UserDefinedFunction) -> PolarsResult<()> {
        polars_bail!(SQLInterface: "{} cannot be registered", name)
    }

    fn get_udf(&self, name: &str) -> PolarsResult<Option<UserDefinedFunction>> {
        let same = |_: &Schema, fields: &[Field]| field(fields, 1);
        let time = |_: &Schema, fields: &[Field]| Ok(Field::new(field(fields, 0)?.name().clone(), utc()));
        let text = |_: &Schema, fields: &[Field]| Ok(Field::new(field(fields, 0)?.name().clone(), DataType::String));
        Ok(match name {
            JSON_TEXT => Some(UserDefinedFunction::new(name.into(), BaseColumnUdf::new(json_text, text))),
            TIME_BUCKET => Some(UserDefinedFunction::new(name.into(), BaseColumnUdf::new(time_bucket, same))),
            INSTANT => Some(UserDefinedFunction::new(name.into(), BaseColumnUdf::new(instant, time))),
            _ => None,
        })
    }

    fn contains(&self, name: &str) -> bool {
        [JSON_TEXT, TIME_BUCKET, INSTANT].contains(&name)
    }
}

/// All of them, for a context.
pub(super) fn functions() -> Arc<dyn FunctionRegistry> {
    Arc::new(Functions)
}

fn field(fields: &[Field], index: usize) -> PolarsResult<Field> {
    fields.get(index).cloned().ok_or_else(|| polars_err!(SQLInterface: "a function has too few arguments"))
}

/// The type of all columns of times.
fn utc() -> DataType {
    DataType::Datetime(TimeUnit::Nanoseconds, Some(TimeZone::UTC))
}

fn json_text(arguments: &mut [Column]) -> PolarsResult<Column> {
    let [objects, name] = arguments else {
        polars_bail!(SQLInterface: "json_text(column, 'name') expects two arguments, got {}", arguments.len())
    };
    let wanted = constant(name, "json_text: expected a text as the name")?;
    let texts = objects.str()?.iter().map(|object| object.and_then(|object| member(object, &wanted)));
    Ok(StringChunked::from_iter_options(objects.name().clone(), texts).into_column())
}

fn member(object: &str, name: &str) -> Option<String> {
    // Cheaper than reading every object, and most do not have it: in JSON a name of plain letters stands as it is.
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) && !object.contains(name) {
        return None;
    }
    let serde_json::Value::Object(mut members) = serde_json::from_str(object).ok()? else { return None };
    match members.remove(name)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn time_bucket(arguments: &mut [Column]) -> PolarsResult<Column> {
    let [step, times] = arguments else {
        polars_bail!(SQLInterface: "time_bucket('5m', time) expects two arguments, got {}", arguments.len())
    };
    let text = constant(step, "time_bucket: expected a text as the step")?;
    let step = nanoseconds(&text).ok_or_else(
        || polars_err!(SQLInterface: "time_bucket: expected a step such as 30s, 5m, 1h or 1d, got {:?}", text),
    )?;
    let DataType::Datetime(TimeUnit::Nanoseconds, zone) = times.dtype().clone() else {
        polars_bail!(SQLInterface: "time_bucket: expected a column of times in nanoseconds, got {}", times.dtype())
    };
    let bucketed = times.datetime()?.physical().apply_values(|time| time - time.rem_euclid(step));
    Ok(bucketed.into_datetime(TimeUnit::Nanoseconds, zone).into_column())
}

fn instant(arguments: &mut [Column]) -> PolarsResult<Column> {
    let [texts] = arguments else {
        polars_bail!(SQLInterface: "instant('time') expects one argument, got {}", arguments.len())
    };
    let time = |text: &str| {
        let time = crate::rest::time(text).map(|time| time.0);
        time.ok_or_else(|| polars_err!(SQLInterface: "instant: expected {}, got {:?}", crate::rest::TIME, text))
    };
    let times = texts.str()?.iter().map(|text| text.map(time).transpose()).collect::<PolarsResult<Vec<_>>>()?;
    let times: Int64Chunked = NewChunkedArray::from_iter_options(texts.name().clone(), times.into_iter());
    Ok(times.into_datetime(TimeUnit::Nanoseconds, Some(TimeZone::UTC)).into_column())
}

fn constant(column: &Column, expected: &'static str) -> PolarsResult<String> {
    let texts = column.str().map_err(|_| polars_err!(SQLInterface: "{}", expected))?;
    // The types of an expression are found out with columns that are empty.
    let first = texts.iter().next().flatten().unwrap_or("1s").to_owned();
    polars_ensure!(texts.iter().all(|text| text == Some(first.as_str())), SQLInterface: "{}", expected);
    Ok(first)
}

fn nanoseconds(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 5] = [
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: i64 = text[..digits].parse().ok()?;
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == &text[digits..])?;
    number.checked_mul(*unit).filter(|step| *step > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbers_with_a_unit() {
        for (text, expected) in [
            ("5m", Some(300_000_000_000)),
            ("250ms", Some(250_000_000)),
            ("1d", Some(86_400_000_000_000)),
            ("0s", None),
            ("m", None),
            ("5", None),
            ("5x", None),
            ("99999999999999999999d", None),
            ("200000000d", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn members_are_texts_as_they_are_and_others_as_json() {
        let object = r#"{"a.b":"x","n":1.5,"l":[1,2],"z":null,"é":"y"}"#;
        for (name, expected) in
            [("a.b", Some("x")), ("n", Some("1.5")), ("l", Some("[1,2]")), ("z", None), ("é", Some("y")), ("no", None)]
        {
            assert_eq!(member(object, name).as_deref(), expected, "{name}");
        }
        assert_eq!(member("[]", "a"), None);
        assert_eq!(member("no json", "a"), None);
    }
}
