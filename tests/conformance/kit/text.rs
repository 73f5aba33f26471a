//! Encodings that the tests need in one direction only.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0_u32, |sum, (i, b)| sum | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// The bytes of base64 text, padded or not; what is no digit is left out.
pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut group, mut bits) = (0_u32, 0);
    for digit in text.bytes().filter_map(|b| DIGITS.iter().position(|d| *d == b)) {
        group = group << 6 | u32::try_from(digit).expect("there are 64 digits");
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(group >> bits & 255).expect("is one byte"));
        }
    }
    out
}

/// The bytes of `%41`-style text, as gRPC writes its messages.
pub(crate) fn unpercent(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|t| u8::from_str_radix(std::str::from_utf8(t).ok()?, 16).ok());
        match code.filter(|_| first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One gzip member with `bytes`.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// A member for each `size` bytes of `bytes`: one stream by the format's own rule.
pub(crate) fn gzip_members(bytes: &[u8], size: usize) -> Vec<u8> {
    bytes.chunks(size).flat_map(gzip).collect()
}

/// A zstd frame with `bytes`, stored as they are (RFC 8878: magic number, a size of four bytes, raw blocks).
pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 100_000;
    let size = u32::try_from(bytes.len()).expect("test messages are below 4 GiB");
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    out.extend(size.to_le_bytes());
    let blocks: Vec<&[u8]> = if bytes.is_empty() { vec![&[]] } else { bytes.chunks(BLOCK).collect() };
    for (i, block) in blocks.iter().enumerate() {
        let head = u32::try_from(block.len() << 3).expect("blocks are small") | u32::from(i + 1 == blocks.len());
        out.extend(&head.to_le_bytes()[..3]);
        out.extend(*block);
    }
    out
}
