//! Three processes and a lease over hours of virtual time, with everything that goes wrong: lost and late
//! requests and answers, cut-off and stopped processes, clocks that are set, crashes, a deleted lease.
//! At no moment may two of them act; once all is well one of them must.

use super::*;

const TICK: Duration = Duration::from_millis(50);

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    /// On average once in so much time, asked every tick.
    fn once_in(&mut self, seconds: u64) -> bool {
        self.roll(seconds * 20) == 0
    }
}

struct Request {
    id: u64,
    from: usize,
    action: Action,
    us: String,
    seen: Option<Record>,
    arrives: Duration,
    answer_is_lost: bool,
}

struct Pending {
    id: u64,
    action: Action,
    sent: Moment,
    gives_up: Duration,
    answer: Option<(Duration, Answer)>,
}

struct Node {
    election: Election,
    wakes: Duration,
    pending: Option<Pending>,
    cut_off_until: Duration,
    stopped_until: Duration,
    wall_offset: i64,
}

struct World {
    dice: Dice,
    base: Moment,
    time: Duration,
    lease: Option<Record>,
    versions: u64,
    nodes: Vec<Node>,
    flying: Vec<Request>,
    ids: u64,
    changes: u32,
    crashes: bool,
    calm: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let base = Moment::now();
        let node = |n| Node {
            election: Election::new(format!("node-{n}"), base.steady),
            wakes: Duration::ZERO,
            pending: None,
            cut_off_until: Duration::ZERO,
            stopped_until: Duration::ZERO,
            wall_offset: 0,
        };
        Self {
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            base,
            time: Duration::ZERO,
            lease: None,
            versions: 0,
            nodes: (0..3).map(node).collect(),
            flying: Vec::new(),
            ids: 3,
            changes: 0,
            crashes: seed.is_multiple_of(2),
            calm: false,
        }
    }

    fn moment(&self, n: usize) -> Moment {
        let offset = jiff::SignedDuration::from_secs(self.nodes[n].wall_offset);
        Moment { steady: self.base.steady + self.time, wall: self.base.wall + self.time + offset }
    }

    fn leaders(&self) -> usize {
        (0..3).filter(|n| self.nodes[*n].election.leads_from(self.moment(*n)).is_some()).count()
    }

    fn tick(&mut self) {
        self.time += TICK;
        if !self.calm {
            self.mishaps();
        }
        let (arrived, flying): (Vec<_>, _) =
            std::mem::take(&mut self.flying).into_iter().partition(|r| r.arrives <= self.time);
        self.flying = flying;
        for request in arrived {
            self.serve(request);
        }
        for n in 0..3 {
            if self.time >= self.nodes[n].stopped_until {
                self.run(n);
            }
        }
    }

    fn mishaps(&mut self) {
        let n = usize::try_from(self.dice.roll(3)).unwrap();
        if self.dice.once_in(40) {
            self.nodes[n].cut_off_until = self.time + Duration::from_secs(self.dice.roll(60));
        }
        if self.dice.once_in(60) {
            self.nodes[n].stopped_until = self.time + Duration::from_secs(self.dice.roll(40));
        }
        if self.dice.once_in(60) {
            self.nodes[n].wall_offset += i64::try_from(self.dice.roll(200)).unwrap() - 100;
        }
        if self.crashes && self.dice.once_in(120) {
            self.ids += 1;
            let us = format!("node-{}", self.ids);
            self.nodes[n].election = Election::new(us, self.base.steady + self.time);
            self.nodes[n].pending = None;
        }
        // A process that starts within seconds of a deletion takes it for a first installation.
        if !self.crashes && self.dice.once_in(90) {
            self.lease = None;
        }
    }

    /// The API server.
    fn serve(&mut self, request: Request) {
        let matches = self.lease.as_ref().map(|r| &r.resource_version)
            == request.seen.as_ref().map(|r| &r.resource_version);
        let answer = match (request.action, &self.lease) {
            (Action::Create, Some(_)) => Answer::Conflict,
            (Action::Look | Action::Take | Action::Renew, None) => Answer::Absent,
            (Action::Look, Some(record)) => Answer::Record(record.clone()),
            (Action::Take | Action::Renew, Some(_)) if !matches => Answer::Conflict,
            _ => {
                self.versions += 1;
                let record = Record {
                    holder: Some(request.us),
                    resource_version: self.versions.to_string(),
                    duration: DURATION,
                    transitions: 0,
                };
                self.changes += u32::from(request.action == Action::Take);
                self.lease = Some(record.clone());
                Answer::Record(record)
            }
        };
        let delay = self.delay();
        if let Some(pending) = &mut self.nodes[request.from].pending
            && pending.id == request.id
            && !request.answer_is_lost
        {
            pending.answer = Some((self.time + delay, answer));
        }
    }

    fn delay(&mut self) -> Duration {
        let most = if self.dice.roll(20) == 0 && !self.calm { 9000 } else { 60 };
        Duration::from_millis(self.dice.roll(most))
    }

    /// One process, like the loop around the election.
    fn run(&mut self, n: usize) {
        let now = self.moment(n);
        if let Some(pending) = self.nodes[n].pending.take() {
            let answer = match pending.answer {
                Some((at, answer)) if at <= self.time => answer,
                _ if self.time >= pending.gives_up => Answer::Failed,
                answer => return self.nodes[n].pending = Some(Pending { answer, ..pending }),
            };
            self.nodes[n].election.learn(pending.action, answer, pending.sent, now);
            self.nodes[n].wakes = self.time;
        }
        if self.time < self.nodes[n].wakes {
            return;
        }
        let action = self.nodes[n].election.decide(now.steady);
        if action == Action::Wait {
            let node = &mut self.nodes[n];
            node.election.rest(now.steady);
            node.wakes = node.election.wakes_at(now).saturating_duration_since(self.base.steady);
            return;
        }
        self.ids += 1;
        let cut_off = self.time < self.nodes[n].cut_off_until;
        let arrives = self.time + self.delay();
        let election = &self.nodes[n].election;
        let request = Request {
            id: self.ids,
            from: n,
            action,
            us: election.us().to_owned(),
            seen: election.record().cloned(),
            arrives,
            answer_is_lost: cut_off || (!self.calm && self.dice.roll(30) == 0),
        };
        let gives_up = self.time + election.patience(now);
        self.nodes[n].pending = Some(Pending { id: self.ids, action, sent: now, gives_up, answer: None });
        // Cut off, a request is lost, or arrives and its answer is lost.
        if !cut_off || self.dice.roll(2) == 0 {
            self.flying.push(request);
        }
    }
}

#[test]
fn never_two_and_in_the_end_one() {
    let mut changes = 0;
    let mut led = 0_u64;
    for seed in 1..=60 {
        let mut world = World::new(seed);
        for _ in 0..20 * 1800 {
            world.tick();
            let leaders = world.leaders();
            assert!(leaders <= 1, "seed {seed}: two act at {:?}", world.time);
            led += u64::try_from(leaders).unwrap();
        }
        world.calm = true;
        for node in &mut world.nodes {
            node.cut_off_until = Duration::ZERO;
            node.stopped_until = Duration::ZERO;
        }
        for _ in 0..20 * 40 {
            world.tick();
            assert!(world.leaders() <= 1, "seed {seed}: two act at {:?}", world.time);
        }
        assert_eq!(world.leaders(), 1, "seed {seed}: nobody leads");
        changes += world.changes;
    }
    assert!(changes > 500, "the simulation is too calm: {changes} changes");
    let share = led * 100 / (60 * 20 * 1800);
    assert!(share > 50, "somebody led {share} % of the time");
}
