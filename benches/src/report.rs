//! What is printed.

use crate::{
    client::Measured,
    kernel::Part,
    payload::Shape,
    table::{DECODE, DROP, Plan, Row, Subject, median},
};

/// Prints the figures of one receiver.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) fn one(shape: &Shape, measured: &Measured) {
    let unit = shape.signal.unit();
    println!(
        "{shape}: {:.0} {unit}/s, {:.0} MB/s, {} CPU s per million, {} MB at most",
        measured.per_second(),
        measured.megabytes_per_second(),
        number(measured.cpu_per_million(), 3),
        number(megabytes(measured), 0),
    );
}

/// Prints a Markdown table.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn table(plan: &Plan, shape: &Shape, rows: &[Row]) {
    let unit = shape.signal.unit();
    let (connections, seconds, rounds) = (plan.connections, plan.time.as_secs(), plan.rounds);
    println!("{shape}; {connections} connections; {seconds} s a row; medians, rounds: {rounds}");
    println!();
    println!("| receiver | {unit}/s | MB/s | CPU s per million | x drop | x prost | target | peak memory, MB |");
    println!("|---|---|---|---|---|---|---|---|");
    for row in rows {
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.subject.name(),
            number(row.median(Measured::per_second), 0),
            number(row.median(Measured::megabytes_per_second), 0),
            number(row.median(Measured::cpu_per_million), 3),
            number(ratio(row, DROP, rows), 2),
            number(ratio(row, DECODE, rows), 2),
            targets(row, shape, rows),
            number(row.median(megabytes), 0),
        );
    }
    println!();
}

/// Prints what the parts of the line cost.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn parts(shape: &Shape, parts: &[Part]) {
    println!("{shape}; nanoseconds for each, without a network");
    println!();
    println!("| part | mean | median | fastest |");
    println!("|---|---|---|---|");
    for Part { name, nanos } in parts {
        let mean = nanos.iter().sum::<f64>() / nanos.len() as f64;
        let fastest = nanos.iter().copied().fold(f64::NAN, f64::min);
        println!("| {name} | {} | {} | {} |", number(mean, 1), number(median(nanos.clone()), 1), number(fastest, 1));
    }
    println!();
}

fn megabytes(measured: &Measured) -> f64 {
    measured.memory.map_or(f64::NAN, |bytes| bytes as f64 / 1e6)
}

fn ratio(row: &Row, of: Subject, rows: &[Row]) -> f64 {
    rows.iter().find(|other| other.subject == of).map_or(f64::NAN, |other| row.ratio_to(other))
}

/// What is asked of the row and whether it is so.
fn targets(row: &Row, shape: &Shape, rows: &[Row]) -> String {
    let is_measured = |of: Subject| rows.iter().any(|other| other.subject == of);
    let targets = row.subject.targets(shape).into_iter().filter(|target| is_measured(target.of)).map(|target| {
        let measured = ratio(row, target.of, rows);
        let verdict = if measured <= target.most { "met" } else { "missed" };
        let (most, of) = (target.most, target.of.short());
        format!("at most {most} x {of}: {}, {verdict}", number(measured, 2))
    });
    let rate = row.subject.least_rate().filter(|(of, _)| is_measured(*of)).map(|(of, least)| {
        let measured = rows.iter().find(|other| other.subject == of).map_or(f64::NAN, |other| row.rate_to(other));
        let verdict = if measured >= least { "met" } else { "missed" };
        format!("at least {least} x {} of {}: {}, {verdict}", shape.signal.unit(), of.short(), number(measured, 2))
    });
    let targets: Vec<String> = targets.chain(rate).collect();
    if targets.is_empty() { "-".into() } else { targets.join("; ") }
}

fn number(number: f64, decimals: usize) -> String {
    if number.is_nan() { "-".into() } else { format!("{number:.decimals$}") }
}
