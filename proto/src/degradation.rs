//! Our own contract, `bellwether/v1/degradation.proto`, as messages. Few enough to be written by hand, so that a build
//! needs no protoc; `tests/clients` reads them with what protoc generates.

/// Whose level is wanted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WatchRequest {
    /// The service; empty for everything.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// The level as it is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DegradationLevel {
    /// The service; empty for everything.
    #[prost(string, tag = "1")]
    pub service: String,
    /// 0 to 4.
    #[prost(uint32, tag = "2")]
    pub level: u32,
    /// Its name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// In [0, 1]; absent before anything is known.
    #[prost(double, optional, tag = "4")]
    pub health: Option<f64>,
    /// Event time of the last change in nanoseconds; 0 where there was none.
    #[prost(int64, tag = "5")]
    pub since_unix_nano: i64,
    /// Whether it stands still because no telemetry comes.
    #[prost(bool, tag = "6")]
    pub frozen: bool,
    /// Whether a person has set it.
    #[prost(bool, tag = "7")]
    pub pinned: bool,
    /// Why it is what it is.
    #[prost(string, repeated, tag = "8")]
    pub because: Vec<String>,
    /// Features that are off.
    #[prost(string, repeated, tag = "9")]
    pub disabled_features: Vec<String>,
    /// Names this state.
    #[prost(string, tag = "10")]
    pub id: String,
}

/// `message` as gRPC frames it: not compressed, its length, its bytes.
pub fn frame(message: &impl prost::Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(5 + body.len());
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&body);
    framed
}

/// The one message of a unary request.
///
/// # Errors
/// What is wrong with the frame or the message.
pub fn unframe<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, String> {
    let (head, body) = bytes.split_at_checked(5).ok_or("expected a message of gRPC, got fewer than 5 bytes")?;
    if head[0] != 0 {
        return Err("expected a message that is not compressed".to_owned());
    }
    let length = head[1..].iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    if length != body.len() {
        return Err(format!("expected one message of {length} bytes, got {}", body.len()));
    }
    M::decode(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framed_message_is_read_back_and_others_are_refused() {
        let request = WatchRequest { service: "shop/pricing".into() };
        let framed = frame(&request);
        assert_eq!(unframe::<WatchRequest>(&framed), Ok(request));
        assert!(unframe::<WatchRequest>(&framed[..4]).is_err());
        assert!(unframe::<WatchRequest>(&framed[..9]).is_err_and(|e| e.contains("of 14 bytes, got 4")));
        let mut compressed = framed.clone();
        compressed[0] = 1;
        assert!(unframe::<WatchRequest>(&compressed).is_err_and(|e| e.contains("not compressed")));
        assert!(unframe::<WatchRequest>(&[0, 0, 0, 0, 2, 0x0a, 9]).is_err());
    }
}
