//! Plays many scripts, drawn from a seed, on all processors; shrinks the first that breaks a promise.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::{
    play::play,
    script::{Script, scripts},
    wrong::Wrong,
};

const YEAR: i64 = 365 * 86_400;
/// How often a broken script is made smaller at most.
const SHRINKS: usize = 400;
/// How long that may take at most.
const SHRINKING: Duration = Duration::from_secs(60);

/// How much to play.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    /// What scripts are drawn from: the same seed, the same scripts.
    pub(super) seed: u64,
    /// At least so many years of virtual time,
    pub(super) years: u64,
    /// and so many scripts.
    pub(super) cases: u64,
}

/// What was played.
#[derive(Default)]
pub(super) struct Summary {
    seed: u64,
    pub(super) cases: u64,
    pub(super) seconds: i64,
    exchanges: usize,
    requests: u64,
    faults: BTreeMap<String, u64>,
    took: Duration,
}

/// A script that breaks a promise.
pub(super) struct Broken {
    pub(super) promise: String,
    script: Script,
    case: u64,
    /// How long it took to find it.
    pub(super) took: Duration,
    wrong: Option<Wrong>,
}

/// Plays so much; the error is the first broken promise.
pub(super) fn run(amount: Amount, wrong: Option<Wrong>) -> Result<Summary, Box<Broken>> {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let summary = Mutex::new(Summary { seed: amount.seed, ..Summary::default() });
    let broken = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let case = next.fetch_add(1, Relaxed);
                    let script = draw(amount.seed, case).current();
                    match play(&script, wrong, false) {
                        Ok(played) => {
                            let mut summary = summary.lock().unwrap();
                            summary.cases += 1;
                            summary.seconds += played.seconds;
                            summary.exchanges += played.exchanges;
                            summary.requests += played.requests;
                            for (step, _) in &script.steps {
                                *summary.faults.entry(step.kind()).or_default() += 1;
                            }
                            if summary.cases >= amount.cases
                                && summary.seconds / YEAR >= i64::try_from(amount.years).unwrap_or(i64::MAX)
                            {
                                stop.store(true, Relaxed);
                            }
                        }
                        Err(promise) => {
                            if !stop.swap(true, Relaxed) {
                                let found = Broken { promise, script, case, took: began.elapsed(), wrong };
                                *broken.lock().unwrap() = Some(Box::new(found));
                            }
                        }
                    }
                }
            });
        }
    });
    if let Some(broken) = broken.into_inner().unwrap() {
        return Err(broken);
    }
    let mut summary = summary.into_inner().unwrap();
    summary.took = began.elapsed();
    Ok(summary)
}

/// The script of a case: each case has a seed of its own, so that it does not depend on who plays it.
fn draw(seed: u64, case: u64) -> impl ValueTree<Value = Script> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&case.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    scripts().new_tree(&mut runner).unwrap()
}

impl Broken {
    /// The smallest script that breaks a promise, as far as it can be found.
    pub(super) fn shrink(mut self, seed: u64) -> Self {
        let began = Instant::now();
        let mut tree = draw(seed, self.case);
        let mut goes_on = tree.simplify();
        for _ in 0..SHRINKS {
            if !goes_on || began.elapsed() > SHRINKING {
                break;
            }
            let script = tree.current();
            goes_on = match play(&script, self.wrong, false) {
                Err(promise) => {
                    (self.promise, self.script) = (promise, script);
                    tree.simplify()
                }
                Ok(_) => tree.complicate(),
            };
        }
        self
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "faults and what users did:")?;
        for (kind, times) in &self.faults {
            writeln!(f, "  {times:>7} {kind}")?;
        }
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        let (years, took) = (self.seconds as f64 / YEAR as f64, self.took.as_secs_f64());
        let Self { seed, cases, exchanges, requests, faults, .. } = self;
        let faults: u64 = faults.values().sum();
        writeln!(f, "seed {seed}: {years:.1} virtual years in {cases} cases, {faults} faults")?;
        writeln!(f, "{exchanges} exchanges, {requests} requests to the API server")?;
        writeln!(f, "{:.2} virtual years per second of real time, {took:.0} s in all", years / took)?;
        write!(f, "broken promises: 0")
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a promise was broken in case {}: {}", self.case, self.promise)?;
        writeln!(f, "the smallest script that shows it, for src/simulation/regressions.rs:\n")?;
        write!(f, "/// {}\n{}", self.promise, self.script.as_test("say_here_what_it_shows"))
    }
}
