//! Values as decimals, or as parts of sixty, where that is exact.

/// How a value is written, one byte a row:
/// `e` below 32: the integer `i` of which [`quotient`] makes the value, zigzag;
/// 32 + `e`: its difference to the last integer of the series with the same `e`, zigzag;
/// [`RAW`]: the bits;
/// [`XOR`]: the bits that differ from those of the last value of the series.
const DELTA: u8 = 32;
/// Beside the exponents of ten: an integer by sixty, as what was counted in a minute and divided by its
/// seconds is; and the same, rounded to fifteen digits, as programs print it.
const SIXTIETHS: u8 = 23;
const PRINTED_SIXTIETHS: u8 = 24;
const RAW: u8 = 64;
const XOR: u8 = 65;

/// Powers of ten that a double holds exactly: dividing by them rounds once.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Decimals with no more digits behind the point than these are short enough.
const FEW_DIGITS: u8 = 6;
/// Integers up to here are doubles.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// So many rows of a series share the choice of an exponent.
const BLOCK: usize = 512;
/// So many exponents are tried for a block.
const CANDIDATES: usize = 4;

/// Values row by row, as modes and integers.
pub(super) struct Values {
    pub(super) modes: Vec<u8>,
    pub(super) numbers: Vec<u64>,
}

/// What came before in the series.
#[derive(Clone, Copy, Default)]
struct Last {
    /// Exponent and integer of the last decimal.
    decimal: Option<(u8, i64)>,
    bits: u64,
}

impl Values {
    /// The values of rows that are sorted by series.
    pub(super) fn of(series: &[u32], values: &[f64]) -> Self {
        let mut all = Self { modes: Vec::with_capacity(values.len()), numbers: Vec::with_capacity(values.len()) };
        let mut rest = values;
        for run in series.chunk_by(|a, b| a == b) {
            let (of_run, others) = rest.split_at(run.len());
            rest = others;
            let mut last = Last::default();
            of_run.chunks(BLOCK).for_each(|block| last = all.push_block(block, last));
        }
        all
    }

    /// Writes the block in the way that takes the fewest bits.
    fn push_block(&mut self, block: &[f64], last: Last) -> Last {
        let least: Vec<Option<u8>> = block.iter().map(|value| exponent(*value)).collect();
        let mut frequent = [0_usize; POWERS.len()];
        least.iter().flatten().for_each(|e| frequent[usize::from(*e)] += 1);
        let mut candidates: Vec<u8> = (0_u8..).zip(frequent).filter(|(_, n)| *n > 0).map(|(e, _)| e).collect();
        let greatest = candidates.last().copied();
        candidates.sort_by_key(|e| std::cmp::Reverse(frequent[usize::from(*e)]));
        candidates.truncate(CANDIDATES);
        candidates.extend(greatest);
        // Only values without few digits may be better off as parts of sixty.
        if least.contains(&None) || greatest > Some(FEW_DIGITS) {
            candidates.extend([SIXTIETHS, PRINTED_SIXTIETHS]);
        }
        let ways = candidates
            .into_iter()
            .flat_map(|e| [Way { common: Some(e), delta: true }, Way { common: Some(e), delta: false }]);
        // With one exponent for all, each its own is the same.
        let differ = least.windows(2).any(|pair| pair[0] != pair[1]);
        let own = Way { common: None, delta: false };
        let ways = ways.chain(Some(own).filter(|_| differ || greatest.is_none()));
        let cost = |way: &Way| {
            let mut last = last;
            let rows = block.iter().zip(&least);
            rows.map(|(value, least)| way.code(*value, *least, &mut last).2).sum::<u32>()
        };
        let best = ways.min_by_key(cost).unwrap_or(own);
        let mut last = last;
        for (value, least) in block.iter().zip(&least) {
            let (mode, number, _) = best.code(*value, *least, &mut last);
            self.modes.push(mode);
            self.numbers.push(number);
        }
        last
    }

    /// The values again; `None` for a mode that there is not.
    pub(super) fn floats(self, series: &[u32]) -> Option<Vec<f64>> {
        let mut values = Vec::with_capacity(series.len());
        let mut last = Last::default();
        for (row, (mode, number)) in self.modes.into_iter().zip(self.numbers).enumerate() {
            if row > 0 && series.get(row) != series.get(row - 1) {
                last = Last::default();
            }
            let value = match mode {
                RAW => f64::from_bits(number),
                XOR => f64::from_bits(number ^ last.bits),
                _ => {
                    let e = Some(mode % DELTA).filter(|_| mode < 2 * DELTA)?;
                    let before = if mode < DELTA { 0 } else { before(last, e) };
                    let integer = super::unzigzag(number).wrapping_add(before);
                    last.decimal = Some((e, integer));
                    quotient(as_float(integer), e)?
                }
            };
            last.bits = value.to_bits();
            values.push(value);
        }
        Some(values)
    }
}

fn before(last: Last, e: u8) -> i64 {
    last.decimal.filter(|(exponent, _)| *exponent == e).map_or(0, |(_, integer)| integer)
}

/// One way to write a block.
#[derive(Clone, Copy)]
struct Way {
    /// The exponent of all values that have it; each its own least one without.
    common: Option<u8>,
    delta: bool,
}

impl Way {
    /// Mode, number and a cost in bits.
    fn code(self, value: f64, least: Option<u8>, last: &mut Last) -> (u8, u64, u32) {
        const MODE_BITS: u32 = 1;
        let common = self.common.filter(|e| *e >= SIXTIETHS || least.is_some_and(|least| least <= *e));
        let decimal = common.and_then(|e| Some((e, integer(value, e)?)));
        let is_common = decimal.is_some();
        let decimal = decimal.or_else(|| least.and_then(|e| Some((e, integer(value, e)?))));
        let xor = value.to_bits() ^ last.bits;
        last.bits = value.to_bits();
        let Some((e, integer)) = decimal else {
            let mode = if xor.leading_zeros() >= 16 { XOR } else { RAW };
            return (mode, if mode == XOR { xor } else { value.to_bits() }, 64 + MODE_BITS);
        };
        let delta = self.delta && is_common;
        let number = super::zigzag(if delta { integer.wrapping_sub(before(*last, e)) } else { integer });
        last.decimal = Some((e, integer));
        let extra = if is_common { 0 } else { 2 * MODE_BITS };
        (if delta { DELTA + e } else { e }, number, u64::BITS - number.leading_zeros() + extra)
    }
}

/// The least exponent with which `value` is a decimal.
fn exponent(value: f64) -> Option<u8> {
    (0_u8..).zip(POWERS).map(|(e, _)| e).find(|e| integer(value, *e).is_some())
}

/// The value that an integer stands for; `None` when there is no such `e`.
fn quotient(integer: f64, e: u8) -> Option<f64> {
    match e {
        SIXTIETHS => Some(integer / 60.0),
        PRINTED_SIXTIETHS => Some(printed(integer / 60.0)),
        _ => POWERS.get(usize::from(e)).map(|power| integer / power),
    }
}

/// A value of fifteen digits, most often the one that is nearest. Made of exact operations only, so
/// that it is the same everywhere.
fn printed(value: f64) -> f64 {
    let digits = POWERS.iter().take_while(|power| value.abs() >= **power).count();
    match POWERS.get(15_usize.saturating_sub(digits)) {
        Some(power) if digits > 0 => (value * power).round() / power,
        _ => value,
    }
}

/// The integer of which [`quotient`] makes `value`, bit by bit.
fn integer(value: f64, e: u8) -> Option<i64> {
    let factor = if e >= SIXTIETHS { &60.0 } else { POWERS.get(usize::from(e))? };
    let scaled = rounded(value * factor);
    if scaled.is_nan() || scaled.abs() > EXACT {
        return None;
    }
    let integer = as_integer(scaled);
    // Minus zero is no integer's.
    (quotient(as_float(integer), e)?.to_bits() == value.to_bits()).then_some(integer)
}

/// The nearest integer; of two that are as near, any: whether it is the right one is seen by dividing. Where
/// processors without an instruction for it are supported, `round` is a call.
fn rounded(value: f64) -> f64 {
    /// Added to a number below 2^51, it leaves no bits for a fraction.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    if value.abs() < EXACT / 4.0 { (value + SHIFT) - SHIFT } else { value.round() }
}

#[expect(clippy::cast_possible_truncation, reason = "only integers up to 2^53 are asked for")]
fn as_integer(float: f64) -> i64 {
    float as i64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "written integers are at most 2^53; others come from damage and give any value"
)]
fn as_float(integer: i64) -> f64 {
    integer as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(values: &[f64]) -> Vec<u8> {
        let series = vec![1; values.len()];
        let coded = Values::of(&series, values);
        let modes = coded.modes.clone();
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&coded.floats(&series).expect("was written so")), bits(values));
        modes
    }

    #[test]
    fn the_shortest_way_is_taken() {
        assert_eq!(modes(&[0.16, 9.11, 0.5]), [2, 2, 2], "hundredths");
        assert_eq!(modes(&[1_000.25, 1_000.5, 1_001.0]), [34, 34, 34], "their differences");
        assert_eq!(modes(&[361.0 / 60.0, 7.0, 1_001.0 / 60.0]), [SIXTIETHS + DELTA; 3]);
        assert_eq!(modes(&[1_678_991.516_666_67, 1_678_990.833_333_33]), [PRINTED_SIXTIETHS + DELTA; 2]);
        let long = f64::from_bits(0x7ff8_0000_0000_0001);
        assert_eq!(modes(&[long, long, -0.0]), [RAW, XOR, RAW]);
    }

    #[test]
    fn what_is_no_mode_gives_nothing() {
        for mode in [25, 31, 57, 66, 255] {
            assert!(Values { modes: vec![mode], numbers: vec![3] }.floats(&[1]).is_none(), "{mode}");
        }
    }
}
