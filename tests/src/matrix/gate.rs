//! The gate of the matrix: a command whose line says that it is gated asks, everything else is let through.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use longhaul_actors::ports::{Gate, Judgement, Ruling};
use longhaul_actors::session::{Candidate, Setting, call_digest};
use longhaul_journal::StreamId;

/// Judges by the words of the act alone, so that it says the same after any crash.
#[derive(Clone, Copy, Debug)]
pub struct MatrixGate;

impl Gate for MatrixGate {
    fn judge(
        &self,
        _session: StreamId,
        candidate: Candidate,
        _setting: Setting,
    ) -> BoxFuture<'static, Judgement> {
        let allowed = Judgement::allow(call_digest(&candidate.call));
        let line = candidate.call.args["command"].as_str().unwrap_or_default();
        let gated = line.split([' ', '-']).any(|word| word == "gated") && !line.contains("after");
        ready(if gated {
            Judgement {
                ruling: Ruling::Ask,
                category: "publish".into(),
                rule: "gated".into(),
                risk: "high".into(),
                ..allowed
            }
        } else {
            allowed
        })
        .boxed()
    }
}
