//! What people say of anomalies: what would follow, shown with a trial on the recent window; done when asked; undone.

use std::sync::Arc;

use alerting::{Feedback, Order};
use axum::{
    Router,
    extract::{Path, Request},
    http::{StatusCode, Uri},
    response::Response,
    routing::{delete, get, post},
};
use detect::{Anomaly, Change, Correction, Trial, Verdict, try_out};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Asked, Problem, Shared,
    anomalies::find,
    asked::blocking,
    body,
    fields::Fields,
    json::{List, json, rfc3339},
    params::Params,
    pin::{refuse_cross_site, tell},
};
use crate::pipeline::{Command, now};

const FIELDS: [&str; 4] = ["verdict", "apply", "author", "comment"];

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/anomalies/{id}/feedback", post(say))
        .route("/api/v1/feedback", get(list))
        .route("/api/v1/feedback/{id}", delete(undo))
}

/// What somebody said, or would have said.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FeedbackJson {
    /// `null` of what was only proposed.
    id: Option<String>,
    anomaly_id: String,
    verdict: &'static str,
    author: String,
    comment: String,
    at: Option<String>,
    change: ChangeJson,
    backtest: BacktestJson,
    applied: bool,
    undone_at: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeJson {
    kind: &'static str,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_second_of_week: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until_second_of_week: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BacktestJson {
    points: usize,
    from: Option<String>,
    to: Option<String>,
    anomalies_before: usize,
    anomalies_after: usize,
}

impl From<&Feedback> for FeedbackJson {
    fn from(said: &Feedback) -> Self {
        Self {
            id: Some(said.id.clone()),
            anomaly_id: said.anomaly_id.clone(),
            verdict: said.verdict.as_str(),
            author: said.author.clone(),
            comment: said.comment.clone(),
            at: Some(rfc3339(said.at)),
            change: ChangeJson::of(said.change, &said.description),
            backtest: BacktestJson::from(&said.trial),
            applied: said.undone_at.is_none(),
            undone_at: said.undone_at.map(rfc3339),
        }
    }
}

impl ChangeJson {
    fn of(change: Change, description: &str) -> Self {
        let plain = |kind| Self {
            kind,
            description: description.to_owned(),
            factor: None,
            from_second_of_week: None,
            until_second_of_week: None,
        };
        match change {
            Change::None => plain("none"),
            Change::Threshold { factor } => Self { factor: Some(factor), ..plain("threshold") },
            Change::Exclusion { from, until } => {
                Self { from_second_of_week: Some(from), until_second_of_week: Some(until), ..plain("exclusion") }
            }
            Change::Baseline => plain("re-baseline"),
        }
    }
}

impl From<&Trial> for BacktestJson {
    fn from(trial: &Trial) -> Self {
        Self {
            points: trial.points,
            from: trial.from.map(rfc3339),
            to: trial.to.map(rfc3339),
            anomalies_before: trial.anomalies_before,
            anomalies_after: trial.anomalies_after,
        }
    }
}

/// What a request says.
#[derive(Debug, PartialEq)]
struct Said {
    verdict: Verdict,
    apply: bool,
    author: String,
    comment: String,
}

/// `POST /api/v1/anomalies/{id}/feedback`: what would follow, or, with `apply`, that it was done.
async fn say(asked: Asked, Path(id): Path<String>, request: Request) -> Result<Response, Problem> {
    refuse_cross_site(request.headers(), "say what an anomaly was")?;
    Params::of(request.uri()).finish()?;
    let bytes = body::read_json(request, body::MAX_BODY).await?;
    let fields = serde_json::from_slice(&bytes).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, format!("the body is not a JSON object with a verdict: {error}"))
    })?;
    let said = read(&fields)?;
    let anomaly = find(&asked, id).await?;
    let Some(change) = Change::proposed(said.verdict, &anomaly) else {
        let detail = format!(
            "nothing follows from {} for what the detector {} found; `detect.metrics` has settings",
            said.verdict.as_str(),
            anomaly.detector.as_str()
        );
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    };
    let feedback = proposal(&asked, said.verdict, anomaly, change).await?;
    if !said.apply {
        let proposed = FeedbackJson {
            id: None,
            at: None,
            applied: false,
            author: said.author,
            comment: said.comment,
            ..FeedbackJson::from(&feedback)
        };
        return Ok(json(StatusCode::OK, &proposed));
    }
    let feedback = Feedback { author: said.author, comment: said.comment, ..feedback };
    apply(&asked, feedback).await
}

/// What follows from `verdict`, tried on the recent window.
async fn proposal(asked: &Asked, verdict: Verdict, anomaly: Anomaly, change: Change) -> Result<Feedback, Problem> {
    let (view, config) = (asked.view(), asked.shared.api.info().trial.clone());
    let at = now();
    let work = move || Feedback {
        id: format!("fb-{}-{:x}", anomaly.id, at.0),
        verdict,
        author: String::new(),
        comment: String::new(),
        at,
        series: Correction::subject(&anomaly),
        change,
        description: change.describe(&anomaly),
        trial: try_out(&view.snapshot, &config, &anomaly, change),
        undone_at: None,
        anomaly_id: anomaly.id,
    };
    Ok(asked.compute(work).await?)
}

/// On disk, then in force, then answered.
async fn apply(asked: &Asked, feedback: Feedback) -> Result<Response, Problem> {
    let (operator, written) = (asked.operator()?, feedback.clone());
    blocking(move || operator.add_feedback(&written)).await?;
    if let Some(series) = feedback.series.filter(|_| feedback.change != Change::None) {
        let correction = Correction { id: feedback.id.clone(), series, change: feedback.change };
        let tenant = asked.face.tenant.clone();
        tell(asked, "the change", |done| Command::Correct { tenant, correction, done }).await?;
    }
    Ok(json(StatusCode::CREATED, &FeedbackJson::from(&feedback)))
}

/// `GET /api/v1/feedback`: everything that was said.
async fn list(asked: Asked, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let anomaly = params.text("anomaly");
    let page = params.page(Order::Descending);
    params.finish()?;
    let listed = asked.ledger(move |ledger| ledger.feedback(anomaly, page)).await?;
    Ok(json(StatusCode::OK, &List::of(&listed, |item| FeedbackJson::from(item))))
}

/// `DELETE /api/v1/feedback/{id}`: takes the change back. What was taken back before stays as it is.
async fn undo(asked: Asked, Path(id): Path<String>, request: Request) -> Result<Response, Problem> {
    refuse_cross_site(request.headers(), "take a change back")?;
    Params::of(request.uri()).finish()?;
    let (operator, wanted, at) = (asked.operator()?, id.clone(), now());
    let undone = blocking(move || operator.undo_feedback(&wanted, at)).await?;
    let undone = undone.ok_or_else(|| Problem::not_found("feedback", &id))?;
    let tenant = asked.face.tenant.clone();
    tell(&asked, "the change", |done| Command::Undo { tenant, correction: id, done }).await?;
    Ok(json(StatusCode::OK, &FeedbackJson::from(&undone)))
}

/// What `fields` say, or everything that is wrong with them.
fn read(fields: &Map<String, Value>) -> Result<Said, Problem> {
    let mut fields = Fields::of(fields, "feedback", &FIELDS);
    let verdict = fields.get("verdict").as_str();
    let verdict = verdict.and_then(|text| Verdict::ALL.into_iter().find(|v| v.as_str() == text));
    if verdict.is_none() {
        fields.fault("verdict", &Verdict::ALL.map(Verdict::as_str).join(", "));
    }
    let apply = fields.get("apply");
    let apply = apply.as_bool().or_else(|| apply.is_null().then_some(false));
    if apply.is_none() {
        fields.fault("apply", "true or false");
    }
    // Who changes something says who that is.
    let is_named = apply == Some(true) || !fields.get("author").is_null();
    let author = if is_named { fields.text("author", usize::from(apply == Some(true)), 200) } else { String::new() };
    let comment = if fields.get("comment").is_null() { String::new() } else { fields.text("comment", 0, 2_000) };
    fields.finish(verdict.zip(apply).map(|(verdict, apply)| Said { verdict, apply, author, comment }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(fields: &Value) -> Result<Said, Vec<String>> {
        let read = super::read(fields.as_object().expect("is an object"));
        read.map_err(|problem| problem.faults.into_iter().map(|f| f.parameter).collect())
    }

    #[test]
    fn a_verdict_is_enough_to_ask_and_an_author_is_needed_to_change() {
        let asks = read(&json!({"verdict": "expected"})).expect("is feedback");
        assert_eq!((asks.verdict, asks.apply), (Verdict::Expected, false));
        assert_eq!(read(&json!({"verdict": "expected", "apply": true})).expect_err("is refused"), ["author"]);
        let does = read(&json!({"verdict": "new_normal", "apply": true, "author": "ada", "comment": "moved"}));
        assert_eq!(does.map(|said| (said.author, said.comment)), Ok(("ada".into(), "moved".into())));
    }

    #[test]
    fn every_bad_field_is_named_at_once() {
        let all = json!({"verdict": "maybe", "apply": 1, "author": 2, "comment": 3, "color": 4});
        assert_eq!(read(&all).expect_err("is refused"), ["color", "verdict", "apply", "author", "comment"]);
    }
}
