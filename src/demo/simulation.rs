//! The numbers of the simulated shop: a pure function of script and seed, in ticks of 100 ms.
//!
//! Nothing here knows about telemetry or clocks, so that a test can play an hour in a moment and
//! compare two runs number by number.
//!
//! Forty quotes a second is a hundredth of what a busy shop serves, and independent draws would
//! make its ratios ten times as noisy. [`Mix`] therefore draws *evenly*: which quote becomes an
//! order is random, how many of a hundred do hardly is.

use std::{collections::VecDeque, f64::consts::TAU, time::Duration};

use super::script::{IncidentKind, Script};

/// Simulated time that one step covers.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Quotes per second over the whole day.
const QUOTES_PER_SECOND: f64 = 40.0;
/// One day of the shop, in seconds of the demonstration.
const DAY_SECONDS: f64 = 60.0;
/// How far the rate swings around its mean in a day.
const DAY_AMPLITUDE: f64 = 0.3;
/// The tenants and their shares of the quotes.
const TENANTS: [(&str, f64); 3] = [("acme", 0.5), ("globex", 0.3), ("initech", 0.2)];
/// The file types and their shares; STEP, the first, is the one that gets into trouble.
const FILE_TYPES: [(&str, f64); 4] = [("STEP", 0.4), ("IGES", 0.2), ("STL", 0.25), ("3MF", 0.15)];
const STEP: usize = 0;
/// Share of the quotes that fail in pricing on any day.
const ERROR_RATIO: f64 = 0.002;
/// Ticks over which the conversion is reported: 10 s.
const CONVERSION_TICKS: usize = 100;
/// A half-open breaker is tried for this long before it closes.
const HALF_OPEN: Duration = Duration::from_secs(2);
/// Noise is cut here, so that no single quote of a long demonstration is an incident of its own.
const MAX_SIGMAS: f64 = 2.5;
/// Resident memory of each service, in the order of [`Service::ALL`].
const MEMORY_MIB: [f64; 5] = [220.0, 180.0, 340.0, 160.0, 120.0];
const MIB: f64 = 1024.0 * 1024.0;

/// The services of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// Takes the requests.
    QuoteApi,
    /// Computes prices.
    Pricing,
    /// Analyses whether a part can be made (design for manufacturing).
    Dfm,
    /// Takes orders.
    Checkout,
    /// Tells customers that their quote is ready.
    Notification,
}

impl Service {
    /// Every service; `service as usize` is its place here.
    pub(crate) const ALL: [Self; 5] = [Self::QuoteApi, Self::Pricing, Self::Dfm, Self::Checkout, Self::Notification];

    /// The `service.name`.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::QuoteApi => "quote-api",
            Self::Pricing => "pricing",
            Self::Dfm => "dfm",
            Self::Checkout => "checkout",
            Self::Notification => "notification",
        }
    }
}

/// What happened to one request for a quote.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quote {
    /// When the request came, since the start of the shop.
    pub(crate) start: Duration,
    /// Who asked.
    pub(crate) tenant: &'static str,
    /// What was uploaded.
    pub(crate) file_type: &'static str,
    /// Time spent in quote-api itself before pricing is called.
    pub(crate) overhead: Duration,
    /// Time spent in pricing.
    pub(crate) price: Duration,
    /// What came after pricing; `None` when pricing failed, which ends the quote.
    pub(crate) priced: Option<Priced>,
}

/// The later stages of a quote.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Priced {
    /// Time spent in the analysis.
    pub(crate) analyze: Duration,
    /// Whether the analysis failed. An engineer then looks at the part by hand; the quote goes on.
    pub(crate) analysis_failed: bool,
    /// Time spent in checkout; `None` when the quote did not become an order.
    pub(crate) checkout: Option<Duration>,
    /// Time spent telling the customer.
    pub(crate) send: Duration,
}

/// The gauges at the end of a tick.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gauges {
    /// Share of the quotes of the last 10 s that became orders; `None` until 10 s have passed.
    pub(crate) conversion: Option<f64>,
    /// Margin relative to its target: 1 is as planned.
    pub(crate) margin: f64,
    /// The breaker towards the tax service: 0 closed, 1 open, 2 half-open.
    pub(crate) breaker: i64,
    /// Resident memory in bytes, in the order of [`Service::ALL`].
    pub(crate) memory: [f64; 5],
}

/// What happened in one tick.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    /// Requests that came in it, in no particular order.
    pub(crate) quotes: Vec<Quote>,
    /// The gauges after it.
    pub(crate) gauges: Gauges,
    /// Whether the notification service's telemetry gets out.
    pub(crate) notification_silent: bool,
}

/// The state of the shop between ticks.
#[derive(Debug)]
pub(crate) struct Simulation {
    script: Script,
    rng: fastrand::Rng,
    ticks: u32,
    arrivals_owed: f64,
    tenants: Mix<3>,
    file_types: Mix<4>,
    errors: Mix<2>,
    orders: Mix<2>,
    analyses: [Mix<2>; 4],
    /// Quotes and orders of each of the last [`CONVERSION_TICKS`] ticks.
    recent: VecDeque<(u32, u32)>,
}

impl Simulation {
    /// The shop at its opening.
    #[must_use]
    pub(crate) fn new(script: Script, seed: u64) -> Self {
        Self {
            script,
            rng: fastrand::Rng::with_seed(seed),
            ticks: 0,
            arrivals_owed: 0.0,
            tenants: Mix::default(),
            file_types: Mix::default(),
            errors: Mix::default(),
            orders: Mix::default(),
            analyses: Default::default(),
            recent: VecDeque::with_capacity(CONVERSION_TICKS + 1),
        }
    }

    /// Simulated time since the opening.
    #[must_use]
    pub(crate) fn now(&self) -> Duration {
        TICK * self.ticks
    }

    /// Whether the script has been played to its end.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.now() >= self.script.total
    }

    /// Plays the next tick.
    pub(crate) fn step(&mut self) -> Tick {
        let at = self.now();
        let active = self.script.active(at).map(|incident| (incident.kind, incident.until));
        let kind = active.map(|(kind, _)| kind);
        let quotes: Vec<Quote> = (0..self.arrivals(at)).map(|_| self.quote(at, kind)).collect();
        let gauges = self.gauges(at, &quotes, active);
        self.ticks += 1;
        Tick { quotes, gauges, notification_silent: kind == Some(IncidentKind::ExporterSilent) }
    }

    /// How many requests come in the tick at `at`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the few quotes of a tick"
    )]
    fn arrivals(&mut self, at: Duration) -> u32 {
        let rate = QUOTES_PER_SECOND * (1.0 + DAY_AMPLITUDE * (TAU * at.as_secs_f64() / DAY_SECONDS).sin());
        self.arrivals_owed += rate * TICK.as_secs_f64();
        let count = (self.arrivals_owed + self.rng.f64() - 0.5).floor().max(0.0);
        self.arrivals_owed -= count;
        count as u32
    }

    fn quote(&mut self, at: Duration, active: Option<IncidentKind>) -> Quote {
        let slowdown = if active == Some(IncidentKind::LatencyStep) { 4.0 } else { 1.0 };
        let file_type = self.file_types.draw(&mut self.rng, FILE_TYPES.map(|(_, share)| share));
        let failed = self.errors.happens(&mut self.rng, ERROR_RATIO);
        Quote {
            start: at + TICK.mul_f64(self.rng.f64()),
            tenant: TENANTS[self.tenants.draw(&mut self.rng, TENANTS.map(|(_, share)| share))].0,
            file_type: FILE_TYPES[file_type].0,
            overhead: self.log_normal(0.008, 0.2),
            price: self.log_normal(0.040, 0.25).mul_f64(slowdown),
            priced: if failed { None } else { Some(self.priced(file_type, active)) },
        }
    }

    fn priced(&mut self, file_type: usize, active: Option<IncidentKind>) -> Priced {
        let trouble = file_type == STEP && active == Some(IncidentKind::DfmFailures);
        let failure_ratio = if trouble { 0.35 } else { 0.02 };
        let conversion = if active == Some(IncidentKind::ConversionDrop) { 0.12 } else { 0.30 };
        let ordered = self.orders.happens(&mut self.rng, conversion);
        Priced {
            analyze: self.log_normal(0.090, 0.3),
            analysis_failed: self.analyses[file_type].happens(&mut self.rng, failure_ratio),
            checkout: ordered.then(|| self.log_normal(0.060, 0.25)),
            send: self.log_normal(0.015, 0.3),
        }
    }

    fn gauges(&mut self, at: Duration, quotes: &[Quote], active: Option<(IncidentKind, Duration)>) -> Gauges {
        let is_order = |q: &Quote| q.priced.as_ref().is_some_and(|p| p.checkout.is_some());
        let orders = quotes.iter().fold(0, |sum, q| sum + u32::from(is_order(q)));
        let requests = quotes.iter().fold(0, |sum, _| sum + 1);
        self.recent.push_back((requests, orders));
        if self.recent.len() > CONVERSION_TICKS {
            self.recent.pop_front();
        }
        let margin = if matches!(active, Some((IncidentKind::MarginErosion, _))) { 0.8 } else { 1.0 };
        let breaker = match active {
            Some((IncidentKind::BreakerOpen, until)) if at + HALF_OPEN >= until => 2,
            Some((IncidentKind::BreakerOpen, _)) => 1,
            _ => 0,
        };
        Gauges {
            conversion: self.conversion(),
            margin: margin + 0.004 * self.normal(),
            breaker,
            memory: MEMORY_MIB.map(|mib| (mib * MIB * (1.0 + 0.01 * self.normal())).round()),
        }
    }

    fn conversion(&mut self) -> Option<f64> {
        if self.recent.len() < CONVERSION_TICKS {
            return None;
        }
        let (requests, orders) = self.recent.iter().fold((0, 0), |sum, tick| (sum.0 + tick.0, sum.1 + tick.1));
        Some(f64::from(orders) / f64::from(requests.max(1)) + 0.003 * self.normal())
    }

    /// A duration around `median` seconds whose logarithm has the standard deviation `sigma`.
    fn log_normal(&mut self, median: f64, sigma: f64) -> Duration {
        Duration::from_secs_f64(median * (sigma * self.normal()).exp())
    }

    /// A standard normal number (Box and Muller), cut at [`MAX_SIGMAS`].
    fn normal(&mut self) -> f64 {
        // `f64` draws from [0, 1), and the logarithm needs (0, 1].
        let radius = (-2.0 * (1.0 - self.rng.f64()).ln()).sqrt();
        (radius * (TAU * self.rng.f64()).cos()).clamp(-MAX_SIGMAS, MAX_SIGMAS)
    }
}

/// Draws from `N` outcomes with given shares, evenly: each outcome earns its share with every draw
/// and pays 1 when it is drawn, and the one with most credit and luck is next. The count of an
/// outcome in any stretch of draws stays within a few of what its share says.
#[derive(Debug)]
struct Mix<const N: usize> {
    credit: [f64; N],
}

impl<const N: usize> Default for Mix<N> {
    fn default() -> Self {
        Self { credit: [0.0; N] }
    }
}

impl<const N: usize> Mix<N> {
    /// The index of the next outcome. The shares add up to 1, and may differ from draw to draw.
    fn draw(&mut self, rng: &mut fastrand::Rng, shares: [f64; N]) -> usize {
        let mut best = (0, f64::NEG_INFINITY);
        for (outcome, share) in shares.into_iter().enumerate() {
            self.credit[outcome] += share;
            let claim = self.credit[outcome] + rng.f64();
            if claim > best.1 {
                best = (outcome, claim);
            }
        }
        self.credit[best.0] -= 1.0;
        best.0
    }
}

impl Mix<2> {
    /// Whether something of this probability happens now.
    fn happens(&mut self, rng: &mut fastrand::Rng, probability: f64) -> bool {
        self.draw(rng, [probability, 1.0 - probability]) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        Script::scaled(Duration::from_secs(300), 1).expect("long enough")
    }

    fn play(seed: u64) -> Vec<Tick> {
        let mut simulation = Simulation::new(script(), seed);
        std::iter::from_fn(|| (!simulation.is_over()).then(|| simulation.step())).collect()
    }

    /// The ticks in which `kind` (or nothing, for `None`) is under way, without the first 10 s.
    fn during(ticks: &[Tick], kind: Option<IncidentKind>) -> Vec<&Tick> {
        let script = script();
        let at = |i: usize| TICK * u32::try_from(i).expect("a short play");
        let wanted = |i: &usize| script.active(at(*i)).map(|incident| incident.kind) == kind;
        (100..ticks.len()).filter(wanted).map(|i| &ticks[i]).collect()
    }

    fn share(quotes: impl Iterator<Item = bool>) -> f64 {
        let (all, hits) = quotes.fold((0_u32, 0_u32), |n, hit| (n.0 + 1, n.1 + u32::from(hit)));
        f64::from(hits) / f64::from(all)
    }

    fn dfm_failures(ticks: &[&Tick], file_type: &str) -> f64 {
        let quotes = ticks.iter().flat_map(|t| &t.quotes).filter(|q| q.file_type == file_type);
        share(quotes.filter_map(|q| q.priced.as_ref()).map(|p| p.analysis_failed))
    }

    fn mean_price(ticks: &[&Tick]) -> f64 {
        let prices: Vec<Duration> = ticks.iter().flat_map(|t| &t.quotes).map(|q| q.price).collect();
        prices.iter().sum::<Duration>().as_secs_f64() / f64::from(u32::try_from(prices.len()).expect("a short play"))
    }

    #[track_caller]
    fn assert_near(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance, "expected {expected} ± {tolerance}, got {actual}");
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_gives_others() {
        assert_eq!(play(42), play(42));
        assert_ne!(play(42), play(43));
    }

    #[test]
    fn the_day_has_its_shape() {
        let ticks = play(1);
        let quotes = |from: usize| ticks[from..from + 100].iter().flat_map(|t| &t.quotes).fold(0.0, |n, _| n + 1.0);
        let per_second = |from: usize| quotes(from) / 10.0;
        // 10 s around the top and the bottom of the first two days.
        for (from, expected) in [(100, 51.5), (400, 28.5), (700, 51.5), (1000, 28.5)] {
            assert_near(per_second(from), expected, 0.5);
        }
    }

    #[test]
    fn calm_stretches_are_calm() {
        let ticks = play(1);
        let warm_up = &ticks[100..1000];
        for tick in warm_up {
            assert_near(tick.gauges.conversion.expect("10 s have passed"), 0.30, 0.02);
            assert_near(tick.gauges.margin, 1.0, 0.0101);
            assert_eq!((tick.gauges.breaker, tick.notification_silent), (0, false));
        }
        for ten_seconds in warm_up.chunks(100) {
            let ten_seconds: Vec<&Tick> = ten_seconds.iter().collect();
            assert_near(dfm_failures(&ten_seconds, "STEP"), 0.02, 0.02);
            assert_near(mean_price(&ten_seconds), 0.0413, 0.003);
        }
        let quotes = || warm_up.iter().flat_map(|t| &t.quotes);
        assert_near(share(quotes().map(|q| q.priced.is_none())), ERROR_RATIO, 0.001);
        assert_near(share(quotes().map(|q| q.tenant == "acme")), 0.5, 0.005);
    }

    #[test]
    fn each_incident_changes_what_it_says() {
        let ticks = play(1);
        let calm = during(&ticks, None);
        let of = |kind| during(&ticks, Some(kind));
        assert_near(mean_price(&of(IncidentKind::LatencyStep)) / mean_price(&calm), 4.0, 0.1);
        assert_near(dfm_failures(&of(IncidentKind::DfmFailures), "STEP"), 0.35, 0.02);
        assert_near(dfm_failures(&of(IncidentKind::DfmFailures), "STL"), 0.02, 0.015);
        let conversion = of(IncidentKind::ConversionDrop).last().and_then(|t| t.gauges.conversion);
        assert_near(conversion.expect("10 s have passed"), 0.12, 0.02);
        assert!(of(IncidentKind::MarginErosion).iter().all(|t| (t.gauges.margin - 0.8).abs() < 0.011));
        assert!(calm.iter().all(|t| t.gauges.breaker == 0 && !t.notification_silent));
        assert!(of(IncidentKind::ExporterSilent).iter().all(|t| t.notification_silent));
        let breaker: Vec<i64> = of(IncidentKind::BreakerOpen).iter().map(|t| t.gauges.breaker).collect();
        assert!(breaker.is_sorted() && breaker.first() == Some(&1) && breaker.last() == Some(&2));
    }

    #[test]
    fn a_mix_keeps_its_shares_over_any_stretch() {
        let (mut mix, mut rng) = (Mix::default(), fastrand::Rng::with_seed(3));
        let draws: Vec<usize> = (0..1000).map(|_| mix.draw(&mut rng, [0.7, 0.25, 0.05])).collect();
        for stretch in draws.chunks(100) {
            for (outcome, expected) in [(0, 70.0), (1, 25.0), (2, 5.0)] {
                let hits: u32 = stretch.iter().map(|d| u32::from(*d == outcome)).sum();
                assert_near(f64::from(hits), expected, 3.0);
            }
        }
        assert!(draws.windows(2).any(|pair| pair[0] == 1 && pair[1] == 1), "the order stays random");
    }
}
