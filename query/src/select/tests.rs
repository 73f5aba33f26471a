use super::*;

fn matches(pattern: &str, value: &str) -> bool {
    compile(pattern).expect("is valid").is_match(value)
}

#[test]
fn patterns_are_anchored_and_dots_match_line_ends() {
    assert!(matches("a.c", "a\nc") && matches("a|bc", "bc") && matches("", ""));
    assert!(!matches("a|bc", "abc") && !matches("a", "ba") && !matches(".", ""));
    assert!(matches("(?i)abc", "ABC"));
}

#[test]
fn braces_that_repeat_nothing_stand_for_themselves() {
    assert!(matches("/users/{id}", "/users/{id}") && matches("a{,2}", "a{,2}") && matches(r"a\{b{2}", "a{bb"));
    assert!(matches("a{2}", "aa") && matches("a{1,}", "aaa") && !matches("a{2}", "a{2}"));
}

#[test]
fn large_patterns_are_refused() {
    assert!(compile("(a{1000}){1000}").is_err_and(|e| e.contains("too large")));
    assert!(compile("[").is_err_and(|e| e == "illegal regular expression \"[\""));
}

#[test]
fn a_window_slides_open_at_its_start_and_closed_at_its_end() {
    // Of three series; the second one is looked at.
    let samples: Vec<Sample> =
        [9, 1, 2, 3, 4, 5, 1].into_iter().map(|t| Sample { time: UnixNanos(t), value: 0.0 }).collect();
    let mut series = Slide::over(1..6);
    let mut seen = |after, until| -> Vec<i64> {
        let seen = series.slide(&samples, (UnixNanos(after), UnixNanos(until)), |s| s.time);
        seen.iter().map(|s| s.time.0).collect()
    };
    assert_eq!(seen(-9, 0), []);
    assert_eq!(seen(0, 2), [1, 2]);
    assert_eq!(seen(1, 2), [2]);
    assert_eq!(seen(2, 4), [3, 4]);
    assert_eq!(seen(4, 9), [5]);
    assert_eq!(seen(9, 9), []);
}
