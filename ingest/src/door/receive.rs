//! Bodies on their way in. All of them together are bounded: a single request's limit says nothing
//! about a thousand connections that each hold most of one. And one tenant's slow bodies must not keep
//! out the others' quick ones, so once a half is taken, each has no more than an even part.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::{Outcome, Refusal};
use crate::Tenant;

const KIB: usize = 1024;
/// Room made for a body before it has come, whatever its length is said to be.
const FIRST_BYTES: usize = 64 * KIB;
/// For so long after its last body began a tenant counts as one who sends. Longer than a body may take.
const ACTIVE: Duration = Duration::from_secs(60);

/// Bytes that may be held for bodies, by both doors together. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    state: Arc<Mutex<State>>,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes held, in whole KiB.
    taken: usize,
    /// Those who have a body on its way: as many at most as there are streams of connections.
    tenants: HashMap<Tenant, Part, foldhash::fast::RandomState>,
    /// Two tenants that sent last, and when. To know that somebody else sends, two are enough.
    latest: [Option<(Tenant, Instant)>; 2],
}

/// What one tenant has on its way.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    bodies: usize,
    bytes: usize,
}

impl Room {
    /// Room for `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { state: Arc::default(), limit: limit.div_ceil(KIB) * KIB }
    }

    /// An empty body of `tenant`.
    pub(crate) fn body(&self, tenant: &Tenant) -> Received {
        self.body_at(tenant, Instant::now())
    }

    fn body_at(&self, tenant: &Tenant, now: Instant) -> Received {
        let mut state = self.lock();
        state.tenants.entry(tenant.clone()).or_default().bodies += 1;
        state.sends(tenant, now);
        drop(state);
        Received {
            whole: None,
            bytes: BytesMut::new(),
            held: Held { room: self.clone(), tenant: tenant.clone(), bytes: 0 },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole between any two statements, so a thread that died here has left no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sends(&mut self, tenant: &Tenant, now: Instant) {
        let [first, second] = &mut self.latest;
        if first.as_ref().is_none_or(|(latest, _)| latest != tenant) {
            std::mem::swap(first, second);
        }
        *first = Some((tenant.clone(), now));
    }

    /// How many tenants send, at least; one of them is `tenant`.
    fn senders(&self, tenant: &Tenant, now: Instant) -> usize {
        let is_new = |other: &Tenant| other != tenant && !self.tenants.contains_key(other);
        let lately = self.latest.iter().flatten();
        let lately = lately.filter(|(other, at)| is_new(other) && now.saturating_duration_since(*at) < ACTIVE);
        self.tenants.len().max(1) + lately.count()
    }

    /// Takes `more` bytes for `tenant`, if there is room for it.
    fn take(&mut self, tenant: &Tenant, more: usize, limit: usize, now: Instant) -> Result<(), Refusal> {
        let taken = self.taken + more;
        if taken > limit {
            let message = format!("receivers hold {limit} bytes already, which is as many as they may");
            return Err(Refusal::new(Outcome::Busy, message));
        }
        let senders = self.senders(tenant, now);
        let part = self.tenants.entry(tenant.clone()).or_default();
        let even = limit / senders;
        if senders > 1 && taken > limit / 2 && part.bytes + more > even {
            let message = format!("receivers hold {} bytes of tenant {tenant}, and others send as well", part.bytes);
            return Err(Refusal::new(Outcome::Limited, message));
        }
        part.bytes += more;
        self.taken = taken;
        Ok(())
    }
}

/// Room that is taken for a body, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Room,
    tenant: Tenant,
    /// In whole KiB.
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        state.taken = state.taken.saturating_sub(self.bytes);
        if let Some(part) = state.tenants.get_mut(&self.tenant) {
            part.bytes = part.bytes.saturating_sub(self.bytes);
            part.bodies = part.bodies.saturating_sub(1);
            if part.bodies == 0 {
                state.tenants.remove(&self.tenant);
            }
        }
    }
}

/// A body, or what has come of it so far.
#[derive(Debug)]
pub(crate) struct Received {
    /// All of it, where it came in one piece.
    whole: Option<Bytes>,
    pub(crate) bytes: BytesMut,
    held: Held,
}

impl Received {
    /// Takes `data` as all there is, if there is room for it. It is not copied, and keeps the connection's
    /// buffer in which it stands: only for a body that has ended and is about to be read.
    pub(crate) fn hold(&mut self, data: Bytes) -> Result<(), Refusal> {
        self.make_room(data.len(), Instant::now())?;
        self.whole = Some(data);
        Ok(())
    }

    /// Appends what has come, if there is room for it.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<(), Refusal> {
        self.push_at(data, Instant::now())
    }

    fn push_at(&mut self, data: &[u8], now: Instant) -> Result<(), Refusal> {
        self.make_room(self.bytes.len() + data.len(), now)?;
        if self.bytes.is_empty() {
            self.bytes.reserve(data.len().max(FIRST_BYTES.min(self.held.room.limit)));
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Takes room for `length` bytes in all.
    fn make_room(&mut self, length: usize, now: Instant) -> Result<(), Refusal> {
        let Held { room, tenant, bytes } = &mut self.held;
        let wanted = length.div_ceil(KIB) * KIB;
        let missing = wanted.saturating_sub(*bytes);
        if missing > 0 {
            room.lock().take(tenant, missing, room.limit, now)?;
            *bytes += missing;
        }
        Ok(())
    }

    /// The bytes, and what keeps their room until it is dropped.
    pub(crate) fn finish(self) -> (Bytes, Held) {
        (self.whole.unwrap_or_else(|| self.bytes.freeze()), self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).expect("is a name")
    }

    #[test]
    fn bodies_share_the_room_and_give_it_back() {
        let room = Room::new(4 * KIB);
        let (mut first, mut second) = (room.body(&Tenant::default()), room.body(&Tenant::default()));
        first.push(&[1; 3 * KIB]).expect("there is room");
        second.push(&[2; KIB]).expect("there is room");
        second.push(&[]).expect("nothing needs no room");
        let refusal = second.push(&[2; 1]).expect_err("there is no room for a fifth KiB");
        assert!(refusal.outcome == Outcome::Busy && refusal.retry_after.is_some(), "{refusal:?}");
        drop(first.finish());
        second.push(&[2; 3 * KIB]).expect("there is room again");
        assert_eq!(second.finish().0.len(), 4 * KIB);
        let state = room.lock();
        assert!(state.taken == 0 && state.tenants.is_empty(), "{state:?}");
    }

    #[test]
    fn one_tenants_slow_bodies_leave_room_for_those_of_others() {
        let (room, slow, quick) = (Room::new(64 * KIB), tenant("slow"), tenant("quick"));
        drop(room.body(&quick));
        let mut kept = Vec::new();
        let refusal = loop {
            let mut body = room.body(&slow);
            if let Err(refusal) = body.push(&[0; 4 * KIB]) {
                break refusal;
            }
            kept.push(body);
        };
        assert_eq!((kept.len(), refusal.outcome, refusal.retry_after.is_some()), (8, Outcome::Limited, true));
        let mut body = room.body(&quick);
        body.push(&[0; 32 * KIB]).expect("is its half");
        assert_eq!(body.push(&[0; KIB]).map_err(|refusal| refusal.outcome), Err(Outcome::Busy));
    }

    #[test]
    fn who_has_taken_all_while_alone_makes_room_when_another_comes() {
        let (room, slow, quick) = (Room::new(64 * KIB), tenant("slow"), tenant("quick"));
        let now = Instant::now();
        let mut kept: Vec<Received> = (0..16).map(|_| room.body_at(&slow, now)).collect();
        for body in &mut kept {
            body.push_at(&[0; 4 * KIB - 1], now).expect("is alone");
        }
        assert!(room.body_at(&quick, now).push_at(&[0; KIB], now).is_err(), "comes too early");
        // Each of the slow ones is refused as soon as it goes on, while more than the half is taken.
        kept.retain_mut(|body| body.push_at(&[0; 2], now).is_ok());
        assert!(kept.len() <= 8, "{}", kept.len());
        room.body_at(&quick, now).push_at(&[0; 16 * KIB], now).expect("there is room");
        // Much later it is alone again.
        let later = now + 2 * ACTIVE;
        let mut body = room.body_at(&slow, later);
        body.push_at(&[0; 20 * KIB], later).expect("is alone");
        assert!(room.lock().taken > 48 * KIB);
    }

    #[test]
    fn many_tenants_have_even_parts_once_a_half_is_taken() {
        let room = Room::new(60 * KIB);
        let names: Vec<Tenant> = (0..4).map(|i| tenant(&format!("t{i}"))).collect();
        let mut bodies: Vec<Received> = names.iter().map(|name| room.body(name)).collect();
        bodies[0].push(&[0; 30 * KIB]).expect("less than a half is taken");
        assert!(bodies[0].push(&[0; KIB]).is_err(), "has more than a quarter");
        for body in &mut bodies[1..3] {
            body.push(&[0; 15 * KIB]).expect("is a quarter");
        }
        assert_eq!(bodies[3].push(&[0; KIB]).map_err(|refusal| refusal.outcome), Err(Outcome::Busy), "all is taken");
    }
    #[test]
    fn a_body_in_one_piece_is_not_copied_and_takes_room_all_the_same() {
        let (room, tenant) = (Room::new(4 * KIB), tenant("t"));
        let data = Bytes::from(vec![7; 3 * KIB]);
        let mut body = room.body(&tenant);
        body.hold(data.slice(1..)).expect("there is room");
        assert!(room.body(&tenant).push(&[1; 2 * KIB]).is_err(), "there is a KiB left");
        let (bytes, held) = body.finish();
        assert!(std::ptr::eq(&raw const bytes[0], &raw const data[1]));
        drop(held);
        assert_eq!(room.lock().taken, 0);
        assert!(Room::new(KIB).body(&tenant).hold(data).is_err());
    }
}
