use serde_json::{Value, json};

use super::*;
use crate::Secret;

fn url(text: &str) -> WebhookUrl {
    WebhookUrl::parse(text).expect("is a URL")
}

/// A message of `count` alerts of which the last is resolved if there are several, each with this summary.
fn message(count: usize, summary: &str) -> String {
    let alert = |i: usize| {
        let status = if i + 1 == count && count > 1 { "resolved" } else { "firing" };
        json!({
            "status": status,
            "labels": {"alertname": "HighLatency", "service": "shop", "severity": "warning", "instance": format!("i{i}")},
            "annotations": {"summary": summary, "runbook_url": "http://bw/runbooks/high-latency"},
            "startsAt": "2026-01-02T03:04:05Z", "endsAt": if status == "firing" { "0001-01-01T00:00:00Z" } else { "2026-01-02T04:00:00Z" },
            "generatorURL": "http://bw/anomalies/a1", "fingerprint": format!("{i:016x}"),
            "bellwether": {"episode": format!("e{i}"), "anomalies": [{"id": "a1", "explanation": "p95 is 3 times its band"}]},
        })
    };
    json!({
        "receiver": "ops", "status": "firing", "version": "4", "groupKey": "{}:{x}", "truncatedAlerts": 0,
        "groupLabels": {"alertname": "HighLatency"}, "commonLabels": {"alertname": "HighLatency", "service": "shop"},
        "commonAnnotations": {}, "externalURL": "http://bw", "alerts": (0..count).map(alert).collect::<Vec<_>>(),
    })
    .to_string()
}

fn sending(payload: &str) -> Sending<'_> {
    let created = UnixNanos(1_767_322_800_000_000_000);
    Sending { id: "msg_1", thread: "g1", payload, most: usize::MAX, at: 1_767_322_800, created }
}

fn rendered(target: &Target, payload: &str) -> Result<Outgoing, String> {
    Integration::new("x/0", target.clone()).render(&sending(payload), &mut Vec::new())
}

fn render(target: &Target, payload: &str) -> (Vec<(&'static str, String)>, Value, usize) {
    let request = match rendered(target, payload).expect("is rendered") {
        Outgoing::Http(request) => request,
        Outgoing::Batches(mut requests) if requests.len() == 1 => requests.remove(0),
        other => unreachable!("it is sent by HTTP, at once, and not as {other:?}"),
    };
    let size = request.body.len();
    (request.headers, serde_json::from_str(&request.body).expect("is JSON"), size)
}

fn slack(token: Option<&str>) -> Slack {
    let token = token.map(Secret::new);
    let channel = token.as_ref().map(|_| "#ops".to_owned());
    Slack {
        url: url("https://hooks.slack.com/services/T0/B0/SECRETSECRET"),
        token,
        channel,
        username: None,
        icon_emoji: None,
    }
}

fn email() -> Email {
    let boxes = |text| Email::mailboxes(text).expect("are mailboxes");
    Email {
        smarthost: Smarthost::parse("127.0.0.1:25").expect("is a host"),
        tls: TlsMode::Off,
        from: boxes("Bellwether <bw@example.com>").remove(0),
        to: boxes("a@example.com, B <b@example.com>"),
        auth: None,
        hello: "localhost".into(),
    }
}

/// What somebody may put into a label to be obeyed instead of shown.
const HOSTILE: &str =
    "<!channel> <script>alert(1)</script> [x](javascript:alert(1)) \r\nBcc: all@example.com\n* & ${{7*7}} \u{1b}[31m";

#[test]
fn a_webhook_is_signed_with_every_key() {
    // The example of the Standard Webhooks specification.
    let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("is a key");
    let other = SigningKey::parse(&format!("whsec_{}", "QUJD".repeat(10))).expect("is a key");
    let webhook = Webhook { signing_keys: vec![key, other], ..Webhook::to(url("http://h/")) };
    let of = Sending {
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        thread: "t",
        payload: "{\"test\": 2432232314}",
        most: usize::MAX,
        at: 1_614_265_330,
        created: UnixNanos::default(),
    };
    let request = webhook.render(&of, None).expect("is rendered");
    let signature =
        request.headers.iter().find(|(name, _)| *name == "webhook-signature").map(|(_, value)| value.as_str());
    let signature = signature.expect("is signed");
    assert!(signature.starts_with("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,"), "{signature}");
    assert_eq!(request.body, of.payload);
    let event = Webhook { format: WebhookFormat::CloudEvents, ..webhook }.render(&of, None).expect("is rendered");
    let signature_of = |r: &HttpRequest| r.headers.iter().find(|(n, _)| *n == "webhook-signature").cloned();
    assert!(signature_of(&event).is_some() && signature_of(&event) != signature_of(&request), "its own body is signed");
    for bad in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ", "whsec_!!!", &format!("whsec_{}", "QUJD".repeat(40))]
    {
        let error = SigningKey::parse(bad).expect_err("is none");
        assert!(!error.contains("MfKQ"), "{error}");
    }
}

// B3
#[test]
fn the_rust_library_verifies_our_signatures_and_no_bit_may_be_another() {
    let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &format!("whsec_{}", "QUJD".repeat(10))];
    let signing_keys = secrets.iter().map(|secret| SigningKey::parse(secret).expect("is a key")).collect();
    let webhook = Webhook { signing_keys, ..Webhook::to(url("http://h/")) };
    let at = crate::clock::now().0 / 1_000_000_000;
    let request = webhook.render(&Sending { at, ..sending("{\"status\": \"firing\", \"ä\": 1}") }, None);
    let request = request.expect("is rendered");
    let verifies = |secret: &str, body: &[u8], changed: Option<(&str, &[u8])>| {
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in &request.headers {
            let value = changed.filter(|(other, _)| other == name).map_or(value.as_bytes(), |(_, value)| value);
            let Ok(value) = reqwest::header::HeaderValue::from_bytes(value) else { return false };
            headers.insert(*name, value);
        }
        let library = standardwebhooks::Webhook::new(secret).expect("is a key");
        library.verify(body, &headers).is_ok()
    };
    let flipped = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    let body = request.body.as_bytes();
    assert!(secrets.iter().all(|secret| verifies(secret, body, None)), "both while one is replaced");
    assert!(!verifies(&format!("whsec_{}", "QUJE".repeat(10)), body, None));
    assert!((0..8 * body.len()).all(|bit| !verifies(secrets[0], &flipped(body, bit), None)));
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = request.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes());
        let value = value.expect("is there");
        // Of the signatures the first is that of the first secret.
        let length = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        for bit in 0..8 * length {
            assert!(!verifies(secrets[0], body, Some((name, &flipped(value, bit)))), "{name}: bit {bit}");
        }
    }
}

#[test]
fn a_webhook_may_want_only_so_many_alerts() {
    let webhook = Target::Webhook(Webhook { max_alerts: 2, ..Webhook::to(url("http://h/")) });
    let (_, body, _) = render(&webhook, &message(5, "slow"));
    assert_eq!((body["alerts"].as_array().map(Vec::len), &body["truncatedAlerts"]), (Some(2), &json!(3)));
    let (_, body, _) = render(&webhook, &message(2, "slow"));
    assert_eq!((body["alerts"].as_array().map(Vec::len), &body["truncatedAlerts"]), (Some(2), &json!(0)));
}

#[test]
fn a_webhook_gets_as_many_alerts_as_fit_and_one_at_least() {
    let payload = message(100, "slow");
    let rendered = |most| Webhook::to(url("http://h/")).render(&Sending { most, ..sending(&payload) }, None);
    for most in [payload.len(), payload.len() / 2, payload.len() / 10, 1] {
        let body = rendered(most).expect("is rendered").body;
        let read: Value = serde_json::from_str(&body).expect("is JSON");
        let (kept, left) = (read["alerts"].as_array().map_or(0, Vec::len), &read["truncatedAlerts"]);
        assert_eq!(*left, json!(100 - kept), "{most}");
        assert!(kept == 1 || body.len() <= most, "{} of {most}", body.len());
        assert!(kept == 1 || body.len() > most * 9 / 10 - 200, "{} of {most}", body.len());
    }
    assert_eq!(rendered(payload.len()).expect("is rendered").body, payload);
}

#[test]
fn an_alertmanager_gets_alerts_that_end_unless_they_are_told_again() {
    let peer = Alertmanager::peer(&url("http://am:9093"));
    assert_eq!(peer.url.as_url().as_str(), "http://am:9093/api/v2/alerts");
    let (_, body, _) = render(&Target::Alertmanager(peer), &message(2, "slow"));
    let ends: Vec<&str> =
        body.as_array().expect("is a list").iter().filter_map(|alert| alert["endsAt"].as_str()).collect();
    assert_eq!(ends, ["2026-01-02T03:04:00Z", "2026-01-02T04:00:00Z"]);
    assert_eq!((&body[0]["labels"]["instance"], body[0].get("bellwether")), (&json!("i0"), None));
}

#[test]
fn an_alertmanager_gets_alerts_in_batches_and_none_is_left_out() {
    let peer = Target::Alertmanager(Alertmanager::peer(&url("http://am:9093")));
    let Ok(Outgoing::Batches(requests)) = rendered(&peer, &message(600, "slow")) else {
        unreachable!("it is sent in batches")
    };
    let read = |request: &HttpRequest| serde_json::from_str::<Vec<Value>>(&request.body).expect("is a list");
    let batches: Vec<Vec<Value>> = requests.iter().map(read).collect();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [256, 256, 88]);
    let instances: Vec<String> =
        batches.iter().flatten().map(|a| a["labels"]["instance"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(instances, (0..600).map(|i| format!("i{i}")).collect::<Vec<_>>());
}

#[test]
fn slack_fits_its_limits_and_nothing_in_it_is_a_mention() {
    for (count, summary) in [(1, "slow".to_owned()), (500, "x".repeat(5_000)), (3, HOSTILE.to_owned())] {
        let (headers, body, _) = render(&Target::Slack(slack(Some("xoxb-1"))), &message(count, &summary));
        let attachment = &body["attachments"][0];
        let text = attachment["text"].as_str().expect("is text");
        assert!(text.chars().count() <= 3_000, "{count}");
        for obeyed in ["<!", "<script", "\u{1b}"] {
            assert!(!body.to_string().contains(obeyed), "{obeyed}: {body}");
        }
        assert_eq!((&body["channel"], &attachment["color"]), (&json!("#ops"), &json!("warning")));
        assert!(text.contains("<http://bw/runbooks/high-latency|Runbook>"), "{text}");
        assert!(headers.contains(&("authorization", "Bearer xoxb-1".into())));
        assert_eq!(text.contains("… and"), count == 500, "{text}");
    }
}

#[test]
fn slack_says_inside_what_it_thinks() {
    let (hook, method) = (slack(None), slack(Some("t")));
    assert_eq!(hook.read_answer(200, "ok"), Meaning::Plain);
    assert_eq!(hook.read_answer(400, "invalid_payload"), Meaning::Refused);
    assert_eq!(hook.read_answer(404, "no_service"), Meaning::Plain);
    assert_eq!(method.read_answer(200, "{\"ok\":true}"), Meaning::Plain);
    assert!(matches!(method.read_answer(200, "{\"ok\":false,\"error\":\"ratelimited\"}"), Meaning::TooFast(_)));
    assert!(
        matches!(method.read_answer(200, "{\"ok\":false,\"error\":\"channel_not_found\"}"), Meaning::Failed(e) if e.contains("channel_not_found"))
    );
    assert!(matches!(method.read_answer(200, "<html>"), Meaning::Failed(_)));
    assert_eq!(method.read_answer(200, "{\"ok\":false,\"error\":\"msg_too_long\"}"), Meaning::Refused);
}

#[test]
fn pagerduty_opens_and_closes_one_incident_per_thread() {
    let service = Target::PagerDuty(PagerDuty::of(Secret::new("R0UTE")));
    let (_, trigger, _) = render(&service, &message(1, "slow"));
    let resolved = message(1, "slow").replace("\"status\":\"firing\"", "\"status\":\"resolved\"");
    let (_, resolve, _) = render(&service, &resolved);
    assert_eq!((&trigger["event_action"], &resolve["event_action"]), (&json!("trigger"), &json!("resolve")));
    assert_eq!(trigger["dedup_key"], resolve["dedup_key"]);
    assert!(trigger["dedup_key"].as_str().is_some_and(|key| key.len() <= 255));
    let payload = &trigger["payload"];
    assert_eq!((&payload["severity"], &payload["component"]), (&json!("warning"), &json!("shop")));
    assert_eq!(payload["summary"], "[FIRING:1] HighLatency (shop): slow");
    assert_eq!(trigger["links"][0]["href"], "http://bw/runbooks/high-latency");
    let text = message(1, "slow");
    let elsewhere = Sending { thread: "g2", ..sending(&text) };
    let Ok(Outgoing::Http(other)) = Integration::new("x/0", service.clone()).render(&elsewhere, &mut Vec::new()) else {
        unreachable!("it is sent by HTTP")
    };
    assert!(
        !other.body.contains(trigger["dedup_key"].as_str().expect("is text")),
        "another thread is another incident"
    );
    let (_, body, size) = render(&service, &message(2_000, &HOSTILE.repeat(200)));
    assert!(
        size < 512 * 1024 && body["payload"]["summary"].as_str().is_some_and(|s| s.chars().count() <= 1_024),
        "{size}"
    );
    assert_eq!(service.read_answer(400, ""), Meaning::Refused);
    assert_eq!(service.read_answer(429, ""), Meaning::Plain);
}

#[test]
fn a_severity_is_one_that_pagerduty_knows_and_the_gravest() {
    for (given, expected) in
        [("critical", "critical"), ("page", "critical"), ("info", "info"), ("high", "error"), ("", "error")]
    {
        let text = message(1, "s").replace("\"severity\":\"warning\"", &format!("\"severity\":{given:?}"));
        assert_eq!(read(&text).expect("reads").severity(), expected, "{given}");
    }
    let two = message(3, "s").replacen("\"severity\":\"warning\"", "\"severity\":\"critical\"", 1);
    assert_eq!(read(&two).expect("reads").severity(), "critical");
}

#[test]
fn a_card_for_teams_fits_and_lies_are_seen_through() {
    let teams = Target::Teams(Teams { url: url("https://teams.example.com/workflows/SECRETSECRET") });
    for (count, summary) in [(1, "slow".to_owned()), (1_000, "ä".repeat(5_000)), (3, HOSTILE.to_owned())] {
        let (_, body, size) = render(&teams, &message(count, &summary));
        assert!(size <= 28 * 1024, "{size}");
        let card = &body["attachments"][0]["content"];
        assert_eq!(
            (&card["type"], &body["attachments"][0]["contentType"]),
            (&json!("AdaptiveCard"), &json!("application/vnd.microsoft.card.adaptive"))
        );
        assert!(!body.to_string().contains("](javascript"), "{body}");
        assert_eq!(card["actions"][0]["url"], "http://bw/runbooks/high-latency");
    }
    let lie = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId tcid=0";
    assert!(matches!(teams.read_answer(200, lie), Meaning::TooFast(_)));
    assert!(matches!(teams.read_answer(200, &lie.replace("429", "502")), Meaning::Failed(_)));
    assert_eq!(
        (teams.read_answer(200, "1"), teams.read_answer(202, ""), teams.read_answer(429, lie)),
        (Meaning::Plain, Meaning::Plain, Meaning::Plain)
    );
}

#[test]
fn a_mail_is_recognised_when_it_comes_again_and_no_header_comes_from_a_label() {
    let text =
        message(2, HOSTILE).replace("\"alertname\":\"HighLatency\"", "\"alertname\":\"A\\r\\nBcc: x@example.com\"");
    let once = || {
        let Outgoing::Mail(mail) = rendered(&Target::Email(email()), &text).expect("is rendered") else {
            unreachable!("it is a mail")
        };
        String::from_utf8(mail.letter.formatted()).expect("is ASCII")
    };
    let (first, second) = (once(), once());
    let (head, body) = first.split_once("\r\n\r\n").expect("has a head");
    assert!(
        head.contains("Message-ID: <msg_1@example.com>") && second.contains("Message-ID: <msg_1@example.com>"),
        "{head}"
    );
    assert!(head.contains("To: a@example.com, B <b@example.com>") && head.contains("Subject: [FIRING:1] A"), "{head}");
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    let (_, html) = body.split_once("text/html").expect("has a part in HTML");
    assert!(!html.contains("<script>") && html.contains("&lt;script"), "{body}");
    assert!(Email::mailboxes("nobody").is_err() && Email::mailboxes("").is_err());
    for bad in ["host", "host:0", ":25", "a b:25", "host:x"] {
        assert!(Smarthost::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_line_for_a_file_is_one_line_of_json() {
    let payload = message(1, HOSTILE);
    let Outgoing::Line(line) = rendered(&Target::File(FileSink::Stdout), &payload).expect("is rendered") else {
        unreachable!("it is a line")
    };
    assert_eq!(line.matches('\n').count(), 1);
    let parsed: Value = serde_json::from_str(&line).expect("is JSON");
    assert_eq!((&parsed["id"], &parsed["message"]["version"]), (&json!("msg_1"), &json!("4")));
}

#[test]
fn secrets_of_no_integration_are_shown() {
    let auth = Some(MailAuth { username: "u".into(), password: Secret::new("CANARY") });
    let canary = url("https://user:CANARY@h/CANARY-in-the-path?key=CANARY");
    let keyed = Webhook {
        authorization: Some(Secret::new("Bearer CANARY")),
        signing_keys: vec![SigningKey::parse(&format!("whsec_{}", "CANARYaa".repeat(5))).expect("is a key")],
        ..Webhook::to(canary.clone())
    };
    let targets = [
        Target::Webhook(keyed),
        Target::Alertmanager(Alertmanager {
            authorization: Some(Secret::new("CANARY")),
            ..Alertmanager::peer(&canary)
        }),
        Target::Slack(Slack { url: canary.clone(), token: Some(Secret::new("CANARY")), ..slack(None) }),
        Target::PagerDuty(PagerDuty { url: canary.clone(), ..PagerDuty::of(Secret::new("CANARY")) }),
        Target::Teams(Teams { url: canary.clone() }),
        Target::Email(Email { auth, ..email() }),
    ];
    for target in targets {
        let shown =
            format!("{:?} {:?} {}", Integration::new("k/0", target.clone()), target.redactor(), target.digest());
        assert!(!shown.contains("CANARY"), "{shown}");
        let said = target.redactor().redact(&format!("401: the key CANARY at {} is unknown", canary.as_url()));
        assert!(!said.contains("CANARY"), "{said}");
    }
}

#[test]
fn what_is_no_message_is_refused_and_no_panic() {
    for payload in ["", "[1]", "{\"alerts\": 1}", "null"] {
        let teams = Target::Teams(Teams { url: url("http://h/") });
        assert!(rendered(&teams, payload).is_err(), "{payload}");
    }
    let empty = rendered(&Target::Alertmanager(Alertmanager::peer(&url("http://h/"))), "{}");
    assert!(matches!(empty, Ok(Outgoing::Nothing)));
}

/// What `target` sends with these templates, and what is wrong with them.
fn with_own(target: Target, own: &[(&'static str, &str)], payload: &str) -> (Outgoing, Vec<String>) {
    let templates = Templates::default();
    let mut integration = Integration::new("x/0", target);
    integration.own.texts = own.iter().map(|(name, text)| (*name, templates.read(text).expect("is right"))).collect();
    if own.iter().any(|(name, _)| *name == "details") {
        let details = integration.own.texts.remove("details").expect("is there");
        integration.own.details.insert("note".to_owned(), details);
    }
    let mut faults = Vec::new();
    (integration.render(&sending(payload), &mut faults).expect("is rendered"), faults)
}

fn own_json(target: Target, own: &[(&'static str, &str)], payload: &str) -> (Value, Vec<String>) {
    let (Outgoing::Http(request), faults) = with_own(target, own, payload) else { unreachable!("it is sent by HTTP") };
    (serde_json::from_str(&request.body).expect("is JSON"), faults)
}

#[test]
fn slack_says_it_in_ones_own_words_and_telemetry_is_no_mention_there_either() {
    let own = [
        ("title", "{{ template \"slack.default.title\" . }}"),
        ("text", "<!here> {{ range .Alerts }}{{ .Annotations.summary }} <{{ .GeneratorURL }}|go> {{ end }}"),
        ("pretext", "{{ .CommonLabels.service }}"),
        ("color", "{{ if eq .Status \"firing\" }}#ff0000{{ else }}good{{ end }}"),
        ("username", "bw-{{ .Receiver }}"),
        ("title_link", "javascript:alert(1)"),
    ];
    let (body, faults) = own_json(Target::Slack(slack(None)), &own, &message(1, "<!channel> slow"));
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["title"], "[FIRING:1] HighLatency (shop)");
    assert_eq!(attachment["text"], "<!here> &lt;!channel&gt; slow <http://bw/anomalies/a1|go> ");
    assert_eq!((&attachment["pretext"], &attachment["color"]), (&json!("shop"), &json!("#ff0000")));
    assert_eq!((&body["username"], &attachment["title_link"]), (&json!("bw-ops"), &json!("http://bw")));
    assert_eq!(faults, [""; 0]);
    let (long, _) = own_json(Target::Slack(slack(None)), &own[1..2], &message(900, &"x".repeat(900)));
    assert_eq!(long["attachments"][0]["text"].as_str().map(|text| text.chars().count()), Some(3_000));
}

#[test]
fn a_template_that_fails_costs_nobody_a_notification() {
    let own = [("text", "{{ (index .Alerts 7).Status }}"), ("title", "own")];
    let (body, faults) = own_json(Target::Slack(slack(None)), &own, &message(1, "slow"));
    assert_eq!(body["attachments"][0]["title"], "own");
    assert!(body["attachments"][0]["text"].as_str().is_some_and(|text| text.contains("slow")), "{body}");
    assert_eq!(faults, ["text: line 1 of the template: there is no element 7 of 1"]);
    let service = || Target::PagerDuty(PagerDuty::of(Secret::new("R0UTE-KEY")));
    let (body, faults) = own_json(service(), &[("severity", "{{ .Receiver }}")], &message(1, "slow"));
    assert_eq!((&body["payload"]["severity"], faults.len()), (&json!("warning"), 1));
    let hook = || Target::Webhook(Webhook::to(url("http://h/")));
    let payload = message(1, "say \"slow\"");
    let (Outgoing::Http(request), faults) = with_own(hook(), &[("payload", "{{ .Status }}")], &payload) else {
        unreachable!("it is sent by HTTP")
    };
    assert_eq!(request.body, payload, "as without a template");
    assert!(faults[0].starts_with("payload: what it makes is no JSON"), "{faults:?}");
}

#[test]
fn pagerduty_teams_mail_and_webhooks_have_templates() {
    let own = [
        ("description", "{{ .GroupLabels.alertname }}!"),
        ("severity", "critical"),
        ("details", "{{ .Alerts.Firing | len }} fire"),
    ];
    let service = Target::PagerDuty(PagerDuty::of(Secret::new("R0UTE-KEY")));
    let (body, faults) = own_json(service, &own, &message(1, "slow"));
    let payload = &body["payload"];
    assert_eq!((&payload["summary"], &payload["severity"]), (&json!("HighLatency!"), &json!("critical")));
    assert_eq!((&payload["custom_details"]["note"], faults), (&json!("1 fire"), vec![]));
    let own = [
        ("title", "T {{ .Status }}"),
        ("text", "{{ range .Alerts }}[x]({{ .GeneratorURL }}) {{ .Annotations.summary }}{{ end }}"),
    ];
    let teams = || Target::Teams(Teams { url: url("http://h/") });
    let (body, _) = own_json(teams(), &own, &message(1, "[y](http://evil/)"));
    let blocks = &body["attachments"][0]["content"]["body"];
    assert_eq!((&blocks[0]["text"], blocks.as_array().map(Vec::len)), (&json!("T firing"), Some(2)));
    assert_eq!(blocks[1]["text"], "[x](http://bw/anomalies/a1) \\[y\\]\\(http://evil/\\)");
    let (Outgoing::Http(long), _) = with_own(teams(), &own, &message(500, &"\"x".repeat(400))) else {
        unreachable!("it is sent by HTTP")
    };
    assert!(long.body.len() <= 28 * 1024, "{}", long.body.len());
    let own = [
        ("subject", "S\n{{ .Status }}"),
        ("html", "<a href=\"{{ .CommonLabels.service }}\">{{ (index .Alerts 0).Annotations.summary }}</a>"),
        ("text", ""),
    ];
    let (Outgoing::Mail(mail), _) = with_own(Target::Email(email()), &own, &message(1, "<b>")) else {
        unreachable!("it is mailed")
    };
    let letter = String::from_utf8(mail.letter.formatted()).expect("is text");
    assert!(letter.contains("Subject: S firing") && !letter.contains("text/plain"), "{letter}");
    assert!(letter.contains("<a href=\"#\">&lt;b&gt;</a>"), "{letter}");
    let own = [("payload", "{\"n\": {{ len .Alerts }}, \"why\": {{ (index .Alerts 0).Explanations | toJson }}}")];
    let (body, _) = own_json(Target::Webhook(Webhook::to(url("http://h/"))), &own, &message(2, "slow"));
    assert_eq!(body, json!({"n": 2, "why": ["p95 is 3 times its band"]}));
}
