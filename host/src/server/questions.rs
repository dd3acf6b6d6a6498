//! What a worker answers when operators ask: a look at what it has, between two messages.

use std::sync::Arc;

use crate::admin::Question;
use crate::catalog::Target;
use crate::dispatch::{Dispatcher, label};

/// Answers a question. Whoever asked may have given up waiting.
pub(super) fn answer(dispatcher: &Dispatcher, question: Question) {
    let topics = &dispatcher.services().topics;
    match question {
        Question::Report { reply } => drop(reply.send(dispatcher.report())),
        Question::Routes { reply } => {
            let catalog = dispatcher.catalog();
            let routes = catalog.routes();
            let served = routes.filter(|route| matches!(route.target, Target::Component(_)));
            let rows = served.map(|route| (Arc::clone(&route.tenant), label(route)));
            drop(reply.send(rows.collect()));
        }
        Question::Sessions {
            tenant,
            after,
            limit,
            reply,
        } => drop(reply.send(dispatcher.sessions_of(&tenant, after, limit))),
        Question::Session {
            tenant,
            name,
            reply,
        } => drop(reply.send(dispatcher.session_of(&tenant, &name))),
        Question::Kick {
            tenant,
            name,
            reason,
            reply,
        } => drop(reply.send(dispatcher.kick(&tenant, &name, reason))),
        Question::Topics {
            tenant,
            after,
            limit,
            reply,
        } => drop(reply.send(topics.names(&tenant, &after, limit))),
        Question::Members {
            tenant,
            topic,
            reply,
        } => {
            let lane = dispatcher.lane();
            let named = |(session, info)| (lane.session_name(session), info);
            let members = topics.presence(&tenant, &topic);
            drop(reply.send(members.map(|all| all.into_iter().map(named).collect())));
        }
        Question::Publish {
            tenant,
            topic,
            message: (kind, payload),
            reply,
        } => {
            let outcome = topics.publish(&tenant.into(), &topic, (kind, &payload), None);
            // No guest call ends now that would send it.
            dispatcher.services().release();
            let _ = reply.send(outcome);
        }
    }
}
