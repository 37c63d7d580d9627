use super::*;

/// 2026-11-23T04:24:21Z.
const START: i64 = 1_795_407_861_000;
const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 3_650 * DAY_MS;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// A clock that is watched as the hub does it, every second.
struct Watched {
    clock: Clock,
    trust: Trust,
}

impl Watched {
    fn at(now_ms: i64) -> Self {
        let clock = Clock::by_hand(now_ms);
        Self { trust: Trust::judge(clock.clone()), clock }
    }

    /// With something in the file.
    fn after(newest_ms: i64, now_ms: i64) -> Self {
        let watched = Self::at(now_ms);
        watched.trust.stored(newest_ms);
        watched
    }

    fn run(&self, time: Duration) -> Result<i64, Doubt> {
        for _ in 0..time.as_secs() {
            self.clock.run(Duration::from_secs(1));
            let _ = self.trust.look();
        }
        self.trust.now_ms()
    }

    fn jump(&self, by_ms: i64) -> Result<i64, Doubt> {
        self.clock.set(self.clock.now_ms() + by_ms);
        self.trust.now_ms()
    }
}

#[test]
fn a_clock_is_trusted_after_ten_minutes_without_a_jump_and_stays_so() {
    let watched = Watched::after(START - HOUR_MS, START);
    assert_eq!(watched.trust.now_ms(), Err(Doubt::Unsettled { left: minutes(10) }));
    assert_eq!(watched.run(minutes(9)), Err(Doubt::Unsettled { left: minutes(1) }));
    assert_eq!(watched.run(minutes(1)), Ok(START + 600_000));
    assert!(watched.run(minutes(60 * 30)).is_ok(), "more than a day later");
}

#[test]
fn a_clock_that_the_system_calls_synchronised_is_trusted_at_once() {
    let watched = Watched::after(START - 400 * DAY_MS, START);
    watched.clock.synchronise();
    assert!(watched.trust.now_ms().is_err(), "the system was not asked");
    assert!(watched.trust.look().is_ok());
    // Whatever the file says: its rows were stored by a clock that was wrong.
    let watched = Watched::after(START + TEN_YEARS_MS, START);
    watched.clock.synchronise();
    assert!(watched.trust.look().is_ok());
}

#[test]
fn no_clock_is_trusted_that_is_before_the_release() {
    let watched = Watched::at(0);
    watched.clock.synchronise();
    assert_eq!(watched.trust.look(), Err(Doubt::BeforeRelease));
    assert_eq!(watched.run(minutes(20)), Err(Doubt::BeforeRelease));
    // Set right by the system, which says so.
    watched.clock.synchronise();
    watched.clock.set(START);
    assert_eq!(watched.trust.look(), Ok(START));
}

#[test]
fn the_release_is_a_day() {
    assert_eq!(released_ms() % DAY_MS, 0);
    assert!((1_700_000_000_000..START).contains(&released_ms()));
}

/// The day of the newest release in a changelog; `None` before the first.
fn newest_release(changelog: &str) -> Option<&str> {
    let mut releases = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    releases.find(|heading| *heading != "Unreleased")?.split_whitespace().last()
}

#[test]
fn the_release_is_the_newest_one_of_the_changelog() {
    let text =
        "# Changelog\n\n## Unreleased\n### Added\n\n## 0.2.0 - 2027-01-02\n\n## 0.1.0 - 2026-12-24";
    assert_eq!(newest_release(text), Some("2027-01-02"));
    assert_eq!(newest_release("# Changelog\n\n## Unreleased\n"), None);
    let newest = newest_release(include_str!("../../../CHANGELOG.md"));
    assert_eq!(
        newest.unwrap_or(RELEASED),
        RELEASED,
        "set clock::RELEASED to the day of the release"
    );
}

#[test]
fn a_clock_behind_what_was_stored_is_trusted_when_it_has_caught_up() {
    let watched = Watched::after(START, START - HOUR_MS);
    assert!(matches!(watched.run(minutes(59)), Err(Doubt::Behind { .. })));
    assert!(watched.run(minutes(1)).is_ok());
}

#[test]
fn a_clock_far_from_what_was_stored_is_trusted_after_a_day() {
    for (days, now) in [(3_650, START + TEN_YEARS_MS), (-20, START - 20 * DAY_MS)] {
        let watched = Watched::after(START, now);
        let far = Doubt::Far { days, left: Duration::from_secs(86_400) };
        assert_eq!(watched.trust.now_ms(), Err(far));
        assert!(watched.run(minutes(24 * 60 - 1)).is_err());
        assert!(watched.run(minutes(1)).is_ok());
    }
}

#[test]
fn a_hub_that_was_off_for_weeks_trusts_its_clock_after_ten_minutes() {
    let watched = Watched::after(START - 29 * DAY_MS, START);
    assert_eq!(watched.trust.now_ms(), Err(Doubt::Unsettled { left: minutes(10) }));
    assert_eq!(watched.run(minutes(10)), Ok(START + 600_000));
    // A clock that jumps so far while it runs is another matter.
    assert!(matches!(watched.jump(29 * DAY_MS), Err(Doubt::Far { days: 29, .. })));
}

#[test]
fn a_jump_of_ten_years_is_seen_before_anything_is_done_by_it() {
    let watched = Watched::at(START);
    watched.run(minutes(10)).unwrap();
    // Nobody has looked since.
    assert!(matches!(watched.jump(TEN_YEARS_MS), Err(Doubt::Far { days: 3_650, .. })));
    assert!(matches!(watched.run(minutes(60)), Err(Doubt::Far { .. })));
    // Back again: ahead of what was believed by the hour that has passed.
    assert!(matches!(watched.jump(-TEN_YEARS_MS), Err(Doubt::Unsettled { .. })));
    assert!(watched.run(minutes(10)).is_ok());
}

#[test]
fn a_jump_before_anything_was_stored_or_believed_is_one_as_well() {
    let watched = Watched::at(START);
    assert!(matches!(watched.jump(TEN_YEARS_MS), Err(Doubt::Far { days: 3_650, .. })));
    assert!(watched.run(minutes(60)).is_err());
    // From nowhere to a time that may be right.
    let watched = Watched::at(0);
    assert!(matches!(watched.jump(START), Err(Doubt::Unsettled { .. })));
}

#[test]
fn a_jump_back_by_an_hour_is_waited_out() {
    let watched = Watched::at(START);
    let before = watched.run(minutes(10)).unwrap();
    assert!(matches!(watched.jump(-HOUR_MS), Err(Doubt::Behind { .. })));
    assert!(watched.run(minutes(59)).is_err());
    assert!(watched.run(minutes(1)).is_ok_and(|now| now >= before));
}

#[test]
fn a_synchronisation_before_a_jump_says_nothing_of_the_time_after_it() {
    let watched = Watched::at(START);
    watched.clock.synchronise();
    assert!(watched.trust.look().is_ok());
    assert!(watched.jump(TEN_YEARS_MS).is_err());
    assert!(watched.trust.look().is_err(), "that was the clock before the jump");
    watched.clock.synchronise();
    assert!(watched.trust.look().is_ok());
}

#[test]
fn a_jump_that_comes_with_its_synchronisation_leaves_no_doubt() {
    let watched = Watched::at(START);
    watched.run(minutes(10)).unwrap();
    watched.clock.synchronise();
    watched.clock.set(START + 2 * HOUR_MS);
    assert!(watched.trust.look().is_ok());
}

#[test]
fn a_clock_that_is_slewed_has_not_jumped_and_one_that_jumps_all_the_time_is_never_trusted() {
    let watched = Watched::at(START);
    for _ in 0..700 {
        watched.clock.set(watched.clock.now_ms() + 2);
        let _ = watched.run(Duration::from_secs(1));
    }
    assert!(watched.trust.now_ms().is_ok());
    let watched = Watched::at(START);
    for _ in 0..100 {
        let _ = watched.jump(3_001);
        assert!(watched.run(minutes(9)).is_err());
    }
}

#[test]
fn no_time_is_too_far_away() {
    for (newest, now) in [(i64::MAX, i64::MAX), (i64::MIN, i64::MAX), (i64::MAX, i64::MIN)] {
        let watched = Watched::after(newest, now);
        assert!(watched.trust.now_ms().is_err());
        let _ = (watched.clock.set(0), watched.trust.now_ms());
        let _ = (watched.clock.set(i64::MAX), watched.trust.now_ms());
    }
}

#[test]
fn what_arrives_before_the_release_arrives_after_what_was_last_stored() {
    let watched = Watched::after(START, 5_000);
    let _ = watched.run(minutes(1));
    assert_eq!(watched.trust.arrival_ms(watched.clock.now_ms()), START + 60_000);
    // Any other time is as good as what is known.
    for said in [START - 20 * DAY_MS, START + TEN_YEARS_MS] {
        assert_eq!(watched.trust.arrival_ms(said), said);
    }
    let fresh = Watched::at(5_000);
    let _ = fresh.run(minutes(1));
    assert_eq!(fresh.trust.arrival_ms(65_000), released_ms() + 60_000);
}

#[test]
fn a_clock_that_is_given_is_believed() {
    let trust = Trust::given(Clock::by_hand(5));
    trust.stored(START);
    assert_eq!(trust.arrival_ms(7), 7);
    assert_eq!((trust.now_ms(), trust.look()), (Ok(5), Ok(5)));
}

#[test]
fn a_doubt_says_what_to_do() {
    let (day, left) = (Duration::from_secs(86_400), minutes(2));
    let told = [
        (Doubt::BeforeRelease, "before 2026-11-01, when this program was released; set it"),
        (Doubt::Behind { behind: left }, "it is 120 s behind what was last stored"),
        (Doubt::Unsettled { left }, "run for 2 min more without a jump, or be synchronised"),
        (Doubt::Far { days: 9, left: day }, "9 days ahead of what was last stored; set it, or it"),
        (Doubt::Far { days: -9, left: day }, "9 days behind what was last stored; set it, or it"),
    ];
    for (doubt, words) in told {
        assert!(doubt.to_string().contains(words), "{doubt}");
    }
}
