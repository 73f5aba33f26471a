//! `POST /api/v1/sql`: one statement over the windows and the ledger. Described for people in `docs/sql.md`.

use std::sync::Arc;

use axum::{Router, routing::post};

use super::Shared;

/// Where it is.
const PATH: &str = "/api/v1/sql";

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route(PATH, post(here::sql))
}

/// Where statements cannot be run, it says how to get there.
#[cfg(not(feature = "analysis"))]
mod here {
    use axum::http::StatusCode;

    use crate::{WITHOUT_ANALYSIS, rest::Problem};

    pub(super) async fn sql() -> Problem {
        Problem::new(StatusCode::NOT_IMPLEMENTED, WITHOUT_ANALYSIS)
    }
}

#[cfg(feature = "analysis")]
mod here {
    use std::time::Duration;

    use axum::{
        body::Body,
        extract::Request,
        http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
        response::Response,
    };
    use serde_json::{Map, Value};

    use crate::{
        analysis::{Answer, Failure, Format, Question},
        rest::{
            Asked, Problem, body,
            params::{self, Params, encoded},
            problem::Fault,
        },
    };

    /// Rows that are answered when nothing is said.
    const ROWS: usize = 10_000;
    /// Rows that may be asked for.
    const MAX_ROWS: usize = 100_000;
    /// How long a statement may take when nothing is said.
    const TIMEOUT: Duration = Duration::from_secs(10);
    /// How long it may be allowed to take, in seconds.
    const MAX_TIMEOUT: f64 = 60.0;
    /// The forms of an answer, the one that is given when nothing is said first.
    const FORMATS: [(&str, Format); 3] = [
        ("application/json", Format::Json),
        ("text/csv", Format::Csv),
        ("application/vnd.apache.arrow.stream", Format::Arrow),
    ];
    /// Whether there would have been more rows.
    const TRUNCATED: HeaderName = HeaderName::from_static("bellwether-truncated");
    const ROW_COUNT: HeaderName = HeaderName::from_static("bellwether-rows");

    pub(super) async fn sql(asked: Asked, request: Request) -> Result<Response, Problem> {
        let (media, format) = accepted(request.headers())?;
        let question = question(request, format).await?;
        match asked.shared.workers.answer(question, &asked.face).await {
            Ok(answer) => Ok(shown(media, answer)),
            Err(failure) => Err(problem(failure)),
        }
    }

    fn shown(media: &'static str, answer: Answer) -> Response {
        let mut response = Response::new(Body::from(answer.bytes));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(TRUNCATED, HeaderValue::from_static(if answer.truncated { "true" } else { "false" }));
        headers.insert(ROW_COUNT, HeaderValue::from(answer.rows));
        response
    }

    fn problem(failure: Failure) -> Problem {
        let blamed = |status, parameter: &str, detail: String| {
            let said = format!("{parameter}: {detail}");
            Problem { faults: vec![Fault { parameter: parameter.to_owned(), detail }], ..Problem::new(status, said) }
        };
        match failure {
            Failure::Query(detail) => blamed(StatusCode::BAD_REQUEST, "query", detail),
            Failure::Cost { parameter, detail } => blamed(StatusCode::UNPROCESSABLE_ENTITY, parameter, detail),
            Failure::Busy => Problem::busy("as many statements are being run as may be at the same time"),
            Failure::Ledger(error) => error.into(),
            Failure::Broken(error) => {
                tracing::error!(error, "a statement could not be run");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the statement could not be run; the log says why")
            }
        }
    }

    async fn question(request: Request, format: Format) -> Result<Question, Problem> {
        let mut params = Params::of(request.uri());
        let media = body::media_type(request.headers());
        let bytes = body::read(request.into_body()).await?;
        let not_text = || Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8 text");
        let text = str::from_utf8(&bytes).map_err(|_| not_text())?;
        match media.as_str() {
            "" | "text/plain" | "application/sql" => params.add(&format!("query={}", encoded(text))),
            "application/x-www-form-urlencoded" => params.add(text),
            "application/json" => params.add(&fields(text)?),
            _ => {
                let expected = "application/sql, application/json or application/x-www-form-urlencoded";
                let detail = format!("the body must have the Content-Type {expected}");
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
            }
        }
        let query = params.text("query");
        let rows = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_ROWS).contains(limit));
        let limit = params.read("limit", "1 to 100000", rows).unwrap_or(ROWS);
        let seconds = |text: &str| params::seconds(text).filter(|seconds| *seconds <= MAX_TIMEOUT);
        let time = |text: &str| seconds(text).map(Duration::from_secs_f64).filter(|time| !time.is_zero());
        let timeout = params.read("timeout", "a duration such as 30s, at most 60 s", time).unwrap_or(TIMEOUT);
        let (from, to) = (params.time("from"), params.time("to"));
        params.finish()?;
        let missing = || Problem::bad_parameters(vec![Fault::new("query", "a statement", "")]);
        Ok(Question { query: query.ok_or_else(missing)?, format, limit, timeout, from, to })
    }

    /// The fields of a JSON object, as a form has them.
    fn fields(text: &str) -> Result<String, Problem> {
        let fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            let detail = format!("the body is not a JSON object with the statement as its query: {error}");
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })?;
        let form = fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{}={}", encoded(name), encoded(&text))
        });
        Ok(form.collect::<Vec<_>>().join("&"))
    }

    /// The form that the client likes best of those that there are; the first one where it has no preference.
    fn accepted(headers: &HeaderMap) -> Result<(&'static str, Format), Problem> {
        let mut best: Option<(f64, (&'static str, Format))> = None;
        let (mut ranges, mut says) = (Vec::new(), false);
        for value in headers.get_all(header::ACCEPT) {
            says = true;
            ranges.extend(value.to_str().unwrap_or_default().split(',').map(str::to_ascii_lowercase));
        }
        if !says {
            return Ok(FORMATS[0]);
        }
        for format in FORMATS {
            let liking = ranges.iter().filter_map(|range| liking(range, format.0)).max_by_key(|(exact, _)| *exact);
            if let Some((_, liking)) = liking.filter(|(_, liking)| *liking > 0.0)
                && best.is_none_or(|(most, _)| liking > most)
            {
                best = Some((liking, format));
            }
        }
        best.map(|(_, format)| format).ok_or_else(|| {
            let there_are = FORMATS.map(|(media, _)| media).join(", ");
            Problem::new(StatusCode::NOT_ACCEPTABLE, format!("Accept: expected one of {there_are}"))
        })
    }

    /// How exactly a range of `Accept` means `media`, and how much it is liked.
    fn liking(range: &str, media: &str) -> Option<(u8, f64)> {
        let mut parts = range.split(';').map(str::trim);
        let exact = match parts.next()? {
            "*/*" => 0,
            range if range.strip_suffix("/*").is_some_and(|kind| media.split('/').next() == Some(kind)) => 1,
            range if range == media => 2,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.trim().parse().ok());
        Some((exact, weight.unwrap_or(0.0)))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn check(accept: Option<&str>, expected: Option<Format>) {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("is a value"));
            }
            assert_eq!(accepted(&headers).ok().map(|(_, format)| format), expected, "{accept:?}");
        }

        #[test]
        fn the_form_is_the_one_that_the_client_likes_best() {
            check(None, Some(Format::Json));
            check(Some("*/*"), Some(Format::Json));
            check(Some("text/csv"), Some(Format::Csv));
            check(Some("Text/*, application/json;q=0.5"), Some(Format::Csv));
            check(Some("application/vnd.apache.arrow.stream, */*;q=0.1"), Some(Format::Arrow));
            check(Some("application/json;q=0, */*"), Some(Format::Csv));
            check(Some("text/html, application/xml;q=0.9"), None);
            check(Some("text/csv;q=x"), None);
        }

        #[test]
        fn a_json_body_is_read_as_a_form() {
            let form = fields(r#"{"query": "SELECT 1 & 2", "limit": 5, "from": null}"#).expect("is an object");
            let mut params = Params::parse(&form);
            assert_eq!(params.text("query").as_deref(), Some("SELECT 1 & 2"));
            assert_eq!(params.text("limit").as_deref(), Some("5"));
            assert_eq!(params.finish(), Ok(()));
            assert!(fields("[1]").is_err());
        }
    }
}
