//! Single values that people write: refresh tokens, durations, regions, fingerprints.

#![no_main]

use libfuzzer_sys::fuzz_target;
use squadcast_operator::{
    api::SpecDuration,
    squadcast::{Fingerprint, RefreshToken, Region},
};

fuzz_target!(|data: &[u8]| {
    if let Ok(token) = RefreshToken::parse(data) {
        let text = token.expose();
        assert!(!text.is_empty() && text.len() <= 4096 && text == text.trim());
        assert!(text.bytes().all(|byte| byte == b'\t' || (32..127).contains(&byte)), "no header may hold it");
        let fingerprint = token.fingerprint("us");
        assert!(Fingerprint::parse(&fingerprint.to_string()) == Some(fingerprint));
        assert!((0..=1000).contains(&fingerprint.permille()));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(duration) = text.parse::<SpecDuration>() {
        assert!((1..=315_360_000).contains(&duration.as_secs()), "{text:?}");
        let again: SpecDuration = duration.to_string().parse().expect("its own form");
        assert_eq!(again.as_secs(), duration.as_secs());
    }
    for allow_http in [false, true] {
        if let Ok(region) = Region::parse(text, allow_http) {
            assert!(!region.name.is_empty() && region.name.len() <= 32);
            assert!(!region.api_url.contains(char::is_whitespace), "{}", region.api_url);
        }
    }
    let _ = Fingerprint::parse(text);
});
