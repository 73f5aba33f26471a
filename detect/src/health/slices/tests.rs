use query::{Options, Recall};
use window::UnixNanos;

use super::*;
use crate::{
    Moment,
    health::{Assessed, Burns, Evidence, HealthConfig, Source},
    testing::Feed,
};

/// What is published every 15 s.
const STEP: i64 = 15;
/// Slices of a minute: of four values.
const IN_A_SLICE: usize = 4;

/// An objective of a latency below 2 s, of whose slices a tenth may be bad.
fn objective(target: Option<f64>) -> Objective {
    let source = Source::Expression("max by (job) (latency)".into());
    let made = Objective::new("slow", &source, Duration::from_mins(1), 2.0, 20.0)
        .and_then(|objective| objective.with_budget_of_slices(0.1, Duration::from_mins(1), target))
        .expect("is PromQL");
    Objective { is_published: true, ..made }
}

fn assess(config: &HealthConfig, feed: &mut Feed, second: i64, burns: &mut Burns) -> Assessed {
    let (snapshot, options, mut recall) = (feed.snapshot(), Options::default(), Recall::default());
    let at = UnixNanos(second * 1_000_000_000);
    let moment = Moment { snapshot: &snapshot, at, options: &options, recall: &mut recall };
    config.assess(Evidence { moment, caps: &[] }, [].iter(), [].iter(), burns)
}

/// Feeds values of a service, one every 15 s, `None` for nothing; a value counts for 15 s. Returns what is published of
/// slices, and the shares that budgets were found to be burnt by at the end, in 5 min and in 1 h.
fn slices_of(target: Option<f64>, values: &[Option<f64>]) -> (Vec<(i64, f64)>, [Option<f64>; 2]) {
    let config = HealthConfig { objectives: vec![objective(target)], ..HealthConfig::default() };
    let (mut feed, mut burns, mut all) = (Feed::default(), Burns::default(), Vec::new());
    let mut second = 0;
    for value in values {
        second += STEP;
        // A value that is gone says so, as a series does that ends.
        feed.gauge("latency", &[("job", "a")], second, value.unwrap_or(f64::from_bits(window::STALE_NAN_BITS)));
        let published = assess(&config, &mut feed, second, &mut burns).published;
        for recorded in published {
            let labels: Vec<(&str, &str)> = recorded.labels.iter().collect();
            if &*recorded.name == objective::SLICE_MISSED {
                assert_eq!(labels, [("job", "a"), ("objective", "slow")]);
                all.push((second, recorded.value));
            }
            feed.push(&recorded.name, &labels, window::SeriesKind::Published, second, recorded.value);
        }
    }
    // Looked at anew, so that it does not count when that was done last.
    let mut burns = Burns::default();
    assess(&config, &mut feed, second, &mut burns);
    let objective = &config.objectives[0];
    let pair = &objective.budget.as_ref().expect("has one").pairs[0];
    let share = |burn| burns.of(objective).share(burn, Some("a"));
    (all, [share(&pair.short), share(&pair.long)])
}

/// The same in the plainest way: of the values there are in the last minute, how many missed 2 s.
fn naive(target: Option<f64>, values: &[Option<f64>]) -> Vec<(i64, f64)> {
    let slice = |end: usize| {
        let there = values[(end + 1).saturating_sub(IN_A_SLICE)..=end].iter().flatten().collect::<Vec<_>>();
        let missed = there.iter().filter(|value| ***value > 2.0).count() as f64 / there.len() as f64;
        match target {
            Some(target) => f64::from(u8::from(1.0 - missed < target)),
            None => missed,
        }
    };
    let ends = (0..values.len()).zip(1..).filter(|(i, _)| values[*i].is_some());
    ends.map(|(i, steps)| (STEP * steps, slice(i))).collect()
}

fn mean_of_last(slices: &[(i64, f64)], seconds: i64) -> Option<f64> {
    let end = slices.last()?.0;
    let last: Vec<f64> = slices.iter().filter(|(at, _)| *at > end - seconds).map(|(_, value)| *value).collect();
    Some(last.iter().sum::<f64>() / last.len() as f64)
}

const GOOD: Option<f64> = Some(1.0);
const BAD: Option<f64> = Some(3.0);

#[test]
fn a_slice_is_bad_when_too_few_of_its_values_meet_the_threshold() {
    let values = [GOOD, GOOD, GOOD, BAD, BAD, GOOD, GOOD, GOOD, GOOD];
    let (slices, shares) = slices_of(Some(0.75), &values);
    let shown: Vec<f64> = slices.iter().map(|(_, bad)| *bad).collect();
    // One of four may be bad.
    assert_eq!(shown, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(shares, [Some(3.0 / 9.0); 2], "the ratio of slices");
    let (all_have_to, _) = slices_of(Some(1.0), &values);
    let shown: Vec<f64> = all_have_to.iter().map(|(_, bad)| *bad).collect();
    assert_eq!(shown, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    let (ratios, shares) = slices_of(None, &values);
    let shown: Vec<f64> = ratios.iter().map(|(_, bad)| *bad).collect();
    assert_eq!(shown, [0.0, 0.0, 0.0, 0.25, 0.5, 0.5, 0.5, 0.25, 0.0]);
    assert_eq!(shares, [Some(2.0 / 9.0); 2], "the mean of slices");
}

#[test]
fn a_time_without_values_is_in_no_slice() {
    let values = [BAD, BAD, GOOD, None, None, GOOD, None, None, None, None, BAD, GOOD];
    let (slices, shares) = slices_of(Some(0.5), &values);
    // The first three slices are of one, two and three values; the sixth value has one other, the eleventh none.
    let want = [(15, 1.0), (30, 1.0), (45, 1.0), (90, 0.0), (165, 1.0), (180, 0.0)];
    assert_eq!(slices, want);
    assert_eq!(shares, [Some(4.0 / 6.0); 2], "of the slices that there are");
}

#[test]
fn long_sequences_give_the_ratio_of_a_plain_count() {
    // An hour and a half, with gaps.
    let values: Vec<Option<f64>> = (0_u64..360)
        .map(|i| match xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes()) % 10 {
            0 => None,
            1..4 => BAD,
            _ => GOOD,
        })
        .chain([GOOD])
        .collect();
    for target in [Some(0.5), Some(0.75), Some(1.0), None] {
        let (slices, shares) = slices_of(target, &values);
        assert_eq!(slices, naive(target, &values), "{target:?}");
        for (share, seconds) in shares.into_iter().zip([300, 3_600]) {
            let (share, want) = (share.expect("has a value"), mean_of_last(&slices, seconds).expect("has slices"));
            assert!((share - want).abs() < 1e-12 && want > 0.0, "{target:?} over {seconds} s: {share} and {want}");
        }
    }
}

#[test]
fn slices_that_are_bad_too_often_burn_the_budget() {
    let config = HealthConfig { objectives: vec![objective(Some(0.75))], ..HealthConfig::default() };
    // A tenth may be bad, and all are: ten times as fast as the budget lasts, less than 14.4, more than 6.
    let (mut feed, mut burns) = (Feed::default(), Burns::default());
    let mut last = Vec::new();
    for second in (STEP..=3_600).step_by(15) {
        feed.gauge("latency", &[("job", "a")], second, 3.8);
        let Assessed { healths, published } = assess(&config, &mut feed, second, &mut burns);
        for recorded in published {
            let labels: Vec<(&str, &str)> = recorded.labels.iter().collect();
            feed.push(&recorded.name, &labels, window::SeriesKind::Published, second, recorded.value);
        }
        last = healths;
    }
    assert!((last[1].health - 0.85).abs() < 1e-9, "{last:?}");
    let want = "slow of a is 3.8; target: at most 2; its budget burns 10 times over 6 h and 10 times over 30 min as fast as it \
                lasts (limit 6)";
    assert_eq!(last[1].because, [want]);
}
