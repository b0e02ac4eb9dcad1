//! The generation that is at work now.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::app::generation::Generation;

/// Gives the generation at work. Clones give the same; who asks keeps what it is given for one piece of work,
/// and no longer.
#[derive(Clone, Debug)]
pub struct Live(Arc<ArcSwap<Generation>>);

impl Live {
    /// Begins with this one.
    pub(crate) fn new(first: Generation) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// The one at work now.
    pub fn generation(&self) -> Arc<Generation> {
        self.0.load_full()
    }
}
