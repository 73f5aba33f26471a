//! What the layer costs a request: `cargo run --release -p bellwether-tower --example cost`.
//!
//! A service that answers at once is called with and without the layer, at level 0 (no clock is read) and at
//! level 2 (one is), a million times each; the medians of nine rounds are printed.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    io::Write as _,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bellwether_tower::{DegradationLayer, Followed, Policy};
use http::{Request, Response};
use tower::{Layer as _, Service};

const CALLS: u32 = 1_000_000;
const ROUNDS: usize = 9;

#[derive(Clone)]
struct AtOnce;

impl Service<Request<()>> for AtOnce {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}

/// Nanoseconds a call, the median of the rounds.
fn cost<S: Service<Request<()>, Response = Response<String>>>(mut service: S) -> f64 {
    let mut context = Context::from_waker(Waker::noop());
    let mut rounds = [0.0; ROUNDS];
    for round in &mut rounds {
        let began = Instant::now();
        for _ in 0..CALLS {
            let future = std::pin::pin!(service.call(black_box(Request::new(()))));
            let _ = black_box(future.poll(&mut context).is_ready());
        }
        *round = began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS);
    }
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn main() -> std::io::Result<()> {
    let followed = Followed::default();
    let layer = DegradationLayer::new(followed.clone(), Policy::default().keep("/quotes"));
    let bare = cost(AtOnce);
    let open = cost(layer.layer(AtOnce));
    followed.set_at(2, Instant::now());
    let degraded = cost(layer.layer(AtOnce));
    let mut out = std::io::stdout().lock();
    writeln!(out, "without the layer   {bare:6.1} ns a request")?;
    writeln!(out, "with it at level 0  {open:6.1} ns, {:.1} more", open - bare)?;
    writeln!(out, "with it at level 2  {degraded:6.1} ns, {:.1} more", degraded - bare)
}
