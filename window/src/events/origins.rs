//! Who said it: service, resource and scope of each row, which change rarely.

use super::bytes::{Coded, keep};

/// Three dictionary columns that are set together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    pub(crate) services: Coded,
    pub(crate) resources: Coded,
    pub(crate) scopes: Coded,
    /// Numbers for the rows that follow.
    current: Option<[i32; 3]>,
}

impl Origins {
    pub(crate) fn set(&mut self, service: &str, resource: &[u8], scope: &[u8]) {
        let service = self.services.values.code(service.as_bytes());
        self.current = Some([service, self.resources.values.code(resource), self.scopes.values.code(scope)]);
    }

    #[inline]
    pub(crate) fn push(&mut self) {
        let [service, resource, scope] = match self.current {
            Some(current) => current,
            None => self.nobody(),
        };
        self.services.codes.push(service);
        self.resources.codes.push(resource);
        self.scopes.codes.push(scope);
    }

    #[cold]
    fn nobody(&mut self) -> [i32; 3] {
        self.set("", &[], &[]);
        self.current.expect("was set")
    }

    pub(crate) fn reserve(&mut self, rows: usize) {
        self.each(|column| column.codes.reserve(rows));
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.services.append(&other.services);
        self.resources.append(&other.resources);
        self.scopes.append(&other.scopes);
        self.current = None;
    }

    pub(crate) fn keep(&mut self, mask: &[bool]) {
        self.each(|column| keep(&mut column.codes, mask));
    }

    fn each(&mut self, change: impl Fn(&mut Coded)) {
        change(&mut self.services);
        change(&mut self.resources);
        change(&mut self.scopes);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.services.bytes() + self.resources.bytes() + self.scopes.bytes()
    }

    /// Bytes of texts and messages, each once.
    pub(crate) fn content(&self) -> usize {
        self.services.values.content() + self.resources.values.content() + self.scopes.values.content()
    }
}
