//! What templates may say, what they are refused for, and that no template gets out of bounds.

mod bounds;
mod random;

use super::*;

/// A token that no message may hold.
const TOKEN: &str = "sEcReT.p4ylo4d.s1gn4ture";

fn inputs(access_token: &str) -> Inputs<'_> {
    Inputs {
        access_token,
        token_type: "Bearer",
        issued_at: 1_587_240_070,
        expires_at: 1_587_412_870,
        region: "eu",
        api_url: "https://api.eu.squadcast.com",
    }
}

fn one(key: &str, source: &str) -> BTreeMap<String, String> {
    [(key.to_owned(), source.to_owned())].into()
}

/// The text that a template makes of [`TOKEN`].
#[track_caller]
fn text(source: &str) -> String {
    let data =
        render(Some(&one("k", source)), &inputs(TOKEN)).unwrap_or_else(|error| panic!("{source}: {error}"));
    assert_eq!(check(Some(&one("k", source))), Ok(()), "{source}");
    data["k"].to_string()
}

/// The message that a template is refused with before there is a token.
#[track_caller]
fn refusal(source: &str) -> String {
    let error = check(Some(&one("k", source))).expect_err(source);
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn without_a_template_there_are_the_default_keys() {
    let data = render(None, &inputs(TOKEN)).unwrap();
    let pairs: Vec<_> = data.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        pairs,
        [
            ("access_token", TOKEN),
            ("expires_at", "1587412870"),
            ("issued_at", "1587240070"),
            ("token_type", "Bearer"),
        ]
    );
    assert_eq!(check(None), Ok(()));
}

#[test]
fn a_template_replaces_the_default_keys() {
    let template: BTreeMap<_, _> =
        [("a", "{{ region }}"), ("b", "plain"), ("c", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let data = render(Some(&template), &inputs(TOKEN)).unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!((data["a"].as_str(), data["b"].as_str(), data["c"].as_str()), ("eu", "plain", ""));
}

#[test]
fn what_templates_may_say() {
    for (source, expected) in [
        // Variables and text.
        ("{{ token_type }} {{ access_token }}", "Bearer sEcReT.p4ylo4d.s1gn4ture"),
        ("{{ api_url }}/v3 {{ region }}", "https://api.eu.squadcast.com/v3 eu"),
        ("{{ issued_at }}-{{ expires_at }}", "1587240070-1587412870"),
        ("{# not shown #}x{% raw %}{{ access_token }}{% endraw %}", "x{{ access_token }}"),
        ("a  {{- ' b ' -}}  c", "a b c"),
        ("ünï {{ \"c\u{f6}de\" }}", "ünï cöde"),
        ("{{ 'a\\nb' }}", "a\nb"),
        // Numbers.
        ("{{ expires_at * 1000 }}", "1587412870000"),
        ("{{ expires_at - 60 }}", "1587412810"),
        ("{{ expires_at + 60 }}", "1587412930"),
        ("{{ (expires_at - issued_at) // 3600 }}", "48"),
        ("{{ (expires_at - issued_at) * 1000 * -1 }}", "-172800000"),
        ("{{ (\"3\" | int) * 2 }}", "6"),
        ("{{ (access_token | length) * 2 }}", "48"),
        ("{{ (1 if region == 'eu' else 2) * 2 }}", "2"),
        ("{{ 7 % 4 }} {{ 2 ** 10 }} {{ 1 / 4 }}", "3 1024 0.25"),
        ("{{ expires_at is integer }} {{ access_token is string }}", "True True"),
        // Conditions.
        ("{% if region == 'us' %}a{% elif region == 'eu' %}b{% else %}c{% endif %}", "b"),
        ("{% if expires_at > issued_at and not false %}y{% endif %}", "y"),
        ("{{ 'x' if region in ['us', 'ap'] else 'y' }}", "y"),
        ("{{ issued_at < expires_at < 99999999999 }}", "True"),
        ("{% if access_token is defined %}y{% endif %}", "y"),
        ("{% if access_token is startingwith('sEc') %}y{% endif %}", "y"),
        // Literals, items and slices.
        ("{{ {'eu': 'Europe', 'us': 'America'}[region] }}", "Europe"),
        ("{{ {'none': 1}[region] | default('other') }}", "other"),
        ("{{ ['a', 'b'][1] }}{{ ['a', 'b'][-1] }}", "bb"),
        ("{{ access_token[:6] }} {{ 'abc'[::-1] }} {{ 'abcdef'[1:4:2] }}", "sEcReT cba bd"),
        ("{{ (access_token | split('.'))[1] }}", "p4ylo4d"),
        ("{{ token_type ~ ' ' ~ expires_at }}", "Bearer 1587412870"),
        ("{{ 'a' + 'b' }}", "ab"),
        // Filters.
        ("{{ access_token | b64encode }}", "c0VjUmVULnA0eWxvNGQuczFnbjR0dXJl"),
        ("{{ ('user:' ~ region) | b64encode }}", "dXNlcjpldQ=="),
        ("{{ expires_at | b64encode }}", "MTU4NzQxMjg3MA=="),
        ("{{ '' | b64encode }}|", "|"),
        ("{{ token_type | upper }} {{ token_type | lower }}", "BEARER bearer"),
        ("{{ ' x ' | trim }}{{ 'a-b' | replace('-', '_') }}", "xa_b"),
        ("{{ ['a', 'b'] | join(', ') }}", "a, b"),
        ("{{ api_url | urlencode }}", "https%3A//api.eu.squadcast.com"),
        (
            "{\"t\": {{ token_type | tojson }}, \"e\": {{ expires_at | tojson }}}",
            "{\"t\": \"Bearer\", \"e\": 1587412870}",
        ),
        ("{{ 'a\"b\\n' | tojson }}", "\"a\\\"b\\n\""),
        ("{{ {'t': region, 'l': [1, true]} | tojson }}", "{\"l\": [1, true], \"t\": \"eu\"}"),
        ("{{ '<a & b>' | e }}", "&lt;a &amp; b&gt;"),
        ("{{ '<a & b>' | safe }}", "<a & b>"),
        ("{{ access_token | first }}{{ access_token | last }}", "se"),
        ("{{ '12.7' | float | round | int }} {{ -3 | abs }}", "13 3"),
        ("{{ [3, 1, 2] | sort | join }} {{ [1, 2] | max }} {{ ['a', 'a'] | unique | join }}", "123 2 a"),
    ] {
        assert_eq!(text(source), expected, "{source}");
    }
}

#[test]
fn every_filter_and_test_that_is_offered_exists() {
    let unknown = |source: &str| {
        let template = one("k", source);
        let error = render(Some(&template), &inputs(TOKEN)).err().map(|error| error.to_string());
        assert!(!error.as_ref().is_some_and(|error| error.contains("unknown")), "{source}: {error:?}");
    };
    for filter in filters::FILTERS {
        unknown(&format!("{{{{ access_token | {filter} }}}}"));
    }
    for test in filters::TESTS {
        unknown(&format!("{{{{ access_token is {test} }}}}"));
    }
    assert!(filters::FILTERS.is_sorted() && filters::TESTS.is_sorted());
}

#[test]
fn newlines_are_kept() {
    for source in ["a\n", "a\n\n", "\n", "a\r\n", "a"] {
        assert_eq!(text(source), source);
    }
    assert_eq!(text("{{ region }}\n"), "eu\n");
    assert_eq!(text("{% if true %}\nx\n{% endif %}\n"), "\nx\n\n");
}

#[test]
fn nothing_is_escaped_whatever_the_key() {
    for key in ["k", "page.html", "page.htm", "config.json", "config.yaml", "a.xml", "a.js", ".html.j2"] {
        let template = one(key, "{{ access_token }}<{{ '\"&<>\\'' }}");
        let data = render(Some(&template), &inputs("a<&>\"'b")).unwrap();
        assert_eq!(data[key].as_str(), "a<&>\"'b<\"&<>'", "{key}");
    }
}

#[test]
fn what_templates_are_refused_for() {
    for (source, parts) in [
        // Names.
        (
            "{{ refresh_token }}",
            &["unknown variable \"refresh_token\"; there are access_token, token_type"][..],
        ),
        ("a\nb {{ nope }}", &["line 2: ", "\"nope\""]),
        ("{{ nope | default('x') }}", &["unknown variable \"nope\""]),
        ("{% if nope is defined %}{% endif %}", &["unknown variable"]),
        ("{% if false %}{{ nope }}{% endif %}", &["unknown variable"]),
        ("{{ loop }}{{ self }}", &["unknown variable \"loop\""]),
        ("{{ range }}", &["unknown variable \"range\""]),
        ("{{ region | nope }}", &["unknown filter \"nope\"; there are abs, b64encode, bool"]),
        ("{{ region | b64decode }}", &["unknown filter \"b64decode\""]),
        ("{{ region | format(1) }}", &["unknown filter \"format\""]),
        ("{{ region | indent(1000000) }}", &["unknown filter \"indent\""]),
        ("{{ [1] | map('upper') }}", &["unknown filter \"map\""]),
        ("{{ [1] | batch(9) }}", &["unknown filter \"batch\""]),
        ("{{ region | a.b }}", &["unknown filter \"a.b\""]),
        ("{{ region is nope }}", &["unknown test \"nope\"; there are boolean, defined"]),
        ("{{ region is filter('upper') }}", &["unknown test \"filter\""]),
        ("{{ access_token.nope }}", &["undefined value"]),
        ("{{ {'a': 1}['b'] }}", &["undefined value"]),
        ("{{ [1][5] }}", &["undefined value"]),
        // Statements.
        ("{% for x in [1] %}{% endfor %}", &["line 1: holds a loop (for); only expressions, if, elif, else"]),
        ("x\n\n{% set x = 1 %}", &["line 3: holds an assignment (set)"]),
        ("{% set x %}{% endset %}", &["an assignment (set)"]),
        ("{% with x = 1 %}{% endwith %}", &["an assignment (with)"]),
        ("{% filter upper %}x{% endfilter %}", &["a filter block"]),
        ("{% autoescape true %}{% endautoescape %}", &["an autoescape block"]),
        ("{% do region() %}", &["a do statement"]),
        ("{% macro m() %}{% endmacro %}", &["unknown statement macro; only expressions, if"]),
        ("{% include 'x' %}", &["unknown statement include"]),
        ("{% extends 'x' %}", &["unknown statement extends"]),
        ("{% import 'x' as x %}", &["unknown statement import"]),
        ("{% from 'x' import y %}", &["unknown statement from"]),
        ("{% block x %}{% endblock %}", &["unknown statement block"]),
        ("{% call x() %}{% endcall %}", &["unknown statement call"]),
        ("{% if true %}{% for x in [1] %}{% endfor %}{% endif %}", &["a loop (for)"]),
        // Calls.
        ("{{ range(10) }}", &["calls a function or method"]),
        ("{{ dict() }}{{ debug() }}{{ namespace() }}", &["calls a function or method"]),
        ("{{ 'x'.upper() }}", &["calls a function or method"]),
        ("{{ region[0]() }}", &["calls a function or method"]),
        ("{{ region | replace(*['a', 'b']) }}", &["spreads a value over arguments"]),
        ("{{ region | default(**{'a': 1}) }}", &["spreads a value over arguments"]),
        // Repetition.
        ("{{ \"x\" * 100000000 }}", &["line 1: multiplies what may not be a number"]),
        ("{{ 3 * access_token }}", &["multiplies"]),
        ("{{ [1] * expires_at }}", &["multiplies"]),
        ("{{ (1, 2) * 3 }}", &["multiplies"]),
        ("{{ ('x' | int(default='abc')) * 3 }}", &["multiplies"]),
        ("{{ ('' or 'abc') * 3 }}", &["multiplies"]),
        ("{{ ('a' if true else 1) * 3 }}", &["multiplies"]),
        // Syntax.
        ("{{ region", &["syntax error", "line 1"]),
        ("{{ }}", &["syntax error: unexpected end of variable block"]),
        ("x\n{% if region %}", &["syntax error", "line 2"]),
        ("{% endif %}", &["syntax error"]),
        ("{{ 'x\n }}", &["syntax error"]),
        ("{{ region ! }}", &["syntax error"]),
        ("{{ '\\uZZZZ' }}", &["bad string escape"]),
        ("{% raw %}", &["syntax error"]),
        // Values.
        ("{{ expires_at / 0 }}", &["invalid operation: unable to calculate 1587412870 / 0"]),
        ("{{ 2 ** 1000 }}", &["invalid operation"]),
        (
            "{{ 170141183460469231731687303715884105727 * 170141183460469231731687303715884105727 }}",
            &["invalid"],
        ),
        ("{{ region - 1 }}", &["tried to use - operator on unsupported types string and number"]),
        ("{{ 'x' | int }}", &["invalid operation"]),
        ("{{ [1] | b64encode }}", &["b64encode takes a text or a number, not a sequence"]),
        ("{{ region | upper(1, 2) }}", &["too many arguments"]),
        ("{{ [1] | tojson(indent=1000000) }}", &["too many arguments"]),
        ("{{ region | replace }}", &["missing argument"]),
        ("{{ 'abc'[::0] }}", &["cannot slice by step size of 0"]),
        ("{{ 'abc'[::-9223372036854775808] }}", &["the step of a slice must be a small number"]),
        ("{{ 'abc'[::issued_at] }}", &["the step of a slice"]),
    ] {
        let message = refusal(source);
        assert!(message.starts_with("template of key \"k\""), "{message}");
        for part in parts {
            assert!(message.contains(part), "{source}: {message}");
        }
        assert!(message.len() < 500, "{message}");
    }
}

#[test]
fn a_template_that_only_fails_with_real_values_says_nothing_of_them() {
    for (source, cause) in [
        ("\n{{ access_token | int }}", "invalid operation"),
        ("\n{{ access_token - 1 }}", "invalid operation"),
        ("\n{{ access_token[::0] }}", "invalid operation"),
        (
            "\n{{ {access_token: 1}[region] }}",
            "undefined value: looks up an item or attribute that is not there",
        ),
        ("\n{{ (access_token | length) // 0 }}", "invalid operation"),
        ("\n{{ access_token | round }}", "invalid operation"),
        ("\n{{ [access_token] | tojson | b64encode | int }}", "invalid operation"),
    ] {
        let error = render(Some(&one("k", source)), &inputs(TOKEN)).unwrap_err();
        assert_eq!(
            error,
            RenderError::Invalid { key: "k".to_owned(), line: Some(2), cause: cause.to_owned() },
            "{source}"
        );
    }
}

#[test]
fn the_region_may_decide_what_is_right() {
    let template = one("k", "{{ {'ap': 'Asia'}[region] }}");
    assert!(check(Some(&template)).is_err());
    assert_eq!(check_in(Some(&template), "ap", "https://api.example.com"), Ok(()));
}

#[test]
fn names_in_messages_are_short_and_on_one_line() {
    let long = "x".repeat(8000);
    assert!(refusal(&format!("{{{{ {long} }}}}")).len() < 300);
    assert!(refusal(&format!("{{{{ region | {long} }}}}")).len() < 500);
    assert!(refusal(&format!("{{% {long} %}}")).len() < 500);
    assert_eq!(shorten("a\nb\u{2028}c\u{1b}", 10), "a b c ");
    assert_eq!(shorten("äöü", 3), "äöü");
    assert_eq!(shorten("äöü", 2), "äö…");
}

#[test]
fn the_reference_names_every_filter_and_no_other() {
    let page = include_str!("../../../docs/reference.md");
    let (_, list) = page.split_once("The filters: ").unwrap();
    let (list, _) = list.split_once(".\n").unwrap();
    let named: Vec<_> = list.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, filters::FILTERS);
}
