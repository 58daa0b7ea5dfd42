//! A world in which a job is done when the test says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_actors::{EffectContext, World};
use tokio::sync::{Notify, watch};

use super::{Counter, Wish};

/// One job that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    pub job: String,
    pub context: EffectContext,
}

/// Keeps a list of what was begun and of what was dropped before it was done.
#[derive(Default)]
pub struct Desk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    begun: watch::Sender<Vec<Begun>>,
    dropped: watch::Sender<Vec<String>>,
    results: Mutex<HashMap<String, String>>,
    panics: Mutex<HashMap<String, u32>>,
    news: Notify,
}

impl Desk {
    /// Lets a job come to its end.
    pub fn finish(&self, job: &str, what: &str) {
        self.0.results.lock().unwrap().insert(job.into(), what.into());
        self.0.news.notify_waiters();
    }

    /// Makes a job panic this many times when it is begun.
    pub fn panic_in(&self, job: &str, times: u32) {
        self.0.panics.lock().unwrap().insert(job.into(), times);
    }

    pub fn begun(&self) -> Vec<Begun> {
        self.0.begun.borrow().clone()
    }

    /// Resolves once this many jobs were begun, and returns them.
    pub async fn until_begun(&self, count: usize) -> Vec<Begun> {
        let mut begun = self.0.begun.subscribe();
        begun
            .wait_for(|begun| begun.len() >= count)
            .await
            .unwrap()
            .clone()
    }

    /// Resolves once this many jobs were dropped, and returns their names.
    pub async fn until_dropped(&self, count: usize) -> Vec<String> {
        let mut dropped = self.0.dropped.subscribe();
        dropped
            .wait_for(|dropped| dropped.len() >= count)
            .await
            .unwrap()
            .clone()
    }
}

struct DropMark(Option<String>, Arc<Inner>);

impl Drop for DropMark {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            self.1.dropped.send_modify(|dropped| dropped.push(job));
        }
    }
}

impl World<Counter> for Desk {
    fn perform(&self, context: EffectContext, job: String) -> BoxFuture<'static, Wish> {
        let desk = Arc::clone(&self.0);
        async move {
            let mut mark = DropMark(Some(job.clone()), Arc::clone(&desk));
            let begun = Begun {
                job: job.clone(),
                context,
            };
            desk.begun.send_modify(|list| list.push(begun));
            let panics = match desk.panics.lock().unwrap().get_mut(&job) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    true
                }
                _ => false,
            };
            if panics {
                mark.0 = None;
                panic!("the hands slipped");
            }
            loop {
                let news = desk.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                let result = desk.results.lock().unwrap().get(&job).cloned();
                if let Some(what) = result {
                    mark.0 = None;
                    return Wish::Done(job, what);
                }
                news.await;
            }
        }
        .boxed()
    }
}
