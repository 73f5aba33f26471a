use super::*;

fn root(text: &str) -> Expr {
    parse(text).expect("is valid").root
}

#[test]
fn parentheses_leave_no_trace() {
    assert!(matches!(root("rate((m[1m]))"), Expr::OverWindow(WindowFunction::Rate, SelectorId(0))));
    assert!(matches!(root("((m))"), Expr::Select(_)));
}

#[test]
fn shapes_follow_the_types_of_the_sides() {
    let shape = |text| match root(text) {
        Expr::Binary(b) => b.shape,
        other => unreachable!("{text} is {other:?}"),
    };
    assert_eq!(shape("1 + time()"), Shape::Scalars);
    assert_eq!(shape("m + scalar(m)"), Shape::VectorScalar);
    assert_eq!(shape("-(1 + 2) < m"), Shape::ScalarVector);
    assert_eq!(shape("-m == vector(1)"), Shape::Vectors);
}

#[test]
fn a_selector_tells_the_metric_that_it_names_exactly() {
    let plan =
        parse("rate(a[1m]) / on () {__name__=\"b\"} > count({__name__=~\"c|d\"}) or {job=\"e\"}").expect("is valid");
    let metrics: Vec<Option<&str>> = plan.selectors.iter().map(Selector::metric).collect();
    assert_eq!(metrics, [Some("a"), Some("b"), None, None]);
}

#[test]
fn groups_default_to_nothing_and_matches_to_everything() {
    let Expr::Aggregate(sum) = root("sum(m)") else { unreachable!("is an aggregation") };
    assert!(sum.by.keeps && sum.by.names.is_empty());
    let Expr::Binary(add) = root("m + m") else { unreachable!("is a binary expression") };
    assert!(!add.matching.keeps && add.matching.names.is_empty());
    let Expr::Set(and) = root("m and on (b, a, b) m") else { unreachable!("is a set expression") };
    assert!(and.matching.keeps);
    assert_eq!(and.matching.names, ["a".into(), "b".into()]);
}

#[test]
fn a_condition_is_a_filter_or_an_absence() {
    for text in ["m > 1", "sum(m > 1)", "-(1 < m)", "m or (m == 1)", "vector(scalar(m != 1))", "absent(m)"] {
        assert!(root(text).has_condition(), "{text}");
    }
    for text in ["m", "m > bool 1", "1 > bool 2", "m and m", "rate(m[1m]) * 2"] {
        assert!(!root(text).has_condition(), "{text}");
    }
}

#[test]
fn offsets_have_a_sign() {
    let offset = |text| parse(text).expect("is valid").selectors[0].offset;
    assert_eq!(offset("m offset 1m"), 60_000_000_000);
    assert_eq!(offset("m[5m] offset -1ms"), -1_000_000);
    assert_eq!(offset("m"), 0);
}
