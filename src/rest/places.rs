//! How many streams are open at the same time. A count, and not a semaphore: the bound may change while they are open.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::problem::Problem;

/// The streams that are open.
#[derive(Debug, Default)]
pub(crate) struct Places(Arc<AtomicUsize>);

/// One open stream; it is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

/// As many streams are open as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many streams are open as listen.max_streams allows ({most})")]
pub(crate) struct Full {
    /// The bound.
    pub most: usize,
}

impl Places {
    /// Room for one more while fewer than `most` are taken.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn take(&self, most: usize) -> Result<Place, Full> {
        let one_more = |open: usize| (open < most).then_some(open + 1);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Place(Arc::clone(&self.0))),
            Err(_) => Err(Full { most }),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        Self::busy(&full.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_again_when_one_is_closed_and_when_more_may_be() {
        let places = Places::default();
        let first = places.take(2).expect("none is open");
        let _second = places.take(2).expect("one is open");
        assert_eq!(places.take(2).err(), Some(Full { most: 2 }));
        let _third = places.take(3).expect("more may be");
        drop(first);
        assert_eq!(places.take(2).err(), Some(Full { most: 2 }), "two are still open");
        assert!(places.take(3).is_ok());
    }
}
