//! What operators order about versions on trial, carried out as any other change is.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::publisher::Reason;
use super::publishing::Publishing;
use crate::admin::{Canaries, CanaryDesk, CanaryOrder, Outcome};
use crate::metrics::RouteKey;

/// Where orders are taken.
pub(super) struct Desk(pub(super) Arc<Publishing>);

impl CanaryDesk for Desk {
    fn canaries(&self) -> &Canaries {
        self.0.canaries()
    }

    fn order(
        &self,
        of: RouteKey,
        order: CanaryOrder,
        by: String,
    ) -> oneshot::Receiver<Result<(), String>> {
        let (done, ordered) = oneshot::channel();
        let publishing = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("wharf-publish".into());
        // Without a thread whoever waits is told that the server is ending.
        let _ = thread.spawn(move || drop(done.send(carry_out(&publishing, &of, order, &by))));
        ordered
    }
}

fn carry_out(
    publishing: &Arc<Publishing>,
    of: &RouteKey,
    order: CanaryOrder,
    by: &str,
) -> Result<(), String> {
    let reason = |outcome| Reason {
        outcome,
        cause: "operator",
        text: format!("asked for with the token {by}"),
        vitals: None,
    };
    let done = match order {
        CanaryOrder::Promote => publishing.promote(of, None, (reason(Outcome::Promoted), by)),
        CanaryOrder::Abort => publishing.take_back(of, None, (reason(Outcome::Aborted), by)),
    };
    done.map(drop).map_err(|error| format!("{error:#}"))
}
