//! Templates: bounded in time and memory, and a refusal never holds what was rendered.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use squadcast_operator::secret::render::{Inputs, check, render};

const TOKEN: &str = "canary.access.token-0123456789";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > 8192 {
        return;
    }
    let template = BTreeMap::from([("key".to_owned(), text.to_owned())]);
    if let Err(error) = check(Some(&template)) {
        let words = error.to_string();
        assert!(!words.contains('\n'), "{words:?}");
    }
    let inputs = Inputs {
        access_token: TOKEN,
        token_type: "Bearer",
        issued_at: 1_700_000_000,
        expires_at: 1_700_172_800,
        region: "us",
        api_url: "https://api.squadcast.com",
    };
    match render(Some(&template), &inputs) {
        Ok(data) => assert!(data.values().map(|value| value.len()).sum::<usize>() <= 1024 * 1024),
        Err(error) => assert!(!error.to_string().contains(TOKEN), "{error}"),
    }
});
