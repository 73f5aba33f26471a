//! What readers get of each tenant: its view, its ledger and its decisions, and nothing of another's.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use alerting::{Dispatcher, LedgerError, Operator, Reader};
use detect::Decision;
use ingest::Tenant;
use tokio::sync::{broadcast, watch};

use crate::{
    ui::IntakeRate,
    view::{Counts, View},
};

/// One tenant, to its readers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Face {
    /// Whose it is.
    pub tenant: Tenant,
    /// What the tenant's line shows.
    pub view: watch::Receiver<Arc<View>>,
    /// Every decision as it is made.
    pub decisions: broadcast::Sender<Arc<Decision>>,
    /// What was decided.
    pub ledger: Reader,
    /// Writes pins; `None` for a tenant that is not known, and has nowhere to keep them.
    pub operator: Option<Operator>,
    /// Knows who is told of what; `None` likewise.
    pub dispatcher: Option<Arc<Dispatcher>>,
    /// Counts of its deliverer.
    pub delivery: Arc<alerting::Counters>,
    /// For its page.
    pub intake_rate: Arc<IntakeRate>,
}

impl Face {
    /// The newest picture.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }
}

/// The faces of all tenants that are known. Written by the pipeline when it meets a tenant.
pub(crate) struct Faces {
    known: watch::Sender<()>,
    faces: RwLock<BTreeMap<Tenant, Face>>,
    /// What a tenant sees that is not known: a service in which nothing has happened.
    nobody: Face,
}

impl fmt::Debug for Faces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faces").finish_non_exhaustive()
    }
}

impl Faces {
    /// Of nobody yet. What is returned beside is what those see who are not known, until it is dropped.
    ///
    /// # Errors
    /// [`LedgerError`] when there is no memory for an empty ledger.
    pub(crate) fn new() -> Result<(Self, watch::Sender<Arc<View>>), LedgerError> {
        let (nothing, view) = watch::channel(Arc::new(View::default()));
        let nobody = Face {
            tenant: Tenant::default(),
            view,
            decisions: broadcast::channel(1).0,
            ledger: Reader::of_nothing()?,
            operator: None,
            dispatcher: None,
            delivery: Arc::default(),
            intake_rate: Arc::default(),
        };
        let known = watch::channel(()).0;
        Ok((Self { known, faces: RwLock::default(), nobody }, nothing))
    }

    /// What `tenant` sees. Asking makes nobody known.
    pub(crate) fn of(&self, tenant: &Tenant) -> Face {
        // Whole between any two statements, so a thread that died has left no harm.
        let faces = self.faces.read().unwrap_or_else(PoisonError::into_inner);
        let nobody = || Face { tenant: tenant.clone(), intake_rate: Arc::default(), ..self.nobody.clone() };
        faces.get(tenant).cloned().unwrap_or_else(nobody)
    }

    /// Waits until `tenant` is known.
    pub(crate) async fn appears(&self, tenant: &Tenant) -> Face {
        let mut known = self.known.subscribe();
        loop {
            let face = self.of(tenant);
            if face.operator.is_some() || known.changed().await.is_err() {
                return face;
            }
        }
    }

    /// Makes the tenant of `face` known.
    pub(crate) fn add(&self, face: Face) {
        self.faces.write().unwrap_or_else(PoisonError::into_inner).insert(face.tenant.clone(), face);
        self.known.send_replace(());
    }

    /// Everybody who is known, by name.
    pub(crate) fn all(&self) -> Vec<Face> {
        self.faces.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The counts of all tenants together.
    pub(crate) fn counts(&self) -> Counts {
        let mut all = Counts::default();
        for face in self.all() {
            all.add(&face.view.borrow().counts);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_sees_nothing_until_it_appears_and_nothing_of_others() {
        let (faces, _nothing) = Faces::new().expect("there is memory");
        let faces = Arc::new(faces);
        let [acme, shop] = ["acme", "shop"].map(|name| Tenant::new(name).expect("is a name"));
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let waiting = tokio::spawn({
            let (faces, acme) = (Arc::clone(&faces), acme.clone());
            async move { faces.appears(&acme).await.tenant }
        });
        for tenant in [&shop, &acme] {
            assert!(faces.of(tenant).operator.is_none());
            let ledger = alerting::Ledger::open(directory.path().join(tenant.as_str())).expect("opens");
            let points = if *tenant == acme { 7 } else { 5 };
            let counts = Counts { judged: points, ..Counts::default() };
            let (_, view) = watch::channel(Arc::new(View { counts, ..View::default() }));
            let (ledger, operator) = (ledger.reader(), Some(ledger.operator()));
            faces.add(Face { tenant: tenant.clone(), view, ledger, operator, ..faces.of(tenant) });
            assert_eq!(faces.of(tenant).view().counts.judged, points);
        }
        assert_eq!(waiting.await.expect("no panic"), acme);
        let nobody = Tenant::new("nobody").expect("is a name");
        assert_eq!(faces.of(&nobody).view().counts.judged, 0);
        assert_eq!((faces.counts().judged, faces.all().len()), (12, 2));
    }
}
