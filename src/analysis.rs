//! SQL over the windows, by Polars: what `POST /api/v1/sql` and `bellwether export` are made of.
//!
//! A statement runs in a process of its own, `bellwether sql-worker`, one for each question. Polars can neither be
//! told how much memory it may take nor be stopped, and what it cannot allocate ends the process that it is in; a
//! join of two large tables would end the service. The system bounds a process, and ends it at once when the asker
//! leaves. The price is that values cross a pipe once; what comes out of it, and what an export reads from files,
//! are Arrow buffers which Polars reads where they are ([`frames`]).
//!
//! Nothing of the statement is looked at in the service itself. The worker reads it, refuses all but one `SELECT`
//! over the tables that there are ([`statement`]), says which columns it needs, and is sent these and no others
//! ([`source`]).

mod answer;
mod export;
mod frames;
mod functions;
mod points;
mod protocol;
mod run;
mod source;
mod statement;
mod tables;
mod worker;

pub(crate) use self::{
    export::run as export,
    protocol::Format,
    run::{Answer, Failure, Question, Workers},
    worker::run as worker,
};
