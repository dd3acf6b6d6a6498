//! Which worker and which instance serve a session: a pure rule over the route and what its
//! placeholders matched. Knows no instance and sends nothing.

use std::hash::{Hash, Hasher};

use crate::catalog::{InstanceModel, Route, RouteId};
use crate::request::Request;

/// Names an instance that serves several sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum InstanceKey {
    /// The one of a worker.
    Shared(RouteId),
    /// The one with that key, of the whole server.
    Keyed(RouteId, String),
}

/// Where a session belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) worker: usize,
    /// `None`: an instance of its own.
    pub(crate) key: Option<InstanceKey>,
}

/// Places a session that was accepted by worker `here`.
pub(crate) fn place(route: &Route, request: &Request, here: usize, workers: usize) -> Place {
    match &route.instance {
        InstanceModel::Session => Place {
            worker: here,
            key: None,
        },
        InstanceModel::Shared => Place {
            worker: here,
            key: Some(InstanceKey::Shared(route.id)),
        },
        InstanceModel::Keyed(template) => {
            let key = InstanceKey::Keyed(route.id, template.key(&request.said().params));
            Place {
                worker: worker_of(&key, workers),
                key: Some(key),
            }
        }
    }
}

/// The same on every worker: the hasher has no random keys. A peer that picks keys for one worker
/// gains no more than by opening as many sessions in one room.
pub(super) fn worker_of(key: &InstanceKey, workers: usize) -> usize {
    let mut hasher = std::hash::DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() % workers as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{ProgramId, Target, Template};
    use crate::request::Said;

    fn route(instance: InstanceModel) -> Route {
        let mut route = Route::new("/rooms/{room}", Target::Component(ProgramId(0)));
        route.instance = instance;
        route
    }

    fn keyed() -> Route {
        let template = Template::parse("{room}", &["room".to_owned()]).expect("a template");
        route(InstanceModel::Keyed(template))
    }

    fn room(name: &str) -> Request {
        Request::new(&Said {
            params: vec![("room", name)],
            ..Said::default()
        })
    }

    #[test]
    fn a_room_has_one_place_wherever_it_was_accepted() {
        let route = keyed();
        for name in ["a", "b", "lobby", ""] {
            assert_eq!(
                place(&route, &room(name), 0, 4),
                place(&route, &room(name), 3, 4)
            );
        }
    }

    #[test]
    fn rooms_spread_over_the_workers() {
        let route = keyed();
        let worker = |index: usize| place(&route, &room(&index.to_string()), 0, 2).worker;
        let second = (0..1000).filter(|index| worker(*index) == 1).count();
        assert!((400..600).contains(&second), "{second}");
    }

    #[test]
    fn others_stay_where_they_were_accepted() {
        for instance in [InstanceModel::Session, InstanceModel::Shared] {
            assert_eq!(place(&route(instance), &room("a"), 1, 2).worker, 1);
        }
    }
}
