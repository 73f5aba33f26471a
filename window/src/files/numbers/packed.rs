//! The integers of few rows as one string of bytes, by an adaptive binary range coder.
//!
//! A general compressor writes down for each column which bytes are frequent in it, and a file describes each column
//! twice: for a few hundred rows that is more than the rows. Here both who writes and who reads learn from the rows
//! before how probable each bit is, so that nothing need be said of it. It takes 0.4 us a row, to write as to read, of
//! which a file of many rows would take too many.
//!
//! A row is its series, its time, whether its mode is that of the row before (else the mode), and its value. A number is
//! how many bits it has, and the bits behind the highest.

use super::Integers;

/// More rows are not packed.
const MOST_ROWS: u16 = 1 << 12;
/// A probability is one of so many parts.
const PARTS: u32 = 1 << 16;
const HALF: u32 = PARTS / 2;

/// The bytes of `integers`; `None` where there are too many rows.
pub(super) fn pack(integers: &Integers) -> Option<Vec<u8>> {
    let rows = u16::try_from(integers.modes.len()).ok().filter(|rows| *rows <= MOST_ROWS)?;
    let mut out = Vec::new();
    out.extend(rows.to_le_bytes());
    out.extend(integers.base.to_le_bytes());
    out.extend(integers.step.to_le_bytes());
    let mut writer = Writer { low: 0, high: u32::MAX, out };
    Rows::default().code(&mut writer, &mut integers.clone());
    Some(writer.finish())
}

/// The integers again; others, or `None`, for bytes that [`pack`] did not make.
pub(super) fn unpack(bytes: &[u8]) -> Option<Integers> {
    let (rows, bytes) = bytes.split_first_chunk()?;
    let (base, bytes) = bytes.split_first_chunk()?;
    let (step, bytes) = bytes.split_first_chunk()?;
    let rows = usize::from(Some(u16::from_le_bytes(*rows)).filter(|rows| *rows <= MOST_ROWS)?);
    let mut integers = Integers {
        base: i64::from_le_bytes(*base),
        step: i64::from_le_bytes(*step),
        modes: vec![0; rows],
        series: vec![0; rows],
        times: vec![0; rows],
        values: vec![0; rows],
    };
    let mut reader = Reader { low: 0, high: u32::MAX, code: 0, bytes: bytes.iter() };
    (0..4).for_each(|_| reader.fill());
    Rows::default().code(&mut reader, &mut integers);
    Some(integers)
}

/// Who writes bits, or reads them: what is done with a row is the same for both.
trait Coder {
    /// Writes `bit` and returns it, or returns the bit that was written there; `one` says how probable a one is, above
    /// 0 and below [`PARTS`].
    fn bit(&mut self, bit: bool, one: u32) -> bool;
}

/// The last of the numbers from `low` to `high` that stand for a one.
fn middle(low: u32, high: u32, one: u32) -> u32 {
    let share = u64::from(high - low) * u64::from(one) / u64::from(PARTS);
    low + u32::try_from(share).expect("is less than the difference of two of its kind")
}

/// The next four bytes are between `low` and `high`.
struct Writer {
    low: u32,
    high: u32,
    out: Vec<u8>,
}

impl Coder for Writer {
    fn bit(&mut self, bit: bool, one: u32) -> bool {
        let middle = middle(self.low, self.high, one);
        if bit {
            self.high = middle
        } else {
            self.low = middle + 1
        }
        while (self.low ^ self.high) >> 24 == 0 {
            self.out.push(self.high.to_be_bytes()[0]);
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
        }
        bit
    }
}

impl Writer {
    fn finish(mut self) -> Vec<u8> {
        self.out.extend(self.high.to_be_bytes());
        self.out
    }
}

/// `code` is what the next four bytes are.
struct Reader<'a> {
    low: u32,
    high: u32,
    code: u32,
    bytes: std::slice::Iter<'a, u8>,
}

impl Reader<'_> {
    fn fill(&mut self) {
        self.code = self.code << 8 | u32::from(self.bytes.next().copied().unwrap_or(0));
    }
}

impl Coder for Reader<'_> {
    fn bit(&mut self, _: bool, one: u32) -> bool {
        let middle = middle(self.low, self.high, one);
        let bit = self.code <= middle;
        if bit {
            self.high = middle
        } else {
            self.low = middle + 1
        }
        while (self.low ^ self.high) >> 24 == 0 {
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
            self.fill();
        }
        bit
    }
}

/// How probable a one is: the mean of what one who learns fast and one who learns slowly think.
#[derive(Clone, Copy)]
struct Chance {
    fast: u32,
    slow: u32,
}

impl Default for Chance {
    fn default() -> Self {
        Self { fast: HALF, slow: HALF }
    }
}

impl Chance {
    const FAST: u32 = 4;
    const SLOW: u32 = 7;
    /// Nothing is held for less probable than this.
    const LEAST: u32 = 32;

    fn code(&mut self, coder: &mut impl Coder, bit: bool) -> bool {
        let one = u32::midpoint(self.fast, self.slow).clamp(Self::LEAST, PARTS - Self::LEAST);
        let bit = coder.bit(bit, one);
        for (chance, rate) in [(&mut self.fast, Self::FAST), (&mut self.slow, Self::SLOW)] {
            if bit { *chance += (PARTS - *chance) >> rate } else { *chance -= *chance >> rate }
        }
        bit
    }
}

/// A symbol below `SIZE`, a power of two, bit by bit from the highest; each is as probable as after the same bits before.
#[derive(Clone, Copy)]
struct Tree<const SIZE: usize>([Chance; SIZE]);

impl<const SIZE: usize> Tree<SIZE> {
    const NEW: Self = Self([Chance { fast: HALF, slow: HALF }; SIZE]);

    fn code(&mut self, coder: &mut impl Coder, symbol: usize) -> usize {
        let mut node = 1;
        let mut weight = SIZE / 2;
        while node < SIZE {
            let bit = self.0[node].code(coder, symbol & weight != 0);
            node = node * 2 + usize::from(bit);
            weight /= 2;
        }
        node - SIZE
    }
}

/// Numbers of any size, of which small ones and such as those before take the fewest bits.
struct Number {
    /// How many bits there are, in either context.
    bits: [Tree<128>; 2],
    /// The two bits behind the highest, by how many bits there are.
    leading: [Tree<4>; 65],
    /// The lowest bit, which is most often a sign, by the two before it.
    lowest: [Chance; 4],
    before: usize,
}

impl Default for Number {
    fn default() -> Self {
        Self { bits: [Tree::NEW; 2], leading: [Tree::NEW; 65], lowest: [Chance::default(); 4], before: 0 }
    }
}

impl Number {
    fn code(&mut self, coder: &mut impl Coder, context: bool, number: u64) -> u64 {
        let bits = (u64::BITS - number.leading_zeros()) as usize;
        let bits = self.bits[usize::from(context)].code(coder, bits).min(64);
        if bits < 2 {
            return bits as u64;
        }
        let mut read = 1_u64;
        let mut left = bits - 1;
        if left > 2 {
            left -= 2;
            let two = usize::try_from(number >> left & 3).expect("is below four");
            read = read << 2 | self.leading[bits].code(coder, two) as u64;
        }
        while left > 1 {
            left -= 1;
            read = read << 1 | u64::from(coder.bit(number >> left & 1 != 0, HALF));
        }
        let lowest = self.lowest[self.before].code(coder, number & 1 != 0);
        self.before = self.before << 1 & 3 | usize::from(lowest);
        read << 1 | u64::from(lowest)
    }
}

/// What has been learnt of the rows.
struct Rows {
    same: Chance,
    mode: Tree<256>,
    series: Number,
    times: Number,
    values: Number,
}

impl Default for Rows {
    fn default() -> Self {
        let (series, times, values) = Default::default();
        Self { same: Chance::default(), mode: Tree::NEW, series, times, values }
    }
}

impl Rows {
    /// Writes all rows, or reads as many as `rows` has places for.
    fn code(&mut self, coder: &mut impl Coder, rows: &mut Integers) {
        let mut last = 0;
        let columns = rows.series.iter_mut().zip(&mut rows.times).zip(rows.modes.iter_mut().zip(&mut rows.values));
        for ((series, time), (mode, value)) in columns {
            *series = self.series.code(coder, false, *series);
            let goes_on = *series == 0;
            *time = self.times.code(coder, goes_on, *time);
            if self.same.code(coder, *mode == last) {
                *mode = last;
            } else {
                let symbol = self.mode.code(coder, usize::from(*mode));
                *mode = u8::try_from(symbol).expect("is below 256");
            }
            last = *mode;
            *value = self.values.code(coder, goes_on, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(rows: u64, number: impl Fn(u64) -> u64) -> Integers {
        let count = usize::try_from(rows).expect("is small");
        let column = |salt: u64| (0..rows).map(|row| number(row ^ salt)).collect::<Vec<_>>();
        let modes = (0..rows).map(|row| number(row).to_le_bytes()[0]).collect();
        let all = Integers { base: -7, step: i64::MAX, modes, series: column(1), times: column(2), values: column(3) };
        assert_eq!(all.values.len(), count);
        all
    }

    /// 64 bits that are as good as random.
    fn mixed(row: u64) -> u64 {
        let mixed = (row + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn integers_of_all_lengths_come_back() {
        let most = u64::from(MOST_ROWS);
        for rows in [0, 1, 2, 65, 1_000, most] {
            for all in [
                integers(rows, |_| 0),
                integers(rows, |_| u64::MAX),
                integers(rows, mixed),
                integers(rows, |row| mixed(row) >> (row % 65).min(63)),
                integers(rows, |row| 1_u64.rotate_left(u32::try_from(row % 64).expect("is small"))),
            ] {
                let packed = pack(&all).expect("are not too many");
                assert_eq!(unpack(&packed), Some(all));
            }
        }
        assert_eq!(pack(&integers(most + 1, |_| 0)), None);
    }

    /// What one version has written later ones read.
    #[test]
    fn the_bytes_stay_what_they_are() {
        let rows = Integers {
            base: 1_000,
            step: 10,
            modes: vec![34, 34, 34, 2, 64],
            series: vec![7, 0, 0, 0, 1],
            times: vec![0, 0, 5, 0, (1 << 63) + 1],
            values: vec![2_000, 3, 12, 1_999, 0x7ff0_0000_0000_0002],
        };
        let packed = pack(&rows).expect("are not too many");
        assert_eq!(packed[..18], [5, 0, 232, 3, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            packed[18..],
            [
                248, 127, 238, 244, 11, 255, 255, 101, 67, 121, 53, 251, 96, 235, 173, 61, 99, 114, 117, 217, 255, 255,
                255, 255, 255, 250, 14, 196, 190, 246, 164, 39, 255, 255, 255, 214, 171, 123, 255
            ]
        );
        assert_eq!(unpack(&packed), Some(rows));
    }

    #[test]
    fn what_is_always_the_same_takes_next_to_nothing_and_noise_what_it_is() {
        let bytes = |number: fn(u64) -> u64| pack(&integers(1_000, number)).expect("are not too many").len();
        let (zeros, noise) = (bytes(|_| 0), bytes(mixed));
        assert!(zeros < 250, "{zeros}");
        assert!((25_000..27_500).contains(&noise), "{noise}");
    }

    #[test]
    fn more_rows_than_there_can_be_are_none() {
        let mut packed = pack(&integers(3, mixed)).expect("are not too many");
        packed[..2].copy_from_slice(&(MOST_ROWS + 1).to_le_bytes());
        assert_eq!(unpack(&packed), None);
        assert_eq!(unpack(&packed[..17]), None);
    }
}
