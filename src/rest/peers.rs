//! What other nodes of a cluster ask: whether this one has told something, before they do, and what people have said to
//! it.

use std::sync::Arc;

use alerting::Question;
use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use serde::Serialize;

use super::{Asked, Problem, Shared, body, json::json, params::Params, pin};

/// Greatest question that is read: a thousand alerts with long names.
const MAX_QUESTION: usize = 1 << 20;

/// The answer.
#[derive(Serialize)]
struct AnswerJson {
    told: bool,
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/peers/told", post(told)).route("/api/v1/peers/said", get(said))
}

/// `GET /api/v1/peers/said`: silences and acknowledgements that have changed since it was asked last.
async fn said(asked: Asked, request: Request) -> Result<Response, Problem> {
    let mut params = Params::of(request.uri());
    let instance = params.text("instance").unwrap_or_default();
    let after = params.read("after", "a whole number, `next` of the answer before", |text| text.parse().ok());
    params.finish()?;
    let page = asked.ledger(move |ledger| ledger.what_people_say(&instance, after.unwrap_or(0))).await?;
    Ok(json(StatusCode::OK, &page))
}

/// `POST /api/v1/peers/told`: whether the receiver has heard from this node what the question is about.
async fn told(asked: Asked, request: Request) -> Result<Response, Problem> {
    pin::refuse_cross_site(request.headers(), "ask as a peer")?;
    Params::of(request.uri()).finish()?;
    let bytes = body::read_json(request, MAX_QUESTION).await?;
    let question = read(&bytes)?;
    // Either of them would tell what the other one tells, or nothing that it has told itself.
    if asked.shared.api.info().position == Some(question.position) {
        let detail = format!("this node is at position {}, too: each needs one of its own", question.position);
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let told = asked.ledger(move |ledger| ledger.was_told(&question)).await?;
    Ok(json(StatusCode::OK, &AnswerJson { told }))
}

fn read(bytes: &[u8]) -> Result<Question, Problem> {
    let wrong = |reason: String| Problem::new(StatusCode::BAD_REQUEST, format!("the body is no question: {reason}"));
    let question: Question = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if question.is_sound() {
        return Ok(question);
    }
    let (most, chars) = (Question::MOST, Question::MOST_CHARS);
    Err(wrong(format!("expected an id of a notification, 1 to {most} alerts, and names of at most {chars} characters")))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;
    use crate::rest::testing::Fixture;

    fn question(id: &str, alerts: usize) -> String {
        let alert = r#"{"alert": "a", "announced": "firing", "startsAt": "1", "endsAt": null}"#;
        let (alerts, to) = (vec![alert; alerts].join(", "), r#""receiver": "r", "integration": "webhook/0""#);
        let at = r#""createdAt": "1795803087000000001""#;
        format!(r#"{{"position": 1, "id": "{id}", {to}, {at}, "alerts": [{alerts}]}}"#)
    }

    #[test]
    fn a_question_is_read_within_its_bounds() {
        let id = format!("msg_{}", "0a".repeat(16));
        for count in [1, Question::MOST] {
            assert_eq!(read(question(&id, count).as_bytes()).expect("is one").alerts.len(), count);
        }
        for wrong in [
            question(&id, 0),
            question(&id, Question::MOST + 1),
            question("msg_1", 1),
            question(&id, 1).replace(r#""position": 1"#, r#""position": 16"#),
            question(&format!("msg_{}\\n", "0a".repeat(16)), 1),
            question(&id, 1).replace("\"r\"", &format!("\"{}\"", "r".repeat(Question::MOST_CHARS + 1))),
            question(&id, 1).replace("createdAt", "created"),
            question(&id, 1).replace(r#""startsAt": "1""#, r#""startsAt": 1"#),
            question(&id, 1).replace(r#""startsAt": "1""#, r#""startsAt": "+1""#),
            question(&id, 1).replace(r#""startsAt": "1""#, r#""startsAt": "9223372036854775808""#),
            "[]".to_owned(),
        ] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong:.200}");
        }
    }

    #[tokio::test]
    async fn others_are_answered_and_a_node_at_the_same_place_is_told_so() {
        let service = Fixture::empty();
        let asked = question(&format!("msg_{}", "0a".repeat(16)), 1);
        let json = [("content-type", "application/json")];
        let ask = async |body: &str| service.send(Method::POST, "/api/v1/peers/told", &json, body).await;
        let answer = ask(&asked).await;
        assert_eq!((answer.status(), answer.json()), (200, serde_json::json!({"told": false})));
        let answer = ask(&asked.replace(r#""position": 1"#, r#""position": 7"#)).await;
        assert_eq!(answer.status(), 409);
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("position 7")));
        assert_eq!(ask("{}").await.status(), 400);
    }
}
