//! What the service and a worker say to each other: lines of JSON, and frames of Arrow.
//!
//! The service writes an [`Ask`]; the worker answers with a [`Reply::Needs`] or refuses; the service writes a frame
//! for each chunk, and one of no table as the end; the worker answers with [`Reply::Done`] and the answer itself,
//! or refuses. A frame is a byte for the table, the number of bytes that follow in eight bytes (little-endian), and
//! an Arrow IPC stream.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::{reader::StreamDecoder, writer::StreamWriter};
use arrow_schema::ArrowError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The longest line.
const MAX_LINE: u64 = 1 << 20;
/// Bytes before a frame's stream.
pub(super) const HEAD: usize = 9;

/// In which form an answer is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Format {
    #[default]
    Json,
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

/// Rows that are seen. Nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    /// The windows' floor: rows whose event time is not after it are gone.
    pub(super) floor: i64,
    /// Included.
    pub(super) from: i64,
    /// Included.
    pub(super) to: i64,
}

/// A question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) query: String,
    pub(super) format: Format,
    pub(super) span: Span,
    /// Rows to answer.
    pub(super) limit: usize,
    /// Bytes of values to answer.
    pub(super) answer_bytes: usize,
    /// Bytes that the worker may allocate.
    pub(super) memory: u64,
    /// Processor time that it may take.
    pub(super) cpu_seconds: u64,
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The statement is one; columns by table.
    Needs(BTreeMap<String, Vec<String>>),
    /// The statement is refused, or failed.
    Refused(String),
    /// The answer follows.
    Done { rows: usize, truncated: bool },
}

/// What a frame has rows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Points,
    Series,
    Spans,
    Logs,
    Anomalies,
    Alerts,
}

impl Part {
    const ALL: [Self; 6] = [Self::Points, Self::Series, Self::Spans, Self::Logs, Self::Anomalies, Self::Alerts];
}

/// The last frame.
pub(super) const END: [u8; HEAD] = [u8::MAX, 0, 0, 0, 0, 0, 0, 0, 0];

/// `value` as a line.
pub(super) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("plain data under fixed names always serialises");
    line.push(b'\n');
    line
}

/// The line that comes next.
pub(super) fn read_line<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        from.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return serde_json::from_slice(&line).map_err(io::Error::from);
        }
        line.push(byte[0]);
        if line.len() as u64 > MAX_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the line does not end"));
        }
    }
}

/// A frame of `rows`.
pub(super) fn frame(part: Part, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut out = vec![0; HEAD];
    let mut writer = StreamWriter::try_new(&mut out, &rows.schema())?;
    writer.write(rows)?;
    writer.finish()?;
    drop(writer);
    let bytes = (out.len() - HEAD) as u64;
    out[0] = Part::ALL.iter().position(|p| *p == part).and_then(|p| u8::try_from(p).ok()).unwrap_or(u8::MAX);
    out[1..HEAD].copy_from_slice(&bytes.to_le_bytes());
    Ok(out)
}

/// All frames, up to the last one.
pub(super) fn read_frames(from: &mut impl Read) -> io::Result<BTreeMap<Part, Vec<RecordBatch>>> {
    let mut parts: BTreeMap<Part, Vec<RecordBatch>> = BTreeMap::new();
    loop {
        let mut head = END;
        from.read_exact(&mut head)?;
        let Some(part) = Part::ALL.get(usize::from(head[0])) else { return Ok(parts) };
        let bytes = head[1..].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let mut stream = Vec::with_capacity(usize::try_from(bytes).map_err(io::Error::other)?);
        from.take(bytes).read_to_end(&mut stream)?;
        // Batches are slices of the stream, and not copied out of it.
        let (mut stream, mut decoder) = (Buffer::from_vec(stream), StreamDecoder::new());
        while let Some(rows) = decoder.decode(&mut stream).map_err(io::Error::other)? {
            parts.entry(*part).or_default().push(rows);
        }
        decoder.finish().map_err(io::Error::other)?;
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, cast::AsArray, types::Float64Type};

    use super::*;

    fn rows(values: Vec<f64>) -> RecordBatch {
        let column = std::sync::Arc::new(Float64Array::from(values));
        RecordBatch::try_from_iter([("value", column as arrow_array::ArrayRef)]).expect("is a batch")
    }

    #[test]
    fn frames_come_back_by_part_and_in_order() {
        let (first, second) = (rows(vec![1.0, f64::NAN, -0.0]), rows(vec![2.0]));
        let mut wire = Vec::new();
        for (part, rows) in [(Part::Points, &first), (Part::Logs, &second), (Part::Points, &second)] {
            wire.extend(frame(part, rows).expect("can be written"));
        }
        wire.extend(END);
        wire.extend(b"what follows");
        let mut from = wire.as_slice();
        let parts = read_frames(&mut from).expect("can be read");
        assert_eq!(from, b"what follows");
        assert_eq!(parts[&Part::Logs].iter().collect::<Vec<_>>(), [&second]);
        let bits = |rows: &RecordBatch| {
            let values = rows.column(0).as_primitive::<Float64Type>().values().clone();
            values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(parts[&Part::Points].iter().map(bits).collect::<Vec<_>>(), [bits(&first), bits(&second)]);
        for cut in 0..wire.len() - b"what follows".len() {
            assert!(read_frames(&mut &wire[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn lines_are_read_one_by_one_and_have_an_end() {
        let wire = [line(&Reply::Refused("a\nb".into())), line(&7)].concat();
        let mut from = wire.as_slice();
        assert!(matches!(read_line::<Reply>(&mut from), Ok(Reply::Refused(text)) if text == "a\nb"));
        assert_eq!(read_line::<u8>(&mut from).ok(), Some(7));
        assert!(read_line::<u8>(&mut from).is_err());
        assert!(read_line::<u8>(&mut io::repeat(b' ')).is_err());
    }
}
