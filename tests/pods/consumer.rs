//! A workload that reads a mounted token, in the least that can do so: a program for an image of its own, which the
//! tests compile without cargo. They take it in as a module too, for [`fingerprint`].

use std::time::Duration;

/// What it logs of a token: enough to tell two apart.
pub fn fingerprint(token: &str) -> String {
    // FNV-1a; the program has no crates.
    let hash = token.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// With a file it says what is in there, at its start and whenever that has changed; without one it does nothing, as
/// the first container of every Pod does.
#[allow(dead_code, reason = "the tests use the rest of this file")]
fn main() {
    let Some(path) = std::env::args().nth(1) else {
        loop {
            std::thread::park();
        }
    };
    println!("started");
    let mut known = None;
    loop {
        let found = std::fs::read_to_string(&path).ok().map(|token| fingerprint(&token));
        if found != known {
            println!("token {}", found.as_deref().unwrap_or("none"));
            known = found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
