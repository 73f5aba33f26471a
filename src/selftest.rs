//! `bellwether selftest`: how well this very binary detects, from the outside.
//!
//! Others have shipped detectors whose scores were constant or the wrong way round under hundreds of tests of
//! their parts. So nothing here calls a detector: known disturbances go over OTLP into a process of this binary,
//! and what REST answers is set against what was caused.

mod bars;
mod judge;
mod known;
mod signals;
mod subject;

use std::{fmt::Write as _, io::Write as _, process::ExitCode, time::Instant};

use detect::UnixNanos;
use prost::Message as _;

use self::{
    judge::{Finding, Judge, Verdict, row},
    known::Known,
    signals::{Base, Case, EVERY, STEPS, Signal},
    subject::Subject,
};
use crate::{cli::SelftestArgs, export::Export, ui};

/// Midnight of a Monday.
const BEGIN: u64 = 1_767_571_200;

/// Measures, prints, and compares with the bars; exit code 1 when they do not hold.
///
/// # Errors
/// What kept it from being measured.
pub(crate) async fn run(args: &SelftestArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let cases = signals::cases(args.seed);
    let subject = Subject::start()?;
    let points = send(&subject, &cases).await?;
    // What fell silent is silent now; what follows would be about spans.
    let silent: Vec<Finding> = subject.alerts().await?.iter().filter_map(|a| Finding::of_gap(a, BEGIN)).collect();
    let spans = known::send_spans(&subject, BEGIN + STEPS as u64 * EVERY).await?;
    let found = subject.anomalies().await?;
    let found = found.iter().filter_map(|anomaly| Finding::of(anomaly, BEGIN));
    let judge = Judge::of(found.chain(silent));
    let mut report = Report { judge, cases, text: String::new(), faults: Vec::new() };
    report.table();
    report.quiet();
    report.areas();
    report.known();
    let (seconds, faults) = (began.elapsed().as_secs_f64(), &report.faults);
    let _ = writeln!(report.text, "\n{points} points and {spans} spans over OTLP in {seconds:.0} s");
    for fault in faults {
        let _ = writeln!(report.text, "BELOW THE BAR  {fault}");
    }
    let verdict = if faults.is_empty() { "All bars hold." } else { "Detection is worse than it has to be." };
    let _ = writeln!(report.text, "{verdict}");
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(report.text.as_bytes()).and_then(|()| out.flush());
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends all series, step by step; how many points those are.
async fn send(subject: &Subject, cases: &[Case]) -> anyhow::Result<usize> {
    let mut points = 0;
    for step in 0..STEPS {
        let seconds = BEGIN + step as u64 * EVERY;
        let time = UnixNanos(i64::try_from(seconds * 1_000_000_000).unwrap_or(i64::MAX));
        let mut export = Export::default();
        for case in cases {
            // Only a service can fall silent.
            let is_gap = matches!(case.signal, Some((Signal::Gap, _)));
            let service = if is_gap { case.id.as_str() } else { case.base.as_str() };
            for metric in 0..case.metrics {
                let name = if case.metrics > 1 { format!("metric{metric}") } else { "value".to_owned() };
                if let Some(value) = case.value(step, metric) {
                    export.add(service, &name, [("case", case.id.as_str())], time, value);
                }
            }
        }
        for case in Known::ALL {
            export.add("known", "value", [("case", case.id())], time, case.value(step));
        }
        points += export.len();
        subject.send("metrics", export.take().encode_to_vec()).await?;
    }
    Ok(points)
}

/// What is printed, and what is below the bars.
struct Report {
    judge: Judge,
    cases: Vec<Case>,
    text: String,
    faults: Vec<String>,
}

impl Report {
    /// What was found, by signal, base, age and size.
    fn table(&mut self) {
        let _ = writeln!(
            self.text,
            "Time until a disturbance was said, small, medium and large; - when it was missed, ! when the direction was wrong.\n\n\
             {:12}  {:8}  {:>7} {:>7} {:>7}   {:>7} {:>7} {:>7}",
            "signal", "base", "young", "", "", "settled", "", ""
        );
        let (mut right, mut directed) = (0, 0);
        for signal in Signal::ALL {
            for base in Base::ALL.into_iter().filter(|base| signal.suits(*base)) {
                let _ = write!(self.text, "{:12}  {:8} ", signal.as_str(), base.as_str());
                for (is_young, least) in [true, false].into_iter().zip(bars::found(signal, base)) {
                    let verdicts: Vec<Verdict> =
                        row(&self.cases, signal, base, is_young).filter_map(|case| self.judge.verdict(case)).collect();
                    for place in 0..3 {
                        let _ = write!(self.text, " {:>7}", verdicts.get(place).map_or_else(String::new, shown));
                    }
                    let _ = write!(self.text, "  ");
                    let found = verdicts.iter().filter(|verdict| verdict.after.is_some()).count();
                    directed += found;
                    right += verdicts.iter().filter(|verdict| verdict.after.is_some() && verdict.is_right).count();
                    if found < least {
                        let age = if is_young { "young" } else { "settled" };
                        let what = format!(
                            "{} on {age} {} series: {found} of 3 found, expected {least}",
                            signal.as_str(),
                            base.as_str()
                        );
                        self.faults.push(what);
                    }
                }
                let trimmed = self.text.trim_end().len();
                self.text.truncate(trimmed);
                self.text.push('\n');
            }
        }
        let share = share(right, directed);
        let _ = writeln!(
            self.text,
            "\n{right} of {directed} that were found have the right direction, or none to be right about"
        );
        if share < bars::RIGHT {
            self.faults.push(format!("directions: {share:.2} right, expected {}", bars::RIGHT));
        }
    }

    /// What was said without a reason.
    fn quiet(&mut self) {
        let _ = writeln!(
            self.text,
            "\nfalse alarms a series-day\n{:12}  {:>7}  {:>7}  {:>7}  {:>7}",
            "base", "young", "settled", "joint", "all"
        );
        let ages: [fn(&Case) -> bool; 4] =
            [|case| case.is_young, |case| !case.is_young && case.metrics == 1, |case| case.metrics > 1, |_| true];
        for base in Base::ALL {
            let rates = ages.map(|is_of_age| {
                let cases = self.cases.iter().filter(|case| case.base == base && is_of_age(case));
                let (count, days) = self.judge.false_alarms(cases);
                share(count, 1) / days.max(1.0)
            });
            let [young, settled, joint, all] = rates;
            let name = base.as_str();
            let _ = writeln!(self.text, "{name:12}  {young:>7.4}  {settled:>7.4}  {joint:>7.4}  {all:>7.4}");
            let most = bars::false_alarms(base);
            if all > most {
                self.faults.push(format!("{name} series: {all:.4} false alarms a series-day, expected at most {most}"));
            }
        }
    }

    /// How well each detector tells disturbances from calm.
    fn areas(&mut self) {
        let _ = writeln!(self.text, "\n{:12}  {:>6}", "detector", "AUC");
        for (detector, least) in bars::AREAS {
            let is_its = |case: &&Case| match case.signal {
                Some((Signal::Gap, _)) => false,
                _ if detector == "entity" => case.metrics > 1,
                _ => case.metrics == 1 && case.is_young == (detector == "z-score"),
            };
            let area = self.judge.auc(detector, self.cases.iter().filter(is_its));
            let _ = writeln!(self.text, "{detector:12}  {area:>6.3}");
            if area < least {
                self.faults.push(format!("{detector}: AUC {area:.3}, expected {least}"));
            }
        }
    }

    /// What others got wrong.
    fn known(&mut self) {
        let _ = writeln!(self.text, "\nknown cases");
        let told = Known::ALL.map(|case| (case.what(), case.holds(self.judge.of_case(case.id())), true));
        for (what, holds, must) in told.into_iter().chain(known::slow_spans(&self.judge)) {
            let word = match (holds, must) {
                (true, _) => "yes",
                (false, true) => "NO",
                (false, false) => "not yet",
            };
            let _ = writeln!(self.text, "  {word:7}  {what}");
            if must && !holds {
                self.faults.push(format!("known case: {what}"));
            }
        }
    }
}

fn shown(verdict: &Verdict) -> String {
    let Some(after) = verdict.after else { return "-".to_owned() };
    #[expect(clippy::cast_precision_loss, reason = "seconds of a few hours")]
    let minutes = after * EVERY as f64 / 60.0;
    format!("{} min{}", ui::number(minutes.round()), if verdict.is_right { "" } else { "!" })
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
