//! Times the isolation forest on one table, for `benches/forest.sh`.
//!
//! `cargo run --release -p bellwether-models --example forest_times -- TABLE WIDTH ROUNDS OUT`
//!
//! TABLE holds rows of WIDTH little-endian `f32`. A hundred trees of 256 rows are fitted to it and score it ROUNDS
//! times. OUT gets the median seconds of fitting and of scoring, and then every score, all little-endian `f64`.
#![expect(clippy::disallowed_methods, reason = "a bench has arguments and reads the clock")]

use std::{error::Error, fs, time::Instant};

use bellwether_models::{
    exact_quantile,
    forest::{ForestParams, Rows},
};
use linfa::ParamGuard;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [table, width, rounds, out] = &args[..] else {
        return Err("usage: forest_times TABLE WIDTH ROUNDS OUT".into());
    };
    let values: Vec<f32> = fs::read(table)?.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let rows = Rows::new(&values, width.parse()?);
    let (mut fitting, mut scoring, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..rounds.parse()? {
        let began = Instant::now();
        let forest = ForestParams::default().seed(seed).check()?.grow(rows)?;
        fitting.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        scores = forest.scores(rows);
        scoring.push(began.elapsed().as_secs_f64());
    }
    let medians = [exact_quantile(&mut fitting, 0.5), exact_quantile(&mut scoring, 0.5)];
    let written: Vec<u8> = medians.iter().chain(&scores).flat_map(|x| x.to_le_bytes()).collect();
    fs::write(out, written)?;
    Ok(())
}
