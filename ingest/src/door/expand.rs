//! Undoing compression with a bound: the limit is on what comes out, since a kilobyte can become a
//! gigabyte, and no honest sender packs two hundred bytes into one.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::{Outcome, Refusal};

/// Expansion that is allocated for beforehand; more grows as it comes.
const GUESS: usize = 4;
/// So much may come out of the smallest body, whatever the ratio.
const FREE_BYTES: usize = 1024 * 1024;
/// Bytes that may come out for one that came in, beyond [`FREE_BYTES`].
const MAX_RATIO: usize = 200;
/// The greatest zstd window is 2 to this power: 8 MiB, which RFC 8878 asks every decoder to support.
const ZSTD_WINDOW_LOG: u32 = 23;

/// What was done to a body before it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    /// Nothing.
    #[default]
    Identity,
    /// RFC 1952, with one member or several.
    Gzip,
    /// RFC 8878, with one frame or several.
    Zstd,
}

impl Coding {
    /// What senders may use, as the headers that invite them to have it.
    pub(crate) const ACCEPTED: &'static str = "identity,gzip,zstd";

    /// The coding that a header names; `None` for one that is not known, or for several at once.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Some(Self::Identity),
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            b"zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The plain bytes of `packed`.
///
/// # Errors
/// When it is not of that coding, ends early, is more than `limit` bytes once expanded, or more than
/// [`MAX_RATIO`] times its size (and more than [`FREE_BYTES`]).
pub(super) fn expand(coding: Coding, packed: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let by_ratio = packed.len().saturating_mul(MAX_RATIO).max(FREE_BYTES);
    let bound = limit.min(by_ratio);
    let failed = |e: io::Error| Refusal::malformed(format!("body is not {}: {e}", coding.as_str()));
    if packed.is_empty() && coding != Coding::Identity {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    let plain = match coding {
        Coding::Identity => read(packed, packed.len(), bound),
        Coding::Gzip => read(MultiGzDecoder::new(packed), packed.len(), bound),
        Coding::Zstd => zstd::Decoder::with_buffer(packed).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            read(decoder, packed.len(), bound)
        }),
    };
    let plain = plain.map_err(failed)?;
    match plain.len() > bound {
        false => Ok(plain),
        true if bound == limit => Err(Refusal::too_large(limit)),
        true => Err(Refusal::new(
            Outcome::TooLarge,
            format!("body expands to more than {MAX_RATIO} times its size ({} bytes)", packed.len()),
        )),
    }
}

/// Everything that `reader` gives, but at most one byte more than `bound`.
fn read(reader: impl Read, size: usize, bound: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(size.saturating_mul(GUESS).min(bound));
    reader.take((bound as u64).saturating_add(1)).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{gzip, zstd};

    type Pack = fn(&[u8]) -> Vec<u8>;
    const PACKED: [(Coding, Pack); 2] = [(Coding::Gzip, gzip), (Coding::Zstd, zstd)];

    /// Bytes that compress about four to one.
    fn text(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..length).map(|_| b"abcd"[random.usize(..4)]).collect()
    }

    #[test]
    fn several_members_are_one_body() {
        for (coding, pack) in PACKED {
            let two = [pack(b"ab"), pack(b"cd")].concat();
            assert_eq!(expand(coding, &two, 4), Ok(b"abcd".to_vec()), "{coding:?}");
        }
    }

    #[test]
    fn the_limit_is_on_what_comes_out() {
        let plain = text(1 << 20);
        for (coding, pack) in PACKED {
            let packed = pack(&plain);
            assert_eq!(expand(coding, &packed, (1 << 20) - 1), Err(Refusal::too_large((1 << 20) - 1)), "{coding:?}");
            assert_eq!(expand(coding, &packed, 1 << 20).as_ref(), Ok(&plain), "{coding:?}");
        }
    }

    #[test]
    fn a_ratio_that_no_telemetry_has_is_refused_once_a_megabyte_has_come_out() {
        for (coding, pack) in PACKED {
            assert_eq!(expand(coding, &pack(&vec![0; FREE_BYTES]), 1 << 30).map(|p| p.len()), Ok(FREE_BYTES));
            let refusal = expand(coding, &pack(&vec![0; 16 << 20]), 1 << 30).expect_err("is a bomb");
            assert!(refusal.outcome == Outcome::TooLarge && refusal.retry_after.is_none(), "{refusal:?}");
            assert!(refusal.message.contains("200 times"), "{}", refusal.message);
        }
    }

    #[test]
    fn cut_or_foreign_bytes_are_refused() {
        for (coding, pack) in PACKED {
            let whole = pack(b"some text");
            for bytes in [&whole[..whole.len() - 1], b"plain", b"", &pack(&whole)[1..]] {
                let refusal = expand(coding, bytes, 1 << 20).expect_err("is not of this coding");
                assert_eq!(refusal.outcome, Outcome::Malformed, "{coding:?} {bytes:?}");
            }
        }
    }

    #[test]
    fn a_window_over_eight_mebibytes_is_refused() {
        let frame = |log| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("level 1 exists");
            encoder.window_log(log).expect("is a window");
            io::Write::write_all(&mut encoder, b"text").expect("a vector takes everything");
            encoder.finish().expect("a vector takes everything")
        };
        assert_eq!(expand(Coding::Zstd, &frame(23), 1 << 20), Ok(b"text".to_vec()));
        assert_eq!(expand(Coding::Zstd, &frame(24), 1 << 20).map_err(|r| r.outcome), Err(Outcome::Malformed));
    }

    #[test]
    fn codings_have_their_registered_names_and_do_not_nest() {
        assert_eq!(Coding::named(b" GZIP "), Some(Coding::Gzip));
        assert_eq!(Coding::named(b""), Some(Coding::Identity));
        for unknown in ["gzip, gzip", "gzip,identity", "br", "deflate", "zst"] {
            assert_eq!(Coding::named(unknown.as_bytes()), None, "{unknown}");
        }
    }
}
