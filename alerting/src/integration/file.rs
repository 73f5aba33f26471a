//! A file, or standard output: a line of JSON for each notification.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat};

use super::Sending;

/// Takes one line per notification: `{"id": …, "at": …, "message": …}`. A line may come twice, with the same
/// id, as with any other receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSink {
    /// Appended to, and synced before the notification counts as delivered; made when it is not there.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

pub(super) fn line(sending: &Sending<'_>) -> String {
    let at = DateTime::from_timestamp(sending.at, 0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true);
    let [id, at] = [sending.id, &at].map(|text| serde_json::Value::from(text).to_string());
    // The message goes in as it is, so that its fields keep their order. It was made without line breaks.
    format!("{{\"id\":{id},\"at\":{at},\"message\":{}}}\n", sending.payload)
}
