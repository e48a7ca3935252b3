//! Choice, circuits, ejection and active checks together, over seeded runs in which targets fail and
//! recover as they like.

use super::*;
use crate::clock::WallTime;
use crate::snapshot::catalog::{Breaker, Outlier, Place, Target};
use crate::watch::outlook::TargetOutlook;
use std::net::SocketAddr;

/// A generator of numbers that a seed repeats (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

const EJECTED_MAX_PERCENT: u32 = 50;

fn upstream(dice: &mut Dice) -> Upstream {
    let count = 2 + u16::try_from(dice.roll(5)).expect("is small");
    let target = |port: u16| Target {
        place: Place::At(SocketAddr::from(([10, 0, 0, 1], port)).into()),
        weight: 1 + u32::from(port % 3),
    };
    let rules = [
        BalanceEntry::RoundRobin,
        BalanceEntry::LeastInflight,
        BalanceEntry::Hash(crate::snapshot::catalog::Affinity::Key),
    ];
    let rule = usize::try_from(dice.roll(3)).expect("is small");
    Upstream {
        targets: (1..=count).map(target).collect(),
        shape: 7,
        balance: rules[rule].clone(),
        // Where there is one it is faster than ejection, which would never be seen.
        breaker: (dice.roll(2) == 0).then(|| Breaker {
            failures: 4,
            open_ms: 500,
            trials: 1 + u32::try_from(dice.roll(2)).expect("is small"),
        }),
        outlier: Some(Outlier {
            window_ms: 2_000,
            requests_min: 10,
            failure_percent: 50,
            eject_ms: 1_000,
            ejected_max_percent: EJECTED_MAX_PERCENT,
        }),
        slow_start_ms: 300,
        ..Upstream::for_tests()
    }
}

/// One run: what is true of the targets, what is known, and the exchanges under way.
struct Run {
    dice: Dice,
    upstream: Upstream,
    balance: Balance,
    now_ms: u64,
    /// Whether each target answers well.
    serves: Vec<bool>,
    /// Exchanges by their end.
    running: Vec<(u64, Rc<Member>)>,
    asked: Vec<u64>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let upstream = upstream(&mut dice);
        let count = upstream.targets.len();
        Self {
            dice,
            upstream,
            balance: Balance::starting_at(0),
            now_ms: 1,
            serves: vec![true; count],
            running: Vec::new(),
            asked: vec![0; count],
        }
    }

    fn place(member: &Member) -> usize {
        match &member.endpoint {
            Endpoint::Tcp(address) => usize::from(address.port()) - 1,
            Endpoint::Unix(_) => panic!("all are TCP here"),
        }
    }

    /// Tells what a check of all targets finds now.
    fn check_all(&mut self, version: u64) {
        let checked = self.upstream.targets.iter().zip(&self.serves);
        let targets = checked.map(|(target, serves)| TargetOutlook {
            endpoint: match &target.place {
                Place::At(endpoint) => endpoint.clone(),
                Place::Named { .. } => panic!("all are addresses here"),
            },
            healthy: *serves,
            since: WallTime(0),
            last_error: None,
        });
        let known = UpstreamOutlook::of_names("test", Vec::new()).with(version, targets.collect());
        let mut outlook = Outlook::default();
        outlook
            .upstreams
            .insert(self.upstream.number, Arc::new(known));
        self.balance.adopt(Arc::new(outlook));
    }

    /// Ends what is due, as the target serves then.
    fn end_due(&mut self, until_ms: u64) {
        self.now_ms = until_ms;
        let (due, rest) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|(end_ms, _)| *end_ms <= until_ms);
        self.running = rest;
        let due: Vec<_> = due;
        for (_, member) in due {
            let went = match (self.dice.roll(50), self.serves[Self::place(&member)]) {
                (0, _) => Went::Nowhere,
                (_, true) => Went::Well,
                (_, false) => Went::Badly,
            };
            self.balance.end(&self.upstream, &member, went, until_ms);
        }
    }

    /// One request; panics where the choice breaks a promise.
    fn ask(&mut self) {
        let draw = Draw {
            now_ms: self.now_ms,
            bound: Some(self.dice.roll(1 << 20)),
            chance: self.dice.roll(1 << 40),
        };
        let picked = self.balance.pick(&self.upstream, draw, &[]);
        let list = &self.balance.upstreams[&self.upstream.number].list;
        let rules = rules(&self.upstream);
        let admits = |member: &&Rc<Member>| member.fitness.admits(rules, self.now_ms);
        let fit =
            |member: &Rc<Member>| member.healthy.get() && !member.fitness.is_ejected(self.now_ms);
        let Some(member) = picked else {
            assert_eq!(list.iter().filter(admits).count(), 0, "one was left");
            return;
        };
        assert!(admits(&&member), "its circuit is open");
        let has_fit = list.iter().filter(admits).any(fit);
        assert!(fit(&member) || !has_fit, "an unfit target before a fit one");
        self.balance.begin(&member, self.now_ms);
        self.asked[Self::place(&member)] += 1;
        self.running
            .push((self.now_ms + self.dice.roll(40), member));
    }

    fn check_ejected(&self) {
        let list = &self.balance.upstreams[&self.upstream.number].list;
        let ejected = |member: &&Rc<Member>| member.fitness.is_ejected(self.now_ms);
        let ejected = list.iter().filter(ejected).count();
        assert!(
            ejected * 100 <= list.len() * EJECTED_MAX_PERCENT as usize,
            "{ejected} are out"
        );
    }
}

#[test]
fn no_course_of_failures_breaks_a_promise_and_all_recover() {
    for seed in 1..=80 {
        let mut run = Run::new(seed);
        let mut version = 0;
        for _ in 0..2_000 {
            let pause_ms = run.dice.roll(20);
            run.end_due(run.now_ms + pause_ms);
            if run.dice.roll(60) == 0 {
                let count = run.serves.len() as u64;
                let one = usize::try_from(run.dice.roll(count)).expect("is small");
                run.serves[one] = !run.serves[one];
            }
            if run.dice.roll(40) == 0 {
                version += 1;
                run.check_all(version);
            }
            run.ask();
            run.check_ejected();
        }
        // All serve again, and checks have seen it: everyone is asked, and nothing is held.
        run.serves.fill(true);
        run.check_all(version + 1);
        for _ in 0..2_000 {
            run.end_due(run.now_ms + 200);
            run.ask();
        }
        run.asked.fill(0);
        for _ in 0..1_000 {
            run.end_due(run.now_ms + 10);
            run.ask();
        }
        run.end_due(run.now_ms + 1_000);
        assert!(
            run.asked.iter().all(|asked| *asked > 0),
            "seed {seed}: {:?}",
            run.asked
        );
        for member in &run.balance.upstreams[&run.upstream.number].list {
            assert_eq!(member.in_flight.get(), 0, "seed {seed}");
            assert_eq!(member.fitness.state(run.now_ms), "fit", "seed {seed}");
        }
    }
}
