//! How kinds of entities that speak to each other reach each other: what is known only after all of them are open.

use tokio::sync::watch;

/// Something that is handed over once it is there. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Link<T>(watch::Sender<Option<T>>);

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl<T: Clone> Link<T> {
    /// Hands it over.
    pub fn tie(&self, there: T) {
        self.0.send_replace(Some(there));
    }

    /// Lets go of it, so that nothing keeps itself alive after a runtime has closed.
    pub fn untie(&self) {
        self.0.send_replace(None);
    }

    /// Waits until it is there.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn get(&self) -> T {
        let mut there = self.0.subscribe();
        match there.wait_for(Option::is_some).await.map(|there| there.clone()) {
            Ok(Some(there)) => there,
            // Nobody will tie it any more.
            _ => futures_util::future::pending().await,
        }
    }
}
