//! What a stranger may send: nothing of it may panic, hang or fill the memory, and every refusal
//! says what is wrong and where.

use std::time::Duration;

use bellwether_query::{Options, Query, QueryError, Value};
use fastrand::Rng;
use window::{Labels, Snapshot, UnixNanos};

use crate::support::{Data, moment};

fn refusal(text: &str) -> String {
    Query::parse(text).map_or_else(|e| e.to_string(), |_| format!("{text} was accepted"))
}

#[test]
fn what_is_not_built_is_refused_by_name_and_place() {
    let cases = [
        ("1 + histogram_stddev(m)", "function `histogram_stddev` at 1:5 is not supported"),
        ("m\n  - nonsense(m)", "function `nonsense` at 2:5 is not supported"),
        ("topk(3, m)", "aggregation `topk` at 1:1 is not supported"),
        ("m{topk=\"1\"} > bottomk by (x) (3, m)", "aggregation `bottomk` at 1:15 is not supported"),
        ("QUANTILE(0.5, m)", "aggregation `quantile` at 1:1 is not supported"),
        ("stddev(m)", "aggregation `stddev` at 1:1 is not supported"),
        ("count_values(\"v\", m)", "aggregation `count_values` at 1:1 is not supported"),
        ("m @ 10", "modifier `@` at 1:3 is not supported"),
        ("rate(m[1m] @ end())", "modifier `@` at 1:12 is not supported"),
        ("rate(m[1m]) + max_over_time(m[5m:1m])", "subquery at 1:30 is not supported"),
        ("a * on(x) group_left b", "modifier `group_left` at 1:11 is not supported"),
        ("a * on(x) group_right(y) b", "modifier `group_right` at 1:11 is not supported"),
        ("a + fill(0) b", "modifier `fill` at 1:5 is not supported"),
        ("m{a=\"1\" or b=\"2\"}", "`or` between matchers at 1:9 is not supported"),
        ("absent_over_time(m[5m])", "function `absent_over_time` at 1:1 is not supported"),
        ("\"topk(\" # topk(\n+ floor(m)", "function `floor` at 2:3 is not supported"),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn faults_in_the_text_are_said() {
    let cases = [
        ("", "no expression found"),
        ("m +", "parse error"),
        ("(m", "parse error at 1:1: \"(\" is not closed"),
        ("m)", "parse error at 1:2: unexpected \")\""),
        ("m{a=\"b}", "parse error at 1:5: string is not closed"),
        ("m{a=~\"(\"}", "parse error at 1:6: illegal regular expression \"(\""),
        ("m{a=\"\\∞\"}", "parse error at 1:5: unknown escape sequence \\∞"),
        ("m{a=~\"(a{1000}){1000}\"}", "is too large"),
        ("{}", "at least one non-empty matcher"),
        ("{a=~\".*\"}", "at least one non-empty matcher"),
        ("{a=\"\"}", "at least one non-empty matcher"),
        ("rate(m)", "expected type matrix"),
        ("sum(m[1m])", "expected type vector"),
        ("m[1m] + 1", "scalar and instant vector"),
        ("1 and m", "set operator 'and' not allowed in binary scalar expression"),
        ("1 > 2", "comparisons between scalars must use BOOL modifier"),
        ("1 + on(x) 2", "vector matching only allowed between vectors"),
        ("-\"text\"", "unary expression only allowed on expressions of type scalar or vector"),
        ("rate(m[0])", "duration \"0\" at 1:8 is out of range"),
        ("rate(m[1e300])", "duration \"1e300\" at 1:8 is out of range"),
        ("m[Inf]", "duration \"Inf\" at 1:3 is out of range"),
        ("m[NaN]", "duration \"NaN\" at 1:3 is out of range"),
        ("m offset 1e300", "duration \"1e300\" at 1:10 is out of range"),
        ("m offset -1e300", "duration \"1e300\" at 1:11 is out of range"),
        ("m[101y]", "is out of range: expected more than 0 s and at most 100 years"),
        ("clamp_min(m)", "expected 2 argument(s)"),
        ("time(1)", "expected 0 argument(s)"),
        ("sum(m, m)", "wrong number of arguments"),
        ("m{__name__=\"n\"}", "metric name must not be set twice"),
    ];
    for (text, part) in cases {
        let message = refusal(text);
        assert!(message.contains(part), "{text:?}: expected {part:?} in {message:?}");
    }
}

#[test]
fn size_is_bounded() {
    let long = format!("\"{}\"", "x".repeat(1 << 16));
    assert_eq!(refusal(&long), "query is 65538 bytes long, the limit is 65536");
    for deep in ["(".repeat(30_000), "-".repeat(60_000), "a+".repeat(30_000), "abs(".repeat(15_000)] {
        let message = refusal(&deep);
        assert!(message.contains("operators and brackets") || message.contains("not closed"), "{message}");
    }
    for wide in [" ".repeat(60_000), "# m\n".repeat(15_000), "\t\n".repeat(30_000)] {
        assert!(Query::parse(&format!("{wide}m")).is_ok());
    }
    let regexes = format!("m{{{}}}", "a=~\"b\",".repeat(65));
    assert_eq!(refusal(&regexes), "query has 65 regular expressions, the limit is 64");
}

#[test]
fn the_deepest_queries_fit_the_stack() {
    // Tests run on threads with 2 MiB of stack, as async workers do.
    let snapshot = one_series(3);
    let deepest = [
        format!("{}m{}", "(".repeat(250), ")".repeat(250)),
        format!("{}m{}", "abs(".repeat(250), ")".repeat(250)),
        format!("{}m{}", "sum(".repeat(250), ")".repeat(250)),
        format!("{}m", "-".repeat(250)),
        format!("m{}", " + m".repeat(250)),
        format!("m{}", " > m".repeat(250)),
        format!("m{}", " and m > 1".repeat(125)),
        format!("m{}", " ^ m".repeat(250)),
        format!("{}1{}", "scalar(vector(".repeat(125), "))".repeat(125)),
    ];
    for text in deepest {
        let query = Query::parse(&text).expect("is at the limit");
        let at = moment("10s");
        query.instant(&snapshot, at, &Options::default()).expect("has an answer");
        query.observed(&snapshot, at, &Options::default()).expect("has an answer");
    }
}

fn one_series(samples: i64) -> Snapshot {
    let mut data = Data::new();
    let samples: Vec<_> = (0..samples).map(|i| (UnixNanos(i * 1_000_000_000), 1.0)).collect();
    data.add("m", Labels::default(), &samples);
    data.snapshot()
}

/// Pieces of queries, separated by blanks; `^J` stands for a line end and `^@` for a zero byte.
const PIECES: &str = r#"m a:b sum rate time abs start end ( ) [ ] { } , : ; # ^J ^@ "x" 'y' `z` " "\" "\xff" "\u00" "\ud800"
    = =~ !~ != == < >= + - * / ^ % @ $ {{ \ . _ 1 0x 0x1f 0x7fffffffffffffff 1e5 1e 1e999 .e 1.2.3 1_000 0 08 5m 5m5 1h30m
    9y 9999999999y 99999999999999999999 999999999999999999999999999s by without on ignoring or and unless atan2 bool offset
    group_left group_right fill fill_left smoothed anchored Inf NaN -Inf ä ∞ "(?P<a>.)" "{1" "[" histogram_quantile topk"#;

fn pieces() -> Vec<String> {
    PIECES.split_whitespace().map(|p| p.replace("^J", "\n").replace("^@", "\0")).collect()
}

#[test]
fn random_text_is_parsed_or_refused() {
    let pieces = pieces();
    let mut rng = Rng::with_seed(7);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let piece = |rng: &mut Rng| pieces[rng.usize(..pieces.len())].clone() + if rng.bool() { " " } else { "" };
        let text: String = (0..rng.usize(1..12)).map(|_| piece(&mut rng)).collect();
        accepted += usize::from(Query::parse(&text).is_ok());
    }
    assert!(accepted > 100, "only {accepted} texts were valid");
}

#[test]
fn nearly_valid_text_is_parsed_or_refused() {
    let pieces = pieces();
    let valid = [
        "sum by ( a ) ( rate ( m { b = \"c\" } [ 5m ] offset - 5m ) )",
        "a / on ( x ) b > bool 0x1f and - m [ 5m : 1m ]",
    ];
    let mut rng = Rng::with_seed(8);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut parts: Vec<&str> = valid[rng.usize(..valid.len())].split(' ').collect();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..parts.len());
            let piece = pieces[rng.usize(..pieces.len())].as_str();
            match rng.u8(0..3) {
                0 => parts[at] = piece,
                1 => parts.insert(at, piece),
                _ => drop(parts.remove(at)),
            }
        }
        accepted += usize::from(Query::parse(&parts.join(if rng.bool() { " " } else { "" })).is_ok());
    }
    assert!(accepted > 100, "only {accepted} texts were valid");
}

#[test]
fn cost_is_bounded_while_reading() {
    let snapshot = one_series(100);
    let rate = Query::parse("rate(m[1m])").expect("is valid");
    let at = moment("90s");
    let few = Options { max_samples: 50, ..Options::default() };
    assert_eq!(rate.instant(&snapshot, at, &few), Err(QueryError::TooManySamples { limit: 50 }));
    let range = |options: &Options| rate.range(&snapshot, moment("0s"), at, Duration::from_secs(1), options);
    let answer = Options { max_samples: 120, ..Options::default() };
    assert_eq!(range(&answer), Err(QueryError::TooManySamples { limit: 120 }));
    let visits = Options { max_visits: 3_000, ..Options::default() };
    assert_eq!(range(&visits), Err(QueryError::TooMuchWork { limit: 3_000 }));
    assert!(range(&Options::default()).is_ok());
}

#[test]
fn ranges_are_checked() {
    let snapshot = one_series(3);
    let second = Duration::from_secs(1);
    let options = Options { max_steps: 10, ..Options::default() };
    let range = |text: &str, end: &str, step: Duration| {
        let query = Query::parse(text).expect("is valid");
        query.range(&snapshot, moment("0s"), moment(end), step, &options).map(|s| s.len())
    };
    assert_eq!(range("m", "9s", second), Ok(1));
    assert_eq!(range("m", "10s", second), Err(QueryError::TooManySteps { limit: 10, actual: 11 }));
    assert_eq!(range("m", "-1s", second), Err(QueryError::EndBeforeStart { start: 0.0, end: -1.0 }));
    assert_eq!(range("m", "9s", Duration::ZERO), Err(QueryError::Step(Duration::ZERO)));
    assert_eq!(range("m", "9s", Duration::MAX), Err(QueryError::Step(Duration::MAX)));
    assert_eq!(range("m[1m]", "9s", second), Err(QueryError::NotRangeable { actual: "range vector" }));
    assert_eq!(range("\"text\"", "9s", second), Err(QueryError::NotRangeable { actual: "string" }));
    let query = Query::parse("m offset 90y").expect("is valid");
    let (first, last) = (UnixNanos(i64::MIN), UnixNanos(i64::MAX));
    let refused = query.range(&snapshot, first, last, Duration::from_nanos(1), &options);
    assert_eq!(refused, Err(QueryError::TooManySteps { limit: 10, actual: u64::MAX }));
    assert_eq!(query.instant(&snapshot, first, &options), Ok(Value::Vector(vec![])));
    assert_eq!(query.instant(&snapshot, last, &options), Ok(Value::Vector(vec![])));
}

/// The window gives the second of two series that would look alike a label of its own, so that every
/// query on them has an answer.
#[test]
fn series_that_would_look_alike_are_told_apart() {
    let samples = |value: f64| -> Vec<_> { (0..10).map(|i| (UnixNanos(i * 10_000_000_000), value)).collect() };
    let mut data = Data::new();
    data.add("m", Labels::default(), &samples(1.0));
    data.add("m", Labels::default(), &samples(2.0));
    let snapshot = data.snapshot();
    let count = |text: &str| {
        let query = Query::parse(text).expect("is valid");
        let answer = query.instant(&snapshot, moment("90s"), &Options::default()).expect("nothing is ambiguous");
        let Value::Vector(answer) = answer else { unreachable!("the query is a vector") };
        answer.len()
    };
    assert_eq!([count("m"), count("rate(m[1m])"), count("sum(m)"), count("m{otel_series=\"\"}")], [2, 2, 1, 1]);
}

#[test]
fn look_back_covers_range_offset_and_look_back() {
    let options = Options::default();
    let of = |text: &str| Query::parse(text).expect("is valid").look_back(&options).as_secs();
    assert_eq!(of("1 + 1"), 0);
    assert_eq!(of("m"), 300);
    assert_eq!(of("m offset 1m"), 360);
    assert_eq!(of("m offset -1m"), 240);
    assert_eq!(of("rate(m[1h]) > 0.8 * rate(m[10m] offset 1d)"), 87_000);
}
