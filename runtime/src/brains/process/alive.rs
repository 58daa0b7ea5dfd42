//! Counts the children of a session that are not yet confirmed gone.

use std::sync::Arc;

use tokio::sync::watch;

/// The count of one session.
#[derive(Clone)]
pub(super) struct Count(Arc<watch::Sender<u32>>);

/// One child that counts as alive until this is dropped.
pub(super) struct Alive(Count);

impl Default for Count {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Count {
    /// Counts one more.
    pub(super) fn one_more(&self) -> Alive {
        self.0.send_modify(|alive| *alive += 1);
        Alive(self.clone())
    }

    /// Resolves once none is alive.
    pub(super) async fn none(&self) {
        let mut count = self.0.subscribe();
        let _ = count.wait_for(|alive| *alive == 0).await;
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.0.send_modify(|alive| *alive -= 1);
    }
}
