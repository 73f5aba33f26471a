//! The table of a run.

use crate::client::{Load, Measured};

/// One receiver's figures.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    measured: Measured,
}

impl Row {
    pub(crate) fn new(name: &'static str, measured: Measured) -> Self {
        Self { name, measured }
    }
}

/// Prints a Markdown table; ratios are to the first row, and only where that is a floor.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn print(load: &Load, rows: &[Row]) {
    let unit = load.signal.unit();
    println!("{load}");
    println!();
    println!("| receiver | {unit}/s | MB/s | CPU s per million {unit} | x floor | rejected | refused requests |");
    println!("|---|---|---|---|---|---|---|");
    let floor = rows.first().filter(|_| rows.len() > 1).and_then(|row| row.measured.cpu_per_million());
    for Row { name, measured } in rows {
        let or_dash = |number: Option<f64>, decimals: usize| number.map_or("-".into(), |n| format!("{n:.decimals$}"));
        let cpu = measured.cpu_per_million();
        let ratio = cpu.zip(floor).map(|(cpu, floor)| cpu / floor);
        println!(
            "| {name} | {:.0} | {:.0} | {} | {} | {} | {} |",
            measured.per_second(),
            measured.megabytes_per_second(),
            or_dash(cpu, 3),
            or_dash(ratio, 2),
            measured.rejected,
            measured.refused,
        );
    }
    println!();
}
