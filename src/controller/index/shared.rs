//! The index as the loop, the reconciles and the metrics endpoint share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Index;
use crate::{
    ops::shutdown::Shutdown,
    reconcile::{Credential, Input},
};

/// The index, shared with the metrics endpoint; locked for short moments only.
#[derive(Clone)]
pub struct SharedIndex(Arc<Mutex<Index>>);

impl SharedIndex {
    /// Shares an index.
    pub fn new(index: Index) -> Self {
        Self(Arc::new(Mutex::new(index)))
    }

    /// Tells whether an exchange is still wanted: its resource and its source are as a reconcile found them, and the
    /// process is not told to stop.
    pub fn still_wanted(&self, shutdown: &Shutdown) -> Box<dyn Fn(&Input) -> bool + Send + Sync> {
        let (index, shutdown) = (self.clone(), shutdown.clone());
        Box::new(move |input| !shutdown.is_requested() && index.lock().still_wanted(input))
    }

    /// Tells whether a resource may still be written for.
    pub fn still_there(&self) -> Box<dyn Fn(&Credential) -> bool + Send + Sync> {
        let index = self.clone();
        Box::new(move |credential| index.lock().still_there(credential))
    }

    /// Locks it. A panic elsewhere while it was locked leaves it usable: each change is complete in itself.
    pub fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
