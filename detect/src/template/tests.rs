use super::*;

fn data() -> Value {
    let alert = |status: &str, name: &str| {
        Value::record([
            ("Status", Value::text(status)),
            ("Labels", Value::map([("alertname", name), ("severity", "critical")])),
            ("StartsAt", Value::Time(window::UnixNanos(1_767_323_045_000_000_000))),
        ])
    };
    Value::record([
        ("Status", Value::text("firing")),
        ("Alerts", Value::List([alert("firing", "A"), alert("resolved", "B <c>")].into())),
        ("GroupLabels", Value::map([("service", "shop")])),
        ("CommonLabels", Value::map([("service", "shop"), ("env", "prod"), ("zone", "eu")])),
    ])
}

fn rendered(text: &str) -> Result<String, Fault> {
    let mut library = Library::default();
    library.define("{{ define \"mark\" }}<{{ . | toUpper }}>{{ end }}")?;
    Template::parse(text, &["$value"], &Arc::new(library))?.render(
        &data(),
        &[("$value", Value::Number(0.1234))],
        plain,
        1_000,
    )
}

fn check(text: &str, expected: &str) {
    assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
}

fn fails(text: &str, line: usize, said: &str) {
    let fault = rendered(text).expect_err(text);
    assert!(fault.line == line && fault.message.contains(said), "{text}: {fault:?}");
}

#[test]
fn fields_methods_and_pipelines() {
    check("plain }} text", "plain }} text");
    check("{{ .Status | toUpper }}:{{ .Alerts.Firing | len }}", "FIRING:1");
    check("{{ .GroupLabels.SortedPairs.Values | join \" \" }}", "shop");
    check("{{ with .CommonLabels.Remove .GroupLabels.Names }}({{ .Values | join \" \" }}){{ end }}", "(prod eu)");
    check("{{ .CommonLabels.gone }}|{{ (index .Alerts 0).Labels.alertname }}", "|A");
    check("{{ index .CommonLabels \"env\" }} {{ len .Alerts }} {{ $.Status }}", "prod 2 firing");
    check("{{ (index .Alerts 0).StartsAt.Format \"2006-01-02 15:04:05 Mon\" }}", "2026-01-02 03:04:05 Fri");
    check("{{ (index .Alerts 0).StartsAt }}", "2026-01-02 03:04:05 +0000 UTC");
}

#[test]
fn conditions_loops_variables_and_templates() {
    check("{{ if eq .Status \"resolved\" }}a{{ else if gt (len .Alerts) 1 }}b{{ else }}c{{ end }}", "b");
    check(
        "{{ range $i, $a := .Alerts }}{{ if $i }}, {{ end }}{{ $i }}={{ $a.Labels.alertname }}{{ end }}",
        "0=A, 1=B <c>",
    );
    check(
        "{{ range .Alerts.Firing }}x{{ else }}y{{ end }}{{ range .CommonLabels.Names }}{{ . }} {{ end }}",
        "xenv service zone ",
    );
    check("{{ $n := 1 }}{{ range .Alerts }}{{ $n = printf \"%v%v\" $n $n }}{{ end }}{{ $n }}", "1111");
    check("{{ range $name, $text := .GroupLabels }}{{ $name }}:{{ $text }}{{ end }}", "service:shop");
    check(
        "{{ template \"mark\" .Status }}{{ define \"x\" }}{{ len . }}{{ end }}{{ template \"x\" .Alerts }}",
        "<FIRING>2",
    );
    check("a \n {{- /* no */ -}} \n b {{- 1 -}} \n{{ true }}", "ab1true");
    check("{{ with .CommonLabels.gone }}x{{ else }}none{{ end }}", "none");
    check("{{ and .Status (not .CommonLabels.gone) }} {{ or .CommonLabels.gone \"b\" }}", "true b");
}

#[test]
fn functions() {
    check("{{ $value | printf \"%.1f\" }} {{ printf \"%5s|%-3d|%03d\" \"a\" 7 7 }}", "0.1     a|7  |007");
    check("{{ humanizePercentage $value }} {{ humanize 12345678.0 }} {{ humanize1024 2048.0 }}", "12.34% 12.346M 2Ki");
    check("{{ reReplaceAll \"(.)h\" \"$1-\" \"shop\" }} {{ match \"^s\" .GroupLabels.service }}", "s-op true");
    check("{{ title \"hello big_world\" }} {{ stringSlice \"a\" \"b\" | join \"+\" }}", "Hello Big_world a+b");
    check("{{ eq .Status \"x\" \"firing\" }} {{ ne 1 2 }} {{ le 2 2.0 }} {{ slice \"abc\" 1 }}", "true true true bc");
    check("{{ toJson .GroupLabels }} {{ \"a b&\" | urlquery }}", "{\"service\":\"shop\"} a+b%26");
    check("{{ `raw \"x\"` }} {{ \"\\u0041\\n\" | trimSpace }}", "raw \"x\" A");
}

#[test]
fn only_what_is_said_to_be_safe_is_not_escaped() {
    let text = "<b>{{ (index .Alerts 1).Labels.alertname }}</b>{{ safeHtml \"<i>\" }}{{ \"<\" | html }}";
    let escape: Escape = |_, value| value.replace('<', "&lt;");
    let template = Template::parse(text, &[], &Arc::default()).expect("is one");
    assert_eq!(template.render(&data(), &[], escape, 1_000).as_deref(), Ok("<b>B &lt;c></b><i>&lt;"));
}

#[test]
fn faults_name_their_line() {
    fails("a\n{{ nope 1 }}", 2, "the function nope is not supported");
    fails("\n\n{{ $x }}", 3, "there is no variable $x");
    fails("{{ template \"gone\" . }}", 1, "there is no template \"gone\"");
    fails("x\n{{ if .Status }}\n\n", 2, "`if` without `end`");
    fails("{{ end }}", 1, "without a beginning");
    fails("\n{{ .Alert }}", 2, "there is no field .Alert; expected one of Alerts, CommonLabels");
    fails("{{ range .Status }}{{ end }}", 1, "range cannot go over text");
    fails("{{", 1, "without `}}`");
    fails("{{ \"x }}", 1, "closing");
    fails("{{ .Status | }}", 1, "without a value");
    fails("{{ (.Status }}", 1, "`(` without `)`");
    fails("{{ .Status ) }}", 1, "`)` without `(`");
    fails("{{ define \"x\" }}", 1, "`define` without `end`");
    fails("{{ match \"(\" \"x\" }}", 1, "bad regular expression");
    fails("{{ query \"up\" }}", 1, "the function query");
    fails("{{ printf \"%d\" .Status }}", 1, "expects a whole number");
    assert!(rendered("{{ index .Alerts 7 }}").expect_err("there are two").depends_on_data);
}

#[test]
fn whatever_it_says_it_ends_and_stays_small() {
    fails("{{ define \"r\" }}{{ template \"r\" . }}{{ end }}{{ template \"r\" . }}", 1, "use each other");
    let doubled = "{{ $x := \"0123456789\" }}".to_owned() + &"{{ $x = printf \"%s%s\" $x $x }}".repeat(40);
    fails(&doubled, 1, "more than 1000 bytes");
    fails(&"x".repeat(2_000), 1, "more than 1000 bytes");
    fails("{{ reReplaceAll \"\" \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" (printf \"%500s\" \"\") }}", 1, "more than 1000");
    let deep = "{{ range $.Alerts }}".repeat(30) + &"{{ end }}".repeat(30);
    fails(&deep, 1, "steps");
    fails(&"{{ if 1 }}".repeat(60), 1, "within each other");
    fails(&format!("{{{{ {}1 }}}}", "(".repeat(60)), 1, "within each other");
    fails(&"x".repeat(300_000), 1, "at most 262144");
}
