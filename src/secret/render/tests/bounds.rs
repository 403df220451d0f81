//! That templates which are built to overflow a stack or take all memory do neither.

use std::thread;

use super::*;

/// The longest token that there can be: what an answer of Squadcast may hold.
fn longest_token() -> String {
    "%aB.".repeat(16 * 1024)
}

/// Templates that are built to break something.
fn hostile() -> Vec<String> {
    let fill = |open: &str, body: &str, close: &str| {
        let times = (MAX_TEMPLATE - open.len() - close.len()) / body.len();
        format!("{open}{}{close}", body.repeat(times))
    };
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{{{{ {}{inner}{} }}}}", open.repeat(depth), close.repeat(depth))
    };
    let mut list = vec![
        fill("{{ ", "(", " }}"),
        fill("{{ ", "[", " }}"),
        fill("{{ ", "{1:", " }}"),
        fill("{{ ", "not ", "1 }}"),
        fill("{{ ", "- ", "1 }}"),
        fill("{{ 1", "+1", " }}"),
        fill("{{ 1", "**9", " }}"),
        fill("{{ 1", "<1", " }}"),
        fill("{{ 1", " and 1", " }}"),
        fill("{{ 1", " if 1 else 1", " }}"),
        fill("{{ 1", " if 1", " }}"),
        fill("{{ 'a'", "|upper", " }}"),
        fill("{{ 'a'", " is string", " }}"),
        fill("{{ region", ".a", " }}"),
        fill("{{ region", "[0]", " }}"),
        fill("{{ region", "[:]", " }}"),
        fill("{{ region", "()", " }}"),
        fill("{{ ", "'a' ", " }}"),
        fill("{{ access_token", "~access_token", " }}"),
        fill("{{ access_token", "|b64encode", " }}"),
        fill("{{ access_token", "|urlencode", " }}"),
        fill("{{ access_token", "|e", " }}"),
        fill("{{ [access_token", ",access_token", "] | join }}"),
        fill("", "{{ access_token }}", ""),
        fill("", "{% if 1 %}", ""),
        fill("{% if 1 %}", "{% elif 1 %}", "{% endif %}"),
        fill("", "{% if 1 %}{% endif %}", ""),
        fill("", "{% for x in y %}", ""),
        fill("", "{#", ""),
        fill("", "{% raw %}", ""),
        fill("", "{{", ""),
        fill("{{ '", "%", "' | urlencode | urlencode | urlencode }}"),
        "{% if 1 %}".repeat(64) + &"{% endif %}".repeat(64),
        format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(63)),
        "{{ access_token | replace('', access_token) }}".to_owned(),
        "{{ access_token | list | join(access_token) }}".to_owned(),
        "{{ access_token | split('') | join(access_token) }}".to_owned(),
        "{{ access_token | split('') | list | reverse | tojson }}".to_owned(),
        "{{ access_token | list | sort | unique | string }}".to_owned(),
        "{{ 1.5 | round(2147483647) }}{{ 1 | round(-2147483648) }}".to_owned(),
        "{{ 1e308 | round(-2147483648) }}{{ 1e308 | int }}{{ -1e308 | int }}".to_owned(),
        "{{ -170141183460469231731687303715884105728 | abs }}".to_owned(),
        "{{ -170141183460469231731687303715884105728 // -1 }}".to_owned(),
        "{{ 'abc'[-9223372036854775808:9223372036854775807] }}".to_owned(),
        "{{ [1, 2][9223372036854775807:-9223372036854775808:-1] }}".to_owned(),
        "{{ 'abc'[99999999999999999999999999] }}".to_owned(),
        "{{ [1][-9223372036854775808] }}".to_owned(),
        "{{ 'ff' | int(base=4294967295) }}".to_owned(),
    ];
    for depth in [10, 23, 24, 25] {
        list.push(nested("(", "1", ")", depth));
        list.push(nested("[", "1", "]", depth));
        list.push(nested("[", "access_token", "] | tojson", depth));
        list.push(nested("(not ", "1", ")", depth));
    }
    for depth in [190, 198, 199] {
        list.push(nested("not ", "1", "", depth));
        list.push(nested("-", "1", "", depth));
        list.push(nested("1+", "1", "", depth / 2));
        list.push(format!("{{{{ access_token{} }}}}", "|e".repeat(depth / 2)));
        list.push(format!("{{{{ [access_token{}] | string }}}}", ",access_token".repeat(depth / 2 - 5)));
        list.push(format!("{{{{ ''~[access_token{}]~'' }}}}", ",access_token".repeat(depth / 2 - 5)));
    }
    list
}

#[test]
fn no_template_overflows_a_small_stack() {
    // Half of what threads have by default; without optimization the frames are at their largest.
    let thread = thread::Builder::new().stack_size(1024 * 1024).spawn(|| {
        for source in hostile() {
            let _ = check(Some(&one("k", &source)));
            let _ = render(Some(&one("k", &source)), &inputs(TOKEN));
        }
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn hostile_templates_with_the_longest_token_stay_within_the_limit() {
    let token = longest_token();
    for source in hostile() {
        let template: BTreeMap<_, _> = (0..64).map(|n| (format!("k{n}"), source.clone())).collect();
        match render(Some(&template), &inputs(&token)) {
            Ok(data) => assert!(data.values().map(|value| value.len()).sum::<usize>() <= MAX_DATA),
            Err(error) => assert!(!error.to_string().contains("%aB."), "{error}"),
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn hostile_templates_take_little_memory() {
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let before = peak();
    let token = longest_token();
    for source in hostile() {
        let _ = render(Some(&one("k", &source)), &inputs(&token));
    }
    // Other tests run beside this one, so the bound is a generous one; a repetition or a chain without a bound
    // would reach gigabytes.
    assert!(peak() - before < 128 * 1024, "{} KiB", peak() - before);
}

#[test]
fn chained_filters_run_out_of_fuel() {
    for filter in ["b64encode", "urlencode", "e", "tojson", "upper"] {
        let source = format!("{{{{ '%<ΐ' | tojson{} }}}}", format!(" | {filter}").repeat(90));
        match render(Some(&one("k", &source)), &inputs(TOKEN)) {
            Ok(data) => assert!(data["k"].len() < 64 * 1024, "{filter}"),
            Err(error) => assert!(error.to_string().contains("takes too much work"), "{filter}: {error}"),
        }
    }
    assert!(refusal(&format!("{{{{ '%'{} }}}}", " | b64encode".repeat(90))).contains("takes too much work"));
}

#[test]
fn large_expressions_and_templates_are_refused_by_their_size() {
    let message = refusal(&format!("\n{{{{ 1{} }}}}", "+1".repeat(1000)));
    assert!(message.contains("line 2: an expression has over 200 parts"), "{message}");
    let message = refusal(&"{% if 1 %}{% endif %}".repeat(65));
    assert!(message.contains("there are over 64 if and elif tags"), "{message}");
    let message = refusal(&format!("{{{{ {}1{} }}}}", "(".repeat(25), ")".repeat(25)));
    assert!(message.contains("line 1: over 24 brackets stand in each other"), "{message}");
    let message = refusal(&"x".repeat(8193));
    assert_eq!(message, "template of key \"k\": is over 8192 bytes: shorten it");
    let many: BTreeMap<_, _> = (10..75).map(|n| (n.to_string(), String::new())).collect();
    let message = check(Some(&many)).unwrap_err().to_string();
    assert_eq!(message, "template of key \"74\": is one too many: at most 64 are allowed");
}

#[test]
fn more_than_a_secret_holds_is_too_large() {
    let token = longest_token();
    let render = |times| render(Some(&one("k", &"{{ access_token }}".repeat(times))), &inputs(&token));
    assert_eq!(render(16).unwrap()["k"].len(), MAX_DATA);
    let error = render(17).unwrap_err();
    assert_eq!(error, RenderError::TooLarge { bytes: MAX_DATA + token.len() });
    assert_eq!(
        error.to_string(),
        "the rendered values take at least 1114112 bytes, more than the 1048576 that a Secret may hold"
    );
    // The sum counts, and the number of bytes of all keys is told.
    let template: BTreeMap<_, _> =
        (0..17).map(|n| (format!("k{n}"), "{{ access_token }}".to_owned())).collect();
    let error = super::render(Some(&template), &inputs(&token)).unwrap_err();
    assert_eq!(error, RenderError::TooLarge { bytes: MAX_DATA + token.len() });
}

#[test]
fn no_template_takes_long_to_refuse_or_render() {
    let mut sources = hostile();
    sources.push("{{ 'x' * 100000000 }}".to_owned());
    sources.push("{{ access_token | replace('', access_token) | replace('', access_token) }}".to_owned());
    sources.push("{% for i in range(100000000) %}{{ access_token }}{% endfor %}".to_owned());
    sources.push("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned());
    let (token, mut slowest) = (longest_token(), (std::time::Duration::ZERO, String::new()));
    for source in sources {
        let began = std::time::Instant::now();
        drop(render(Some(&one("k", &source)), &inputs(&token)));
        let took = began.elapsed();
        if took > slowest.0 {
            slowest = (took, source);
        }
    }
    // Milliseconds in a release; unoptimized code on a busy machine is a hundred times slower, an endless loop
    // or a repetition without bound far slower still.
    let (took, source) = slowest;
    assert!(took.as_secs() < 5, "{took:?} for {}", source.chars().take(80).collect::<String>());
}
