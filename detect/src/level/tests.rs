use super::*;

fn secs(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn quick() -> LevelConfig {
    LevelConfig { hold_up: Duration::from_secs(3), hold_down: Duration::from_secs(5), ..LevelConfig::default() }
}

/// Health a second; the answer is the level a second. NaN stands for a silent feed.
fn levels(healths: &[f64]) -> String {
    let mut machine = LevelMachine::default();
    let step = |(i, h): (usize, &f64)| {
        let at = secs(i64::try_from(i).expect("short"));
        let level = machine.step(&quick(), at, Some(*h).filter(|h| !h.is_nan()));
        char::from(b'0' + level.number())
    };
    healths.iter().enumerate().map(step).collect()
}

#[test]
fn thresholds_are_exclusive() {
    let config = LevelConfig::default();
    let of = |h| config.level_of(h).number();
    assert_eq!(
        [of(1.0), of(0.9), of(0.89), of(0.7), of(0.69), of(0.5), of(0.3), of(0.29), of(0.0)],
        [0, 0, 1, 1, 2, 2, 3, 4, 4]
    );
}

#[test]
fn it_rises_after_the_hold_to_the_least_that_was_argued_for() {
    assert_eq!(levels(&[0.4, 0.6, 0.4, 0.4, 0.4]), "00022");
    assert_eq!(levels(&[0.4, 0.4, 1.0, 0.4, 0.4, 0.4, 0.4]), "0000003");
}

#[test]
fn it_falls_one_step_at_a_time_each_after_its_hold() {
    let mut healths = vec![0.4; 4];
    healths.extend([1.0; 17]);
    assert_eq!(levels(&healths), "000333333222221111100");
}

#[test]
fn the_margin_keeps_it_from_flapping() {
    let mut healths = vec![0.8; 4];
    healths.extend([0.92; 20]);
    assert!(levels(&healths).ends_with("111111"), "0.92 is above the threshold but within the margin");
    healths.extend([0.95; 6]);
    assert!(levels(&healths).ends_with('0'));
}

#[test]
fn a_silent_feed_freezes_it() {
    let nan = f64::NAN;
    assert_eq!(levels(&[0.4, 0.4, 0.4, 0.4, nan, nan, nan, nan, nan, nan, nan, 1.0, 1.0]), "0003333333333");
    let mut machine = LevelMachine::default();
    machine.step(&quick(), secs(0), None);
    assert!(machine.is_frozen());
}

#[test]
fn a_pin_overrules_until_it_expires() {
    let mut machine = LevelMachine::default();
    let pin = |until| {
        let level = Level::ReadOnly;
        Some(Pin { level, author: "ada".into(), reason: "migration".into(), expires_at: secs(until) })
    };
    machine.set_pin(pin(10));
    assert_eq!(machine.step(&quick(), secs(1), Some(1.0)), Level::ReadOnly);
    assert_eq!(machine.step(&quick(), secs(9), None), Level::ReadOnly);
    assert_eq!(machine.step(&quick(), secs(10), Some(1.0)), Level::FullService);
    assert_eq!(machine.pin(), None);
}

/// Any sequence of healths: never faster than the dwell, never two steps down, always back to 0.
#[test]
fn no_sequence_breaks_the_promises() {
    let mut x: u64 = 11;
    let mut random = move || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) as f64 / f64::from(1_u32 << 31)
    };
    for _ in 0..300 {
        let mut machine = LevelMachine::default();
        let (mut before, mut up, mut down) = (Level::FullService, -100, -100);
        let mut health = 1.0;
        for t in 0..300 {
            if random() < 0.2 {
                health = random();
            }
            let level = machine.step(&quick(), secs(t), (random() > 0.05).then_some(health));
            if level > before {
                assert!(t - up.max(down) >= 3, "rose after {} s", t - up.max(down));
                up = t;
            } else if level < before {
                assert_eq!(level, before.one_lower());
                assert!(t - down >= 5, "fell after {} s", t - down);
                down = t;
            }
            before = level;
        }
        let end = (300..330).map(|t| machine.step(&quick(), secs(t), Some(1.0))).last();
        assert_eq!(end, Some(Level::FullService));
    }
}

// B12
#[test]
fn a_square_wave_changes_the_level_at_most_once_in_each_hold() {
    const DAY: i64 = 24 * 3_600;
    let config = LevelConfig::default();
    let (up, down) = (config.hold_up.as_secs().cast_signed(), config.hold_down.as_secs().cast_signed());
    // Half a wave from less than the shortest hold to ten times the longest.
    for half in [up / 2, up, 2 * up, down, 2 * down, 5 * down, 10 * down] {
        let mut machine = LevelMachine::default();
        let mut before = Level::FullService;
        let mut changes: Vec<(i64, bool)> = Vec::new();
        for t in 0..DAY {
            let health = if (t / half) % 2 == 0 { 1.0 } else { 0.1 };
            let level = machine.step(&config, secs(t), Some(health));
            if level != before {
                changes.push((t, level > before));
                before = level;
            }
        }
        for pair in changes.windows(2) {
            let hold = if pair[1].1 { up } else { down };
            assert!(pair[1].0 - pair[0].0 >= hold, "{half} s: {pair:?}");
        }
        assert_eq!(changes.is_empty(), half <= up, "{half} s: {} changes", changes.len());
    }
}
