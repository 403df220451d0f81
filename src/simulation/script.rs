//! What happens in a play: faults and what users do, drawn at random, and written down so that it can be played
//! again.

use std::fmt::Write as _;

use proptest::prelude::*;

/// The resources of a play, and which source each of them has: two share one.
pub(super) const RESOURCES: [(&str, usize); 3] = [("a", 0), ("b", 0), ("c", 1)];
/// The Secrets that hold refresh tokens.
pub(super) const SOURCES: [&str; 2] = ["source-0", "source-1"];

/// What happens next. Numbers stand for resources, [`Revoke`](Step::Revoke) to
/// [`DeleteSource`](Step::DeleteSource) for sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Squadcast answers in another way.
    Squadcast(Mood),
    /// So many seconds are new tokens good for.
    Life(i64),
    /// A person revokes the refresh token in Squadcast.
    Revoke(usize),
    /// A person stores a new one.
    Replace(usize),
    /// A person stores one that Squadcast does not know.
    Mistype(usize),
    DeleteSource(usize),
    /// Somebody writes something else over the access token.
    Edit(usize),
    RemoveKey(usize),
    Relabel(usize),
    DeleteTarget(usize),
    /// Somebody edits the target again after each of so many writes.
    Fight(usize, u32),
    Suspend(usize, bool),
    AskForRenewal(usize),
    ChangeTemplate(usize, u8),
    MoveTarget(usize, u8),
    /// The resource is deleted and made again under the same name.
    Recreate(usize),
    Api(Api),
    /// So many writes are done, and their answers lost.
    LoseAnswers(u32),
    /// Somebody else changes the object before each of so many writes.
    Storm(u32),
    /// Writes of Secrets are refused.
    Refuse(Refusal),
    /// The process is told to stop, and starts again.
    Restart,
    /// The process dies after so many more requests, with the next one done or not, and starts again.
    Die(u32, bool),
    /// The process loses the lease, or gets it again.
    Lead(bool),
    /// From here on an outage of the API server and a clock that jumps cost the process its lease, as they do with
    /// `--leader-election`.
    Elect,
    /// So many seconds pass before the watches on resources and on Secrets tell anything.
    Lag(u32, u32),
    /// The watches start over.
    Relist,
    /// Somebody sets the machine's clock.
    SetClock(i64),
    /// The machine sleeps.
    Sleep(u32),
}

/// How Squadcast answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Fine,
    /// Every exchange replaces the refresh token and ends the one before.
    Rotating,
    /// With the token it gave before, while that is good for more than a minute.
    Repeating,
    Slow,
    /// 503.
    Unavailable,
    /// Not at all.
    Silent,
    /// 402: the account lacks something that a person must see to.
    Unpaid,
    /// As somebody else would.
    Strange,
    /// 429, with so many seconds to wait.
    Limiting(Option<u32>),
    /// 401 for everybody, though nothing is revoked.
    Confused,
}

/// How the API server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Up,
    Refusing,
    Hanging,
}

/// Which writes of Secrets are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Nothing,
    /// Creations.
    Quota,
    Webhook,
    /// All, for lack of rights.
    Rights,
}

/// A whole play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    /// The resources of the first source write rotated refresh tokens back.
    pub(super) write_back: bool,
    /// What happens, and how many seconds follow in which nothing else does.
    pub(super) steps: Vec<(Step, u32)>,
    /// Long waits are not cut, though they be more of the same, and no token may ever expire.
    pub(super) in_full: bool,
}

impl Step {
    /// Its name, without what it is about.
    pub(super) fn kind(self) -> String {
        let text = match self {
            Self::Squadcast(mood) => format!("Squadcast{mood:?}"),
            Self::Api(api) => format!("Api{api:?}"),
            Self::Refuse(refusal) => format!("Refuse{refusal:?}"),
            _ => format!("{self:?}"),
        };
        text.split('(').next().unwrap_or_default().to_owned()
    }
}

impl Script {
    /// A test of this name that plays it again, for `simulation/regressions.rs`.
    pub(super) fn as_test(&self, name: &str) -> String {
        let mut text = format!("#[test]\nfn {name}() {{\n    plays_well({}, &[\n", self.write_back);
        for step in &self.steps {
            let _ = writeln!(text, "        {step:?},");
        }
        text + "    ]);\n}\n"
    }
}

/// Any play.
pub(super) fn scripts() -> impl Strategy<Value = Script> {
    (any::<bool>(), proptest::collection::vec((steps(), waits()), 1..40))
        .prop_map(|(write_back, steps)| Script { write_back, steps, in_full: false })
}

fn waits() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0u32), 1u32..10, 10u32..1000, 1000u32..20_000, 20_000u32..400_000]
}

fn moods() -> impl Strategy<Value = Mood> {
    prop_oneof![
        5 => Just(Mood::Fine),
        3 => Just(Mood::Rotating),
        1 => Just(Mood::Repeating),
        1 => Just(Mood::Slow),
        2 => Just(Mood::Unavailable),
        1 => Just(Mood::Silent),
        1 => Just(Mood::Unpaid),
        1 => Just(Mood::Strange),
        2 => proptest::option::of(0u32..100_000).prop_map(Mood::Limiting),
        1 => Just(Mood::Confused),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let source = 0..SOURCES.len();
    let of_sources = prop_oneof![
        1 => source.clone().prop_map(Step::Revoke),
        2 => source.clone().prop_map(Step::Replace),
        1 => source.clone().prop_map(Step::Mistype),
        1 => source.prop_map(Step::DeleteSource),
    ];
    let resource = 0..RESOURCES.len();
    let of_resources = prop_oneof![
        resource.clone().prop_map(Step::Edit),
        resource.clone().prop_map(Step::RemoveKey),
        resource.clone().prop_map(Step::Relabel),
        resource.clone().prop_map(Step::DeleteTarget),
        (resource.clone(), 1u32..20).prop_map(|(i, n)| Step::Fight(i, n)),
        (resource.clone(), any::<bool>()).prop_map(|(i, on)| Step::Suspend(i, on)),
        resource.clone().prop_map(Step::AskForRenewal),
        (resource.clone(), 0u8..3).prop_map(|(i, n)| Step::ChangeTemplate(i, n)),
        (resource.clone(), 0u8..3).prop_map(|(i, n)| Step::MoveTarget(i, n)),
        resource.prop_map(Step::Recreate),
    ];
    let api = prop_oneof![2 => Just(Api::Up), 1 => Just(Api::Refusing), 1 => Just(Api::Hanging)];
    let refusal = prop_oneof![
        2 => Just(Refusal::Nothing),
        1 => Just(Refusal::Quota),
        1 => Just(Refusal::Webhook),
        1 => Just(Refusal::Rights),
    ];
    let of_the_cluster = prop_oneof![
        3 => api.prop_map(Step::Api),
        2 => (1u32..6).prop_map(Step::LoseAnswers),
        2 => (1u32..12).prop_map(Step::Storm),
        3 => refusal.prop_map(Step::Refuse),
        2 => (0u32..200, 0u32..200).prop_map(|(a, b)| Step::Lag(a, b)),
        1 => Just(Step::Relist),
    ];
    let of_the_process = prop_oneof![
        2 => Just(Step::Restart),
        4 => (0u32..12, any::<bool>()).prop_map(|(n, done)| Step::Die(n, done)),
        2 => any::<bool>().prop_map(Step::Lead),
        2 => Just(Step::Elect),
        1 => (-100_000i64..100_000).prop_map(Step::SetClock),
        2 => (1u32..200_000).prop_map(Step::Sleep),
    ];
    prop_oneof![
        5 => moods().prop_map(Step::Squadcast),
        1 => prop_oneof![Just(900i64), Just(7200), Just(86_400), Just(172_800)].prop_map(Step::Life),
        4 => of_sources,
        6 => of_resources,
        6 => of_the_cluster,
        5 => of_the_process,
    ]
}
