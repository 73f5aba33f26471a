use linfa::{
    Dataset, ParamGuard,
    traits::{Fit, Predict},
};
use ndarray::Array2;

use super::*;

/// `rows` of `width` uniform values in [0, 1).
fn uniform(rows: usize, width: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..rows * width).map(|_| rough(random.uniform())).collect()
}

/// Rows of `width` normal values that are nearly the same in each row.
fn correlated(rows: usize, width: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut row = move || {
        let shared = random.normal();
        (0..width).map(|_| rough(shared + 0.1 * random.normal())).collect::<Vec<f32>>()
    };
    (0..rows).flat_map(|_| row()).collect()
}

fn grown(params: ForestParams, values: &[f32], width: usize) -> Forest {
    params.check().expect("is valid").grow(Rows::new(values, width)).expect("can be grown")
}

/// The path of a row by the definition: cut by cut from the root, without heaps that are filled up or lanes.
fn naive_score(forest: &Forest, row: &[f32]) -> f64 {
    let size = 1 << forest.depth;
    let length = |tree: usize| {
        let (mut place, mut level) = (1_usize, 0);
        while level < forest.depth && forest.nodes[tree * size + place].count > 0 {
            let node = forest.nodes[tree * size + place];
            let terms = &forest.planes[(tree * size + place) * forest.terms * usize::from(forest.terms > 1)..];
            let sum: f64 =
                terms.iter().take(forest.terms).map(|(f, w)| f64::from(*w) * f64::from(row[*f as usize])).sum();
            let value = if forest.terms > 1 { rough(sum) } else { row[node.feature as usize] };
            place = 2 * place + usize::from(key(value) > node.threshold);
            level += 1;
        }
        f64::from(forest.leaves[tree * size + (place << (forest.depth - level)) - size])
    };
    let mean = (0..forest.trees()).map(length).sum::<f64>() / precise(forest.trees());
    (-mean / usual_lengths(forest.sample)[forest.sample]).exp2()
}

#[test]
fn usual_lengths_are_those_of_the_paper() {
    // c(2) = 1; c(n) = 2 H(n - 1) - 2 (n - 1) / n.
    let lengths = usual_lengths(256);
    assert!(lengths[0].abs() < 1e-12 && lengths[1].abs() < 1e-12 && (lengths[2] - 1.0).abs() < 1e-12);
    assert!((lengths[3] - (2.0 * 1.5 - 4.0 / 3.0)).abs() < 1e-12);
    // By Euler and Maclaurin, H(n) is ln n + 0.5772... + 1 / 2n - 1 / 12n^2 + ...
    let harmonic = 255_f64.ln() + 0.577_215_664_901_532_9 + 1.0 / 510.0 - 1.0 / (12.0 * 255.0 * 255.0);
    assert!((lengths[256] - (2.0 * harmonic - 2.0 * 255.0 / 256.0)).abs() < 1e-9, "{}", lengths[256]);
}

#[test]
fn keys_are_in_the_order_of_numbers() {
    let numbers = [f32::MIN, -2.5, -1.0, -f32::MIN_POSITIVE, 0.0, f32::MIN_POSITIVE, 0.5, 1.0, 3e9, f32::MAX];
    assert!(numbers.map(key).is_sorted_by(|a, b| a < b), "{:?}", numbers.map(key));
    assert_eq!(key(-0.0), key(0.0));
    assert!(key(f32::MAX) < PASS.threshold);
}

#[test]
fn side_by_side_alone_and_by_the_definition_rows_score_the_same() {
    for (extension, width) in [(0, 3), (2, 3), (0, 1), (1, 19)] {
        let values = uniform(700, width, 5);
        let params = ForestParams::default().trees(30).sample_size(200).extension(extension).seed(9);
        let forest = grown(params, &values, width);
        let scores = forest.scores(Rows::new(&values, width));
        assert_eq!(scores.len(), 700);
        for (row, score) in values.chunks_exact(width).zip(&scores) {
            assert!((forest.score(row) - score).abs() < 1e-12 && *score > 0.0 && *score < 1.0);
            assert!((naive_score(&forest, row) - score).abs() < 1e-12, "{extension} {width}");
        }
    }
}

#[test]
fn every_row_of_the_sample_is_in_one_leaf() {
    let values = uniform(64, 2, 3);
    for extension in [0, 1] {
        let forest = grown(ForestParams::default().trees(5).sample_size(64).extension(extension), &values, 2);
        for nodes in forest.nodes.chunks_exact(64) {
            assert_eq!(nodes[1].count, 64);
            for place in 1..32 {
                let below = usize::from(nodes[2 * place].count) + usize::from(nodes[2 * place + 1].count);
                assert!(below <= usize::from(nodes[place].count));
            }
        }
    }
}

#[test]
fn slow_spans_are_far_from_the_rest() {
    // Durations of 60 to 109 ms, and a few of 5 to 15 s.
    let mut values: Vec<f32> = uniform(1_000, 1, 1).iter().map(|u| 0.060 + 0.049 * u).collect();
    values.extend([5.0, 8.0, 11.0, 15.0]);
    let forest = grown(ForestParams::default(), &values, 1);
    let scores = forest.scores(Rows::new(&values, 1));
    let (usual, slow) = scores.split_at(1_000);
    let greatest = usual.iter().copied().fold(0.0, f64::max);
    let least = slow.iter().copied().fold(1.0, f64::min);
    assert!(least > 0.7 && least > greatest + 0.05, "{least} among {greatest}");
    let mut middle = usual.to_vec();
    middle.sort_by(f64::total_cmp);
    assert!(middle[500] < 0.5, "{}", middle[500]);
}

#[test]
fn the_smallest_values_are_not_the_ones_set_apart() {
    // Eight smallest of a dense cluster, and a few far above it.
    let mut values: Vec<f32> = (0..500_u16).map(|i| 100.0 + f32::from(i) / 500.0).collect();
    values.extend([900.0, 950.0, 1_000.0]);
    let scores = grown(ForestParams::default(), &values, 1).scores(Rows::new(&values, 1));
    let least_far = scores[500..].iter().copied().fold(1.0, f64::min);
    assert!(scores[..8].iter().all(|s| *s + 0.1 < least_far), "{:?} {least_far}", &scores[..8]);
}

#[test]
fn planes_see_what_is_unusual_only_together() {
    let values = correlated(2_000, 4, 2);
    let odd = [1.2, -1.2, 1.2, -1.2];
    let rank = |extension: usize| {
        let forest = grown(ForestParams::default().extension(extension).seed(3), &values, 4);
        let scores = forest.scores(Rows::new(&values, 4));
        let odd = forest.score(&odd);
        scores.iter().filter(|s| **s > odd).count()
    };
    let (planes, axes) = (rank(3), rank(0));
    assert!(planes < 20 && axes > 4 * planes, "of 2,000 rows {planes} are further out, {axes} along the axes");
}

#[test]
fn shortenings_sum_up_to_what_the_score_says() {
    for extension in [0, 2] {
        let values = uniform(500, 5, 8);
        let forest = grown(ForestParams::default().extension(extension), &values, 5);
        for row in [&values[..5], &[9.0, 0.5, 0.5, 0.5, 0.5]] {
            let usual = forest.usual_length();
            let mean = -forest.score(row).log2() * usual;
            let explained: f64 = forest.shortenings(row).iter().sum();
            assert!((usual - mean - explained).abs() < 1e-5, "{usual} - {mean} is not {explained}");
            let shares = forest.contributions(row);
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && shares.iter().all(|s| *s >= 0.0));
        }
    }
}

#[test]
fn contributions_name_the_feature_that_is_out() {
    let values = uniform(1_000, 6, 4);
    for extension in [0, 1] {
        let forest = grown(ForestParams::default().extension(extension), &values, 6);
        for odd in 0..6 {
            let mut row = [0.5; 6];
            row[odd] = 4.0;
            let shares = forest.contributions(&row);
            assert!(shares[odd] > 0.8, "{extension} {odd}: {shares:?}");
        }
    }
}

#[test]
fn the_seed_decides() {
    let values = uniform(600, 3, 6);
    let grow = |seed: u64| grown(ForestParams::default().seed(seed), &values, 3);
    assert_eq!(grow(1), grow(1));
    assert_ne!(grow(1), grow(2));
}

#[test]
fn a_refreshed_forest_forgets_the_oldest_trees_first() {
    let (before, after) = (uniform(600, 2, 1), uniform(600, 2, 2).iter().map(|v| v + 5.0).collect::<Vec<f32>>());
    let mut forest = grown(ForestParams::default().trees(20), &before, 2);
    let size = 1 << forest.depth;
    let old = forest.nodes.clone();
    let news = |forest: &Forest| forest.score(&[5.5, 5.5]);
    let at_first = news(&forest);
    forest.refresh(Rows::new(&after, 2), 5).expect("fits");
    assert_ne!(forest.nodes[..5 * size], old[..5 * size]);
    assert_eq!(forest.nodes[5 * size..], old[5 * size..]);
    assert!(news(&forest) < at_first);
    forest.refresh(Rows::new(&after, 2), 15).expect("fits");
    assert!(news(&forest) < 0.5 && forest.score(&[0.5, 0.5]) > 0.6, "the past is gone");
    assert_eq!(forest.oldest, 0);
    assert!(matches!(
        forest.refresh(Rows::new(&after[..20], 2), 1),
        Err(ForestError::Rows { expected: 256, actual: 10 })
    ));
    assert!(matches!(forest.refresh(Rows::new(&after, 3), 1), Err(ForestError::Width { expected: 2, actual: 3 })));
}

#[test]
fn written_down_it_goes_on_as_it_would_have() {
    let values = uniform(600, 3, 6);
    for extension in [0, 1] {
        let mut forest = grown(ForestParams::default().trees(10).extension(extension), &values, 3);
        let bytes = postcard::to_stdvec(&forest).expect("is plain data");
        let mut read: Forest = postcard::from_bytes(&bytes).expect("was written");
        assert_eq!(read, forest);
        forest.refresh(Rows::new(&values, 3), 3).expect("fits");
        read.refresh(Rows::new(&values, 3), 3).expect("fits");
        assert_eq!(read, forest);
    }
}

#[test]
fn what_does_not_hold_together_is_not_read() {
    let forest = grown(ForestParams::default().trees(2), &uniform(300, 2, 6), 2);
    let read = |forest: &Forest| {
        let bytes = postcard::to_stdvec(forest).expect("is plain data");
        postcard::from_bytes::<Forest>(&bytes).is_ok()
    };
    assert!(read(&forest));
    let spoiled: [fn(&mut Forest); 6] = [
        |f| f.nodes[1].feature = 2,
        |f| f.leaves.truncate(5),
        |f| f.depth = 4,
        |f| f.oldest = 2,
        |f| f.terms = 2,
        |f| f.medians.clear(),
    ];
    for spoil in spoiled {
        let mut damaged = forest.clone();
        spoil(&mut damaged);
        assert!(!read(&damaged), "{damaged:?}");
    }
}

#[test]
fn missing_and_infinite_values_are_survived() {
    let mut values = uniform(600, 3, 6);
    (0..600).step_by(7).for_each(|row| values[row * 3 + 1] = f32::NAN);
    values[5] = f32::INFINITY;
    (0..600).for_each(|row| values[row * 3 + 2] = f32::NAN);
    for extension in [0, 2] {
        let forest = grown(ForestParams::default().extension(extension), &values, 3);
        assert!(forest.medians.iter().all(|m| m.is_finite()) && forest.medians[2].abs() < 1e-9);
        let (known, lacking) = (forest.score(&[0.5, forest.medians[1], 0.0]), forest.score(&[0.5, f32::NAN]));
        assert!((known - lacking).abs() < 1e-12);
        let far = forest.score(&[f32::NEG_INFINITY, f32::INFINITY, 0.0]);
        assert!(far > known && far < 1.0, "{far} {known}");
    }
}

#[test]
fn rows_that_are_all_the_same_are_not_set_apart() {
    let forest = grown(ForestParams::default(), &[1.5; 900], 3);
    assert!((forest.score(&[1.5; 3]) - 0.5).abs() < 1e-6, "{}", forest.score(&[1.5; 3]));
    let even = forest.contributions(&[1.5; 3]);
    assert!(even.iter().all(|s| (s - 1.0 / 3.0).abs() < 1e-12));
}

#[test]
fn bad_parameters_are_named_with_their_limits() {
    let says = |params: ForestParams| params.check().expect_err("is out of its limits").to_string();
    assert_eq!(says(ForestParams::default().trees(0)), "trees: expected 1 to 1000, got 0");
    assert_eq!(says(ForestParams::default().sample_size(1)), "sample_size: expected 2 to 4096, got 1");
    assert_eq!(
        says(ForestParams::default().extension(16)),
        "extension: expected less than the number of features and at most 15, got 16"
    );
    let grow = |params: ForestParams, values: &[f32], width| {
        let params = params.check().expect("is within its limits");
        params.grow(Rows::new(values, width)).expect_err("cannot be grown").to_string()
    };
    assert_eq!(grow(ForestParams::default(), &[], 0), "features: expected 1 to 4096, got 0");
    assert_eq!(grow(ForestParams::default(), &[1.0], 1), "rows: expected at least 2, got 1");
    let wide = ForestParams::default().extension(2);
    assert_eq!(grow(wide, &[1.0; 8], 2), "extension: expected less than the number of features and at most 1, got 2");
}

#[test]
fn it_is_a_model_of_linfa() {
    let values = uniform(500, 4, 1);
    let single = grown(ForestParams::default().seed(5), &values, 4);
    let records = Array2::from_shape_vec((500, 4), values.iter().map(|v| f64::from(*v)).collect());
    let dataset = Dataset::from(records.expect("has the right length"));
    let forest = ForestParams::default().seed(5).fit(&dataset).expect("is valid");
    assert_eq!(forest, single, "checked and fitted in one step");
    let scores = forest.predict(&dataset);
    assert_eq!(scores.to_vec(), single.scores(Rows::new(&values, 4)));
    assert!(ForestParams::default().trees(0).fit(&dataset).is_err());
}
