//! `bellwether sql-worker`: answers one question, bounded by the system, and ends.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    process::ExitCode,
};

use polars::prelude::{DataFrame, IntoLazy, LazyFrame, PolarsError};
use polars_sql::SQLContext;
use rustix::process::{Resource, Rlimit, nice, setrlimit};

use super::{
    answer, frames,
    functions::functions,
    protocol::{Ask, Reply, line, read_frames, read_line},
    statement,
    tables::Table,
};

/// How far behind the service it stands in line for a processor.
const NICENESS: i32 = 10;

/// Reads a question from standard input and writes the answer to standard output.
pub(crate) fn run() -> ExitCode {
    match answer(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // The service is gone, or it is a fault of ours that its log will tell.
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let ask: Ask = read_line(from)?;
    bound(&ask)?;
    let needs = match prepared(&ask) {
        Ok(needs) => needs,
        Err(refused) => return say(to, &Reply::Refused(refused)),
    };
    say(to, &Reply::Needs(needs.clone()))?;
    let mut parts = read_frames(from)?;
    let mut tables: BTreeMap<&str, LazyFrame> = BTreeMap::new();
    for (name, columns) in &needs {
        let Some(table) = Table::named(name) else { continue };
        let rows = frames::table(table, columns, &mut parts, ask.span).map_err(io::Error::other)?;
        tables.insert(table.name, rows);
    }
    match result(&ask, tables) {
        Ok((rows, truncated, bytes)) => {
            say(to, &Reply::Done { rows, truncated })?;
            to.write_all(&bytes)?;
            to.flush()
        }
        Err(error) => say(to, &Reply::Refused(explained(&error, &needs))),
    }
}

fn say(to: &mut impl Write, reply: &Reply) -> io::Result<()> {
    to.write_all(&line(reply))?;
    to.flush()
}

/// From now on the system ends this process when it takes more than it may. The service ends it when its time is
/// over; this is for the case that the service has gone away itself.
fn bound(ask: &Ask) -> io::Result<()> {
    let limits = [(Resource::Data, ask.memory), (Resource::Cpu, ask.cpu_seconds), (Resource::Core, 0)];
    for (resource, limit) in limits {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    // What the service does with what comes in goes first. Where the system has no room left, this process is the
    // one to go, and not the service; it knows no such file everywhere.
    nice(NICENESS)?;
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

/// What the statement needs, once it is clear that it can be run: it is planned over tables without rows.
fn prepared(ask: &Ask) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut needs = statement::needs(&ask.query)?;
    let whole = |table: &Table| table.empty().lazy();
    let cut = |table: &Table| frames::selected(whole(table), needs.get(table.name).map_or(&[], Vec::as_slice));
    let schema = |rows: &dyn Fn(&Table) -> LazyFrame| {
        let tables = needs.keys().filter_map(|name| Table::named(name)).map(|table| (table.name, rows(table)));
        planned(&ask.query, tables.collect()).and_then(|mut frame| frame.collect_schema())
    };
    let expected = schema(&whole).map_err(|error| explained(&error, &needs))?;
    // Should a column be meant in a way that was not foreseen, all are sent.
    if schema(&cut).ok() != Some(expected) {
        for (name, columns) in &mut needs {
            let all = Table::named(name).map(|table| table.columns.iter().map(|(column, _)| (*column).to_owned()));
            *columns = all.into_iter().flatten().collect();
        }
    }
    Ok(needs)
}

fn planned(query: &str, tables: BTreeMap<&str, LazyFrame>) -> Result<LazyFrame, PolarsError> {
    let mut context = SQLContext::new().with_function_registry(functions());
    for (name, rows) in tables {
        context.register(name, rows);
    }
    context.execute(query)
}

/// How many rows there are, whether there would have been more, and the rows as they are asked for.
fn result(ask: &Ask, tables: BTreeMap<&str, LazyFrame>) -> Result<(usize, bool, Vec<u8>), PolarsError> {
    // One row more tells whether there are more.
    let rows = u32::try_from(ask.limit.saturating_add(1)).unwrap_or(u32::MAX);
    let all: DataFrame = planned(&ask.query, tables)?.limit(rows).collect()?;
    let (mut kept, truncated) = answer::bounded(all, ask.limit, ask.answer_bytes);
    let bytes = answer::write(&mut kept, ask.format, truncated)?;
    Ok((kept.height(), truncated, bytes))
}

/// Polars' message in one line, with the columns that there are if one was not found.
fn explained(error: &PolarsError, needs: &BTreeMap<String, Vec<String>>) -> String {
    let text = error.to_string();
    // What follows is a plan of many lines.
    let text = text.split("Resolved plan until failure").next().unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut message = lines.take(2).collect::<Vec<_>>().join("; ");
    if matches!(error, PolarsError::ColumnNotFound(_)) && !message.contains("valid columns") {
        for table in needs.keys().filter_map(|name| Table::named(name)) {
            message.push_str("; ");
            message.push_str(&table.listed());
        }
    }
    message
}
