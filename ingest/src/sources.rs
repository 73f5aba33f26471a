//! Who sends how much more than others: a score by source address, in memory that does not grow with their number.
//!
//! A count-min sketch with conservative update counts the requests of each address in the last ten seconds or so. It
//! never counts too few, and too many by what collides: about the total over [`WIDTH`], which is taken off again. Beside
//! it stand the [`HEAVIEST`] addresses, by what the sketch says; one that is new takes a place only if it weighs more
//! than the lightest of them, so a flood of addresses that each come once displaces nobody. How many addresses there
//! are is estimated by linear counting.
//!
//! The score is what an address sends over what one may send: eight times the mean of all, or one part in two hundred
//! of everything, whichever is more, and at least [`ALWAYS`] requests. Above 1 it is turned away while the
//! service is short, before anybody else is. An IPv6 address stands for its /64, of which one sender has all.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Bits of a hash that say where in a row of the sketch; those of all rows are together fewer than a hash has.
const PLACE: usize = 13;
/// Cells of a row.
const WIDTH: usize = 1 << PLACE;
/// Rows.
const DEPTH: usize = 4;
/// Bits by which addresses are counted.
const BITS: usize = 1 << 16;
/// Addresses that are remembered by name.
const HEAVIEST: usize = 64;
/// Half of the time that is looked at.
const HALF: Duration = Duration::from_secs(5);
/// Requests in that time which are never too many.
const ALWAYS: f64 = 100.0;
/// How many times the mean one may send.
const TIMES_THE_MEAN: f64 = 8.0;
/// The part of everything that one may send in any case.
const PART: f64 = 200.0;

/// What an address has sent lately.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourceScore {
    /// The address; of IPv6 its /64.
    pub address: IpAddr,
    /// Requests in the last ten seconds or so, as far as the sketch knows.
    pub requests: f64,
    /// What it sends over what one may send: above 1 it is turned away first.
    pub score: f64,
}

/// Counts requests by source address, on a clock of its own.
#[derive(Debug)]
pub struct Sources {
    sketch: Mutex<Sketch>,
    began: Instant,
}

impl Default for Sources {
    fn default() -> Self {
        Self { sketch: Mutex::default(), began: Instant::now() }
    }
}

impl Sources {
    /// Counts a request of `address` that comes now; what its score is.
    pub(crate) fn note(&self, address: IpAddr) -> SourceScore {
        self.note_at(address, self.began.elapsed())
    }

    /// The `most` addresses that have sent most lately, the heaviest first.
    #[must_use]
    pub fn heaviest(&self, most: usize) -> Vec<SourceScore> {
        self.heaviest_at(most, self.began.elapsed())
    }

    fn note_at(&self, address: IpAddr, now: Duration) -> SourceScore {
        self.lock().note(network(address), now)
    }

    fn heaviest_at(&self, most: usize, now: Duration) -> Vec<SourceScore> {
        let mut sketch = self.lock();
        sketch.turn(now);
        let mut all: Vec<_> = sketch.heaviest.iter().map(|heavy| sketch.score(heavy.address, now)).collect();
        all.retain(|source| source.requests > 0.0);
        all.sort_by(|a, b| b.requests.total_cmp(&a.requests).then(a.address.cmp(&b.address)));
        all.truncate(most);
        all
    }

    fn lock(&self) -> MutexGuard<'_, Sketch> {
        self.sketch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one sender has: an IPv4 address, or an IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[derive(Clone, Copy, Debug)]
struct Heavy {
    address: IpAddr,
    requests: f64,
}

/// What is counted in one half of the time.
#[derive(Debug)]
struct Half {
    cells: Vec<u32>,
    bits: Vec<u64>,
    total: u64,
    unset: usize,
}

impl Half {
    fn new() -> Self {
        Self { cells: vec![0; WIDTH * DEPTH], bits: vec![0; BITS / 64], total: 0, unset: BITS }
    }

    fn clear(&mut self) {
        self.cells.fill(0);
        self.bits.fill(0);
        (self.total, self.unset) = (0, BITS);
    }

    fn count(&self, places: [usize; DEPTH]) -> u32 {
        places.into_iter().map(|place| self.cells[place]).min().unwrap_or(0)
    }

    fn add(&mut self, places: [usize; DEPTH], hash: u64) {
        let count = self.count(places).saturating_add(1);
        for place in places {
            self.cells[place] = self.cells[place].max(count);
        }
        self.total += 1;
        let bit = usize::try_from(hash >> 48).unwrap_or(0) % BITS;
        let (word, mask) = (bit / 64, 1 << (bit % 64));
        if self.bits[word] & mask == 0 {
            self.bits[word] |= mask;
            self.unset -= 1;
        }
    }

    /// About how many addresses there were.
    fn sources(&self) -> f64 {
        let unset = precise(self.unset.max(1) as u64) / precise(BITS as u64);
        -precise(BITS as u64) * unset.ln()
    }
}

#[derive(Debug)]
struct Sketch {
    /// Of this process: nobody can choose addresses that collide.
    hasher: RandomState,
    present: Half,
    before: Half,
    began: Duration,
    heaviest: Vec<Heavy>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            present: Half::new(),
            before: Half::new(),
            began: Duration::ZERO,
            heaviest: Vec::with_capacity(HEAVIEST),
        }
    }
}

impl Sketch {
    /// Begins a new half when the present one is over.
    fn turn(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.began);
        if passed < HALF {
            return;
        }
        std::mem::swap(&mut self.present, &mut self.before);
        self.present.clear();
        if passed >= HALF * 2 {
            self.before.clear();
        }
        self.began = now;
        let mut heaviest = std::mem::take(&mut self.heaviest);
        for heavy in &mut heaviest {
            heavy.requests = self.score(heavy.address, now).requests;
        }
        heaviest.retain(|heavy| heavy.requests > 0.0);
        self.heaviest = heaviest;
    }

    fn note(&mut self, address: IpAddr, now: Duration) -> SourceScore {
        self.turn(now);
        let hash = self.hasher.hash_one(address);
        let places = places(hash);
        self.present.add(places, hash);
        let score = self.score_at(address, places, now);
        self.remember(address, score.requests);
        score
    }

    fn remember(&mut self, address: IpAddr, requests: f64) {
        if let Some(known) = self.heaviest.iter_mut().find(|heavy| heavy.address == address) {
            known.requests = requests;
        } else if self.heaviest.len() < HEAVIEST {
            self.heaviest.push(Heavy { address, requests });
        } else if let Some(lightest) = self.heaviest.iter_mut().min_by(|a, b| a.requests.total_cmp(&b.requests))
            && lightest.requests < requests
        {
            *lightest = Heavy { address, requests };
        }
    }

    fn score(&self, address: IpAddr, now: Duration) -> SourceScore {
        self.score_at(address, places(self.hasher.hash_one(address)), now)
    }

    /// The score of an address that is counted at `places`.
    fn score_at(&self, address: IpAddr, places: [usize; DEPTH], now: Duration) -> SourceScore {
        // Of the half before counts what is not longer ago than both halves last.
        let left = 1.0 - (now.saturating_sub(self.began).as_secs_f64() / HALF.as_secs_f64()).min(1.0);
        let of = |present: u64, before: u64| precise(present) + left * precise(before);
        let total = of(self.present.total, self.before.total);
        let counted = of(self.present.count(places).into(), self.before.count(places).into());
        let requests = (counted - total / precise(WIDTH as u64)).max(0.0);
        let sources = self.present.sources().max(self.before.sources()).max(1.0);
        let may = (TIMES_THE_MEAN * total / sources).max(total / PART).max(ALWAYS);
        SourceScore { address, requests, score: requests / may }
    }
}

/// Where an address is counted in each row: bits of their own for each, or what collides in two would in all.
fn places(hash: u64) -> [usize; DEPTH] {
    let mask = WIDTH as u64 - 1;
    std::array::from_fn(|row| {
        let bits = hash >> (PLACE * row) & mask;
        row * WIDTH + usize::try_from(bits).unwrap_or(0)
    })
}

#[expect(clippy::cast_precision_loss, reason = "requests of ten seconds are far below 2^52")]
fn precise(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    /// Bytes of a sketch with all that it has allocated.
    fn bytes(sources: &Sources) -> usize {
        let sketch = sources.lock();
        let half = |half: &Half| half.cells.capacity() * 4 + half.bits.capacity() * 8;
        half(&sketch.present) + half(&sketch.before) + sketch.heaviest.capacity() * size_of::<Heavy>()
    }

    // D11
    #[test]
    fn among_a_million_addresses_attackers_are_known_and_normal_senders_are_left_alone() {
        let (sources, mut random) = (Sources::default(), fastrand::Rng::with_seed(3));
        let before = bytes(&sources);
        let attackers: Vec<IpAddr> = (0..10).map(|i| v4(0xc000_0200 + i)).collect();
        let normals: Vec<IpAddr> = (0..1_000).map(|i| v4(0x0a00_0000 + i)).collect();
        let (mut sent, mut above) = (0_u32, 0_u32);
        // Ten seconds, in steps of a millisecond: 100,000 spoofed addresses and 10,000 requests of attackers a second.
        for millis in 0..10_000_u64 {
            let now = Duration::from_millis(millis);
            for _ in 0..100 {
                sources.note_at(v4(0x2000_0000 + random.u32(0..1_000_000)), now);
            }
            for attacker in &attackers {
                sources.note_at(*attacker, now);
            }
            // Each normal sender sends twice a second.
            for normal in normals.iter().skip(usize::try_from(millis % 500).expect("is small") * 2).take(2) {
                sent += 1;
                above += u32::from(sources.note_at(*normal, now).score > 1.0);
            }
        }
        let now = Duration::from_secs(10);
        let top: Vec<IpAddr> = sources.heaviest_at(20, now).iter().map(|source| source.address).collect();
        let found = attackers.iter().filter(|attacker| top.contains(attacker)).count();
        assert_eq!(found, 10, "{top:?}");
        for source in sources.heaviest_at(10, now) {
            assert!(attackers.contains(&source.address) && source.score > 1.0, "{source:?}");
        }
        assert!(f64::from(above) <= 0.001 * f64::from(sent), "{above} of {sent} requests of normal senders");
        assert_eq!(bytes(&sources), before);
        assert!(before <= 300_000, "{before} bytes");
    }

    #[test]
    fn a_few_senders_that_send_alike_are_none_too_many() {
        let sources = Sources::default();
        for i in 0..100_000_u32 {
            let score = sources.note_at(v4(i % 3), Duration::from_micros(u64::from(i) * 100));
            assert!(score.score < 1.0, "{score:?}");
        }
    }

    #[test]
    fn what_was_is_forgotten_and_a_network_of_ipv6_is_one() {
        let sources = Sources::default();
        let of = |host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host));
        for host in 0..500 {
            sources.note_at(of(host), Duration::from_secs(1));
        }
        let top = sources.heaviest_at(20, Duration::from_secs(2));
        assert!(top.len() == 1 && top[0].requests > 490.0, "{top:?}");
        assert!(sources.heaviest_at(20, Duration::from_secs(13)).is_empty());
        let mapped = "::ffff:192.0.2.1".parse().expect("is an address");
        assert_eq!(sources.note_at(mapped, Duration::from_secs(20)).address, v4(0xc000_0201));
    }
}
