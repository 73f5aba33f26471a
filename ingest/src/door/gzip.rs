//! Gunzip with a bound: the limit is on what comes out, since a kilobyte can become a megabyte.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::Refusal;

/// Expansion that is allocated for beforehand; more grows as it comes.
const GUESS: usize = 4;

/// The plain bytes of `compressed`, which may have several gzip members.
///
/// # Errors
/// When it is not gzip, or is more than `limit` bytes once expanded.
pub(super) fn expand(compressed: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut plain = Vec::with_capacity(compressed.len().saturating_mul(GUESS).min(limit));
    let bound = (limit as u64).saturating_add(1);
    let read = MultiGzDecoder::new(compressed).take(bound).read_to_end(&mut plain);
    read.map_err(|e| Refusal::malformed(format!("body is not gzip: {e}")))?;
    if plain.len() > limit { Err(Refusal::too_large(limit)) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).expect("a vector takes everything");
        encoder.finish().expect("a vector takes everything")
    }

    #[test]
    fn several_members_are_one_body() {
        let two = [gzip(b"ab"), gzip(b"cd")].concat();
        assert_eq!(expand(&two, 4), Ok(b"abcd".to_vec()));
    }

    #[test]
    fn the_limit_is_on_what_comes_out() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 2048);
        assert_eq!(expand(&bomb, (1 << 20) - 1), Err(Refusal::too_large((1 << 20) - 1)));
        assert_eq!(expand(&bomb, 1 << 20).map(|p| p.len()), Ok(1 << 20));
    }

    #[test]
    fn cut_or_foreign_bytes_are_refused() {
        let whole = gzip(b"some text");
        for bytes in [&whole[..whole.len() - 1], b"plain", b""] {
            assert!(expand(bytes, 1 << 20).is_err(), "{bytes:?}");
        }
    }
}
